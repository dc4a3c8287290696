"""Pairs with a normal on one side and another family on the other.

Against a normal q the Pythagorean rule gives KL(p‖q) = J(p) + KL(normal with p's moments ‖ q), with
the negentropy J, a constant or a function of p's shape: a sum of non-negative terms again.
"""

# the `kernel` decorator has made arrays of them:
# pyright: reportArgumentType=false

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

from .._typing import Array
from . import _double as dd
from ._double import compensated
from ._kernel import Value, kernel, positive, real
from ._location_scale import EULER_GAMMA, absolute, ordered
from ._normal import normal_formula
from ._stable import STIRLING, horner, phi

LOG_2PI = float(np.log(2 * np.pi))
LOG_2PI_E = LOG_2PI + 1.0


def normal_cross_entropy(mean: Any, variance: Any, loc: Any, scale: Any) -> Any:
    """−E[log q] for a normal q, by the mean and variance of p."""
    shift = mean - loc
    return dd.log(scale) + 0.5 * LOG_2PI + (variance + shift * shift) / (scale * scale) * 0.5


@kernel(low_p=real, high_p=real, loc_q=real, scale_q=positive)
def uniform_normal(low_p: Value, high_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a uniform from a normal distribution.

    ½ log(2πe/12) plus the divergence of the normal with p's moments.

    Args:
        low_p: lower end of p.
        high_p: upper end of p, above the lower (NaN otherwise).
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.uniform_normal(0.0, 1.0, 0.0, 1.0)), 4)
    1.0856
    """
    width = high_p - low_p  # type: ignore[operator]
    shift = (low_p - loc_q) + 0.5 * width  # of the means: the difference of locations is exact
    negentropy = 0.5 * (LOG_2PI_E - float(np.log(12)))
    value = negentropy + normal_formula(
        shift, width * float(12**-0.5), jnp.zeros_like(shift), scale_q
    )
    return ordered(low_p, high_p, value)  # type: ignore[arg-type]


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def laplace_normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a Laplace from a normal distribution.

    ½ log(π/e) plus the divergence of the normal with p's moments.

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.laplace_normal(0.0, 1.0, 0.0, 1.0)), 4)
    0.2258
    """
    negentropy = 0.5 * float(np.log(np.pi) - 1)
    return negentropy + normal_formula(loc_p, scale_p * float(np.sqrt(2)), loc_q, scale_q)  # type: ignore[arg-type, operator]


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def gumbel_normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a Gumbel from a normal distribution.

    ½ log(2πe π²/6) − γ − 1 plus the divergence of the normal with p's moments.

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gumbel_normal(0.0, 1.0, 0.0, 1.0)), 4)
    0.3308
    """
    negentropy = 0.5 * (LOG_2PI_E + float(np.log(np.pi**2 / 6))) - EULER_GAMMA - 1.0
    shift = (loc_p - loc_q) + EULER_GAMMA * scale_p  # the difference of locations is exact
    deviation = scale_p * float(np.pi / np.sqrt(6))
    return negentropy + normal_formula(shift, deviation, jnp.zeros_like(shift), scale_q)


@kernel(rate_p=positive, loc_q=real, scale_q=positive)
def exponential_normal(rate_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of an exponential from a normal distribution.

    ½ log(2πe) − 1 plus the divergence of the normal with p's moments.

    Args:
        rate_p: rate of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.exponential_normal(1.0, 1.0, 1.0)), 4)
    0.4189
    """
    mean = 1.0 / rate_p  # type: ignore[operator]
    return 0.5 * LOG_2PI_E - 1.0 + normal_formula(mean, mean, loc_q, scale_q)  # type: ignore[arg-type, operator]


@compensated
def _gamma_negentropy_small(a: Any) -> Any:
    entropy = a + dd.lgamma(a) - (a - 1.0) * dd.digamma(a)
    return dd.log(a) * 0.5 + 0.5 * LOG_2PI_E - entropy


def gamma_negentropy(a: Array) -> Array:
    """KL of a gamma distribution of shape a from the normal with its moments, about 1/(3a)."""
    large = a > 16.0
    inverse = jnp.where(large, 1.0 / a, 0.0)
    square = inverse * inverse
    # Stirling's series of log Γ and its derivative, whose leading terms cancel exactly
    value = horner([(n + 1) * c for n, c in zip(range(1, 17, 2), STIRLING, strict=False)], square)
    slope = horner([n * c for n, c in zip(range(1, 17, 2), STIRLING, strict=False)], square)
    series = inverse * (0.5 - value + inverse * slope)
    return jnp.where(large, series, _gamma_negentropy_small(jnp.where(large, 1.0, a)))


@kernel(concentration_p=positive, rate_p=positive, loc_q=real, scale_q=positive)
def gamma_normal(concentration_p: Value, rate_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a gamma from a normal distribution.

    The negentropy of p's shape plus the divergence of the normal with p's moments.

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma_normal(1.0, 1.0, 1.0, 1.0)), 4)
    0.4189
    """
    mean = concentration_p / rate_p  # type: ignore[operator]
    deviation = jnp.sqrt(concentration_p) / rate_p  # type: ignore[arg-type]
    negentropy = gamma_negentropy(concentration_p)  # type: ignore[arg-type]
    return negentropy + normal_formula(mean, deviation, loc_q, scale_q)  # type: ignore[arg-type, operator]


def _pareto_negentropy(alpha: Array) -> Array:
    inverse = 1.0 / alpha
    return 0.5 * LOG_2PI_E - 1.0 + phi(-inverse) - 0.5 * jnp.log1p(-2.0 * inverse)


@kernel(scale_p=positive, alpha_p=positive, loc_q=real, scale_q=positive)
def pareto_normal(scale_p: Value, alpha_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a Pareto from a normal distribution: +inf for an exponent up to 2.

    The negentropy of p's exponent plus the divergence of the normal with p's moments.

    Args:
        scale_p: start x₀ of p, positive.
        alpha_p: exponent of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.pareto_normal(1.0, 2.0, 0.0, 1.0)), 4)
    inf
    """
    finite = alpha_p > 2  # type: ignore[operator]
    alpha = jnp.where(finite, alpha_p, 3.0)
    mean = scale_p + scale_p / (alpha - 1.0)
    deviation = scale_p * jnp.sqrt(1.0 + 2.0 / (alpha - 2.0)) / (alpha - 1.0)
    value = _pareto_negentropy(alpha) + normal_formula(mean, deviation, loc_q, scale_q)  # type: ignore[arg-type]
    return jnp.where(finite, value, jnp.inf)


def beta_entropy(a: Any, b: Any, *others: Any) -> tuple[Any, ...]:
    """Entropy of a beta distribution, E[log x] under it, and the log-gamma of `others`."""
    total = a + b
    lgamma_a, lgamma_b, lgamma_total, *rest = dd.each(dd.lgamma, a, b, total, *others)
    psi_a, psi_b, psi = dd.each(dd.digamma, a, b, total)
    pull = psi_a * (a - 1.0) + psi_b * (b - 1.0) - (total - 2.0) * psi
    return lgamma_a + lgamma_b - lgamma_total - pull, psi_a - psi, *rest


@compensated
def _beta_normal(a: Any, b: Any, loc: Any, scale: Any) -> Any:
    total = a + b
    entropy = beta_entropy(a, b)[0]
    variance = a / total * (b / total) / (total + 1.0)
    return normal_cross_entropy(a / total, variance, loc, scale) - entropy


@kernel(concentration1_p=positive, concentration0_p=positive, loc_q=real, scale_q=positive)
def beta_normal(
    concentration1_p: Value, concentration0_p: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of a beta from a normal distribution.

    −H(p) + ½ log(2πσ²) + (variance of p + squared distance of the means) / 2σ².

    Args:
        concentration1_p: a of p, positive.
        concentration0_p: b of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.beta_normal(1.0, 1.0, 0.0, 1.0)), 4)
    1.0856
    """
    return jnp.maximum(
        _beta_normal(concentration1_p, concentration0_p, loc_q, scale_q),
        0.0,  # type: ignore[arg-type]
    )


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def normal_laplace(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a normal from a Laplace distribution.

    With A = E|x − μq|, d = (μp − μq)/σp: ½ log(4e/π²) + log(A / (σp √(2/π))) + φ(A/b − 1), where
    the second term is the log1p of expm1(−d²/2) + d √(π/2) erf(d/√2) >= 0.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.normal_laplace(0.0, 1.0, 0.0, 1.0)), 4)
    0.0721
    """
    distance = absolute((loc_p - loc_q) / scale_p)  # type: ignore[arg-type, operator]
    # beyond 20 standard deviations only the distance counts; squares are kept from overflowing
    near = jnp.minimum(distance, 20.0)
    rise = jnp.expm1(-0.5 * near * near) + distance * float(np.sqrt(np.pi / 2)) * erf(
        near * float(np.sqrt(0.5))
    )
    ratio = scale_p / scale_q * float(np.sqrt(2 / np.pi)) * (1.0 + rise)  # type: ignore[operator]
    return 0.5 * float(np.log(4 / np.pi**2) + 1) + jnp.log1p(rise) + phi(ratio - 1.0, ratio)


@compensated
def _normal_gumbel(mu: Any, sigma: Any, loc: Any, scale: Any) -> Any:
    shift, spread = (mu - loc) / scale, sigma / scale
    return shift - dd.log(spread) - 0.5 * LOG_2PI_E + dd.exp(spread * spread * 0.5 - shift)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def normal_gumbel(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a normal from a Gumbel distribution.

    d − log s − ½ log(2πe) + exp(s²/2 − d) with d = (μp − μq)/b, s = σp/b.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.normal_gumbel(0.0, 1.0, 0.0, 1.0)), 4)
    0.2298
    """
    return jnp.maximum(_normal_gumbel(loc_p, scale_p, loc_q, scale_q), 0.0)  # type: ignore[arg-type]
