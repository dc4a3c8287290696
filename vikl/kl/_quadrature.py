"""Fixed quadratures for the pairs without an elementary closed form, on Gauss-Legendre nodes.

Given nodes with log weights log wᵢp(xᵢ) and accurate differences g = log p − log q + constant, the
divergence is that of two categorical distributions on the nodes (`logits_divergence`), a sum of
non-negative terms. It holds where the nodes cover q as well as p; else E_p[g] plus the difference
of the normalisers is used, which then is not small. The nodes carry no derivative.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ._discrete import logits_divergence
from ._stable import is_wide


def gauss_legendre(narrow: int, wide: int, like: Array) -> tuple[Array, Array]:
    """Nodes and log weights on [0, 1]: `narrow` of them in float32, `wide` in float64."""
    x, w = np.polynomial.legendre.leggauss(wide if is_wide(like) else narrow)
    return jnp.asarray((x + 1) / 2, like.dtype), jnp.asarray(np.log(w / 2), like.dtype)


def log_sum_exp(a: Array) -> Array:
    """Return log Σ exp over the last axis."""
    top = jax.lax.stop_gradient(a.max(-1, keepdims=True))
    return (top + jnp.log(jnp.exp(a - top).sum(-1, keepdims=True)))[..., 0]


def mean_under(a: Array, g: Array) -> Array:
    """E[g] on nodes with log weights a."""
    weight = jnp.exp(a - jax.lax.stop_gradient(a.max(-1, keepdims=True)))
    kept = jnp.where(weight > 0, weight * jnp.where(weight > 0, g, 0.0), 0.0)
    return kept.sum(-1) / weight.sum(-1)


def nodes_divergence(a: Array, b: Array, g: Array, close: Array, constant: Array) -> Array:
    """KL on nodes: where `close`, of the normalised weights; elsewhere E_p[g] + constant.

    a and b are the log weights of p and q up to constants, g = a − b, with more exact digits.
    """
    inside = close[..., None]
    near = logits_divergence(a, jnp.where(inside, b, a), jnp.where(inside, g, 0.0))
    return jnp.where(close, near, jnp.maximum(mean_under(a, g) + constant, 0.0))


def panel_nodes(breaks: Array, narrow: int, wide: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes on the panels between sorted breaks, and their log weights.

    `narrow` per panel in float32, `wide` in float64; an empty panel has the weight −inf.
    """
    grid, log_weight = gauss_legendre(narrow, wide, breaks)
    left, width = breaks[..., :-1, None], jnp.diff(breaks)[..., None]
    some = width > 0
    log_width = jnp.where(some, jnp.log(jnp.where(some, width, 1.0)), -jnp.inf)
    shape = (*breaks.shape[:-1], -1)
    return (left + width * grid).reshape(shape), (log_width + log_weight).reshape(shape)


def geometric_breaks(center: Array, first: Array, last: Array, count: int) -> Array:
    """Return breaks at center ± first … last, evenly spaced in the logarithm, and at the center."""
    steps = jnp.asarray(np.linspace(0.0, 1.0, count), first.dtype)
    growth = jnp.log(jnp.maximum(last / first, 1.0))[..., None]
    away = first[..., None] * jnp.exp(growth * steps)
    middle = center[..., None]
    return jnp.concatenate([middle - away, middle, middle + away], -1)
