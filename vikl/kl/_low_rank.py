"""Normals with low-rank plus diagonal covariance W Wᵀ + diag(d), in O(dim rank²), no dim × dim.

The model is y = μ + W x + noise with x ~ N(0, I): a Kalman filter with a constant state gives the
conditional of each coordinate on those before it, and by the chain rule KL is the sum of the KLs
of these scalar normals. Every term is non-negative. The variances are in double words, so that
their small differences are exact.
"""

# the `kernel` decorator has made arrays of them:
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp

from .._typing import Array
from ._double import Double
from ._kernel import Value, kernel, positive, real
from ._stable import phi


def _outer(a: Array, b: Array) -> Array:
    return a[..., :, None] * b[..., None, :]


def _apply(matrix: Array, vector: Array) -> Array:
    return (matrix * vector[..., None, :]).sum(-1)


def _predict(spread: Double, weight: Array, noise: Array) -> tuple[Double, Double, Double]:
    """Variance of the next coordinate, the filter's gain, and the state's spread after it."""
    lifted = Double(weight)
    product = (spread * lifted[..., None, :]).sum(-1)
    variance = (product * lifted).sum(-1) + Double(noise)
    gain = product / variance[..., None]
    return variance, gain, spread - gain[..., :, None] * product[..., None, :]


def _step(state: tuple, inputs: tuple) -> tuple[tuple, Array]:
    """One coordinate: its KL, and the filters of p and q moved past it.

    m is p's filtered mean under p, D its difference from q's: (C, G, H) are the second moments
    E[m mᵀ], E[D mᵀ], E[D Dᵀ] of their random parts, `drift` is the mean of D.
    """
    spread_p, spread_q, c, g, h, drift = state
    shift, w_p, d_p, w_q, d_q = inputs
    s_p, k_p, spread_p = _predict(spread_p, w_p, d_p)
    s_q, k_q, spread_q = _predict(spread_q, w_q, d_q)
    variance = s_q.value
    change, step, dw = (s_p - s_q).value / variance, (k_p - k_q).value, w_p - w_q
    gain_p, gain_q, innovation = k_p.value, k_q.value, s_p.value
    offset = shift + (w_q * drift).sum(-1)
    h_w, c_w, g_w = _apply(h, w_q), _apply(c, dw), _apply(g, dw)
    error = (w_q * (h_w + 2.0 * g_w)).sum(-1) + (dw * c_w).sum(-1)
    error = jnp.maximum(error, 0.0) + offset * offset
    term = 0.5 * (phi(change, innovation / variance) + error / variance)
    # D moves by step ν − k_q t with t = offset + dw·m + w_q·D; update E[D Dᵀ], E[D mᵀ], E[m mᵀ]
    t_d, t_m = h_w + g_w, (w_q[..., :, None] * g).sum(-2) + c_w
    t_t = jnp.maximum((w_q * t_d).sum(-1) + (dw * t_m).sum(-1), 0.0)
    h = (
        h
        - _outer(gain_q, t_d)
        - _outer(t_d, gain_q)
        + _outer(gain_q, gain_q) * t_t[..., None, None]
    )
    h = h + _outer(step, step) * innovation[..., None, None]
    g = g - _outer(gain_q, t_m) + _outer(step, gain_p) * innovation[..., None, None]
    c = c + _outer(gain_p, gain_p) * innovation[..., None, None]
    drift = drift - gain_q * offset[..., None]
    return (spread_p, spread_q, c, g, h, drift), term


def low_rank_formula(
    loc_p: Array, factor_p: Array, diag_p: Array, loc_q: Array, factor_q: Array, diag_q: Array
) -> Array:
    """KL of two normals with covariances W Wᵀ + diag(d), unchecked."""
    rank = max(factor_p.shape[-1], factor_q.shape[-1])
    pad = lambda w: jnp.pad(w, [(0, 0)] * (w.ndim - 1) + [(0, rank - w.shape[-1])])
    dim = diag_p.shape[-1]
    factor_p, factor_q = pad(factor_p), pad(factor_q)
    vectors = [loc_p - loc_q, factor_p, diag_p, factor_q, diag_q]
    tails = [(dim,), (dim, rank), (dim,), (dim, rank), (dim,)]
    batch = jnp.broadcast_shapes(
        *[v.shape[: v.ndim - len(t)] for v, t in zip(vectors, tails, strict=True)]
    )
    inputs = tuple(
        jnp.moveaxis(jnp.broadcast_to(v, batch + t), len(batch), 0)
        for v, t in zip(vectors, tails, strict=True)
    )
    identity = jnp.broadcast_to(jnp.eye(rank, dtype=diag_p.dtype), (*batch, rank, rank))
    nothing = jnp.zeros_like(identity)
    state = (
        Double(identity), Double(identity), nothing, nothing, nothing, nothing[..., 0]
    )  # fmt: skip
    return jax.lax.scan(_step, state, inputs)[1].sum(0)


@kernel(
    loc_p=real.over("dim"),
    cov_factor_p=real.over("dim", "rank_p"),
    cov_diag_p=positive.over("dim"),
    loc_q=real.over("dim"),
    cov_factor_q=real.over("dim", "rank_q"),
    cov_diag_q=positive.over("dim"),
)
def low_rank_normal(
    loc_p: Value,
    cov_factor_p: Value,
    cov_diag_p: Value,
    loc_q: Value,
    cov_factor_q: Value,
    cov_diag_q: Value,
) -> Array:
    """KL(p‖q) of two normals with covariance W Wᵀ + diag(d); no dim × dim matrix is formed.

    Args:
        loc_p: mean of p, shape (..., dim).
        cov_factor_p: W of p, shape (..., dim, rank of p).
        cov_diag_p: d of p, positive, shape (..., dim).
        loc_q: mean of q, shape (..., dim).
        cov_factor_q: W of q, shape (..., dim, rank of q).
        cov_diag_q: d of q, positive, shape (..., dim).

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> p = (jnp.zeros(4), jnp.ones((4, 1)), jnp.ones(4))
    >>> float(kl.low_rank_normal(*p, *p))
    0.0

    Source: the chain rule, Cover and Thomas (2006), "Elements of Information Theory", 2.5; the
    filter, Kalman (1960), "A new approach to linear filtering and prediction problems".
    """
    return low_rank_formula(
        loc_p,
        cov_factor_p,
        cov_diag_p,
        loc_q,
        cov_factor_q,
        cov_diag_q,  # type: ignore[arg-type]
    )
