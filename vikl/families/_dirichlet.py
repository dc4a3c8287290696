"""Beta distributions of shares, and Dirichlet distributions of simplices."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import kl
from .._typing import Array, Float, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ..kl._stable import expm1_minus, phi
from ._base import Family, check_loc, check_scale, cov, entropy, mean, std, supports
from ._gamma_draws import (
    HALF_LOG_2PI,
    check_concrete,
    concentrations_of,
    log_gamma_over_shape,
    log_minus_digamma,
    stirling_rest,
    trigamma,
)


class Beta(Family):
    """θ_i ~ Beta(a_i, b_i), independent, for parameters between 0 and 1, θ = 1/(1 + e⁻ˣ).

    Like every family it lives on the unconstrained x, where it is the distribution of logit θ;
    so it is for the parts of a target whose support is the unit interval (or another: then of
    the share of it), and `vikl.fit` refuses it elsewhere. Draws are implicitly differentiated.
    Mean, covariance and entropy are exact, those of x = logit θ: E x = ψ(a) − ψ(b),
    Var x = ψ′(a) + ψ′(b).

    Args:
        log_concentration1: log a, shape (dim,).
        log_concentration0: log b, shape (dim,).

    References:
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """

    log_concentration1: Vector
    log_concentration0: Vector

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "Beta":
        """Make one whose logit θ has the mean `loc` (dim,) and the sd `scale` (scalar or (dim,)).

        Raises:
            ValueError: `scale` is not positive.
            TypeError: called with traced values.

        Example:
            >>> q = Beta.init(jnp.zeros(2), 0.5)
            >>> print(mean(q).round(5) + 0, std(q).round(5))
            [0. 0.] [0.5 0.5]
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        check_concrete(loc, scale)
        sds = np.broadcast_to(np.asarray(scale, np.float64), loc.shape)
        logs = concentrations_of(np.asarray(loc)[None], sds**2)
        return Beta(jnp.asarray(logs[0], loc.dtype), jnp.asarray(logs[1], loc.dtype))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.log_concentration1.shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw of logit θ and its log density."""
        logs = self.log_concentration1, self.log_concentration0
        u = _draw(key, *logs)
        return logs[0] - logs[1] + u, jnp.sum(_log_prob(u, *logs))

    def log_prob(self, x: Vector) -> Scalar:
        """Return the log density of x = logit θ."""
        logs = self.log_concentration1, self.log_concentration0
        return jnp.sum(_log_prob(x - (logs[0] - logs[1]), *logs))


class Dirichlet(Family):
    """θ ~ Dirichlet(α) for one simplex of k shares, on its k − 1 unconstrained coordinates.

    These are the logits x_i of the share that part i takes of what the parts before it left,
    shifted so that x = 0 are equal shares: the support `simplex`, on which alone `vikl.fit`
    takes it; use `Blocks` for several. The shares of the rest are independent betas, so that
    mean, covariance (diagonal) and entropy of x are exact. Draws are implicitly differentiated.

    Args:
        log_concentration: log α, shape (k,), k = dim + 1.

    References:
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
        Connor & Mosimann (1969), Concepts of independence for proportions.
    """

    log_concentration: Float[Array, " k"]

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "Dirichlet":
        """Make one with mean `loc` (dim,), and the sum of the variances that sds `scale` have.

        There are dim + 1 concentrations, so that the single variances follow.

        Raises:
            ValueError: `scale` is not positive.
            TypeError: called with traced values.

        Example:
            >>> q = Dirichlet.init(jnp.zeros(2), 0.5)
            >>> print(mean(q).round(5) + 0, round(float(jnp.sum(std(q) ** 2)), 5))
            [0. 0.] 0.5
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        check_concrete(loc, scale)
        sds = np.broadcast_to(np.asarray(scale, np.float64), loc.shape)
        center = np.asarray(loc, np.float64) - _offsets(loc.shape[0])
        logs = concentrations_of(center[:, None], np.array([np.sum(sds**2)]))
        return Dirichlet(jnp.asarray(logs[:, 0], loc.dtype))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.log_concentration.shape[0] - 1

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw of the logits and its log density."""
        logs = _sticks(self)
        u = _draw(key, *logs)
        return _middle(self) + u, jnp.sum(_log_prob(u, *logs))

    def log_prob(self, x: Vector) -> Scalar:
        """Return the log density of the logits x."""
        return jnp.sum(_log_prob(x - _middle(self), *_sticks(self)))


def _offsets(dim: int) -> np.ndarray:
    """Return what makes x = 0 equal shares: log of the number of parts that are left."""
    return np.log(np.arange(dim, 0, -1))


def _sticks(family: Dirichlet) -> tuple[Vector, Vector]:
    """Return log a and log b of the betas of the shares of the rest."""
    logs = family.log_concentration
    return logs[:-1], jax.lax.cumlogsumexp(logs, reverse=True)[1:]


def _middle(family: Dirichlet) -> Vector:
    log_a, log_b = _sticks(family)
    return log_a - log_b + jnp.asarray(_offsets(family.dim), log_a.dtype)


# -- the beta distribution of a logit, x = log(a/b) + u


def _draw(key: PRNGKey, log_a: Vector, log_b: Vector) -> Vector:
    logs = jnp.stack([log_a, log_b])
    one, other = log_gamma_over_shape(key, jnp.exp(logs))
    return one - other


def _log_prob(u: Vector, log_a: Vector, log_b: Vector) -> Vector:
    """½ log(ab/2πn) + rests − n times a KL of two Bernoullis, by terms that vanish at u = 0."""
    log_n = jnp.logaddexp(log_a, log_b)
    # of the rarer side, where nothing cancels
    log_p, u = jnp.minimum(log_a, log_b) - log_n, jnp.where(log_a > log_b, -u, u)
    p, n = jnp.exp(log_p), jnp.exp(log_n)
    near = jnp.abs(u) < 1
    small = jnp.where(near, u, 0.0)
    close = phi(p * jnp.expm1(small)) - p * expm1_minus(small)
    wide = jnp.where(near, 1.0, u)
    apart = p * wide - jnp.logaddexp(log_p + wide, jnp.log1p(-p))
    return -_top(log_a, log_b) + n * jnp.where(near, close, apart)


def _top(log_a: Vector, log_b: Vector) -> Vector:
    """−log of the density at u = 0."""
    log_n = jnp.logaddexp(log_a, log_b)
    rests = stirling_rest(jnp.exp(log_a)) + stirling_rest(jnp.exp(log_b))
    rests = rests - stirling_rest(jnp.exp(log_n))
    return HALF_LOG_2PI + 0.5 * (log_n - log_a - log_b) + rests


def _mean_of(log_a: Vector, log_b: Vector) -> Vector:
    return log_minus_digamma(jnp.exp(log_b)) - log_minus_digamma(jnp.exp(log_a))


def _variance(log_a: Vector, log_b: Vector) -> Vector:
    return trigamma(jnp.exp(log_a)) + trigamma(jnp.exp(log_b))


def _entropy(log_a: Vector, log_b: Vector) -> Scalar:
    a, b, n = (jnp.exp(v) for v in (log_a, log_b, jnp.logaddexp(log_a, log_b)))
    gaps = a * log_minus_digamma(a) + b * log_minus_digamma(b) - n * log_minus_digamma(n)
    return jnp.sum(_top(log_a, log_b) + gaps)


@mean.register
def _(family: Beta) -> Array:
    logs = family.log_concentration1, family.log_concentration0
    return logs[0] - logs[1] + _mean_of(*logs)


@mean.register
def _(family: Dirichlet) -> Array:
    return _middle(family) + _mean_of(*_sticks(family))


@cov.register
def _(family: Beta) -> Array:
    return jnp.diag(_variance(family.log_concentration1, family.log_concentration0))


@cov.register
def _(family: Dirichlet) -> Array:
    return jnp.diag(_variance(*_sticks(family)))


@std.register
def _(family: Beta) -> Array:
    return jnp.sqrt(_variance(family.log_concentration1, family.log_concentration0))


@std.register
def _(family: Dirichlet) -> Array:
    return jnp.sqrt(_variance(*_sticks(family)))


@entropy.register
def _(family: Beta) -> Scalar:
    return _entropy(family.log_concentration1, family.log_concentration0)


@entropy.register
def _(family: Dirichlet) -> Scalar:
    return _entropy(*_sticks(family))


@supports.register
def _(family: Beta) -> tuple[tuple[str, int], ...]:
    return (("unit_interval", family.dim),)


@supports.register
def _(family: Dirichlet) -> tuple[tuple[str, int], ...]:
    return (("simplex", family.dim),)


@register_kl(Beta, Beta)
def _kl_beta(p: Beta, q: Beta) -> Scalar:
    logs = (v for f in (p, q) for v in (f.log_concentration1, f.log_concentration0))
    return jnp.sum(kl.beta(*(jnp.exp(v) for v in logs)))


@register_kl(Dirichlet, Dirichlet)
def _kl_dirichlet(p: Dirichlet, q: Dirichlet) -> Scalar:
    return kl.dirichlet(jnp.exp(p.log_concentration), jnp.exp(q.log_concentration))
