"""Independent blocks of coordinates, each with a family of its own."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import block_diag

from .._typing import Array, PRNGKey, Scalar, Vector
from ..target import Target
from ._base import Family, check_loc, check_scale, cov, entropy, from_noise, mean, std, supports
from ._custom import as_family
from ._full_rank import FullRankNormal
from ._mean_field import MeanFieldNormal


class Blocks(Family):
    """q(x) = Π_b q_b(x_b): independent blocks of consecutive coordinates.

    Between mean field and full rank: correlations where they matter, a covariance of each named
    part of the target for instance, at the cost of the blocks alone. Mean, covariance and entropy
    are exact where those of all blocks are.

    Args:
        parts: the families of the blocks, in the order of the coordinates; or other pytrees with
            `sample_and_log_prob`, which become `Custom`.

    Raises:
        TypeError: a part that is not an instance of a family with differentiable draws.

    References:
        Saul & Jordan (1996), Exploiting tractable substructures in intractable networks.
    """

    parts: tuple[Family, ...]

    reparameterized: ClassVar[bool] = True

    def __init__(self, parts: tuple[Any, ...]):
        families = tuple(as_family(part, "parts") for part in parts)
        for part in families:
            if not part.reparameterized:
                raise TypeError(
                    f"`parts` should be instances of families with differentiable draws; got "
                    f"{part!r}. Use for example `FullRankNormal.init(jnp.zeros(3))`."
                )
        self.parts = families

    @staticmethod
    def init(loc: Array, scale: Any = 1.0, sizes: tuple[int, ...] | None = None) -> "Blocks":
        """Make one with mean `loc` (dim,), sds `scale`, and full-rank blocks of these sizes.

        `sizes` should sum to dim; None is one block.

        Example:
            >>> q = Blocks.init(jnp.zeros(5), 1.0, sizes=(2, 3))
            >>> q.dim, len(q.parts)
            (5, 2)
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        sizes = (loc.shape[0],) if sizes is None else sizes
        if sum(sizes) != loc.shape[0]:
            raise ValueError(f"`sizes` should sum to {loc.shape[0]}; got {sizes}.")
        scales = jnp.broadcast_to(jnp.asarray(scale, loc.dtype), loc.shape)
        ends = np.cumsum(sizes)
        return Blocks(
            tuple(
                FullRankNormal.init(loc[e - n : e], scales[e - n : e]) for n, e in zip(sizes, ends)
            )
        )

    @staticmethod
    def of(
        target: Target,
        kinds: Mapping[str, type[Family]],
        other: type[Family] = MeanFieldNormal,
        scale: float = 1.0,
    ) -> "Blocks":
        """Make one with a block for each named part of the target, about the target's start.

        Args:
            target: what is to be fitted.
            kinds: a class of family for some of the parts, by name.
            other: the class for the parts that `kinds` does not name.
            scale: what `init` of each class takes as its scale.

        Raises:
            ValueError: a name that the target does not have.

        Example:
            >>> def log_density(v):
            ...     return -0.5 * jnp.sum(v["theta"] ** 2) - v["tau"] ** 2
            >>> target = Target.from_density(log_density, {"theta": jnp.zeros(3), "tau": 0.0})
            >>> [type(part).__name__ for part in Blocks.of(target, {"theta": FullRankNormal}).parts]
            ['MeanFieldNormal', 'FullRankNormal']
        """
        leaves = target.problem.layout.leaves
        unknown = sorted(set(kinds) - {leaf.name for leaf in leaves})
        if unknown:
            raise ValueError(
                f"`kinds` names {unknown}, which the target does not have; its parts are "
                f"{[leaf.name for leaf in leaves]}. Use these names."
            )
        return Blocks(
            tuple(
                kinds.get(leaf.name, other).init(  # pyright: ignore[reportAttributeAccessIssue]
                    target.start[leaf.offset : leaf.offset + leaf.size], scale
                )
                for leaf in leaves
                if leaf.size
            )
        )

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return sum(part.dim for part in self.parts)

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw, block by block, and its log density."""
        keys = jax.random.split(key, len(self.parts))
        drawn = [part.sample_and_log_prob(k) for part, k in zip(self.parts, keys)]
        return jnp.concatenate([x for x, _ in drawn]), _sum([log_q for _, log_q in drawn])

    def log_prob(self, x: Vector) -> Scalar:
        """Return Σ log q_b(x_b)."""
        return _sum([part.log_prob(v) for part, v in zip(self.parts, _split(self, x))])


def _sum(terms: list[Scalar]) -> Scalar:
    return jnp.sum(jnp.stack(terms))


def _split(family: Blocks, x: Vector) -> list[Array]:
    """Cut a vector into the blocks' own."""
    return jnp.split(x, np.cumsum([part.dim for part in family.parts])[:-1].tolist())


@mean.register
def _(family: Blocks) -> Array:
    return jnp.concatenate([mean(part) for part in family.parts])


@cov.register
def _(family: Blocks) -> Array:
    return block_diag(*[cov(part) for part in family.parts])


@std.register
def _(family: Blocks) -> Array:
    return jnp.concatenate([std(part) for part in family.parts])


@entropy.register
def _(family: Blocks) -> Scalar:
    return _sum([entropy(part) for part in family.parts])


@from_noise.register
def _(family: Blocks, noise: Vector) -> Vector:
    pairs = zip(family.parts, _split(family, noise))
    return jnp.concatenate([from_noise(part, v) for part, v in pairs])


@supports.register
def _(family: Blocks) -> tuple[tuple[str, int], ...]:
    return tuple(one for part in family.parts for one in supports(part))
