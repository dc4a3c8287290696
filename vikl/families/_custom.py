"""Any pytree with `sample_and_log_prob` as a family."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import Array, PRNGKey, Scalar, Vector
from ._base import Family

_ADVICE = (
    "A family has `sample_and_log_prob(key)`, which returns one draw of shape (dim,) and its log "
    "density, a scalar, and `log_prob(x)`."
)


class Custom(Family):
    """A pytree of another library, or of your own, as a family: by its methods, not its class.

    `vikl.fit` takes such a pytree as it is and wraps it so; `posterior.family.distribution` is
    the fitted one. It needs `sample_and_log_prob(key)`; `log_prob(x)` too wherever points are
    scored that it did not draw (`StickingTheLanding`, proposals, `posterior.log_prob`). All its
    inexact arrays are trained, so they should be unconstrained. Draws count as differentiable
    in them unless the pytree says `reparameterized = False`.

    Args:
        distribution: an `equinox.Module`, a registered dataclass, or any other registered pytree.

    Raises:
        TypeError: not a pytree, no such method, no arrays to train, or a Python number among the
            leaves, of which it is not clear whether it should be trained.
        ValueError: a method that raises, or returns other shapes.

    Example:
        >>> import equinox as eqx
        >>> class Logistics(eqx.Module):  # knows nothing of vikl
        ...     loc: jax.Array
        ...     def sample_and_log_prob(self, key):
        ...         x = self.loc + jax.random.logistic(key, self.loc.shape)
        ...         return x, self.log_prob(x)
        ...     def log_prob(self, x):
        ...         z = x - self.loc
        ...         return jnp.sum(jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z))
        >>> q = Custom(Logistics(jnp.zeros(3)))
        >>> q.dim, q.distribution.loc.shape
        (3, (3,))
    """

    arrays: dict[str, Array]
    rest: tuple = eqx.field(static=True)

    def __init__(self, distribution: Any):
        kind = type(distribution).__name__
        if not callable(getattr(distribution, "sample_and_log_prob", None)):
            raise TypeError(
                f"`family` {kind} should have a method `sample_and_log_prob`; it has none. "
                f"{_ADVICE}"
            )
        paths, treedef = jax.tree_util.tree_flatten_with_path(distribution)
        if len(paths) == 1 and paths[0][1] is distribution:
            raise TypeError(
                f"`family` {kind} should be a pytree; it is not registered as one. Make it an "
                "`equinox.Module`, or use `jax.tree_util.register_dataclass`."
            )
        named = [(jax.tree_util.keystr(path), leaf) for path, leaf in paths]
        for name, leaf in named:
            if isinstance(leaf, float | complex):
                raise TypeError(
                    f"`family` {kind}{name} is the Python number {leaf}. Make it an array to have "
                    "it trained, or a static field to keep it."
                )
        self.arrays = {name: jnp.asarray(leaf) for name, leaf in named if eqx.is_array_like(leaf)}
        names = tuple(name for name, _ in named)
        others = tuple(None if eqx.is_array_like(leaf) else leaf for _, leaf in named)
        self.rest = (treedef, names, others, getattr(distribution, "reparameterized", True))
        if not any(eqx.is_inexact_array(v) for v in self.arrays.values()):
            raise TypeError(
                f"`family` {kind} should have arrays of floating-point numbers to train; it has "
                f"none among {list(names)}."
            )
        _check_shapes(distribution, kind)

    @property
    def distribution(self) -> Any:
        """The pytree itself, with the present arrays."""
        treedef, names, others, _ = self.rest
        leaves = [self.arrays.get(name, other) for name, other in zip(names, others)]
        return jax.tree.unflatten(treedef, leaves)

    @property
    def reparameterized(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether draws are differentiable in the arrays, as the pytree says."""
        return self.rest[-1]

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return jax.eval_shape(lambda q: q.sample_and_log_prob(jax.random.key(0)), self)[0].shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density."""
        x, log_q = self.distribution.sample_and_log_prob(key)
        return x, log_q

    def log_prob(self, x: Vector) -> Scalar:
        """Return log q(x)."""
        distribution = self.distribution
        if not callable(getattr(distribution, "log_prob", None)):
            raise TypeError(
                f"`family` {type(distribution).__name__} should have a method `log_prob` to score "
                "points that it did not draw; it has none. Add one, or use an objective and an "
                "estimator that score its own draws only, such as `ReverseKL(Pathwise())`."
            )
        return distribution.log_prob(x)


def _check_shapes(distribution: Any, kind: str) -> None:
    def shapes_of(method: str, *args: Any) -> Any:
        try:
            return eqx.filter_eval_shape(lambda q, *a: getattr(q, method)(*a), distribution, *args)
        except Exception as error:
            raise ValueError(
                f"`family` {kind}.{method} raised {type(error).__name__}: {error}. {_ADVICE}"
            ) from error

    drawn = shapes_of("sample_and_log_prob", jax.random.key(0))
    pair = isinstance(drawn, tuple) and len(drawn) == 2
    if not pair or _shape(drawn[1]) != () or len(_shape(drawn[0]) or ()) != 1:
        raise ValueError(
            f"`family` {kind}.sample_and_log_prob should return (x, log_q) of shapes (dim,) and "
            f"(); got {jax.tree.map(_shape, drawn)}. {_ADVICE}"
        )
    if callable(getattr(distribution, "log_prob", None)):
        scored = shapes_of("log_prob", jnp.zeros(drawn[0].shape, drawn[0].dtype))
        if _shape(scored) != ():
            raise ValueError(
                f"`family` {kind}.log_prob should return a scalar; got shape {_shape(scored)}. "
                "Sum over coordinates."
            )


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)


def as_family(value: Any, name: str = "family") -> Family:
    """Return a family as it is, and any other pytree with `sample_and_log_prob` as a `Custom`.

    Raises:
        TypeError: an object without that method, or a class.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> q = MeanFieldNormal.init(jnp.zeros(2))
        >>> as_family(q) is q
        True
    """
    if isinstance(value, Family):
        return value
    if isinstance(value, type) or not hasattr(value, "sample_and_log_prob"):
        raise TypeError(
            f"`{name}` should be an instance of a family; got {value!r}. Any pytree with "
            "`sample_and_log_prob` is one; use for example "
            "`vikl.families.MeanFieldNormal.init(jnp.zeros(dim), 10.0)`."
        )
    return Custom(value)
