"""Bounded families by Gauss-Legendre nodes: von Mises, continuous Bernoulli."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e, i1e

from .._typing import Array
from ._discrete import logits_divergence
from ._kernel import Value, kernel, non_negative, open_probability, real
from ._location_scale import ordered
from ._quadrature import gauss_legendre
from ._stable import log_ratio


def _half_circle(width: Array) -> tuple[Array, Array]:
    """Return sin²(θ/2) at fixed nodes of the half circle, dense within `width`, and log weights."""
    grid, log_weight = gauss_legendre(64, 128, width)
    width = width[..., None]
    t = jnp.arcsinh(np.pi / width) * grid
    return jnp.sin(0.5 * width * jnp.sinh(t)) ** 2, log_weight + jnp.log(jnp.cosh(t))


@jax.custom_jvp
def _mean_cosine(k: Array) -> Array:
    return i1e(k) / i0e(k)


@_mean_cosine.defjvp
def _mean_cosine_jvp(primals, tangents):
    # the variance of the cosine, by nodes: 1 − A/κ − A² cancels, all of it from κ = 1,000 on
    (k,) = primals
    square, base = _half_circle(jax.lax.stop_gradient(1.0 / jnp.sqrt(1.0 + k)))
    weight = jax.nn.softmax(base - 2.0 * k[..., None] * square)
    deviation = square - (weight * square).sum(-1, keepdims=True)
    return _mean_cosine(k), 4.0 * (weight * deviation**2).sum(-1) * tangents[0]


@kernel(loc_p=real, concentration_p=non_negative, loc_q=real, concentration_q=non_negative)
def von_mises(loc_p: Value, concentration_p: Value, loc_q: Value, concentration_q: Value) -> Array:
    """KL(p‖q) of two von Mises distributions; concentration 0 is the uniform one.

    2 κ_q A(κ_p) sin²((μp − μq)/2), with A = I₁/I₀, plus the divergence for equal directions, which
    is summed over 64 (float64: 128) fixed nodes of the half circle.

    Args:
        loc_p: direction of p, in radians.
        concentration_p: concentration κ of p, not negative.
        loc_q: direction of q, in radians.
        concentration_q: concentration κ of q, not negative.

    >>> from vikl import kl
    >>> float(kl.von_mises(0.3, 2.0, 0.3, 2.0))
    0.0

    Source: Mardia and Jupp (2000), "Directional Statistics", section 3.5.
    """
    kp, kq, angle = jnp.broadcast_arrays(concentration_p, concentration_q, loc_p - loc_q)  # type: ignore[arg-type, operator]
    square, base = _half_circle(jax.lax.stop_gradient(1.0 / jnp.sqrt(1.0 + jnp.maximum(kp, kq))))
    difference = 2.0 * (kq - kp)[..., None] * square
    aligned = logits_divergence(
        base - 2.0 * kp[..., None] * square, base - 2.0 * kq[..., None] * square, difference
    )
    return aligned + 2.0 * kq * _mean_cosine(kp) * jnp.sin(0.5 * angle) ** 2


@kernel(probs_p=open_probability, probs_q=open_probability)
def continuous_bernoulli(probs_p: Value, probs_q: Value) -> Array:
    """KL(p‖q) of two continuous Bernoullis, density ∝ λ^x (1 − λ)^(1−x) on [0, 1].

    An exponential tilt of the uniform distribution, summed over 64 (float64: 96) fixed nodes.

    Args:
        probs_p: λ of p, above 0 and below 1.
        probs_q: λ of q, above 0 and below 1.

    >>> from vikl import kl
    >>> float(kl.continuous_bernoulli(0.3, 0.3))
    0.0

    Source: Loaiza-Ganem and Cunningham (2019), "The continuous Bernoulli: fixing a pervasive error
    in variational autoencoders".
    """
    return tilt_formula(*jnp.broadcast_arrays(probs_p, probs_q))


def tilt_formula(p: Array, q: Array) -> Array:
    """KL of two continuous Bernoullis, unchecked."""
    grid, log_weight = gauss_legendre(64, 96, p)
    slope_p, slope_q = (jnp.log(x) - jnp.log1p(-x) for x in (p, q))
    # the difference of the log-odds, exact also for p close to q
    change = log_ratio(p, q) - log_ratio(1.0 - p, 1.0 - q, q - p)
    return logits_divergence(
        log_weight + slope_p[..., None] * grid,
        log_weight + slope_q[..., None] * grid,
        change[..., None] * grid,
    )


@kernel(probs_p=open_probability, low_q=real, high_q=real)
def continuous_bernoulli_uniform(probs_p: Value, low_q: Value, high_q: Value) -> Array:
    """KL(p‖q) of a continuous Bernoulli from a uniform distribution; +inf unless it covers [0, 1].

    Args:
        probs_p: λ of p, above 0 and below 1.
        low_q: lower end of q.
        high_q: upper end of q, above the lower (NaN otherwise).

    >>> from vikl import kl
    >>> float(kl.continuous_bernoulli_uniform(0.5, 0.0, 1.0))
    0.0
    """
    p, low, high = jnp.broadcast_arrays(probs_p, low_q, high_q)
    covered = (low <= 0) & (high >= 1)
    width = jnp.log1p(jnp.where(covered, (high - 1.0) - low, 0.0))
    value = jnp.where(covered, tilt_formula(p, jnp.full_like(p, 0.5)) + width, jnp.inf)
    return ordered(low, high, value)


@kernel(low_p=real, high_p=real, probs_q=open_probability)
def uniform_continuous_bernoulli(low_p: Value, high_p: Value, probs_q: Value) -> Array:
    """KL(p‖q) of a uniform distribution from a continuous Bernoulli; +inf outside [0, 1].

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        probs_q: λ of q, above 0 and below 1.

    >>> from vikl import kl
    >>> float(kl.uniform_continuous_bernoulli(0.0, 1.0, 0.5))
    0.0
    """
    low, high, q = jnp.broadcast_arrays(low_p, high_p, probs_q)
    inside = (low >= 0) & (high <= 1)
    width = jnp.where(high > low, high - low, 1.0)
    slope = jnp.log(q) - jnp.log1p(-q)
    grid, log_weight = gauss_legendre(64, 96, q)
    # q restricted to [low, high] is a tilt again; what it leaves outside comes on top
    zero = jnp.zeros_like(slope)[..., None]
    tilt = (slope * width)[..., None] * grid
    inner = logits_divergence(log_weight + zero, log_weight + tilt, -tilt)
    top = jnp.maximum(slope, 0.0)[..., None]
    mass = lambda start, size: (
        size
        * jnp.exp(
            log_weight + slope[..., None] * (start[..., None] + size[..., None] * grid) - top
        ).sum(-1)
    )
    outside = mass(zero[..., 0], low) + mass(high, 1.0 - high)
    value = inner + jnp.log1p(outside / mass(low, width))
    return ordered(low, high, jnp.where(inside, value, jnp.inf))
