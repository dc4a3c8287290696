"""Pareto-smoothed importance sampling, on the host and in float64."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_SMOOTH_ABOVE = 1 / 3  # lighter tails are left as they are (Vehtari et al. 2024, algorithm 1)
_LOG_TINY = float(np.log(np.finfo(np.float64).tiny))
_MIN_TAIL = 5


def pareto_smooth(
    log_weights: Float[ndarray, " n"], *, resolution: float = 1e-10
) -> tuple[Float[ndarray, " n"], float]:
    """Return the smoothed, normalised log weights and the Pareto shape k̂ of their upper tail.

    The M = ⌈min(n/5, 3√n)⌉ largest weights are replaced by the expected order statistics of a
    generalised Pareto distribution fitted to them (where k̂ ≥ 1/3, and never above the largest
    one), and all weights are normalised to sum to one.

    k̂ < 0.5: the weights have finite variance; up to about 0.7 estimates from them are usable;
    above, they are not. It describes only what the draws saw: a fit that sits on one of two modes
    has a fine k̂. Three cases have no tail to fit, and are never given a number that looks fitted:

    - all weights equal up to `resolution` (q is the target as far as can be told): k̂ = −inf;
    - a NaN or +inf among the log weights, or no finite one: k̂ = +inf, because nothing can be
      vouched for; such a weight becomes zero (−inf) so that the others can still be looked at;
    - fewer than 5 distinct weights in the tail: k̂ = +inf (too few draws, or one draw that
      outweighs the others by more than 700 nats).

    A log weight of −inf is a draw where the target is zero: it keeps weight zero and its place
    among the n draws.

    Args:
        log_weights: log p(x) − log q(x) for draws x ~ q, shape (n,), nats, any constant added.
        resolution: differences between log weights below this are rounding, in nats.

    Raises:
        ValueError: `log_weights` is empty or not one-dimensional.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> log_weights, khat = pareto_smooth(rng.exponential(size=10_000) * 0.5)  # Pareto, k = 0.5
        >>> bool(abs(khat - 0.5) < 0.1), round(float(np.exp(log_weights).sum()), 12)
        (True, 1.0)

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.
        Zhang and Stephens (2009), A new and efficient estimation method for the generalized
        Pareto distribution.
    """
    values = np.array(log_weights, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"`log_weights` should have shape (n,) with n at least 1; got shape {values.shape}. "
            "Give one log weight for each draw."
        )
    unknown = np.isnan(values) | (values == np.inf)
    values[unknown] = -np.inf
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return values, np.inf
    values -= finite.max()
    if finite.size == values.size and np.ptp(finite) <= resolution:
        return np.full(values.size, -np.log(values.size)), -np.inf
    values, khat = _smooth_tail(values)
    return values - _logsumexp(values), np.inf if unknown.any() else khat


def _smooth_tail(values: ndarray) -> tuple[ndarray, float]:
    """Smooth log weights whose largest is 0."""
    length = int(np.ceil(min(values.size / 5, 3 * np.sqrt(values.size))))
    order = np.argsort(values, kind="stable")
    below = values[order[-length - 1]] if values.size > length else -np.inf
    cutoff = max(float(below), _LOG_TINY)
    tail = order[values[order] > cutoff]
    if tail.size < _MIN_TAIL:
        return values, np.inf
    excess = np.exp(values[tail]) - np.exp(cutoff)
    khat, scale = fit_generalized_pareto(excess)
    if not np.isfinite(khat):
        return values, np.inf
    if khat >= _SMOOTH_ABOVE:
        quantiles = (np.arange(tail.size) + 0.5) / tail.size
        with np.errstate(over="ignore"):  # a huge k-hat: the minimum below takes care of inf
            smoothed = np.exp(cutoff) + scale * np.expm1(-khat * np.log1p(-quantiles)) / khat
        values[tail] = np.minimum(np.log(smoothed), 0.0)
    return values, khat


def fit_generalized_pareto(excess: Float[ndarray, " m"]) -> tuple[float, float]:
    """Return shape k and scale σ of a generalised Pareto distribution on (0, ∞).

    The posterior mean of Zhang and Stephens, whose shape is then drawn towards 0.5 with the
    weight of ten observations, as in Vehtari et al. (2024), appendix C.

    Args:
        excess: observations above the threshold, ascending, shape (m,), positive.

    Returns:
        (k, σ); both NaN where the observations are too close to zero or to each other to tell.

    Example:
        >>> shape, scale = fit_generalized_pareto(-np.log1p(-(np.arange(999) + 0.5) / 999))
        >>> abs(shape) < 0.02, abs(scale - 1) < 0.02  # exponential: k = 0
        (True, True)

    References:
        Zhang and Stephens (2009), A new and efficient estimation method for the generalized
        Pareto distribution.
    """
    n = len(excess)
    grid_size = 30 + int(np.sqrt(n))
    quartile = excess[int(n / 4 + 0.5) - 1]
    if not quartile > 0:
        return np.nan, np.nan
    with np.errstate(all="ignore"):
        theta = 1 - np.sqrt(grid_size / (np.arange(1, grid_size + 1) - 0.5))
        theta = theta / (3 * quartile) + 1 / excess[-1]
        shape = np.log1p(-theta[:, None] * excess).mean(1)
        log_likelihood = n * (np.log(-theta / shape) - shape - 1)
        known = np.isfinite(log_likelihood)
        if not known.any():
            return np.nan, np.nan
        posterior = np.exp(log_likelihood[known] - _logsumexp(log_likelihood[known]))
        theta_mean = float(posterior @ theta[known])
        shape_mean = float(np.log1p(-theta_mean * excess).mean())
        scale = -shape_mean / theta_mean
    return (n * shape_mean + 10 * 0.5) / (n + 10), float(scale)


def _logsumexp(values: ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum())) if np.isfinite(top) else float(top)
