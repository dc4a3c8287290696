"""The contract of a family, and the open functions for what only some families know."""

import functools
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._typing import Array, PRNGKey, Scalar, Vector


class Family(eqx.Module):
    """A distribution q on flat unconstrained vectors, differentiable in its own leaves.

    Every inexact array leaf is a free, unconstrained, trainable parameter; everything else is
    static. `sample_and_log_prob` returns one draw; a family whose draw is a differentiable
    function of its parameters sets `reparameterized`, which the pathwise estimators need.

    Abstract. A user's own family is a subclass:

    Example:
        >>> from typing import ClassVar
        >>> import jax, jax.numpy as jnp, vikl
        >>> class Exponentials(vikl.families.Family):
        ...     log_rate: jax.Array
        ...     reparameterized: ClassVar[bool] = True
        ...     @property
        ...     def dim(self):
        ...         return self.log_rate.shape[0]
        ...     def sample_and_log_prob(self, key):
        ...         x = jax.random.exponential(key, self.log_rate.shape) * jnp.exp(-self.log_rate)
        ...         return x, self.log_prob(x)
        ...     def log_prob(self, x):
        ...         return jnp.sum(self.log_rate - jnp.exp(self.log_rate) * x)
        >>> Exponentials(jnp.zeros(2)).dim
        2
    """

    reparameterized: eqx.AbstractClassVar[bool]

    @property
    @abstractmethod
    def dim(self) -> int:
        """The length of a draw."""

    @abstractmethod
    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw x ~ q and log q(x), in nats."""

    @abstractmethod
    def log_prob(self, x: Vector) -> Scalar:
        """Return log q(x), in nats, normalised."""


def _missing(name: str, family: Any) -> NotImplementedError:
    return NotImplementedError(
        f"`{name}` has no closed form for {type(family).__name__}. Estimate it from draws, or "
        f"register one: `@vikl.families.{name}.register`."
    )


@functools.singledispatch
def mean(family: Any) -> Array:
    """Return E_q[x], shape (dim,), unconstrained. Exact, or NotImplementedError.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> print(mean(MeanFieldNormal.init(jnp.array([1.0, 2.0]))))
        [1. 2.]
    """
    raise _missing("mean", family)


@functools.singledispatch
def cov(family: Any) -> Array:
    """Return Cov_q[x], shape (dim, dim), unconstrained. Exact, or NotImplementedError.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> print(cov(MeanFieldNormal.init(jnp.zeros(2), 2.0)))
        [[4. 0.]
         [0. 4.]]
    """
    raise _missing("cov", family)


@functools.singledispatch
def std(family: Any) -> Array:
    """Return the standard deviations of x under q, shape (dim,), unconstrained.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> print(std(MeanFieldNormal.init(jnp.zeros(2), 2.0)))
        [2. 2.]
    """
    return jnp.sqrt(jnp.diagonal(cov(family)))


@functools.singledispatch
def entropy(family: Any) -> Scalar:
    """Return H[q] = −E_q[log q(x)] in nats. Exact, or NotImplementedError.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> print(round(float(entropy(MeanFieldNormal.init(jnp.zeros(1)))), 6))
        1.418939
    """
    raise _missing("entropy", family)


@functools.singledispatch
def from_noise(family: Any, noise: Vector) -> Vector:
    """Return the draw that standard normal `noise`, shape (dim,), becomes under q.

    This is the pathwise map of the location-scale families; antithetic and quasi-Monte Carlo
    draws go through it.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> print(from_noise(MeanFieldNormal.init(jnp.ones(2), 3.0), jnp.array([1.0, -1.0])))
        [ 4. -2.]
    """
    raise _missing("from_noise", family)


@functools.singledispatch
def supports(family: Any) -> tuple[tuple[str, int], ...]:
    """Return which supports a family is for: pairs of a name and a number of coordinates.

    `any` (the default) may stand anywhere; `positive`, `unit_interval` and `circular` go with
    coordinates of such a support; `simplex` with the coordinates of one simplex. `vikl.fit`
    refuses a family whose supports are not those of the target.

    Example:
        >>> from vikl.families import Dirichlet, MeanFieldNormal
        >>> supports(MeanFieldNormal.init(jnp.zeros(3))), supports(Dirichlet.init(jnp.zeros(3)))
        ((('any', 3),), (('simplex', 3),))
    """
    return (("any", family.dim),)


def check_loc(loc: Any) -> None:
    """Refuse a location that is not one finite, floating-point vector (values outside jit only)."""
    if loc.ndim != 1 or loc.size == 0:
        raise ValueError(
            f"`loc` should be one vector of shape (dim,); got shape {loc.shape}. Use for example "
            "`jnp.zeros(3)`, and `vmap` for a batch."
        )
    if not jnp.issubdtype(loc.dtype, jnp.floating):
        raise TypeError(
            f"`loc` should be floating point; got dtype {loc.dtype}. Write `jnp.zeros(3)` or use "
            "`.astype(float)`."
        )
    check_finite(loc, "loc")


def check_finite(values: Any, name: str) -> None:
    """Refuse what is NaN or infinite (outside jit)."""
    if isinstance(values, Tracer):  # a tracer has no value to look at
        return
    if not np.isfinite(np.asarray(values, np.float64)).all():
        raise ValueError(f"`{name}` should be finite; got {values}. Look at how it was computed.")


@functools.singledispatch
def components(family: Any) -> tuple[Array, Family]:
    """Return the weights (k,) of a mixture and its components, stacked along a leading axis.

    `vikl.estimators.Stratified` draws from each component.

    Example:
        >>> from vikl.families import NormalMixture
        >>> weights, parts = components(NormalMixture.init(jnp.zeros(2), num_components=4))
        >>> print(weights, parts.loc.shape)
        [0.25 0.25 0.25 0.25] (4, 2)
    """
    raise NotImplementedError(
        f"`components` knows no components of {type(family).__name__}. Use NormalMixture, or "
        "register them: `@vikl.families.components.register`."
    )


def check_scale(scale: Any, shape: tuple[int, ...], name: str) -> None:
    """Refuse a scale that is not positive or of another shape (outside jit)."""
    if eqx.is_array_like(scale) and jnp.shape(scale) not in ((), shape):
        raise ValueError(
            f"`{name}` should be a scalar or have shape {shape}; got shape {jnp.shape(scale)}."
        )
    try:
        values = np.asarray(scale)
    except Exception:  # a tracer has no value to look at
        return
    if not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(
            f"`{name}` should be positive and finite; got {scale}. It is a standard deviation."
        )
