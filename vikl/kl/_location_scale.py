"""Laplace, Cauchy, Gumbel, Weibull, Pareto and uniform distributions against their own kind."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._kernel import Value, kernel, positive, real
from ._stable import expm1_minus, lgamma_bregman, log_ratio, phi, two_product_difference

EULER_GAMMA = float(np.euler_gamma)


def absolute(x: Array) -> Array:
    """|x| with slope ±1 everywhere, so that even functions of it have second derivatives at 0."""
    return jnp.where(x < 0, -x, x)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def laplace(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two Laplace distributions.

    With r = b_p/b_q and u = |μp − μq|/b_p: φ(r − 1) + r (expm1(−u) + u).

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.laplace(0.0, 1.0, 0.0, 1.0))
    0.0

    Source: Gil, Alajaji and Linder (2013), "Rényi divergence measures for commonly used univariate
    continuous distributions".
    """
    ratio = scale_p / scale_q  # type: ignore[operator]
    u = absolute(loc_p - loc_q) / scale_p  # type: ignore[arg-type, operator]
    return phi((scale_p - scale_q) / scale_q, ratio) + ratio * expm1_minus(-u)  # type: ignore[arg-type, operator]


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def cauchy(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two Cauchy distributions: log1p(((γp − γq)² + (μp − μq)²) / (4 γp γq)).

    Args:
        loc_p: location of p.
        scale_p: scale γ of p, positive.
        loc_q: location of q.
        scale_q: scale γ of q, positive.

    >>> from vikl import kl
    >>> float(kl.cauchy(0.0, 1.0, 0.0, 1.0))
    0.0

    Source: Chyzak and Nielsen (2019), "A closed-form formula for the Kullback-Leibler divergence
    between Cauchy distributions".
    """
    e, d = scale_p - scale_q, loc_p - loc_q  # type: ignore[operator]
    t = 0.25 * ((e / scale_p) * (e / scale_q) + (d / scale_p) * (d / scale_q))  # type: ignore[operator]
    return jnp.log1p(t)


def _extreme_value(x: Array, ratio: Array, shift: Array, far: Array) -> Array:
    """KL of two Gumbels by ratio = b_p/b_q = 1 + x and shift = (μp − μq)/b_q.

    With w = log Γ(1 + ratio) − shift: expm1(w) − w plus the Bregman divergence of log Γ from 1 to
    the ratio; `far` is the same in double words, used where exp(w) magnifies rounding.
    """
    close = jnp.abs(x) < 0.5
    bend = lgamma_bregman(1.0 + ratio, jnp.full_like(ratio, 2.0), x)
    w = (1.0 - EULER_GAMMA) * x - shift + bend
    near = expm1_minus(w) + phi(x, ratio) + bend
    return jnp.where(close & (jnp.abs(w) < 1.0), near, jnp.maximum(far, 0.0))


@dd.compensated
def _gumbel_far(loc_p: Any, scale_p: Any, loc_q: Any, scale_q: Any) -> Any:
    ratio, shift = scale_p / scale_q, (loc_p - loc_q) / scale_q
    head = shift - dd.log(ratio) + ratio * EULER_GAMMA - (1.0 + EULER_GAMMA)
    return head + dd.exp(dd.lgamma(ratio + 1.0) - shift)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def gumbel(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two Gumbel distributions (of maxima).

    With r = b_p/b_q and d = (μp − μq)/b_q: d − log r + γ(r − 1) − 1 + Γ(1 + r) e^(−d).

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.gumbel(0.0, 1.0, 0.0, 1.0))
    0.0

    Source: Gil (2011), "On Rényi divergence measures for continuous alphabet sources".
    """
    arguments = jnp.broadcast_arrays(loc_p, scale_p, loc_q, scale_q)
    mu_p, b_p, mu_q, b_q = arguments
    far = _gumbel_far(*arguments)
    return _extreme_value((b_p - b_q) / b_q, b_p / b_q, (mu_p - mu_q) / b_q, far)


@dd.compensated
def _weibull_far(k_p: Any, l_p: Any, k_q: Any, l_q: Any) -> Any:
    ratio = k_q / k_p
    log_scales, log_ratio = dd.each(dd.log, l_q / l_p, ratio)
    shift = k_q * log_scales
    head = shift - log_ratio + ratio * EULER_GAMMA - (1.0 + EULER_GAMMA)
    return head + dd.exp(dd.lgamma(ratio + 1.0) - shift)


def weibull_formula(
    k_p: Array, l_p: Array, k_q: Array, l_q: Array, log_scales: Array | None = None
) -> Array:
    """KL of two Weibulls, unchecked: that of the Gumbels of −log x.

    `log_scales` is log(l_q / l_p) where that is known better than from two rounded scales.
    """
    arguments = jnp.broadcast_arrays(k_p, l_p, k_q, l_q)
    k_p, l_p, k_q, l_q = arguments
    far = _weibull_far(*arguments)
    log_scales = log_ratio(l_q, l_p) if log_scales is None else log_scales
    return _extreme_value((k_q - k_p) / k_p, k_q / k_p, k_q * log_scales, far)


def log_product(a: Array, b: Array) -> Array:
    """log(a b), exact also where the product is close to one."""
    one = jnp.ones_like(a * b)
    return log_ratio(a * b, one, two_product_difference(a, b, one, one))


@kernel(concentration_p=positive, scale_p=positive, concentration_q=positive, scale_q=positive)
def weibull(
    concentration_p: Value, scale_p: Value, concentration_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of two Weibull distributions, survival function exp(−(x/l)^k).

    Args:
        concentration_p: shape k of p, positive.
        scale_p: scale l of p, positive.
        concentration_q: shape k of q, positive.
        scale_q: scale l of q, positive.

    >>> from vikl import kl
    >>> float(kl.weibull(1.5, 2.0, 1.5, 2.0))
    0.0

    Source: Bauckhage (2013), "Computing the Kullback-Leibler divergence between two Weibull
    distributions".
    """
    return weibull_formula(concentration_p, scale_p, concentration_q, scale_q)  # type: ignore[arg-type]


@kernel(scale_p=positive, alpha_p=positive, scale_q=positive, alpha_q=positive)
def pareto(scale_p: Value, alpha_p: Value, scale_q: Value, alpha_q: Value) -> Array:
    """KL(p‖q) of two Pareto distributions, density α x₀^α / x^(α+1) for x >= x₀.

    α_q log(x₀p/x₀q) + φ(α_q/α_p − 1); +inf where p starts below q.

    Args:
        scale_p: start x₀ of p, positive.
        alpha_p: exponent of p, positive.
        scale_q: start x₀ of q, positive.
        alpha_q: exponent of q, positive.

    >>> from vikl import kl
    >>> float(kl.pareto(1.0, 2.0, 1.5, 2.0))
    inf
    """
    start = log_ratio(*jnp.broadcast_arrays(scale_p, scale_q))
    value = alpha_q * start + phi((alpha_q - alpha_p) / alpha_p, alpha_q / alpha_p)  # type: ignore[arg-type, operator]
    return jnp.where(scale_p >= scale_q, value, jnp.inf)  # type: ignore[operator]


def ordered(low: Array, high: Array, value: Array) -> Array:
    """NaN where an interval is empty or backwards, `value` elsewhere."""
    return jnp.where(high > low, value, jnp.nan)


@kernel(low_p=real, high_p=real, low_q=real, high_q=real)
def uniform(low_p: Value, high_p: Value, low_q: Value, high_q: Value) -> Array:
    """KL(p‖q) of two uniform distributions: log of the ratio of the widths, +inf outside q.

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        low_q: lower end of q.
        high_q: upper end of q, above the lower (NaN otherwise).

    >>> from vikl import kl
    >>> round(float(kl.uniform(0.0, 1.0, 0.0, 2.0)), 6)
    0.693147
    """
    below, above = low_p - low_q, high_q - high_p  # type: ignore[operator]
    inside = (below >= 0) & (above >= 0)
    extra = jnp.where(inside, below + above, 0.0) / (high_p - low_p)  # type: ignore[operator]
    value = jnp.where(inside, jnp.log1p(extra), jnp.inf)
    return ordered(low_p, high_p, ordered(low_q, high_q, value))  # type: ignore[arg-type]
