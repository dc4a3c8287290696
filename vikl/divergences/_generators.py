"""Generators of f-divergences: `D_f(p || q) = E_q f(p/q)`, f convex, f(1) = 0.

A `Generator` is written in log ratios and from both sides, so that nothing overflows and nothing
cancels: `low(w) = f(e^w)` for w = log p - log q <= 0, weighted by q; and `high(w) = e^w f(e^-w)`,
the same divergence seen from p, for w = log q - log p <= 0, weighted by p. f is normalised to
`f'(1) = 0`, which changes no divergence and makes every term non-negative.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from vikl._typing import Array, Float
from vikl.divergences._power_kernels import Order, choose, over
from vikl.info._stable import exp_bregman, exp_excess, log1p_deficit

Half = Callable[[Float[Array, "..."]], Float[Array, "..."]]
Tangent = Callable[[Float[Array, "..."]], tuple[Float[Array, "..."], Float[Array, "..."]]]


@dataclasses.dataclass(frozen=True)
class Generator:
    """One f-divergence.

    Attributes:
        name: for messages.
        low: `f(e^w)` for w <= 0, with f(1) = f'(1) = 0.
        high: `e^w f(e^-w)` for w <= 0.
        at_zero: f(0), the price of q's mass where p has none.
        at_infinity: the limit of f(u)/u, the price of p's mass where q has none.
        kink: whether f has a corner at 1, so that quadrature must split there.
        tangent: of f at u = e^w, any w: its slope f'(u), and u f'(u) - f(u), which is minus its
            value at 0 and the conjugate f* at that slope. None: by differentiating `low`, `high`.
    """

    name: str
    low: Half
    high: Half
    at_zero: Order
    at_infinity: Order
    kink: bool = False
    tangent: Tangent | None = None

    @property
    def parts(self) -> tuple[Any, ...]:
        """What `of` needs, in the order of the fields.

        Equal for two generators made alike, as the generators are not: their functions are new.
        """
        return self.low, self.high, self.at_zero, self.at_infinity, self.kink

    @property
    def compiles(self) -> bool:
        """Whether to compile for it: not for a user's functions.

        Those may be new ones at each call, and may close over what is being traced. Prices are
        numbers but where `from_function` computed them, or for an order that is traced.
        """
        modules = (getattr(half, "__module__", None) or "" for half in (self.low, self.high))
        numbers = all(isinstance(v, float) for v in (self.at_zero, self.at_infinity))
        return numbers and all(name.startswith("vikl.") for name in modules)

    def of(self, log_p: Array, log_q: Array, w: Array) -> Array:
        """Return the non-negative terms `q f(p/q)`, from log densities and their difference w."""
        finite = jnp.isfinite(w)
        down = jnp.where(finite & (w <= 0), w, 0)
        up = jnp.where(finite & (w > 0), -w, 0)
        below = _weighted(log_q, self.low(down))
        above = _weighted(log_p, self.high(up))
        # no weight where both are positive: an infinite price would make its gradient NaN
        no_p = _priced(jnp.where(finite, -jnp.inf, log_q), jnp.full_like(w, self.at_zero))
        no_q = _priced(jnp.where(finite, -jnp.inf, log_p), jnp.full_like(w, self.at_infinity))
        alone = jnp.where(w > 0, no_q, no_p)
        return jnp.where(finite, jnp.where(w > 0, above, below), alone)


def _weighted(log_weight: Array, value: Array) -> Array:
    """`exp(log_weight) * value`, 0 where the weight is 0."""
    positive = log_weight > -jnp.inf
    return jnp.where(positive, jnp.exp(jnp.where(positive, log_weight, 0)) * value, 0)


def _priced(log_weight: Array, price: Array) -> Array:
    """`_weighted`, where the price may be infinite; the gradient of that is 0."""
    dear = jnp.isposinf(price)
    finite = _weighted(log_weight, jnp.where(dear, 0, price))
    return jnp.where(dear & (log_weight > -jnp.inf), jnp.inf, finite)


def from_function(f: Callable[[Array], Array], name: str = "f-divergence") -> Generator:
    """Return a `Generator` from a plain convex function of `u = p/q` with f(1) = 0.

    Args:
        f: elementwise and differentiable by jax; f(0) may be infinite.
        name: for messages.

    Returns:
        A generator that is right to rounding of f: near p = q about half the digits are lost,
        unlike in the ones of `vikl.generators`. Where p > 0 = q the result is NaN,
        because the limit of f(u)/u is not known; give a `Generator` with `at_infinity` to say it.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.divergences import generators
        >>> generators.from_function(lambda u: u * jnp.log(u)).name
        'f-divergence'
    """
    slope = jax.grad(lambda u: jnp.sum(f(u)))(jnp.ones(()))

    def normalised(u: Array) -> Array:
        return f(u) - slope.astype(u.dtype) * (u - 1)

    def high(w: Array) -> Array:
        u = jnp.exp(-w)
        return jnp.exp(w) * normalised(u)

    at_zero = normalised(jnp.zeros(()))
    at_zero = jnp.where(jnp.isnan(at_zero), normalised(jnp.full((), 1e-30)), at_zero)
    return Generator(name, lambda w: normalised(jnp.exp(w)), high, at_zero, math.nan)


def _skew_low(w: Array, a: float) -> Array:
    """`r log(r / m) - r + m` with r = e^w and m = (1-a) r + a."""
    m = 1 + (1 - a) * jnp.expm1(w)
    near = w > -1
    log_ratio = jnp.where(near, -jnp.log1p(a * jnp.expm1(-jnp.where(near, w, 0))), w - jnp.log(m))
    return m * exp_bregman(log_ratio)


def _skew_high(w: Array, a: float) -> Array:
    """`-log(m) - 1 + m` with m = (1-a) + a e^w."""
    return exp_excess(w) if a == 1 else log1p_deficit(a * jnp.expm1(w))


def skew_kl(weight: float) -> Generator:
    """`KL(p || (1 - weight) p + weight q)`; weight = 1 is KL(p || q)."""
    a = _unit("weight", weight)
    return Generator(
        "skew KL divergence",
        lambda w: _skew_low(w, a),
        lambda w: _skew_high(w, a),
        a,
        math.inf if a == 1 else -math.log1p(-a) - a,
        tangent=lambda w: _skew_tangent(w, a),
    )


def jensen_shannon(weights: tuple[float, float] = (0.5, 0.5)) -> Generator:
    """`w0 KL(p || m) + w1 KL(q || m)`, m = w0 p + w1 q; at most `H(w)`."""
    first, second = _unit("weights[0]", weights[0]), _unit("weights[1]", weights[1])
    if abs(first + second - 1) > 1e-6:
        raise ValueError(
            f"`weights` should sum to one; got {weights}. Do divide them by their sum."
        )
    return Generator(
        "Jensen-Shannon divergence",
        lambda w: first * _skew_low(w, second) + second * _skew_high(w, first),
        lambda w: second * _skew_low(w, first) + first * _skew_high(w, second),
        -second * math.log(second) if second > 0 else 0.0,
        -first * math.log(first) if first > 0 else 0.0,
        tangent=lambda w: _shannon_tangent(w, first, second),
    )


def _log_mixture(w: Array, first: float, second: float) -> Array:
    """`log(first e^w + second)`."""
    logs = [math.log(share) if share > 0 else -math.inf for share in (first, second)]
    return jnp.logaddexp(w + logs[0], jnp.full_like(w, logs[1]))


def _shannon_tangent(w: Array, first: float, second: float) -> tuple[Array, Array]:
    log_m = _log_mixture(w, first, second)
    return first * (w - log_m), second * log_m


def _skew_tangent(w: Array, a: float) -> tuple[Array, Array]:
    log_m = _log_mixture(w, 1 - a, a)
    return (w - log_m) + a * jnp.expm1(-log_m), a * jnp.expm1(w - log_m)


def _unit(name: str, value: float) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError(f"`{name}` should lie in [0, 1]; got {value}. Do pass a share.")
    return number


def _alpha_high(w: Array, order: Order) -> Array:
    """`(b E(w) - E(b w)) / (b (1 - b))`, E = expm1, of order b <= 1/2, by the excesses of E."""
    return (exp_excess(w) - over(exp_excess(order * w), order)) / (1 - order)


def _alpha_low(w: Array, order: Order) -> Array:
    """Return the same of order a >= 1/2: `(w e^w - E(w) - e^w k(-bw) / b) / a`, b = 1 - a."""
    b = 1 - order
    near = jnp.abs(w) < 1
    small = jnp.where(near, w, 0)
    shifted = jnp.exp(small) * exp_excess(-b * small)
    far = jnp.exp((1 - b) * w) - jnp.exp(w) + b * w * jnp.exp(w)
    return (exp_bregman(w) - over(jnp.where(near, shifted, far), b)) / order


def _alpha_half(w: Array, order: Order) -> Array:
    if isinstance(order, Tracer):
        high = _alpha_high(w, jnp.minimum(order, 0.5))
        return jnp.where(order < 0.5, high, _alpha_low(w, jnp.maximum(order, 0.5)))
    return choose(order < 0.5, lambda: _alpha_high(w, order), lambda: _alpha_low(w, order))


def _alpha_tangent(w: Array, order: Order) -> tuple[Array, Array]:
    """Slope and conjugate of order a: `(u^(a-1) - 1) / (a-1)` and `(u^a - 1) / a`."""
    return _power_log(w, order - 1), _power_log(w, order)


def _power_log(w: Array, order: Order) -> Array:
    """`expm1(order w) / order`; w at order 0."""
    return jnp.where(jnp.equal(order, 0), w, over(jnp.expm1(order * w), order))


def alpha(order: Order) -> Generator:
    """`(1 - E_q (p/q)^order) / (order (1 - order))`; KL(p || q) at 1, KL(q || p) at 0."""
    inf = math.inf
    if isinstance(order, Tracer):
        at_zero = jnp.where(order > 0, 1 / jnp.where(order > 0, order, 1), inf)
        at_infinity = jnp.where(order < 1, 1 / jnp.where(order < 1, 1 - order, 1), inf)
    else:
        at_zero = 1 / order if order > 0 else inf
        at_infinity = 1 / (1 - order) if order < 1 else inf
    return Generator(
        "alpha divergence",
        lambda w: _alpha_half(w, order),
        lambda w: _alpha_half(w, 1 - order),
        at_zero,
        at_infinity,
        tangent=lambda w: _alpha_tangent(w, order),
    )


def kl() -> Generator:
    """`KL(p || q)`: f(u) = u log u - u + 1."""
    tangent = lambda w: (w, jnp.expm1(w))
    return Generator("KL divergence", exp_bregman, exp_excess, 1.0, math.inf, tangent=tangent)


def reverse_kl() -> Generator:
    """`KL(q || p)`: f(u) = u - 1 - log u."""
    return dataclasses.replace(swapped(kl()), name="reverse KL divergence")


def swapped(generator: Generator) -> Generator:
    """Return the divergence with its arguments exchanged: `D(q || p)` for `D(p || q)`."""
    return dataclasses.replace(
        generator,
        name=f"{generator.name} of swapped arguments",
        low=generator.high,
        high=generator.low,
        at_zero=generator.at_infinity,
        at_infinity=generator.at_zero,
        tangent=None if generator.tangent is None else _swapped_tangent(generator.tangent),
    )


def _swapped_tangent(tangent: Tangent) -> Tangent:
    """Of u f(1/u): slope and conjugate change places and signs, at 1/u."""

    def other(w: Array) -> tuple[Array, Array]:
        slope, conjugate = tangent(-w)
        return -conjugate, -slope

    return other


def jeffreys() -> Generator:
    """`KL(p || q) + KL(q || p)`: f(u) = (u - 1) log u."""
    both = lambda w: w * jnp.expm1(w)
    tangent = lambda w: (w - jnp.expm1(-w), w + jnp.expm1(w))
    return Generator("Jeffreys divergence", both, both, math.inf, math.inf, tangent=tangent)


def chi_squared() -> Generator:
    """Pearson's `E_q (p/q - 1)^2`."""
    return Generator(
        "chi-squared divergence",
        lambda w: jnp.expm1(w) ** 2,
        lambda w: jnp.expm1(w) ** 2 * jnp.exp(-w),
        1.0,
        math.inf,
        tangent=lambda w: (2 * jnp.expm1(w), jnp.expm1(2 * w)),
    )


def squared_hellinger() -> Generator:
    """`1 - integral of sqrt(p q)`: f(u) = (sqrt(u) - 1)^2 / 2."""
    half = lambda w: jnp.expm1(w / 2) ** 2 / 2
    tangent = lambda w: (-jnp.expm1(-w / 2) / 2, jnp.expm1(w / 2) / 2)
    return Generator("squared Hellinger distance", half, half, 0.5, 0.5, tangent=tangent)


def total_variation() -> Generator:
    """Half the integral of |p - q|: f(u) = |u - 1| / 2."""
    half = lambda w: -jnp.expm1(w) / 2
    tangent = lambda w: (jnp.sign(w) / 2, jnp.sign(w) / 2)
    return Generator("total variation distance", half, half, 0.5, 0.5, kink=True, tangent=tangent)
