"""Gamma distributions of positive parameters."""

from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from .. import kl
from .._typing import Array, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ..kl._stable import expm1_minus
from ._base import Family, check_loc, check_scale, cov, entropy, mean, std, supports
from ._gamma_draws import (
    HALF_LOG_2PI,
    check_concrete,
    concentration_of,
    log_gamma_over_shape,
    log_minus_digamma,
    stirling_rest,
    trigamma,
)


class Gamma(Family):
    """θ_i ~ Gamma(a_i, a_i/m_i), independent, for positive parameters θ = exp(x).

    Like every family it lives on the unconstrained x, where it is the distribution of log θ, with
    the log Jacobian in its density; so it is for the parts of a target whose support is positive
    (or above a bound: then of what exceeds it), and `vikl.fit` refuses it elsewhere. Draws are
    implicitly differentiated. Mean, covariance and entropy are exact, those of x = log θ: E x =
    log m + ψ(a) − log a, Var x = ψ′(a).

    Args:
        log_mean: log m, logarithms of the means of θ, shape (dim,).
        log_concentration: log a, logarithms of the shapes, shape (dim,).

    References:
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """

    log_mean: Vector
    log_concentration: Vector

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "Gamma":
        """Make one whose log θ has the mean `loc` (dim,) and the sd `scale` (scalar or (dim,)).

        Raises:
            ValueError: `scale` is not positive.
            TypeError: called with traced values.

        Example:
            >>> q = Gamma.init(jnp.zeros(2), 0.5)
            >>> print(mean(q).round(5) + 0, std(q).round(5))
            [0. 0.] [0.5 0.5]
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        check_concrete(loc, scale)
        sds = np.broadcast_to(np.asarray(scale, np.float64), loc.shape)
        log_a = jnp.asarray(concentration_of(sds**2), loc.dtype)
        return Gamma(loc + log_minus_digamma(jnp.exp(log_a)), log_a)

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.log_mean.shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw of log θ and its log density."""
        u = log_gamma_over_shape(key, jnp.exp(self.log_concentration))
        return self.log_mean + u, self._log_prob(u)

    def log_prob(self, x: Vector) -> Scalar:
        """Return the log density of x = log θ."""
        return self._log_prob(x - self.log_mean)

    def _log_prob(self, u: Vector) -> Scalar:
        """½ log(a/2π) − rest(a) − a (eᵘ − 1 − u): no large numbers that cancel."""
        a = jnp.exp(self.log_concentration)
        top = 0.5 * self.log_concentration - HALF_LOG_2PI - stirling_rest(a)
        return jnp.sum(top - a * expm1_minus(u))


@mean.register
def _(family: Gamma) -> Array:
    return family.log_mean - log_minus_digamma(jnp.exp(family.log_concentration))


@cov.register
def _(family: Gamma) -> Array:
    return jnp.diag(trigamma(jnp.exp(family.log_concentration)))


@std.register
def _(family: Gamma) -> Array:
    return jnp.sqrt(trigamma(jnp.exp(family.log_concentration)))


@entropy.register
def _(family: Gamma) -> Scalar:
    a = jnp.exp(family.log_concentration)
    top = HALF_LOG_2PI - 0.5 * family.log_concentration + stirling_rest(a)
    return jnp.sum(top + a * log_minus_digamma(a))


@supports.register
def _(family: Gamma) -> tuple[tuple[str, int], ...]:
    return (("positive", family.dim),)


@register_kl(Gamma, Gamma)
def _kl_gamma(p: Gamma, q: Gamma) -> Scalar:
    a, b = jnp.exp(p.log_concentration), jnp.exp(q.log_concentration)
    return jnp.sum(kl.gamma(a, a * jnp.exp(-p.log_mean), b, b * jnp.exp(-q.log_mean)))
