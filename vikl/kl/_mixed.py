"""The remaining pairs of different families: q a Gumbel, log-normal, beta or uniform."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._double import compensated
from ._gamma import dirichlet_formula, gamma_formula
from ._kernel import Value, kernel, positive, real
from ._location_scale import ordered
from ._mixed_gamma import or_one

LOG_2PI = float(np.log(2 * np.pi))


@compensated
def _exponential_gumbel(rate: Any, loc: Any, scale: Any) -> Any:
    mean_exp = rate / (rate + 1.0 / scale) * dd.exp(loc / scale)
    log_scale, log_rate = dd.each(dd.log, scale, rate)
    return log_scale + (1.0 / rate - loc) / scale + mean_exp - (1.0 - log_rate)


@compensated
def _gamma_gumbel(a: Any, b: Any, loc: Any, scale: Any) -> Any:
    log_b, log_scale, log_rise = dd.each(dd.log, b, scale, 1.0 / (b * scale) + 1.0)
    entropy = a - log_b + dd.lgamma(a) - (a - 1.0) * dd.digamma(a)
    mean_exp = dd.exp(loc / scale - a * log_rise)
    return log_scale + (a / b - loc) / scale + mean_exp - entropy


def _mean_exp(spread: Any) -> Any:
    """Mean of exp(−x) over x between 0 and `spread`."""
    small = (spread.hi if isinstance(spread, dd.Double) else spread) < 0.02
    near, far = dd.where(small, spread, 0.0), dd.where(small, 1.0, spread)
    series = near * (1.0 / 5040) - 1.0 / 720
    for c in (1.0 / 120, -1.0 / 24, 1.0 / 6, -0.5, 1.0):
        series = series * near + c
    return dd.where(small, series, (1.0 - dd.exp(-far)) / far)


@compensated
def _uniform_gumbel(low: Any, high: Any, loc: Any, scale: Any) -> Any:
    width = high - low
    # one exponential: a difference of two would be NaN where both overflow
    ends = dd.exp((loc - low) / scale) * _mean_exp(width / scale)
    mean = (low + high) * 0.5
    return dd.log(scale / width) + (mean - loc) / scale + ends


@compensated
def _gamma_log_normal(a: Any, b: Any, loc: Any, scale: Any) -> Any:
    psi = dd.digamma(a)
    log_b, log_scale = dd.each(dd.log, b, scale)
    shift = psi - log_b - loc
    square = (dd.trigamma(a) + shift * shift) / (scale * scale) * 0.5
    return a * psi - a - dd.lgamma(a) + log_scale + 0.5 * LOG_2PI + square


@compensated
def _uniform_beta(low: Any, high: Any, a: Any, b: Any) -> Any:
    width = high - low
    parts = (high, low, 1.0 - low, 1.0 - high)
    *logs, log_width = dd.each(dd.log, *map(or_one, parts), width)
    above, below, rest_above, rest_below = (x * y for x, y in zip(parts, logs, strict=True))
    mean_log = (above - below) / width - 1.0
    mean_log_rest = (rest_above - rest_below) / width - 1.0
    lgamma_a, lgamma_b, lgamma_total = dd.each(dd.lgamma, a, b, a + b)
    log_beta = lgamma_a + lgamma_b - lgamma_total
    return log_beta - (a - 1.0) * mean_log - (b - 1.0) * mean_log_rest - log_width


@kernel(rate_p=positive, loc_q=real, scale_q=positive)
def exponential_gumbel(rate_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of an exponential from a Gumbel distribution.

    log b + (E[x] − μ)/b + e^(μ/b) rate/(rate + 1/b) − 1 + log rate.

    Args:
        rate_p: rate of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.exponential_gumbel(1.0, 0.0, 1.0)), 4)
    0.5
    """
    return jnp.maximum(_exponential_gumbel(rate_p, loc_q, scale_q), 0.0)  # type: ignore[arg-type]


@kernel(concentration_p=positive, rate_p=positive, loc_q=real, scale_q=positive)
def gamma_gumbel(concentration_p: Value, rate_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a gamma from a Gumbel distribution.

    −H(p) + log b + (E[x] − μ)/b + e^(μ/b) (1 + 1/(b · rate))^(−shape).

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma_gumbel(1.0, 1.0, 0.0, 1.0)), 4)
    0.5
    """
    return jnp.maximum(_gamma_gumbel(concentration_p, rate_p, loc_q, scale_q), 0.0)  # type: ignore[arg-type]


@kernel(low_p=real, high_p=real, loc_q=real, scale_q=positive)
def uniform_gumbel(low_p: Value, high_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a uniform from a Gumbel distribution.

    log(b/width) + (E[x] − μ)/b + b (e^((μ−low)/b) − e^((μ−high)/b)) / width.

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.uniform_gumbel(0.0, 1.0, 0.0, 1.0)), 4)
    1.1321
    """
    value = jnp.maximum(_uniform_gumbel(low_p, high_p, loc_q, scale_q), 0.0)  # type: ignore[arg-type]
    return ordered(low_p, high_p, value)  # type: ignore[arg-type]


@kernel(concentration_p=positive, rate_p=positive, loc_q=real, scale_q=positive)
def gamma_log_normal(concentration_p: Value, rate_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a gamma from a log-normal distribution.

    a ψ(a) − a − log Γ(a) + ½ log(2πσ²) + (ψ₁(a) + (ψ(a) − log b − μ)²) / 2σ².

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        loc_q: mean of log x under q.
        scale_q: standard deviation of log x under q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma_log_normal(1.0, 1.0, 0.0, 1.0)), 4)
    0.3308
    """
    return jnp.maximum(_gamma_log_normal(concentration_p, rate_p, loc_q, scale_q), 0.0)  # type: ignore[arg-type]


@kernel(low_p=real, high_p=real, concentration1_q=positive, concentration0_q=positive)
def uniform_beta(
    low_p: Value, high_p: Value, concentration1_q: Value, concentration0_q: Value
) -> Array:
    """KL(p‖q) of a uniform from a beta distribution: +inf outside [0, 1].

    log B(a, b) − (a − 1) E[log x] − (b − 1) E[log(1 − x)] − log(high − low).

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        concentration1_q: a of q, positive.
        concentration0_q: b of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.uniform_beta(0.0, 1.0, 1.0, 1.0)), 4)
    0.0
    """
    inside = (low_p >= 0) & (high_p <= 1)  # type: ignore[operator]
    whole = jnp.equal(low_p, 0.0) & jnp.equal(high_p, 1.0)
    low, high = jnp.where(inside, low_p, 0.0), jnp.where(inside & (high_p > low_p), high_p, 1.0)  # type: ignore[operator]
    part = jnp.maximum(_uniform_beta(low, high, concentration1_q, concentration0_q), 0.0)  # type: ignore[arg-type]
    # all of [0, 1] is the beta distribution with a = b = 1, which q may come close to
    q = jnp.stack(jnp.broadcast_arrays(concentration1_q, concentration0_q), -1)
    flat = jnp.maximum(dirichlet_formula(jnp.ones_like(q), q), 0.0)
    value = jnp.where(inside, jnp.where(whole, flat, part), jnp.inf)
    return ordered(low_p, high_p, value)  # type: ignore[arg-type]


@kernel(concentration1_p=positive, concentration0_p=positive, low_q=real, high_q=real)
def beta_uniform(
    concentration1_p: Value, concentration0_p: Value, low_q: Value, high_q: Value
) -> Array:
    """KL(p‖q) of a beta from a uniform distribution: +inf unless it covers [0, 1].

    That from the uniform on [0, 1], plus log(high − low) >= 0.

    Args:
        concentration1_p: a of p, positive.
        concentration0_p: b of p, positive.
        low_q: lower end of q.
        high_q: upper end of q, above the lower (NaN otherwise).

    >>> from vikl import kl
    >>> round(float(kl.beta_uniform(1.0, 1.0, 0.0, 1.0)), 4)
    0.0
    """
    covered = (low_q <= 0) & (high_q >= 1)  # type: ignore[operator]
    width = jnp.log1p(jnp.where(covered, (high_q - 1.0) - low_q, 0.0))  # type: ignore[operator]
    p = jnp.stack(jnp.broadcast_arrays(concentration1_p, concentration0_p), -1)
    value = jnp.maximum(dirichlet_formula(p, jnp.ones_like(p)), 0.0) + width
    return ordered(low_q, high_q, jnp.where(covered, value, jnp.inf))  # type: ignore[arg-type]


@kernel(rate_p=positive, concentration_q=positive, rate_q=positive)
def exponential_gamma(rate_p: Value, concentration_q: Value, rate_q: Value) -> Array:
    """KL(p‖q) of an exponential from a gamma distribution; the exponential has shape 1.

    See `gamma`.

    Args:
        rate_p: rate of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.exponential_gamma(1.0, 1.0, 1.0)), 4)
    0.0
    """
    one = jnp.ones_like(rate_p)  # type: ignore[arg-type]
    return gamma_formula(one, rate_p, concentration_q, rate_q)  # type: ignore[arg-type]


@kernel(concentration_p=positive, rate_p=positive, rate_q=positive)
def gamma_exponential(concentration_p: Value, rate_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a gamma from an exponential distribution, which has shape 1.

    See `gamma`.

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma_exponential(1.0, 1.0, 1.0)), 4)
    0.0
    """
    one = jnp.ones_like(rate_q)  # type: ignore[arg-type]
    return gamma_formula(concentration_p, rate_p, one, rate_q)  # type: ignore[arg-type]
