"""Whether an average of importance ratios has a finite variance."""

import math
from typing import Any

import jax.numpy as jnp

from vikl._typing import Array, Bool, Float
from vikl.divergences import _power
from vikl.divergences._pairs import pair


def tail_index(log_weights: Float[Array, "num *batch"]) -> Float[Array, "*batch"]:
    """Return the shape k of a generalised Pareto fit to the largest weights.

    Moments of order below 1/k exist. Zhang and Stephens' (2009) estimator with the weak prior of
    Vehtari et al. (2024), as PSIS uses it.
    """
    num = log_weights.shape[0]
    count = min(math.ceil(num / 5), math.ceil(3 * math.sqrt(num)))
    if count < 5:
        return jnp.full(log_weights.shape[1:], jnp.inf, log_weights.dtype)
    ordered = jnp.sort(log_weights, 0)
    ordered = ordered - ordered[-1:]
    tail = jnp.exp(ordered[-count:])
    cutoff = jnp.exp(ordered[-count - 1])
    x = jnp.maximum(tail - cutoff[None], 0)  # sorted upwards
    largest, quarter = x[-1], x[max(count // 4 - 1, 0)]
    varies = (quarter > 0) & jnp.isfinite(largest)
    largest, quarter = jnp.where(varies, largest, 1), jnp.where(varies, quarter, 0.5)
    grid_size = 30 + int(math.sqrt(count))
    grid = 1 - jnp.sqrt(grid_size / (jnp.arange(grid_size, dtype=x.dtype) + 0.5))
    grid = grid.reshape(-1, *(1,) * largest.ndim)
    shape = (grid_size, *largest.shape)
    theta = 1 / largest[None] + jnp.broadcast_to(grid, shape) / (3 * quarter[None])
    k = jnp.mean(jnp.log1p(-theta[:, None] * x[None]), 1)
    profile = count * (jnp.log(-theta / k) - k - 1)
    weight = 1 / jnp.sum(jnp.exp(profile[None] - profile[:, None]), 1)
    mean = jnp.sum(theta * weight, 0) / jnp.sum(weight, 0)
    k_hat = jnp.mean(jnp.log1p(-mean[None] * x), 0)
    k_hat = (k_hat * count + 0.5 * 10) / (count + 10)
    return jnp.where(varies, k_hat, -jnp.inf)


def ratio_has_variance(p: Any, q: Any, d: Float[Array, "num *batch"]) -> Bool[Array, "*batch"]:
    """Whether `q/p` has a finite variance under p.

    Decided exactly where `integral q^2/p` has a closed form (normals, exponential families, finite
    outcomes), else by the tail of the sampled ratios: k below 0.5. d holds draws of log p - log q.
    """
    try:
        values = _power.gap(pair("The variance", q, p), 2.0)
    except NotImplementedError:
        values = None
    if values is None:
        return tail_index(-d) < 0.5
    return jnp.isfinite(values)
