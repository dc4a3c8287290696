"""Pairs whose q is a gamma or an exponential, and p another family on the positive half line.

KL = −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x], in double words.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._double import compensated
from ._kernel import Value, kernel, positive, real
from ._location_scale import EULER_GAMMA, log_product, ordered, weibull_formula
from ._mixed_normal import beta_entropy

LOG_2PI_E = float(np.log(2 * np.pi * np.e))


def gamma_cross_entropy(mean_log: Any, mean: Any, a: Any, b: Any, lgamma_a: Any, log_b: Any) -> Any:
    """−E[log q] for a gamma q of shape a and rate b, by E[log x] and E[x] under p."""
    return lgamma_a - a * log_b - (a - 1.0) * mean_log + b * mean


def or_one(x: Any) -> Any:
    """Return x, or 1 where it is 0, for x log x there."""
    return dd.where((x.hi if isinstance(x, dd.Double) else x) > 0, x, 1.0)


@compensated
def _log_normal_gamma(mu: Any, sigma: Any, a: Any, b: Any) -> Any:
    log_sigma, log_b = dd.each(dd.log, sigma, b)
    mean = dd.exp(mu + sigma * sigma * 0.5)
    cross_entropy = gamma_cross_entropy(mu, mean, a, b, dd.lgamma(a), log_b)
    return cross_entropy - (mu + log_sigma + 0.5 * LOG_2PI_E)


@compensated
def _weibull_gamma(k: Any, scale: Any, a: Any, b: Any) -> Any:
    inverse = 1.0 / k
    log_scale, log_ratio, log_b = dd.each(dd.log, scale, scale * inverse, b)
    lgamma_mean, lgamma_a = dd.each(dd.lgamma, inverse + 1.0, a)
    mean_log = log_scale - inverse * EULER_GAMMA
    entropy = EULER_GAMMA + 1.0 - inverse * EULER_GAMMA + log_ratio
    mean = scale * dd.exp(lgamma_mean)
    return gamma_cross_entropy(mean_log, mean, a, b, lgamma_a, log_b) - entropy


@compensated
def _beta_gamma(a1: Any, a0: Any, a: Any, b: Any) -> Any:
    entropy, mean_log, lgamma_a = beta_entropy(a1, a0, a)
    return gamma_cross_entropy(mean_log, a1 / (a1 + a0), a, b, lgamma_a, dd.log(b)) - entropy


@compensated
def _uniform_gamma(low: Any, high: Any, a: Any, b: Any) -> Any:
    width = high - low
    log_high, log_low, log_width, log_b = dd.each(dd.log, or_one(high), or_one(low), width, b)
    mean_log = (high * log_high - low * log_low) / width - 1.0
    mean = (low + high) * 0.5
    return gamma_cross_entropy(mean_log, mean, a, b, dd.lgamma(a), log_b) - log_width


@compensated
def _pareto_gamma(start: Any, alpha: Any, a: Any, b: Any) -> Any:
    inverse = 1.0 / alpha
    log_ratio, log_start, log_b = dd.each(dd.log, start * inverse, start, b)
    entropy = log_ratio + 1.0 + inverse
    mean = start * alpha / (alpha - 1.0)
    mean_log = log_start + inverse
    return gamma_cross_entropy(mean_log, mean, a, b, dd.lgamma(a), log_b) - entropy


@compensated
def _inverse_gamma_gamma(shape: Any, scale: Any, a: Any, b: Any) -> Any:
    psi = dd.digamma(shape)
    log_scale, log_b = dd.each(dd.log, scale, b)
    lgamma_shape, lgamma_a = dd.each(dd.lgamma, shape, a)
    entropy = shape + log_scale + lgamma_shape - (shape + 1.0) * psi
    mean = scale / (shape - 1.0)
    return gamma_cross_entropy(log_scale - psi, mean, a, b, lgamma_a, log_b) - entropy


@compensated
def _half_normal_exponential(scale: Any, rate: Any) -> Any:
    log_scale, log_rate = dd.each(dd.log, scale, rate)
    entropy = log_scale + 0.5 * (LOG_2PI_E - 2.0 * float(np.log(2)))
    return rate * scale * float(np.sqrt(2 / np.pi)) - log_rate - entropy


@kernel(loc_p=real, scale_p=positive, concentration_q=positive, rate_q=positive)
def log_normal_gamma(loc_p: Value, scale_p: Value, concentration_q: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a log-normal from a gamma distribution.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        loc_p: mean of log x under p.
        scale_p: standard deviation of log x under p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.log_normal_gamma(0.0, 1.0, 1.0, 1.0)), 4)
    0.2298
    """
    return jnp.maximum(_log_normal_gamma(loc_p, scale_p, concentration_q, rate_q), 0.0)  # type: ignore[arg-type]


@kernel(concentration_p=positive, scale_p=positive, concentration_q=positive, rate_q=positive)
def weibull_gamma(
    concentration_p: Value, scale_p: Value, concentration_q: Value, rate_q: Value
) -> Array:
    """KL(p‖q) of a Weibull from a gamma distribution.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        concentration_p: shape k of p, positive.
        scale_p: scale l of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.weibull_gamma(1.0, 1.0, 2.0, 1.0)), 4)
    0.5772
    """
    return jnp.maximum(_weibull_gamma(concentration_p, scale_p, concentration_q, rate_q), 0.0)  # type: ignore[arg-type]


@kernel(
    concentration1_p=positive, concentration0_p=positive, concentration_q=positive, rate_q=positive
)
def beta_gamma(
    concentration1_p: Value, concentration0_p: Value, concentration_q: Value, rate_q: Value
) -> Array:
    """KL(p‖q) of a beta from a gamma distribution.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        concentration1_p: a of p, positive.
        concentration0_p: b of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.beta_gamma(1.0, 1.0, 1.0, 1.0)), 4)
    0.5
    """
    return jnp.maximum(
        _beta_gamma(concentration1_p, concentration0_p, concentration_q, rate_q), 0.0
    )  # type: ignore[arg-type]


@kernel(concentration1_p=positive, concentration0_p=positive, rate_q=positive)
def beta_exponential(concentration1_p: Value, concentration0_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a beta from an exponential distribution.

    −H(p) − log rate + rate · E[x].

    Args:
        concentration1_p: a of p, positive.
        concentration0_p: b of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.beta_exponential(1.0, 1.0, 1.0)), 4)
    0.5
    """
    one = jnp.ones_like(rate_q)  # type: ignore[arg-type]
    return jnp.maximum(_beta_gamma(concentration1_p, concentration0_p, one, rate_q), 0.0)  # type: ignore[arg-type]


@kernel(low_p=real, high_p=real, concentration_q=positive, rate_q=positive)
def uniform_gamma(low_p: Value, high_p: Value, concentration_q: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a uniform from a gamma distribution: +inf if p goes below zero.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.uniform_gamma(0.0, 1.0, 1.0, 1.0)), 4)
    0.5
    """
    inside = low_p >= 0  # type: ignore[operator]
    low = jnp.where(inside, low_p, 0.0)
    high = jnp.where(inside & (high_p > low), high_p, low + 1.0)  # type: ignore[operator]
    value = jnp.maximum(_uniform_gamma(low, high, concentration_q, rate_q), 0.0)
    return ordered(low_p, high_p, jnp.where(inside, value, jnp.inf))  # type: ignore[arg-type]


@kernel(low_p=real, high_p=real, rate_q=positive)
def uniform_exponential(low_p: Value, high_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a uniform from an exponential distribution: +inf if p goes below zero.

    rate · E[x] − log rate − log(high − low).

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.uniform_exponential(0.0, 1.0, 1.0)), 4)
    0.5
    """
    inside = low_p >= 0  # type: ignore[operator]
    low = jnp.where(inside, low_p, 0.0)
    high = jnp.where(inside & (high_p > low), high_p, low + 1.0)  # type: ignore[operator]
    one = jnp.ones_like(rate_q)  # type: ignore[arg-type]
    value = jnp.maximum(_uniform_gamma(low, high, one, rate_q), 0.0)
    return ordered(low_p, high_p, jnp.where(inside, value, jnp.inf))  # type: ignore[arg-type]


@kernel(scale_p=positive, alpha_p=positive, concentration_q=positive, rate_q=positive)
def pareto_gamma(scale_p: Value, alpha_p: Value, concentration_q: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a Pareto from a gamma distribution: +inf for an exponent up to 1.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        scale_p: start x₀ of p, positive.
        alpha_p: exponent of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.pareto_gamma(1.0, 1.0, 1.0, 1.0)), 4)
    inf
    """
    finite = alpha_p > 1  # type: ignore[operator]
    alpha = jnp.where(finite, alpha_p, 2.0)
    value = jnp.maximum(_pareto_gamma(scale_p, alpha, concentration_q, rate_q), 0.0)  # type: ignore[arg-type]
    return jnp.where(finite, value, jnp.inf)


@kernel(scale_p=positive, alpha_p=positive, rate_q=positive)
def pareto_exponential(scale_p: Value, alpha_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a Pareto from an exponential distribution: +inf for an exponent up to 1.

    −H(p) − log rate + rate · E[x].

    Args:
        scale_p: start x₀ of p, positive.
        alpha_p: exponent of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.pareto_exponential(1.0, 1.0, 1.0)), 4)
    inf
    """
    finite = alpha_p > 1  # type: ignore[operator]
    alpha = jnp.where(finite, alpha_p, 2.0)
    value = jnp.maximum(_pareto_gamma(scale_p, alpha, jnp.ones_like(rate_q), rate_q), 0.0)  # type: ignore[arg-type]
    return jnp.where(finite, value, jnp.inf)


@kernel(concentration_p=positive, scale_p=positive, concentration_q=positive, rate_q=positive)
def inverse_gamma_gamma(
    concentration_p: Value, scale_p: Value, concentration_q: Value, rate_q: Value
) -> Array:
    """KL(p‖q) of an inverse gamma from a gamma distribution: +inf for a shape of p up to 1.

    −H(p) + log Γ(α) − α log β − (α − 1) E[log x] + β E[x].

    Args:
        concentration_p: shape of p, density ∝ x^(−a−1) e^(−b/x).
        scale_p: scale b of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.inverse_gamma_gamma(1.0, 1.0, 1.0, 1.0)), 4)
    inf
    """
    finite = concentration_p > 1  # type: ignore[operator]
    shape = jnp.where(finite, concentration_p, 2.0)
    value = jnp.maximum(_inverse_gamma_gamma(shape, scale_p, concentration_q, rate_q), 0.0)  # type: ignore[arg-type]
    return jnp.where(finite, value, jnp.inf)


@kernel(concentration_p=positive, rate_p=positive, concentration_q=positive, scale_q=positive)
def gamma_inverse_gamma(
    concentration_p: Value, rate_p: Value, concentration_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of a gamma from an inverse gamma distribution: +inf for a shape of p up to 1.

    That of the inverse gamma of 1/x from a gamma, since KL ignores bijections.

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        concentration_q: shape of q, density ∝ x^(−a−1) e^(−b/x).
        scale_q: scale b of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma_inverse_gamma(1.0, 1.0, 1.0, 1.0)), 4)
    inf
    """
    finite = concentration_p > 1  # type: ignore[operator]
    shape = jnp.where(finite, concentration_p, 2.0)
    value = jnp.maximum(_inverse_gamma_gamma(shape, rate_p, concentration_q, scale_q), 0.0)  # type: ignore[arg-type]
    return jnp.where(finite, value, jnp.inf)


@kernel(scale_p=positive, rate_q=positive)
def half_normal_exponential(scale_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a half-normal from an exponential distribution.

    rate · scale √(2/π) − log rate − ½ log(πe/2) − log scale.

    Args:
        scale_p: scale of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.half_normal_exponential(1.0, 1.0)), 4)
    0.0721
    """
    return jnp.maximum(_half_normal_exponential(scale_p, rate_q), 0.0)  # type: ignore[arg-type]


@kernel(concentration_p=positive, scale_p=positive, rate_q=positive)
def weibull_exponential(concentration_p: Value, scale_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a Weibull from an exponential distribution, which is the Weibull of shape 1.

    See `weibull`.

    Args:
        concentration_p: shape k of p, positive.
        scale_p: scale l of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.weibull_exponential(1.0, 1.0, 1.0)), 4)
    0.0
    """
    one, log_scales = jnp.ones_like(rate_q), -log_product(rate_q, scale_p)  # type: ignore[arg-type]
    return weibull_formula(concentration_p, scale_p, one, 1.0 / rate_q, log_scales)  # type: ignore[arg-type, operator]


@kernel(rate_p=positive, concentration_q=positive, scale_q=positive)
def exponential_weibull(rate_p: Value, concentration_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of an exponential from a Weibull distribution; the exponential has shape 1.

    See `weibull`.

    Args:
        rate_p: rate of p, positive.
        concentration_q: shape k of q, positive.
        scale_q: scale l of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.exponential_weibull(1.0, 1.0, 1.0)), 4)
    0.0
    """
    one, log_scales = jnp.ones_like(rate_p), log_product(rate_p, scale_q)  # type: ignore[arg-type]
    return weibull_formula(one, 1.0 / rate_p, concentration_q, scale_q, log_scales)  # type: ignore[arg-type, operator]
