"""Double-word arithmetic: a number as an unevaluated sum of two floats, about twice the digits.

Used where a divergence has no form without cancellation: Cholesky factors of covariances and the
mixed pairs. In float32 that gives some 14 digits without float64, which x64-off JAX, GPUs and TPUs
do not have or have slowly. Method: Dekker (1971), "A floating-point technique for extending the
available precision"; Knuth's two-sum. Products are split by bit masks, so every partial product is
exact and the result does not depend on whether the compiler fuses multiply and add.

Derivatives of `Double` are those of the plain operation, carried by the high word. `Bare` has none
and does not look after infinities: it is what `compensated` computes with, where every operation
counts, since compiling them is what a first call costs.
"""

# a custom rule may return Python numbers:
# pyright: reportArgumentType=false

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np

from .._typing import Array
from ._stable import split

Words = tuple[Array, Array]


def _two_sum(a: Array, b: Array) -> Words:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _fast_two_sum(a: Array, b: Array) -> Words:
    """Return the same for |a| >= |b|."""
    s = a + b
    return s, b - (s - a)


def _finite(plain: Array, words: Words) -> Words:
    """Return the words of a result, or the plain result where that is infinite or NaN."""
    fine = jnp.isfinite(plain)
    return jnp.where(fine, words[0], plain), jnp.where(fine, words[1], 0.0)


def _elementary(slopes: Callable[..., tuple]) -> Callable[[Callable[..., Words]], Callable]:
    """Give a function of words the derivative `slopes(value, *high_words)`, on the high word."""

    def decorate(function: Callable[..., Words]) -> Callable[..., Words]:
        differentiable = jax.custom_jvp(function)

        @differentiable.defjvp
        def _rule(primals, tangents):
            value = differentiable(*primals)
            moves = [h + low for h, low in zip(tangents[::2], tangents[1::2], strict=True)]
            factors = slopes(value[0], *primals[::2])
            move = sum(f * m for f, m in zip(factors, moves, strict=True))
            return value, (move, jnp.zeros_like(value[1]))

        return differentiable

    return decorate


def _sum(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    s, e = _two_sum(ah, bh)
    return _fast_two_sum(s, e + (al + bl))


def _product(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    (p, q), (r, t) = split(ah), split(bh)
    s, e = _fast_two_sum(p * r, p * t)
    s, f = _fast_two_sum(s, q * r)
    return _fast_two_sum(s, (e + f) + (q * t + (ah * bl + al * bh)))


def _quotient(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    first = ah / bh
    high, low = _product(first, jnp.zeros_like(first), bh, bl)
    return _fast_two_sum(first, ((ah - high) + (al - low)) / bh)


@_elementary(lambda _, a, b: (1.0, 1.0))
def _add(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    return _finite(ah + bh, _sum(ah, al, bh, bl))


@_elementary(lambda _, a, b: (b, a))
def _multiply(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    return _finite(ah * bh, _product(ah, al, bh, bl))


@_elementary(lambda y, a, b: (1.0 / b, -y / b))
def _divide(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    return _finite(ah / bh, _quotient(ah, al, bh, bl))


@_elementary(lambda y, a: (0.5 / y,))
def _sqrt(ah: Array, al: Array) -> Words:
    y = jnp.sqrt(ah)
    zero = jnp.zeros_like(y)
    high, low = _product(y, zero, y, zero)
    rest = ((ah - high) + (al - low)) / (2.0 * jnp.where(y > 0, y, 1.0))
    return _finite(y, _fast_two_sum(y, rest))


@jax.tree_util.register_pytree_node_class
class Double:
    """An array as `hi + lo` with |lo| at most half a unit in the last place of hi."""

    add, multiply, divide = staticmethod(_add), staticmethod(_multiply), staticmethod(_divide)

    def __init__(self, hi: Array, lo: Array | None = None):
        self.hi = hi
        self.lo = jnp.zeros_like(hi) if lo is None else lo

    def tree_flatten(self):
        """Flatten to the two words."""
        return (self.hi, self.lo), None

    @classmethod
    def tree_unflatten(cls, _, words):
        """Rebuild from the two words, whatever they are (JAX passes placeholders)."""
        new = object.__new__(cls)
        new.hi, new.lo = words
        return new

    @property
    def value(self) -> Array:
        """The nearest plain number."""
        return self.hi + self.lo

    def new(self, hi: Array, lo: Array | None = None) -> "Double":
        """Make another of the same class."""
        return type(self)(hi, lo)

    def lift(self, other: Any) -> "Double":
        """Return `other` as words; of a Python number to their full precision."""
        if isinstance(other, Double):
            return other
        if isinstance(other, (int, float)):
            return self.new(*(jnp.full_like(self.hi, w) for w in _words(other, self.hi)))
        return self.new(jnp.asarray(other, self.hi.dtype))

    def _binary(self, operation: Callable, left: "Double", right: "Double") -> "Double":
        words = (left.hi, left.lo, right.hi, right.lo)
        if left.hi.shape != right.hi.shape:
            words = jnp.broadcast_arrays(*words)
        return self.new(*operation(*words))

    def __add__(self, other):
        return self._binary(self.add, self, self.lift(other))

    def __sub__(self, other):
        return self._binary(self.add, self, -self.lift(other))

    def __mul__(self, other):
        if isinstance(other, float) and abs(math.frexp(other)[0]) == 0.5:  # a power of two
            return self.new(self.hi * other, self.lo * other)
        return self._binary(self.multiply, self, self.lift(other))

    def __truediv__(self, other):
        return self._binary(self.divide, self, self.lift(other))

    def __rsub__(self, other):
        return self._binary(self.add, self.lift(other), -self)

    def __rtruediv__(self, other):
        return self._binary(self.divide, self.lift(other), self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return self.new(-self.hi, -self.lo)

    def __getitem__(self, index):
        return self.new(self.hi[index], self.lo[index])

    def sum(self, axis: int = -1) -> "Double":
        """Sum over an axis, pairwise, in double words."""
        total = Double(jnp.moveaxis(self.hi, axis, 0), jnp.moveaxis(self.lo, axis, 0))
        while (size := total.hi.shape[0]) > 1:
            half = size // 2
            head = total[:half] + total[half : 2 * half]
            tail = total[2 * half :]
            total = Double(jnp.concatenate([head.hi, tail.hi]), jnp.concatenate([head.lo, tail.lo]))
        return total[0]


def sqrt(x: Double) -> Double:
    """Square root in double words."""
    return Double(*_sqrt(x.hi, x.lo))


@jax.tree_util.register_pytree_node_class
class Bare(Double):
    """Double words without derivatives; an infinity spoils them, which `compensated` mends."""

    add, multiply, divide = staticmethod(_sum), staticmethod(_product), staticmethod(_quotient)


def _words(number: float, like: Array) -> tuple[Any, Any]:
    """Return the two words of a Python number."""
    dtype = like.dtype.type
    high = dtype(number)
    return high, dtype(float(number) - float(high))


def _nudged(number: float, small: Array) -> Bare:
    """Return `number + small`, a constant to full precision and a plain, much smaller rest."""
    high, low = _words(number, small)
    # not `_fast_two_sum`, which XLA takes for (high + small) − high when `high` is a constant
    return Bare(*_two_sum(small + low, jnp.full_like(small, high)))


def where(condition: Array, x: Any, y: Any) -> Any:
    """Select between two double-word or two plain numbers."""
    if isinstance(x, Double) or isinstance(y, Double):
        x = x if isinstance(x, Double) else y.lift(x)
        y = y if isinstance(y, Double) else x.lift(y)
        return x.new(*(jax.lax.select(condition, v, w) for v, w in ((x.hi, y.hi), (x.lo, y.lo))))
    return jnp.where(condition, x, y)


_LN2 = float(np.log(2.0))
_ROOT_HALF = int(np.float32(np.sqrt(0.5)).view(np.int32))


def log(x: Any) -> Any:
    """Natural logarithm; of a plain array `jnp.log`, of double words to their full precision."""
    if not isinstance(x, Bare):
        return jnp.log(x)
    inside = (x.hi > 0) & (x.hi < jnp.inf)
    hi = jnp.where(inside, x.hi, 1.0)
    bits = jax.lax.bitcast_convert_type(hi, jnp.int32)
    exponent = (bits - _ROOT_HALF) >> 23
    m = jax.lax.bitcast_convert_type(bits - (exponent << 23), hi.dtype)  # in [√½, √2)
    rest = x.lo * (m / hi)
    s = Bare(*_two_sum(m - 1.0, rest)) / (Bare(m, rest) + 1.0)
    square = s * s
    # atanh series: in its last terms plain floats are exact enough
    tail = square.hi * _tail(square.hi, tuple(1.0 / odd for odd in (7, 9, 11, 13, 15, 17, 19)))
    series = _nudged(1.0 / 5.0, tail) * square + 1.0 / 3.0
    result = (s + s * (square * series)) * 2.0 + Bare(exponent.astype(hi.dtype)) * _LN2
    edge = jnp.where(x.hi == 0, -jnp.inf, jnp.where(x.hi == jnp.inf, jnp.inf, jnp.nan))
    return Bare(jnp.where(inside, result.hi, edge), jnp.where(inside, result.lo, 0.0))


def exp(x: Any) -> Any:
    """Exponential; of double words by one Newton step on `log`."""
    if not isinstance(x, Bare):
        return jnp.exp(x)
    guess = jnp.exp(x.hi)
    safe = (guess > 0) & (guess < jnp.inf)
    rest = x - log(Bare(jnp.where(safe, guess, 1.0)))
    return Bare(guess, jnp.where(safe, guess * rest.value, 0.0))


def each(function: Callable[[Any], Any], *arguments: Any) -> list[Any]:
    """Apply `function` to each argument; to double words in one stacked call, compiled once."""
    if not isinstance(arguments[0], Double):
        return [function(x) for x in arguments]
    stacked = Bare(jnp.stack([x.hi for x in arguments]), jnp.stack([x.lo for x in arguments]))
    result = function(stacked)
    return [result[i] for i in range(len(arguments))]


def _risen(x: Bare, start: float, step: Callable[[Bare, Bare], Bare]) -> tuple[Bare, Bare]:
    """Return x, or x + 10 where it is below 10, and ten steps of a recurrence to make up for it.

    A loop, not ten copies of its body: compiling takes longer than running.
    """
    small = x.hi < 10.0

    def body(k: Array, total: Bare) -> Bare:
        return where(small, step(total, x + jnp.asarray(k, x.hi.dtype)), total)

    total = jax.lax.fori_loop(0, 10, body, Bare(jnp.full_like(x.hi, start)))
    return where(small, x + 10.0, x), total


def lgamma(x: Any) -> Any:
    """Log-gamma for x > 0, also in double words."""
    if not isinstance(x, Bare):
        return jax.lax.lgamma(x)
    high, product = _risen(x, 1.0, lambda total, x: total * x)
    inverse = 1.0 / high
    square = inverse.hi * inverse.hi
    tail = _tail(square, (-1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156))
    log_high, log_product = each(log, high, product)
    main = (high - 0.5) * log_high - high + (0.5 * float(np.log(2 * np.pi)))
    return main + _nudged(1 / 12, square * tail) * inverse - log_product


def digamma(x: Any) -> Any:
    """Digamma for x > 0, also in double words."""
    if not isinstance(x, Bare):
        return jax.lax.digamma(x)
    high, shift = _risen(x, 0.0, lambda total, x: total + 1.0 / x)
    inverse = 1.0 / high
    square = inverse * inverse
    tail = _tail(square.hi, (-1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12))
    series = _nudged(1 / 12, square.hi * tail)
    return log(high) - inverse * 0.5 - series * square - shift


def trigamma(x: Any) -> Any:
    """Trigamma for x > 0, also in double words."""
    if not isinstance(x, Bare):
        return jax.scipy.special.polygamma(1, x)
    high, shift = _risen(x, 0.0, lambda total, x: total + 1.0 / (x * x))
    inverse = 1.0 / high
    square = inverse * inverse
    tail = _tail(square.hi, (-1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6))
    series = _nudged(1 / 6, square.hi * tail)
    return shift + inverse + square * 0.5 + series * (square * inverse)


def _tail(square: Array, coefficients: tuple[float, ...]) -> Array:
    total = jnp.full_like(square, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * square + c
    return total


def compensated(formula: Callable[..., Any]) -> Callable[..., Array]:
    """Evaluate `formula` in double words when its arguments are float32, plainly in float64.

    The formula must use only `+ - * /` and this module's functions. Its derivative is always the
    plain formula's: derivatives lose far less to cancellation than the value.
    """

    @jax.custom_jvp
    def kernel(*arguments: Array) -> Array:
        if arguments[0].dtype == np.float64:
            return formula(*arguments)
        value = formula(*[Bare(x) for x in arguments]).value
        # an infinity on the way, which may well cancel: the plain formula knows
        return jnp.where(jnp.isfinite(value), value, formula(*arguments))

    @kernel.defjvp
    def _rule(primals, tangents):
        return kernel(*primals), jax.jvp(formula, primals, tangents)[1]

    def call(*arguments: Array) -> Array:
        # Fused with what surrounds it, and its slopes, LLVM's loop vectorizer in jax 0.12 takes
        # exponential time in the length of this code (`vputils::onlyFirstLaneUsed`).
        fenced = jax.lax.optimization_barrier(jnp.broadcast_arrays(*arguments))
        return jax.lax.optimization_barrier(kernel(*fenced))

    return call
