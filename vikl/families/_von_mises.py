"""Von Mises distributions of angles."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import i0e, i1e

from .. import kl
from .._typing import Array, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ..kl._stable import horner
from ._base import Family, check_loc, check_scale, supports

_LARGE = 100.0
_REACH = 100.0  # the integrand of a slope has gone where κ t² exceeds that of the draw by so much


class VonMises(Family):
    """θ_i ~ von Mises(μ_i, κ_i) ∝ exp(κ cos(θ − μ)), independent, for angles between −π and π.

    Like every family it lives on the unconstrained x, θ = 2π/(1 + e⁻ˣ) − π, with the log Jacobian
    in its density; so it is for the parts of a target whose support is `circular`, and `vikl.fit`
    refuses it elsewhere. Draws are implicitly differentiated, by an integral for the slope in κ.
    That is right for a target that is periodic, as one of an angle should be: where its density
    jumps between π and −π the pathwise gradient misses the jump, and
    `vikl.estimators.ScoreFunction()` does not. Neither mean nor covariance nor entropy of x has
    a closed form: `posterior.sample` has the angles.

    Args:
        loc: the mean direction μ in radians, shape (dim,); any real number, taken modulo 2π.
        log_concentration: log κ, shape (dim,).

    References:
        Best & Fisher (1979), Efficient simulation of the von Mises distribution.
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """

    loc: Vector
    log_concentration: Vector

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "VonMises":
        """Make one about the angles of x = `loc` (dim,), as wide as sds `scale` of x are there.

        Raises:
            ValueError: `scale` is not positive.

        Example:
            >>> q = VonMises.init(jnp.zeros(2), 0.2)
            >>> print(q.loc, f"{jnp.exp(-0.5 * q.log_concentration[0]):.4f}")  # radians
            [0. 0.] 0.3142
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        slope = 2 * np.pi * jax.nn.sigmoid(loc) * jax.nn.sigmoid(-loc)
        spread = jnp.asarray(scale, loc.dtype) * slope
        return VonMises(_angle(loc), -2 * jnp.log(spread))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw of x and its log density."""
        kappa = jnp.exp(self.log_concentration)
        held = stop_gradient(kappa)
        offset = _centered(key, held)
        # the value of the draw, with the slope that keeps its distribution function in place
        offset = offset + stop_gradient(_slope(offset, held)) * (kappa - held)
        turns = (self.loc + offset) / (2 * np.pi) + 0.5
        share = turns - stop_gradient(jnp.floor(turns))
        least = float(jnp.finfo(share.dtype).eps)
        share = jnp.clip(share, least, 1 - least)
        x = jnp.log(share) - jnp.log1p(-share)
        return x, self.log_prob(x)

    def log_prob(self, x: Vector) -> Scalar:
        """Return the log density of x."""
        kappa = jnp.exp(self.log_concentration)
        half = jnp.sin(0.5 * (_angle(x) - self.loc))
        jacobian = jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)
        return jnp.sum(jacobian - 2 * kappa * half * half - jnp.log(i0e(kappa)))


def _angle(x: Vector) -> Vector:
    """Return 2π σ(x) − π, without cancellation near 0."""
    return np.pi * jnp.tanh(0.5 * x)


def _centered(key: PRNGKey, kappa: Vector) -> Vector:
    """Return draws about the angle 0, by rejection from wrapped Cauchys.

    A wrapped Cauchy is θ = 2 atan(c tan(π(u − ½))) of a uniform u, with a density ∝ 1/(c² +
    (1 − c²) s²), s = sin(θ/2): everything is exact near 0, however large κ is.
    """
    square = 1 / (1 + 4 * kappa)  # c²: uniform for κ = 0, half the sd for a large κ

    def log_ratio(s2: Array) -> Array:
        return jnp.log(square + (1 - square) * s2) - 2 * kappa * s2

    # 1/(2κ) − c²/(1 − c²), by 1 − c² = 4κ c²
    largest = log_ratio(jnp.clip(0.25 / kappa, 0.0, 1.0))

    def unfinished(carry: tuple) -> Array:
        return ~jnp.all(carry[2])

    def again(carry: tuple) -> tuple:
        key, draw, done = carry
        key, one, other = jax.random.split(key, 3)
        u = jax.random.uniform(one, kappa.shape, kappa.dtype)
        tangent = jnp.sqrt(square) * jnp.tan(np.pi * (u - 0.5))
        s2 = tangent * tangent / (1 + tangent * tangent)
        log_u = jnp.log1p(-jax.random.uniform(other, kappa.shape, kappa.dtype))
        taken = ~done & (log_u <= log_ratio(s2) - largest)
        return key, jnp.where(taken, 2 * jnp.arctan(tangent), draw), done | taken

    start = (key, jnp.zeros_like(kappa), jnp.zeros(kappa.shape, bool))
    return jax.lax.while_loop(unfinished, again, start)[1]


def _slope(offset: Vector, kappa: Vector) -> Vector:
    """Return dθ/dκ of a draw of fixed quantile, −(∂F/∂κ)/density.

    For θ > 0 it is ∫ (cos t − I₁/I₀) exp(κ (cos t − cos θ)) dt from θ to π (from 0 to π it is
    zero), in which no exponent is positive; it is odd in θ.
    """
    start = jnp.abs(offset)
    end = jnp.minimum(np.pi, jnp.sqrt(start * start + _REACH / kappa))
    nodes, weights = (jnp.asarray(v, kappa.dtype)[:, None] for v in _rule())
    t = start[None] + (end - start)[None] * (0.5 * (nodes + 1))
    # cos t − cos θ and cos t − I₁/I₀ by differences that are exact near 0
    fall = -2 * jnp.sin(0.5 * (t + start[None])) * jnp.sin(0.5 * (t - start[None]))
    half = jnp.sin(0.5 * t)
    terms = (_shortfall(kappa)[None] - 2 * half * half) * jnp.exp(kappa[None] * fall)
    return jnp.sign(offset) * 0.5 * (end - start) * jnp.sum(weights * terms, axis=0)


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of Gauss and Legendre, when first asked for."""
    return np.polynomial.legendre.leggauss(48)


def _shortfall(kappa: Vector) -> Vector:
    """Return 1 − I₁(κ)/I₀(κ), by its series where the difference has lost its digits."""
    r = 1 / jnp.maximum(kappa, _LARGE)
    series = r * horner((1 / 2, 1 / 8, 1 / 8, 25 / 128, 13 / 32, 1073 / 1024), r)
    direct = (i0e(kappa) - i1e(kappa)) / i0e(kappa)
    return jnp.where(kappa > _LARGE, series, direct)


@supports.register
def _(family: VonMises) -> tuple[tuple[str, int], ...]:
    return (("circular", family.dim),)


@register_kl(VonMises, VonMises)
def _kl_von_mises(p: VonMises, q: VonMises) -> Scalar:
    one, other = jnp.exp(p.log_concentration), jnp.exp(q.log_concentration)
    return jnp.sum(jax.vmap(kl.von_mises)(p.loc, one, q.loc, other))
