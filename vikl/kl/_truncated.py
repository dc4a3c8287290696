"""Truncated normals and the Kumaraswamy distribution, by fixed nodes on bounded supports."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._kernel import Value, extended, kernel, positive, real
from ._location_scale import ordered
from ._quadrature import gauss_legendre, log_sum_exp, mean_under, nodes_divergence
from ._stable import horner, is_wide


def _window(loc: Array, scale: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Mode of the truncated normal, and how far below and above it there is mass to rounding."""
    mode = jnp.clip(loc, low, high)
    depth = jnp.abs(mode - loc) / scale
    decay = 90.0 if is_wide(loc) else 46.0
    # solves depth t + t²/2 = decay/2, without cancellation for great depth
    reach = scale * (decay / (depth + jnp.sqrt(depth * depth + decay)))
    return mode, jnp.minimum(mode - low, reach), jnp.minimum(high - mode, reach)


def _log_mass(loc: Array, scale: Array, low: Array, high: Array, reference: Array) -> Array:
    """Log of the integral over [low, high] of the normal shape, 1 at `reference`; −inf if none."""
    empty = ~(high > low)
    low, high = jnp.where(empty, loc, low), jnp.where(empty, loc + scale, high)
    mode, below, above = jax.lax.stop_gradient(_window(loc, scale, low, high))
    # the window moves with a bound that is its end; bounds carry no derivative
    grid, log_weight = gauss_legendre(64, 96, loc)
    y = ((below + above) / scale)[..., None] * grid - (below / scale)[..., None]
    depth = ((mode - loc) / scale)[..., None]
    inner = log_sum_exp(log_weight - 0.5 * y * (y + 2.0 * depth)) + jnp.log(below + above)
    lift = 0.5 * ((mode - reference) / scale) * ((mode - loc) / scale + (reference - loc) / scale)
    return jnp.where(empty, -jnp.inf, inner - lift)


@dd.compensated
def _near_slope(mode: Any, mu_p: Any, s_p: Any, mu_q: Any, s_q: Any) -> Any:
    """Slope of log p − log q at p's mode in units of p's scale, from small differences."""
    curvature = (s_p - s_q) / s_q * ((s_p + s_q) / s_q)
    return (mode - mu_p) / s_p * curvature + (mu_p - mu_q) / s_q * (s_p / s_q)


@kernel(
    loc_p=real, scale_p=positive, low_p=extended, high_p=extended,
    loc_q=real, scale_q=positive, low_q=extended, high_q=extended,
)  # fmt: skip
def truncated_normal(
    loc_p: Value, scale_p: Value, low_p: Value, high_p: Value,
    loc_q: Value, scale_q: Value, low_q: Value, high_q: Value,
) -> Array:  # fmt: skip
    """KL(p‖q) of two normals truncated to intervals, which may be infinite.

    Summed over Gauss-Legendre nodes on the part of p's interval that has mass; what q has outside
    p's interval is added as log1p of a ratio of masses. +inf where p's interval exceeds q's. Not
    differentiable in the bounds (the derivative is zero).

    Args:
        loc_p: mean of the normal that is truncated to p.
        scale_p: its standard deviation, positive.
        low_p: lower bound of p, may be −inf.
        high_p: upper bound of p, above the lower (NaN otherwise), may be +inf.
        loc_q: mean of the normal that is truncated to q.
        scale_q: its standard deviation, positive.
        low_q: lower bound of q, may be −inf.
        high_q: upper bound of q, above the lower (NaN otherwise), may be +inf.

    >>> from vikl import kl
    >>> float(kl.truncated_normal(0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 2.0))
    0.0
    """
    mu_p, s_p, low, high, mu_q, s_q, low_q, high_q = jnp.broadcast_arrays(
        loc_p, scale_p, low_p, high_p, loc_q, scale_q, low_q, high_q
    )
    inside = (low >= low_q) & (high <= high_q)
    mode, below, above = jax.lax.stop_gradient(_window(mu_p, s_p, low, high))
    mode_q, below_q, above_q = jax.lax.stop_gradient(_window(mu_q, s_q, low, high))
    # both windows, as distances from p's mode; nodes that cover both give digits to a small value
    first = jnp.minimum(-below, (mode_q - mode) - below_q)
    last = jnp.maximum(above, (mode_q - mode) + above_q)
    close = last - first < 3.0 * jnp.minimum(below + above, below_q + above_q)
    first, last = jnp.where(close, first, -below), jnp.where(close, last, above)
    # y: distance from p's mode in units of p's scale; g and log p relative to their values there
    fixed_scale = jax.lax.stop_gradient(s_p)
    grid, log_weight = gauss_legendre(96, 160, mu_p)
    y = ((last - first) / fixed_scale)[..., None] * grid + (first / fixed_scale)[..., None]
    y = y * (fixed_scale / s_p)[..., None]
    depth = (mode - mu_p) / s_p
    curvature = ((s_p - s_q) / s_q) * ((s_p + s_q) / s_q)
    slope = jnp.where(
        jnp.abs(curvature) < 0.5,
        _near_slope(mode, mu_p, s_p, mu_q, s_q),
        ((mode - mu_q) / s_q) * (s_p / s_q) - depth,
    )
    g = y * (slope[..., None] + 0.5 * curvature[..., None] * y)
    a = log_weight - 0.5 * y * (y + 2.0 * depth[..., None])
    mass_p = log_sum_exp(a) + jnp.log(last - first)
    mass_q = _log_mass(mu_q, s_q, low, high, mode)
    value = nodes_divergence(a, a - g, g, close, mass_q - mass_p)
    nothing = mass_q - 1e4  # its share is exactly 0; −inf would make second derivatives NaN
    left, right = (
        jnp.where(jnp.isneginf(x), nothing, x)
        for x in (
            _log_mass(mu_q, s_q, low_q, low, mode),
            _log_mass(mu_q, s_q, high, high_q, mode),
        )
    )
    outside = jnp.logaddexp(jnp.logaddexp(left, right) - mass_q, 0.0)
    value = jnp.where(inside, value + outside, jnp.inf)
    return ordered(low, high, ordered(low_q, high_q, value))


@dd.compensated
def _kumaraswamy_constant(a, b, alpha, beta):
    lgamma_1, lgamma_0, lgamma_total = dd.each(dd.lgamma, alpha, beta, alpha + beta)
    return dd.log(a * b) + lgamma_1 + lgamma_0 - lgamma_total


def _log1m_exp(x: Array) -> Array:
    """log(1 − exp(x)) for x < 0."""
    return jnp.where(
        x > -0.7,
        jnp.log(-jnp.expm1(jnp.maximum(x, -0.7))),
        jnp.log1p(-jnp.exp(jnp.minimum(x, -0.7))),
    )


#: B₂ₖ/(2k)!, k >= 1, of u / expm1(u) = 1 − u/2 + Σ B₂ₖ u²ᵏ/(2k)!
_BERNOULLI = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000, 43867 / 5109094217170944000,
    -174611 / 802857662698291200000, 77683 / 14101100039391805440000,
)  # fmt: skip


def _bernoulli_function(u: Array) -> Array:
    """Return u / expm1(u) for u >= 0, 1 at 0; its slopes neither cancel nor overflow there."""
    small = u < 1.0
    near = jnp.where(small, u, 0.0)
    series = 1.0 - 0.5 * near + near**2 * horner(_BERNOULLI[: 11 if is_wide(u) else 5], near**2)
    far = jnp.clip(u, 1.0, 80.0)
    return jnp.where(small, series, far / jnp.expm1(far))


def _expm1_ratio(z: Array) -> Array:
    """expm1(z) / z for |z| <= ½."""
    terms = 14 if is_wide(z) else 8
    return horner([1.0 / math.factorial(k + 1) for k in range(terms)], z)


@jax.custom_jvp
def _log_below(tau: Array, b: Array) -> Array:
    """log(1 − exp(−τ/b)), the log of x^a where −b log(1 − x^a) is τ; τ has no slope."""
    return _log1m_exp(-tau / b)


@_log_below.defjvp
def _log_below_jvp(primals, tangents):
    tau, b = primals
    return _log_below(tau, b), -_bernoulli_function(tau / b) / b * tangents[1]


@kernel(
    concentration1_p=positive,
    concentration0_p=positive,
    concentration1_q=positive,
    concentration0_q=positive,
)
def kumaraswamy_beta(
    concentration1_p: Value,
    concentration0_p: Value,
    concentration1_q: Value,
    concentration0_q: Value,
) -> Array:
    """KL(p‖q) of a Kumaraswamy from a beta distribution.

    −b log(1 − x^a) is exponential under p; its expectations are summed over double-exponential
    nodes, which take the logarithms at both ends of [0, 1].

    Args:
        concentration1_p: a of p, density a b x^(a−1) (1 − x^a)^(b−1).
        concentration0_p: b of p.
        concentration1_q: a of q, density ∝ x^(a−1) (1 − x)^(b−1).
        concentration0_q: b of q.

    >>> from vikl import kl
    >>> round(float(kl.kumaraswamy_beta(1.0, 2.0, 1.0, 2.0)), 6)
    0.0

    Source: nodes, Takahasi and Mori (1974), "Double exponential formulas for numerical
    integration".
    """
    a, b, alpha, beta = jnp.broadcast_arrays(
        concentration1_p, concentration0_p, concentration1_q, concentration0_q
    )
    wide = is_wide(a)
    s = np.linspace(-4.2, 5.2, 240) if wide else np.linspace(-3.6, 4.6, 160)
    tau = np.exp(s - np.exp(-s))
    keep = tau < (45.0 if wide else 26.0)
    s, tau = s[keep], tau[keep]
    log_weight = jnp.asarray(s - np.exp(-s) + np.log1p(np.exp(-s)) - tau, a.dtype)
    shape = [x[..., None] for x in (a, b, alpha, beta)]
    a_, b_, alpha_, beta_ = shape
    tau = jnp.broadcast_to(jnp.asarray(tau, a.dtype), (*a.shape, len(tau)))
    log_rest = -tau / b_  # log(1 − x^a)
    log_x = _log_below(tau, b_) / a_
    # log((1 − x^a) / (1 − x)), which vanishes with a − 1 and is log a where x rounds to one
    step = (a_ - 1.0) * log_x
    small = jnp.abs(step) < 0.5
    rise = (a_ - 1.0) * _bernoulli_function(-log_x) * _expm1_ratio(jnp.where(small, step, 0.0))
    direct = log_rest - _log1m_exp(jnp.where(small, -1.0, log_x))
    gap = jnp.where(small, jnp.log1p(jnp.where(small, rise, 0.0)), direct)
    g = (a_ - alpha_) * log_x + (b_ - beta_) * log_rest + (beta_ - 1.0) * gap
    weights = jnp.broadcast_to(log_weight, g.shape)
    constant = _kumaraswamy_constant(a, b, alpha, beta)
    # p's nodes cover q where its ends are as heavy and the two overlap
    close = (alpha < 2.5 * a) & (a < 2.5 * alpha) & (beta < 2.0 * b) & (b < 1.8 * beta)
    close = close & (jax.lax.stop_gradient(mean_under(weights, g) + constant) < 0.5)
    return nodes_divergence(weights, weights - g, g, close, constant)
