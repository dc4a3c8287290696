"""Gamma and its kin: Bregman divergences of log Γ, split so that no two terms cancel."""

import jax
import jax.numpy as jnp

from .._typing import Array
from ._kernel import Value, kernel, positive, scale_tril
from ._normal import _solve_lower
from ._stable import (
    entropy_term,
    lgamma_smooth_bregman,
    phi,
    two_product_difference,
)


def gamma_formula(a: Array, b: Array, alpha: Array, beta: Array) -> Array:
    """KL of Gamma(a, b) from Gamma(alpha, beta), unchecked.

    α φ(m) + D(α, a) with m = aβ/(αb) − 1 (the relative difference of the means) and D the Bregman
    divergence of log Γ(x) − x log x + x.
    """
    return _mean_term(a, b, alpha, beta) + lgamma_smooth_bregman(alpha, a)


def _means(a: Array, b: Array, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Return aβ/(αb) less one, and itself."""
    return two_product_difference(a, beta, alpha, b) / alpha / b, (a / alpha) * (beta / b)


@jax.custom_jvp
def _mean_term(a: Array, b: Array, alpha: Array, beta: Array) -> Array:
    """Return α φ(m), whose slopes in its parts would cancel where m is huge."""
    return alpha * phi(*_means(a, b, alpha, beta))


@_mean_term.defjvp
def _mean_term_jvp(primals, tangents):
    a, b, alpha, beta = primals
    m, ratio = _means(*primals)
    near = jnp.abs(m) < 0.5
    log = jnp.where(near, jnp.log1p(jnp.where(near, m, 0.0)), jnp.log(jnp.where(near, 1.0, ratio)))
    pull = alpha * m
    slopes = (pull / a, -pull / b, -log, pull / beta)
    terms = [slope * tangent for slope, tangent in zip(slopes, tangents, strict=True)]
    move = terms[0] + terms[1] + terms[2] + terms[3]
    return _mean_term(*primals), move


@kernel(concentration_p=positive, rate_p=positive, concentration_q=positive, rate_q=positive)
def gamma(concentration_p: Value, rate_p: Value, concentration_q: Value, rate_q: Value) -> Array:
    """KL(p‖q) of two gamma distributions, density ∝ x^(a−1) e^(−bx).

    Args:
        concentration_p: shape of p, positive.
        rate_p: rate of p, positive.
        concentration_q: shape of q, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.gamma(1.0, 1.0, 1.0, 2.0)), 5)  # 1 − log 2
    0.30685

    Source: Penny (2001), "KL-divergences of normal, gamma, Dirichlet and Wishart densities".
    """
    return gamma_formula(concentration_p, rate_p, concentration_q, rate_q)  # type: ignore[arg-type]


@kernel(concentration_p=positive, scale_p=positive, concentration_q=positive, scale_q=positive)
def inverse_gamma(
    concentration_p: Value, scale_p: Value, concentration_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of two inverse gammas, density ∝ x^(−a−1) e^(−b/x): that of the gammas of 1/x.

    Args:
        concentration_p: shape of p, positive.
        scale_p: scale b of p, positive.
        concentration_q: shape of q, positive.
        scale_q: scale b of q, positive.

    >>> from vikl import kl
    >>> float(kl.inverse_gamma(3.0, 2.0, 3.0, 2.0))
    0.0
    """
    return gamma_formula(concentration_p, scale_p, concentration_q, scale_q)  # type: ignore[arg-type]


@kernel(df_p=positive, df_q=positive)
def chi2(df_p: Value, df_q: Value) -> Array:
    """KL(p‖q) of two chi-squared distributions: gammas of shape df/2 and equal rate.

    Args:
        df_p: degrees of freedom of p, positive.
        df_q: degrees of freedom of q, positive.

    >>> from vikl import kl
    >>> float(kl.chi2(3.0, 3.0))
    0.0
    """
    half = jnp.full_like(df_p, 0.5)
    return gamma_formula(0.5 * df_p, half, 0.5 * df_q, half)  # type: ignore[arg-type, operator]


@kernel(rate_p=positive, rate_q=positive)
def exponential(rate_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of two exponentials: φ(rate_q / rate_p − 1).

    Args:
        rate_p: rate of p, positive.
        rate_q: rate of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.exponential(1.0, 2.0)), 5)  # 1 − log 2
    0.30685
    """
    return phi((rate_q - rate_p) / rate_p, rate_q / rate_p)  # type: ignore[arg-type, operator]


def dirichlet_formula(a: Array, b: Array) -> Array:
    """KL of Dirichlet(a) from Dirichlet(b) over the last axis, unchecked.

    The Bregman divergence of Σ log Γ(xᵢ) − log Γ(Σx): the x log x parts add up to B times the
    divergence of the means b/B and a/A, the smooth parts are subtracted as they are.
    """
    delta = b - a
    total_a, total_b = a.sum(-1, keepdims=True), b.sum(-1, keepdims=True)
    total_delta = delta.sum(-1, keepdims=True)
    # bᵢA − aᵢB = δᵢA − aᵢΔ, exact also when a and b are nearly equal; far apart δ is rounded
    near = jnp.abs(delta) < 0.5 * a
    cross = two_product_difference(
        jnp.where(near, delta, b), total_a, a, jnp.where(near, total_delta, total_b)
    )
    means = entropy_term(b * total_a, a * total_b, cross) / total_a
    together = [(b, total_b), (a, total_a), (delta, total_delta)]  # one call: half the program
    smooth = lgamma_smooth_bregman(*[jnp.concatenate(pair, -1) for pair in together])
    return means.sum(-1) + (smooth[..., :-1].sum(-1) - smooth[..., -1])


@kernel(concentration_p=positive.over("classes"), concentration_q=positive.over("classes"))
def dirichlet(concentration_p: Value, concentration_q: Value) -> Array:
    """KL(p‖q) of two Dirichlet distributions; the last axis is the event.

    Args:
        concentration_p: concentrations of p, positive, shape (..., classes).
        concentration_q: concentrations of q, positive, shape (..., classes).

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> float(kl.dirichlet(jnp.ones(3), jnp.ones(3)))
    0.0

    Source: Penny (2001), "KL-divergences of normal, gamma, Dirichlet and Wishart densities".
    """
    return jnp.maximum(dirichlet_formula(concentration_p, concentration_q), 0.0)  # type: ignore[arg-type]


@kernel(
    concentration1_p=positive,
    concentration0_p=positive,
    concentration1_q=positive,
    concentration0_q=positive,
)
def beta(
    concentration1_p: Value,
    concentration0_p: Value,
    concentration1_q: Value,
    concentration0_q: Value,
) -> Array:
    """KL(p‖q) of two beta distributions, density ∝ x^(a−1) (1−x)^(b−1).

    Args:
        concentration1_p: a of p, positive.
        concentration0_p: b of p, positive.
        concentration1_q: a of q, positive.
        concentration0_q: b of q, positive.

    >>> from vikl import kl
    >>> float(kl.beta(2.0, 3.0, 2.0, 3.0))
    0.0
    """
    p = jnp.stack(jnp.broadcast_arrays(concentration1_p, concentration0_p), -1)
    q = jnp.stack(jnp.broadcast_arrays(concentration1_q, concentration0_q), -1)
    return jnp.maximum(dirichlet_formula(p, q), 0.0)


@kernel(df_p=positive, scale_tril_p=scale_tril, df_q=positive, scale_tril_q=scale_tril)
def wishart(df_p: Value, scale_tril_p: Value, df_q: Value, scale_tril_q: Value) -> Array:
    """KL(p‖q) of two Wishart distributions with mean df · L Lᵀ.

    With M = Lq⁻¹(Lp − Lq), aᵢ = (df_p − i)/2, αᵢ = (df_q − i)/2 and sᵢ = (1 + Mᵢᵢ)² − 1, i < dim:
    Σᵢ [D(αᵢ, aᵢ) + αᵢ φ(aᵢ(1 + sᵢ)/αᵢ − 1) + (i/2) φ(sᵢ)] + ½ df_p ‖off-diagonal of M‖².

    Args:
        df_p: degrees of freedom of p, above dim − 1 (NaN otherwise).
        scale_tril_p: Cholesky factor of the scale matrix of p, shape (..., dim, dim).
        df_q: degrees of freedom of q, above dim − 1 (NaN otherwise).
        scale_tril_q: Cholesky factor of the scale matrix of q, shape (..., dim, dim).

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> float(kl.wishart(3.0, jnp.eye(2), 3.0, jnp.eye(2)))
    0.0

    Source: Penny (2001), "KL-divergences of normal, gamma, Dirichlet and Wishart densities".
    """
    tril_p, tril_q = jnp.tril(scale_tril_p), jnp.tril(scale_tril_q)  # type: ignore[arg-type]
    whitened = _solve_lower(tril_q, tril_p - tril_q)
    diagonal_p = jnp.diagonal(tril_p, axis1=-2, axis2=-1)
    diagonal_q = jnp.diagonal(tril_q, axis1=-2, axis2=-1)
    dim = tril_q.shape[-1]
    index = jnp.arange(dim, dtype=tril_q.dtype)
    df_p, df_q = jnp.asarray(df_p)[..., None], jnp.asarray(df_q)[..., None]
    a, alpha = 0.5 * (df_p - index), 0.5 * (df_q - index)
    x = (diagonal_p - diagonal_q) / diagonal_q
    ratio = diagonal_p / diagonal_q
    s = x * (2.0 + x)
    m = (0.5 * (df_p - df_q) + a * s) / alpha
    terms = (
        lgamma_smooth_bregman(alpha, a, 0.5 * (df_q - df_p))
        + alpha * phi(m, (a / alpha) * ratio * ratio)
        + 0.5 * index * phi(s, ratio * ratio)
    )
    off = jnp.where(jnp.eye(dim, dtype=bool), 0.0, whitened)
    value = terms.sum(-1) + 0.5 * df_p[..., 0] * (off * off).sum((-2, -1))
    possible = (df_p[..., 0] > dim - 1) & (df_q[..., 0] > dim - 1)
    return jnp.where(possible, value, jnp.nan)
