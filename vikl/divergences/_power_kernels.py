"""The power gap `R(a) = -log(integral of p^a q^(1-a)) / (a (1 - a))`, family by family, on arrays.

R is the one function behind Rényi (`a R`), alpha, chi-squared, Hellinger and Bhattacharyya
divergences. It is non-negative for every real a, `KL(p || q)` at a = 1, `KL(q || p)` at a = 0, and
+inf where the integral diverges (or is zero). It is symmetric, `R(a; p, q) = R(1 - a; q, p)`, so
each kernel below is written for a >= 1/2 only and sums non-negative terms.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.core import Tracer

import vikl.kl as kl
from vikl._typing import Array
from vikl.divergences._numpyro import Params
from vikl.info._stable import exp_excess, floor_at_zero, log1p_deficit

#: An order: a Python float, or a traced scalar.
Order = float | Array


def over(numerator: Array, denominator: Order) -> Array:
    """`numerator / denominator`, 0 where the denominator is 0 (there the numerator is 0 too)."""
    zero = jnp.equal(denominator, 0)
    return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


def choose(condition: Array | bool, yes: Callable[[], Array], no: Callable[[], Array]) -> Array:
    """One of two results; both are computed only when the condition is traced."""
    if isinstance(condition, Tracer):
        return jnp.where(condition, yes(), no())
    return yes() if condition else no()


def normal(p: Params, q: Params, a: Order) -> Array:
    """Gap of normals, a >= 1/2. With w = 1 - a the mixed variance is `w s_p^2 + a s_q^2`."""
    w = 1 - a
    x = (p["scale"] - q["scale"]) / q["scale"]
    z = (p["loc"] - q["loc"]) / q["scale"]
    ratio = p["scale"] / q["scale"]
    wide = ratio > 1
    safe = jnp.where(wide, ratio, 1)
    excess = jnp.where(wide, 0, x * (2 + x))  # (s_p/s_q)^2 - 1 where that does not overflow
    mixed = jnp.where(wide, w + a / safe**2, 1 + w * excess)  # over ratio^2 where wide
    exists = mixed > 0
    mixed = jnp.where(exists, mixed, 1)
    quadratic = jnp.where(wide, z / safe, z) ** 2 / mixed
    log_mixed = jnp.log(mixed) + 2 * jnp.log(safe)
    near = jnp.abs(w) * jnp.abs(x * (2 + x)) < 0.2
    e = jnp.where(near, x * (2 + x), 0)
    own = 2 * log1p_deficit(jnp.where(near, x, 0)) + jnp.where(near, x, 0) ** 2
    small = own - over(log1p_deficit(w * e), w)
    large = over(log_mixed, w) - 2 * jnp.log(ratio)
    gap = 0.5 * quadratic + jnp.where(near, small, large) / (2 * a)
    return jnp.where(exists, floor_at_zero(gap), jnp.inf)


def _solve(lower: Array, right: Array) -> Array:
    return jax.lax.linalg.triangular_solve(lower, right, left_side=True, lower=True)


def _deficit(lower: Array) -> Array:
    """`tr(A) - log det(I + A) >= 0` of `A = (I + L)(I + L)^T - I` for a lower triangular L."""
    diagonal = jnp.diagonal(lower, axis1=-2, axis2=-1)
    return 2 * jnp.sum(log1p_deficit(diagonal), -1) + jnp.sum(lower**2, (-2, -1))


def _half_tril(matrix: Array) -> Array:
    """Return the lower triangle with half the diagonal."""
    eye = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    return jnp.tril(matrix) - 0.5 * matrix * eye


def multivariate_normal(p: Params, q: Params, a: Order) -> Array:
    """Gap of full normals, a >= 1/2, in the coordinates where the covariance of q is I."""
    w = 1 - a
    m = jnp.tril(_solve(q["scale_tril"], p["scale_tril"] - q["scale_tril"]))
    z = _solve(q["scale_tril"], (p["loc"] - q["loc"])[..., None])
    eye = jnp.broadcast_to(jnp.eye(m.shape[-1], dtype=m.dtype), m.shape)
    transpose = jnp.swapaxes(m, -1, -2)
    excess = w * (m + transpose + m @ transpose)  # w (Sigma_p - I)
    fixed = jax.lax.stop_gradient(eye + excess)
    exists = jnp.all(jnp.diagonal(jnp.linalg.cholesky(fixed), axis1=-2, axis2=-1) > 0, -1)
    excess = jnp.where(exists[..., None, None], excess, 0)
    tril = jnp.linalg.cholesky(eye + excess)
    near = jnp.max(jnp.abs(excess), (-2, -1)) < 0.2 / m.shape[-1]
    n = jnp.where(near[..., None, None], tril - eye, 0)
    small_excess = jnp.where(near[..., None, None], excess, 0)
    for _ in range(2):  # L + L^T + L L^T = A, refined: each step wins the digits lost in `tril - I`
        n = _half_tril(small_excess - n @ jnp.swapaxes(n, -1, -2))
    small = _deficit(m) - over(_deficit(n), w)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1)), -1)
    log_det_p = 2 * jnp.sum(jnp.log1p(jnp.diagonal(m, axis1=-2, axis2=-1)), -1)
    large = over(log_det, w) - log_det_p
    quadratic = jnp.sum(_solve(tril, z)[..., 0] ** 2, -1)
    gap = 0.5 * quadratic + jnp.where(near, small, large) / (2 * a)
    return jnp.where(exists, floor_at_zero(gap), jnp.inf)


def _laplace_overlap(x: Array, y: Array) -> Array:
    """`y - log(cosh x + y sinh(x) / x)`."""
    near = (jnp.abs(x) < 10) & (y < 10)
    x_near, y_near = jnp.where(near, x, 0), jnp.where(near, y, 0)
    tiny = jnp.abs(x_near) < 1
    square = jnp.where(tiny, x_near, 0) ** 2
    series = square / 6 * (1 + square / 20 * (1 + square / 42 * (1 + square / 72)))
    safe = jnp.where(tiny, 1, x_near)
    excess = 2 * jnp.sinh(x_near / 2) ** 2
    excess = excess + y_near * jnp.where(tiny, series, jnp.sinh(safe) / safe - 1)
    small = log1p_deficit(y_near + excess) - excess
    size = jnp.maximum(jnp.abs(jnp.where(near, 1, x)), 1e-6)
    tail = jnp.expm1(-2 * size)
    large = y - size - jnp.log(1 + tail / 2 - y * tail / (2 * size))
    return jnp.where(near, small, large)


def laplace(p: Params, q: Params, a: Order) -> Array:
    """Gap of Laplace densities, a >= 1/2: three pieces, that decay at rates a/b_p and w/b_q."""
    w = 1 - a
    rate_p, rate_q = a / p["scale"], w / q["scale"]
    exists = rate_p + rate_q > 0
    rate_p = jnp.where(exists, rate_p, 1)
    rate_q = jnp.where(exists, rate_q, 1)
    distance = jnp.abs(p["loc"] - q["loc"])
    s = jnp.log1p((p["scale"] - q["scale"]) / q["scale"])
    mean_rate = a * exp_excess(-w * s) + w * exp_excess(a * s)  # a Jensen gap, over the scales
    scales = jnp.log1p(jnp.where(exists, mean_rate, 0))
    overlap = _laplace_overlap((rate_p - rate_q) * distance / 2, (rate_p + rate_q) * distance / 2)
    limit = kl.laplace(p["loc"], p["scale"], q["loc"], q["scale"])
    gap = jnp.where(jnp.equal(w, 0), limit, over(scales + overlap, a * w))
    return jnp.where(exists, floor_at_zero(gap), jnp.inf)
