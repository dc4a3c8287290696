"""A family whose parameters are a function of data."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PRNGKey, PyTree, Vector
from ._base import Family

_SMALLEST_SPREAD = 1e-6  # of a number's size: below, it is a constant that says nothing


class Encoder(eqx.Module):
    """q(z | data): a family whose parameters are a neural network's function of the data.

    The arrays of `base` plus A s + f(s), with s the data in one vector, centred and scaled, A a
    matrix and f a network of tanh layers (none where `depth` is 0, so that the parameters are
    affine in the data). Any family will do, since every array of a family is an unconstrained
    parameter. `encoder(data)` is a family. All arrays are trained; at the start A = 0 and f = 0,
    so that q is `base` whatever the data.

    Args:
        base: the family about which the data move the parameters.
        affine: A.
        network: f, or None.
        center: what is subtracted from the data, by number.
        spread: what they are then divided by.

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes.
        Le, Baydin & Wood (2017), Inference compilation and universal probabilistic programming.
    """

    base: Family
    affine: eqx.nn.Linear
    network: eqx.nn.MLP | None
    # not arrays: every array is trained
    center: tuple[float, ...] = eqx.field(static=True)
    spread: tuple[float, ...] = eqx.field(static=True)

    @staticmethod
    def init(
        base: Family, examples: PyTree, *, key: PRNGKey, width: int = 32, depth: int = 2
    ) -> "Encoder":
        """Make one for data like `examples`.

        Args:
            base: an instance of a family, such as `FullRankNormal.init(jnp.zeros(dim))`.
            examples: data sets stacked on a leading axis, two or more, by which data are centred
                and scaled. Numbers that never differ are not scaled.
            key: for the weights of the network.
            width: units of a hidden layer.
            depth: hidden layers; 0 is affine.

        Raises:
            TypeError: `base` is not an instance of a family.
            ValueError: fewer than two examples, or some that are not finite.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from vikl.families import MeanFieldNormal
            >>> data = jax.random.normal(jax.random.key(0), (100, 5))
            >>> encoder = Encoder.init(MeanFieldNormal.init(jnp.zeros(2)), data,
            ...                        key=jax.random.key(1))
            >>> print(encoder(data[0]).loc)
            [0. 0.]
        """
        if not isinstance(base, Family):
            raise TypeError(
                f"`base` should be an instance of a family; got {base!r}. Use for example "
                "`vikl.families.FullRankNormal.init(jnp.zeros(dim))`."
            )
        rows = [np.asarray(v, np.float64) for v in jax.tree.leaves(examples)]
        if not rows or any(v.ndim == 0 or len(v) != len(rows[0]) or len(v) < 2 for v in rows):
            raise ValueError(
                "`examples` should be two or more data sets, stacked on a leading axis; got the "
                f"shapes {[v.shape for v in rows]}. Use for example `jax.vmap(simulate)(keys)[1]`."
            )
        flat = np.concatenate([v.reshape(len(v), -1) for v in rows], axis=1)
        if not np.isfinite(flat).all():
            raise ValueError(
                f"`examples` should be finite; got {int((~np.isfinite(flat)).sum())} numbers of "
                f"{flat.size} that are not. Encode what is missing as a number and a flag."
            )
        center, spread = flat.mean(axis=0), flat.std(axis=0)
        spread = np.where(spread > _SMALLEST_SPREAD * np.abs(center), spread, 1.0)
        trained = jax.tree.leaves(eqx.filter(base, eqx.is_inexact_array))
        size, dtype = sum(v.size for v in trained), jnp.result_type(*trained)
        affine = eqx.nn.Linear(flat.shape[1], size, use_bias=False, dtype=dtype, key=key)
        affine = eqx.tree_at(lambda layer: layer.weight, affine, replace_fn=jnp.zeros_like)
        network = None
        if depth:
            network = eqx.nn.MLP(
                flat.shape[1], size, width, depth, jnp.tanh, use_final_bias=False, dtype=dtype,
                key=key,
            )  # fmt: skip
            network = eqx.tree_at(
                lambda net: net.layers[-1].weight, network, replace_fn=jnp.zeros_like
            )
        return Encoder(base, affine, network, tuple(center.tolist()), tuple(spread.tolist()))

    def __call__(self, data: PyTree) -> Any:
        """Return the family of z given one data set."""
        s = self._scaled(data)
        moves = self.affine(s) if self.network is None else self.affine(s) + self.network(s)
        trained, rest = eqx.partition(self.base, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(trained)
        ends = np.cumsum([math.prod(v.shape) for v in leaves])[:-1].tolist()
        moved = [v + m.reshape(v.shape) for v, m in zip(leaves, jnp.split(moves, ends))]
        return eqx.combine(jax.tree.unflatten(treedef, moved), rest)

    def _scaled(self, data: PyTree) -> Vector:
        dtype = self.affine.weight.dtype
        flat: Array = jnp.concatenate(
            [jnp.ravel(jnp.asarray(v)).astype(dtype) for v in jax.tree.leaves(data)]
        )
        if flat.shape != (len(self.center),):
            raise ValueError(
                f"`data` should hold {len(self.center)} numbers, as the examples did that the "
                f"encoder was made with; got {flat.shape[0]}. Give one data set of that structure."
            )
        return (flat - jnp.asarray(self.center, dtype)) / jnp.asarray(self.spread, dtype)
