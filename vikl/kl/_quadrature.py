"""Fixed quadratures for the pairs without an elementary closed form, on two kinds of nodes.

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


def log_cosh(t: Array) -> Array:
    """Return log cosh t, without overflow."""
    return jnp.abs(t) + jnp.log1p(jnp.exp(-2.0 * jnp.abs(t))) - np.log(2.0)


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


def sinh_nodes(
    center: Array, scale: Array, low: Array, high: Array, like: Array
) -> tuple[Array, Array]:
    """Points sinh(t) of x = center + scale sinh(t) over [low, high], and log dx/dt plus a constant.

    An even grid in t: dense around the center, sparse far from it, and, since the integrands fade
    at both ends, exponentially accurate.
    """
    grid = jnp.asarray(np.linspace(0.0, 1.0, 640 if is_wide(like) else 320), like.dtype)
    first, last = jnp.arcsinh((low - center) / scale), jnp.arcsinh((high - center) / scale)
    t = first[..., None] + (last - first)[..., None] * grid
    return jnp.sinh(t), log_cosh(t)
