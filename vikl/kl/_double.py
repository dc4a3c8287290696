"""Double-word arithmetic: a number as an unevaluated sum of two floats, about twice the digits.

Used where a divergence has no form without cancellation: Cholesky factors of covariances and the
mixed pairs. In float32 that gives some 14 digits without float64, which x64-off JAX, GPUs and TPUs
do not have or have slowly. Method: Dekker (1971), "A floating-point technique for extending the
available precision"; Knuth's two-sum. Products are split by bit masks, so every partial product is
exact and the result does not depend on whether the compiler fuses multiply and add.

Derivatives are those of the plain operation, carried by the high word.
"""

# a custom rule may return Python numbers:
# pyright: reportArgumentType=false

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


@_elementary(lambda _, a, b: (1.0, 1.0))
def _add(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    s, e = _two_sum(ah, bh)
    return _finite(s, _fast_two_sum(s, e + (al + bl)))


def _product(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    (p, q), (r, t) = split(ah), split(bh)
    s, e = _fast_two_sum(p * r, p * t)
    s, f = _fast_two_sum(s, q * r)
    return _fast_two_sum(s, (e + f) + (q * t + (ah * bl + al * bh)))


@_elementary(lambda _, a, b: (b, a))
def _multiply(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    return _finite(ah * bh, _product(ah, al, bh, bl))


@_elementary(lambda y, a, b: (1.0 / b, -y / b))
def _divide(ah: Array, al: Array, bh: Array, bl: Array) -> Words:
    first = ah / bh
    high, low = _product(first, jnp.zeros_like(first), bh, bl)
    return _finite(first, _fast_two_sum(first, ((ah - high) + (al - low)) / bh))


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

    def _lift(self, other: Any) -> "Double":
        if isinstance(other, Double):
            return other
        if isinstance(other, (int, float)):
            dtype = self.hi.dtype.type
            high = dtype(other)
            return Double(
                jnp.full_like(self.hi, high),
                jnp.full_like(self.hi, dtype(float(other) - float(high))),
            )
        other = jnp.asarray(other, self.hi.dtype)
        return Double(other)

    def _binary(self, operation: Callable, left: "Double", right: "Double") -> "Double":
        words = jnp.broadcast_arrays(left.hi, left.lo, right.hi, right.lo)
        return Double(*operation(*words))

    def __add__(self, other):
        return self._binary(_add, self, self._lift(other))

    def __sub__(self, other):
        return self._binary(_add, self, -self._lift(other))

    def __mul__(self, other):
        return self._binary(_multiply, self, self._lift(other))

    def __truediv__(self, other):
        return self._binary(_divide, self, self._lift(other))

    def __rsub__(self, other):
        return self._binary(_add, self._lift(other), -self)

    def __rtruediv__(self, other):
        return self._binary(_divide, self._lift(other), self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return Double(-self.hi, -self.lo)

    def __getitem__(self, index):
        return Double(self.hi[index], self.lo[index])

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


def where(condition: Array, x: Any, y: Any) -> Any:
    """Select between two double-word or two plain numbers."""
    if isinstance(x, Double) or isinstance(y, Double):
        x = x if isinstance(x, Double) else y._lift(x)
        y = y if isinstance(y, Double) else x._lift(y)
        return Double(jnp.where(condition, x.hi, y.hi), jnp.where(condition, x.lo, y.lo))
    return jnp.where(condition, x, y)


# log 2; `Double._lift` splits it into two float32 words
_LN2 = float(np.log(2.0))


def log(x: Any) -> Any:
    """Natural logarithm; of a plain array `jnp.log`, of a double word to its full precision."""
    if not isinstance(x, Double):
        return jnp.log(x)
    mantissa, exponent = jnp.frexp(jnp.where((x.hi > 0) & (x.hi < jnp.inf), x.hi, 1.0))
    low = mantissa < np.sqrt(0.5)
    exponent = (exponent - low.astype(exponent.dtype)).astype(x.hi.dtype)
    scale = jnp.where(low, 2.0 * mantissa, mantissa) / jnp.where(x.hi > 0, x.hi, 1.0)
    m = Double(jnp.where(low, 2.0 * mantissa, mantissa), x.lo * scale)
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    # atanh series: from the seventh power on, plain floats are exact enough
    series = Double(_tail(square.hi, tuple(1.0 / odd for odd in (7, 9, 11, 13, 15, 17, 19))))
    for odd in (5, 3, 1):
        series = series * square + 1.0 / odd
    result = (s * series) * 2.0 + Double(exponent) * _LN2
    edge = jnp.where(x.hi == 0, -jnp.inf, jnp.where(x.hi == jnp.inf, jnp.inf, jnp.nan))
    inside = (x.hi > 0) & (x.hi < jnp.inf)
    return Double(jnp.where(inside, result.hi, edge), jnp.where(inside, result.lo, 0.0))


def exp(x: Any) -> Any:
    """Exponential; of a double word by one Newton step on `log`."""
    if not isinstance(x, Double):
        return jnp.exp(x)
    guess = jnp.exp(x.hi)
    safe = (guess > 0) & (guess < jnp.inf)
    rest = x - log(Double(jnp.where(safe, guess, 1.0)))
    return Double(guess, jnp.where(safe, guess * rest.value, 0.0))


def lgamma(x: Any) -> Any:
    """Log-gamma for x > 0, also in double words."""
    if not isinstance(x, Double):
        return jax.lax.lgamma(x)
    small = x.hi < 10.0
    # a loop, not ten copies of its body: compiling takes longer than running
    product = jax.lax.fori_loop(
        0,
        10,
        lambda k, product: product * where(small, x + k.astype(x.hi.dtype), 1.0),
        Double(jnp.ones_like(x.hi)),
    )
    high = where(small, x + 10.0, x)
    inverse = 1.0 / high
    square = inverse * inverse
    tail = Double(_tail(square.hi, (1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)))
    series = (tail * square + (-1.0 / 360.0)) * square + 1.0 / 12.0
    main = (high - 0.5) * log(high) - high + (0.5 * float(np.log(2 * np.pi)))
    return main + series * inverse - log(product)


def digamma(x: Any) -> Any:
    """Digamma for x > 0, also in double words."""
    if not isinstance(x, Double):
        return jax.lax.digamma(x)
    small = x.hi < 10.0
    shift = jax.lax.fori_loop(
        0,
        10,
        lambda k, shift: shift + where(small, 1.0 / (x + k.astype(x.hi.dtype)), 0.0),
        Double(jnp.zeros_like(x.hi)),
    )
    high = where(small, x + 10.0, x)
    inverse = 1.0 / high
    square = inverse * inverse
    tail = Double(_tail(square.hi, (1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)))
    series = (tail * square + (-1.0 / 120.0)) * square + 1.0 / 12.0
    return log(high) - inverse * 0.5 - series * square - shift


def each(function: Callable[[Any], Any], *arguments: Any) -> list[Any]:
    """Apply `function` to each argument; to double words in one stacked call, compiled once."""
    if not isinstance(arguments[0], Double):
        return [function(x) for x in arguments]
    stacked = Double(jnp.stack([x.hi for x in arguments]), jnp.stack([x.lo for x in arguments]))
    result = function(stacked)
    return [result[i] for i in range(len(arguments))]


def trigamma(x: Any) -> Any:
    """Trigamma for x > 0, also in double words."""
    if not isinstance(x, Double):
        return jax.scipy.special.polygamma(1, x)
    small = x.hi < 10.0

    def add(k: Array, shift: Double) -> Double:
        shifted = x + k.astype(x.hi.dtype)
        return shift + where(small, 1.0 / (shifted * shifted), 0.0)

    shift = jax.lax.fori_loop(0, 10, add, Double(jnp.zeros_like(x.hi)))
    high = where(small, x + 10.0, x)
    inverse = 1.0 / high
    square = inverse * inverse
    tail = Double(_tail(square.hi, (1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)))
    series = (tail * square + (-1.0 / 30.0)) * square + 1.0 / 6.0
    return shift + inverse + square * 0.5 + series * square * inverse


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
        return formula(*[Double(x) for x in arguments]).value

    @kernel.defjvp
    def _rule(primals, tangents):
        return kernel(*primals), jax.jvp(formula, primals, tangents)[1]

    def call(*arguments: Array) -> Array:
        return kernel(*jnp.broadcast_arrays(*arguments))

    return call
