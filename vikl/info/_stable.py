"""Small differences without cancellation: what every non-negative form is summed from.

Each function is exact to a few units in the last place for all real arguments, exactly 0 at 0,
and has accurate first and second derivatives there (a polynomial, not a difference). They are
compiled, because a polynomial of twenty terms is slow when every term is its own call, and their
derivatives are given, because the chain rule through such a polynomial costs several times it.
"""

import math

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float


def _odd_tail(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """`atanh(t) - t` for |t| <= 1/3, by its series."""
    square = t * t
    total = jnp.zeros_like(t)
    for n in range(35, 1, -2):
        total = total * square + 1.0 / n
    return total * square * t


@jax.custom_jvp
@jax.jit
def exp_excess(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(x) - 1 - x >= 0`, without cancellation near 0."""
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0)
    series = jnp.zeros_like(x)
    for n in range(20, 1, -1):
        series = series * small + 1.0 / math.factorial(n)
    large = jnp.where(near, 1, x)
    return jnp.where(near, series * small * small, jnp.expm1(large) - large)


exp_excess.defjvps(lambda dx, _, x: jnp.expm1(x) * dx)


@jax.custom_jvp
@jax.jit
def exp_bregman(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x exp(x) - exp(x) + 1 >= 0`, without cancellation near 0; 1 at -inf."""
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0)
    large = jnp.where(near | (x == -jnp.inf), -1, x)
    apart = jnp.where(x == -jnp.inf, 1, large * jnp.exp(large) - jnp.expm1(large))
    return jnp.where(near, jnp.exp(small) * exp_excess(-small), apart)


exp_bregman.defjvps(
    lambda dx, _, x: jnp.where(x == -jnp.inf, 0, jnp.where(x == -jnp.inf, 0, x) * jnp.exp(x)) * dx
)


@jax.custom_jvp
@jax.jit
def log1p_deficit(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x - log(1 + x) >= 0` for x > -1, without cancellation near 0."""
    near = jnp.abs(x) < 0.5
    small = jnp.where(near, x, 0)
    t = small / (2 + small)
    large = jnp.where(near, 1, x)
    return jnp.where(near, small * t - 2 * _odd_tail(t), large - jnp.log1p(large))


def _log1p_deficit_slope(x: Float[Array, "..."]) -> Float[Array, "..."]:
    small = jnp.where(x < 1, x, 0)
    return jnp.where(x < 1, small / (1 + small), 1 - 1 / (1 + jnp.where(x < 1, 1, x)))


log1p_deficit.defjvps(lambda dx, _, x: _log1p_deficit_slope(x) * dx)


def bregman_xlogx(d: Float[Array, "..."]) -> Float[Array, "..."]:
    """`(1 + d) log(1 + d) - d >= 0` for |d| < 1/2 (the series branch only)."""
    t = d / (2 + d)
    return d * t + 2 * (1 + d) * _odd_tail(t)


@jax.jit
def relative_entropy_terms(p: Float[Array, "..."], q: Float[Array, "..."]) -> Float[Array, "..."]:
    """`p log(p/q) - p + q >= 0` elementwise; `q` where p = 0, `+inf` where p > 0 = q.

    `q ((1+d) log(1+d) - d)` with `d = (p - q)/q` where p and q are near, so that the sum is right
    in float32 when the two arrays nearly agree.
    """
    both = (p > 0) & (q > 0)
    near = both & (jnp.abs(p - q) < q / 2)
    q_near = jnp.where(near, q, 1)
    d = jnp.where(near, p - q, 0) / q_near
    small = q_near * bregman_xlogx(d)
    apart = both & ~near
    p_far, q_far = jnp.where(apart, p, 2), jnp.where(apart, q, 1)
    ratio = p_far / q_far
    fits = jnp.isfinite(ratio) & (ratio > 0)
    log_ratio = jnp.where(fits, jnp.log(jnp.where(fits, ratio, 1)), jnp.log(p_far) - jnp.log(q_far))
    large = p_far * (log_ratio - 1) + q_far
    alone = jnp.where(p > 0, jnp.inf, q)  # at most one of the two is positive
    return jnp.where(near, small, jnp.where(apart, large, jnp.where(both, 0, alone)))


def floor_at_zero(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`max(x, 0)` against rounding, with the whole derivative at 0, where `maximum` has half."""
    return jnp.where(x < 0, 0, x)


def negative_xlogx(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """`-p log p`, 0 at p = 0 with gradient 0 there."""
    safe = jnp.where(p > 0, p, 1)
    return -safe * jnp.log(safe)
