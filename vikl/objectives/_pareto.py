"""Pareto-smoothed importance weights inside compiled code.

`vikl.diagnostics.pareto_smooth` is the same on the host, in float64, with every special case.
"""

import math

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp

from .._typing import Array, Float, Scalar

_MIN_TAIL = 5
_SMOOTH_ABOVE = 1 / 3
FEWEST = 25  # draws whose tail can be fitted
#: k-hat in a record is cut to these, so that its mean over a chunk exists
LEAST, MOST = -1.0, 5.0


def pareto_smooth(log_weights: Float[Array, " n"]) -> tuple[Float[Array, " n"], Scalar]:
    """Return smoothed, normalised log weights and k-hat, cut to [−1, 5]; no gradient.

    −1 also stands for equal weights, and 5 for a tail that cannot be fitted. NaN stays NaN.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling.
    """
    values = stop_gradient(log_weights)
    values = values - values.max()
    count = len(values)
    size = math.ceil(min(count / 5, 3 * math.sqrt(count)))
    if size < _MIN_TAIL:
        return values - logsumexp(values), jnp.full((), MOST, values.dtype)
    order = jnp.argsort(values)
    tail, cutoff = order[-size:], values[order[-size - 1]]
    cutoff = jnp.where(jnp.isneginf(cutoff), -80.0, cutoff).astype(values.dtype)
    inside = jnp.maximum(values[tail] - cutoff, 0.0)  # ascending
    # in units of the cutoff's weight where that is not tiny, so that near-equal weights keep digits
    excess = jnp.exp(cutoff) * jnp.expm1(inside)
    shape, scale = _generalized_pareto(excess)
    quantiles = (jnp.arange(size, dtype=values.dtype) + 0.5) / size
    safe = jnp.where(shape >= _SMOOTH_ABOVE, shape, 1.0)
    smooth = jnp.log(jnp.exp(cutoff) + scale * jnp.expm1(-safe * jnp.log1p(-quantiles)) / safe)
    smooth = jnp.minimum(smooth, 0.0)
    usable = jnp.isfinite(shape) & (shape >= _SMOOTH_ABOVE) & jnp.isfinite(smooth).all()
    values = values.at[tail].set(jnp.where(usable, smooth, values[tail]))
    equal = inside[-1] <= 0
    khat = jnp.where(jnp.isfinite(shape), jnp.clip(shape, LEAST, MOST), MOST)
    return values - logsumexp(values), jnp.where(equal, LEAST, khat).astype(values.dtype)


def _generalized_pareto(excess: Float[Array, " m"]) -> tuple[Scalar, Scalar]:
    """Return the shape and the scale of Zhang & Stephens (2009), the shape drawn to one half."""
    count = len(excess)
    grid = 30 + int(math.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    nodes = 1 - jnp.sqrt(grid / (jnp.arange(1, grid + 1, dtype=excess.dtype) - 0.5))
    theta = nodes / (3 * quartile) + 1 / excess[-1]
    shape = jnp.log1p(-theta[:, None] * excess[None]).mean(1)
    likelihood = count * (jnp.log(-theta / shape) - shape - 1)
    likelihood = jnp.where(jnp.isnan(likelihood), -jnp.inf, likelihood)
    center = jnp.sum(jax.nn.softmax(likelihood) * jnp.where(likelihood > -jnp.inf, theta, 0.0))
    mean_shape = jnp.log1p(-center * excess).mean()
    return (count * mean_shape + 10 * 0.5) / (count + 10), -mean_shape / center
