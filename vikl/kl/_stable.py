"""Small non-negative functions every divergence is a sum of, with derivatives that are stable too.

Each is a Bregman divergence of an elementary convex function, so it cannot be negative and it has a
double zero where its arguments agree. The textbook forms subtract nearly equal numbers there; these
do not. All of them are branch-free (`where` over two finite branches) and work in any float dtype.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array


def is_wide(x: Array) -> bool:
    """Whether `x` is float64, where series need more terms (known at trace time)."""
    return x.dtype == np.float64


def horner(coefficients: Sequence[float], x: Array) -> Array:
    """Evaluate c[0] + c[1] x + c[2] x² + ... with python-float coefficients."""
    total = jnp.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


def _atanh_tail(square: Array) -> Array:
    """1/3 + s²/5 + s⁴/7 + ...: log1p(x) = 2s + 2s³ · tail, where s = x / (2 + x) and s² <= 1/9."""
    terms = 17 if is_wide(square) else 7
    return horner([1.0 / (2 * k + 3) for k in range(terms)], square)


@jax.custom_jvp
def _phi(x: Array, ratio: Array) -> Array:
    near = (x >= -0.5) & (x <= 1.0)
    small = jnp.where(near, x, 0.0)
    s = small / (2.0 + small)
    square = s * s
    series = s * (small - 2.0 * square * _atanh_tail(square))
    return jnp.where(near, series, x - jnp.log(jnp.where(near, 1.0, ratio)))


@_phi.defjvp
def _phi_jvp(primals, tangents):
    x, ratio = primals
    # through the ratio, not through x = ratio − 1, whose slopes cancel where the ratio is small
    return _phi(x, ratio), (x / ratio) * tangents[1]


def phi(x: Array, ratio: Array | None = None) -> Array:
    """Return x − log1p(x) >= 0. Pass `ratio` = 1 + x where that is known without rounding."""
    x, ratio = jnp.broadcast_arrays(x, 1.0 + x if ratio is None else ratio)
    return _phi(x, ratio)


# (log1p(x) − x + x²/2) / x³ for x between √½ − 1 and √2 − 1, of the Cephes library's logf
_LOG_TAIL = (
    3.3333331174e-1, -2.4999993993e-1, 2.0000714765e-1, -1.6668057665e-1, 1.4249322787e-1,
    -1.2420140846e-1, 1.1676998740e-1, -1.1514610310e-1, 7.0376836292e-2,
)  # fmt: skip


def quick_phi(x: Array, ratio: Array) -> Array:
    """φ without a division in float32, where ½x² is added to it: alone it has a digit less."""
    if is_wide(x):
        return _phi(x, ratio)
    near = (x > -0.29) & (x < 0.41)
    return jnp.where(near, x * x * (0.5 - x * horner(_LOG_TAIL, x)), x - jnp.log(ratio))


def log_ratio(p: Array, q: Array, difference: Array | None = None) -> Array:
    """Return log(p / q), exact also when the two nearly agree; p = 0 gives the finite log(tiny)."""
    tiny = np.finfo(p.dtype).tiny
    difference = p - q if difference is None else difference
    x = difference / jnp.where(q == 0, 1.0, q)
    near = jnp.abs(x) < 0.5
    quotient = jnp.maximum(p / jnp.where(q == 0, 1.0, q), tiny)
    return jnp.where(
        near, jnp.log1p(jnp.where(near, x, 0.0)), jnp.log(jnp.where(near, 1.0, quotient))
    )


@jax.custom_jvp
def _entropy_term(p: Array, q: Array, difference: Array) -> Array:
    total = p + q
    s = difference / jnp.where(total == 0, 1.0, total)
    square = s * s
    near = square <= 1.0 / 9.0
    series = s * (difference + 2.0 * p * square * _atanh_tail(square))
    # p log(p/q) − difference, not q (r log r − d), which overflows where q is tiny
    ratio = jnp.where(near | (p == 0), 1.0, p / q)
    return jnp.where(near, series, p * jnp.log(ratio) - difference)


@_entropy_term.defjvp
def _entropy_term_jvp(primals, tangents):
    p, q, difference = primals
    value = _entropy_term(p, q, difference)
    safe, total = jnp.where(q == 0, 1.0, q), p + q
    s = difference / jnp.where(total == 0, 1.0, total)
    near = s * s <= 1.0 / 9.0
    small = jnp.where(near, s, 0.0)
    square = small * small
    # d/dp = log(p / q), kept finite at p = 0 so that a softmax in front of it gives 0 and not NaN
    ratio = jnp.where(near, 1.0, jnp.maximum(p / safe, np.finfo(p.dtype).tiny))
    log = 2.0 * small * (1.0 + square * _atanh_tail(square)) + jnp.log(ratio)
    slope_p = jnp.where(q == 0, 0.0, log)
    slope_q = jnp.where(q == 0, 0.0, -difference / safe)
    return value, slope_p * tangents[0] + slope_q * tangents[1]


def entropy_term(p: Array, q: Array, difference: Array | None = None) -> Array:
    """Return p log(p / q) − p + q >= 0, with 0 log 0 = 0 and +inf where p > 0 = q.

    `difference` is p − q where it is known better than by subtracting (1 − p against 1 − q).
    The slope in p is log(p / q), that in q is 1 − p / q; both are finite everywhere.
    """
    difference = p - q if difference is None else difference
    p, q, difference = jnp.broadcast_arrays(p, q, difference)
    return _entropy_term(p, q, difference)


_FACTORIALS = np.cumprod([1.0, *range(1, 24)])


@jax.custom_jvp
def expm1_minus(w: Array) -> Array:
    """expm1(w) − w >= 0."""
    near = jnp.abs(w) < 1.0
    small = jnp.where(near, w, 0.0)
    terms = 17 if is_wide(w) else 9
    series = small * small * horner([1.0 / float(_FACTORIALS[k + 2]) for k in range(terms)], small)
    return jnp.where(near, series, jnp.expm1(w) - w)


@expm1_minus.defjvp
def _expm1_minus_jvp(primals, tangents):
    (w,) = primals
    return expm1_minus(w), jnp.expm1(w) * tangents[0]


def two_product_difference(a: Array, b: Array, c: Array, d: Array) -> Array:
    """a·b − c·d, exact to rounding of the result even when the two products nearly agree."""
    a, b, c, d = jnp.broadcast_arrays(a, b, c, d)
    return _two_product_difference(a, b, c, d)


def split(x: Array) -> tuple[Array, Array]:
    """High and low half of the significand: products of halves are exact.

    A bit mask, not Dekker's multiplication: exact products survive whatever the compiler fuses.
    """
    if is_wide(x):
        integer, mask = jnp.uint64, np.uint64(0xFFFFFFFFF8000000)
    else:
        integer, mask = jnp.uint32, np.uint32(0xFFFFF000)
    bits = jax.lax.bitcast_convert_type(x, integer)
    high = jax.lax.bitcast_convert_type(bits & mask, x.dtype)
    return high, x - high


@jax.custom_jvp
def _two_product_difference(a: Array, b: Array, c: Array, d: Array) -> Array:
    (ah, al), (bh, bl), (ch, cl), (dh, dl) = split(a), split(b), split(c), split(d)
    middle = (ah * bl - ch * dl) + (al * bh - cl * dh)
    return (ah * bh - ch * dh) + (middle + (al * bl - cl * dl))


@_two_product_difference.defjvp
def _two_product_difference_jvp(primals, tangents):
    a, b, c, d = primals
    da, db, dc, dd = tangents
    return _two_product_difference(a, b, c, d), (a * db + b * da) - (c * dd + d * dc)


# Second derivative of log Gamma is 1/x + 1/(2x²) + 1/(6x³) − 1/(30x⁵) + ..., so log Gamma is
# x log x − x − ½ log x + Σ c_n x^(−n) with these c_n (n = 1, 3, 5, ...): Stirling's series.
STIRLING = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400,
    43867 / 244188, -174611 / 125400,
)  # fmt: skip


def _inverse_power_bregman(i: Array, j: Array, n: int) -> Array:
    """Bregman divergence of x^(−n) from A = 1/i to B = 1/j, without the factor (B − A)² i² j."""
    total = jnp.ones_like(i)  # coefficient n − l of j^l i^(n−1−l), by Horner in j from l = n − 1
    power = jnp.ones_like(i)
    for weight in range(2, n + 1):
        power = power * i
        total = total * j + weight * power
    return total


class _Sizes(NamedTuple):
    """Shifts of the recurrence and terms of the series after it."""

    shifts: int
    terms: int


def _sizes(x: Array) -> _Sizes:
    return _Sizes(11, 9) if is_wide(x) else _Sizes(5, 4)


def _rise(k: Array, alpha: Array, a: Array, delta: Array) -> tuple[Array, Array]:
    """Return x = δ / (low · high) of one step of the recurrence, and φ(x)."""
    low, high = a + k, alpha + (k + 1)
    x = delta / (low * high)
    return x, phi(x, ((alpha + k) / low) * ((a + (k + 1)) / high))


def _risen(body: Callable[[Array, Any], Any], start: Any, alpha: Array) -> Any:
    """Loop over the steps of the recurrence: unrolled, they would take long to compile."""
    return jax.lax.fori_loop(
        0, _sizes(alpha).shifts, lambda k, total: body(k.astype(alpha.dtype), total), start
    )


@jax.custom_jvp
def _lgamma_smooth_bregman(alpha: Array, a: Array, delta: Array) -> Array:
    step = lambda k, total: total + (alpha + (k + 1)) * _rise(k, alpha, a, delta)[1]
    total = _risen(step, jnp.zeros_like(delta), alpha)
    shifts, terms = _sizes(alpha)
    low, high = a + shifts, alpha + shifts
    i, j = 1.0 / low, 1.0 / high
    tail = jnp.zeros_like(delta)
    for index in reversed(range(terms)):
        tail += STIRLING[index] * _inverse_power_bregman(i, j, 2 * index + 1)
    scaled = delta * i
    return total + 0.5 * phi(scaled, high / low) + scaled * scaled * j * tail


@_lgamma_smooth_bregman.defjvp
def _lgamma_smooth_bregman_jvp(primals, tangents):
    alpha, a, delta = primals  # delta is alpha − a, and moves with them

    def step(k: Array, slopes: tuple[Array, Array]) -> tuple[Array, Array]:
        x, bend = _rise(k, alpha, a, delta)
        low = a + k
        fall = (x / low) * ((alpha + (k + 1)) / (low + 1))
        return slopes[0] + (bend + x / (alpha + k)), slopes[1] + fall

    nothing = jnp.zeros_like(delta)
    rise, fall = _risen(step, (nothing, nothing), alpha)
    shifts, terms = _sizes(alpha)
    i, j = 1.0 / (a + shifts), 1.0 / (alpha + shifts)
    # of −½ log x and of the c x^(−n): n c (i^(n+1) − j^(n+1)), and n (n+1) c i^(n+2) δ
    power, powers, tail = jnp.ones_like(i), jnp.ones_like(i), jnp.full_like(i, 0.5)
    for n in range(1, 2 * terms):
        power = power * i
        powers = powers * j + power
        if n % 2:
            tail += n * STIRLING[n // 2] * powers
    bends = [n * (n + 1) * c for n, c in zip(range(1, 2 * terms, 2), STIRLING)]
    rise = rise + delta * i * j * tail
    fall = fall + delta * i * i * (0.5 + i * horner(bends, i * i))
    return _lgamma_smooth_bregman(*primals), rise * tangents[0] - fall * tangents[1]


def lgamma_smooth_bregman(alpha: Array, a: Array, difference: Array | None = None) -> Array:
    """Bregman divergence D(alpha, a) >= 0 of log Γ(x) − x log x + x, a convex function.

    By the recurrence Γ(x + 1) = x Γ(x), D(alpha, a) = (alpha + 1) φ(δ / (a (alpha + 1))) + D one
    higher, which is repeated until Stirling's series holds. No term is negative but a tiny tail.
    """
    delta = alpha - a if difference is None else difference
    return _lgamma_smooth_bregman(*jnp.broadcast_arrays(alpha, a, delta))


def lgamma_bregman(alpha: Array, a: Array, difference: Array | None = None) -> Array:
    """Bregman divergence of log Γ: lgamma(alpha) − lgamma(a) − (alpha − a) digamma(a) >= 0."""
    return lgamma_smooth_bregman(alpha, a, difference) + entropy_term(alpha, a, difference)
