"""Functions of `integral p^a q^(1-a)`: Rényi, alpha, chi-squared, Hellinger."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from vikl._typing import Array, Float
from vikl.divergences import _exponential, _finite, _power_kernels
from vikl.divergences import _generators as generators
from vikl.divergences._pairs import Pair, pair, unsupported
from vikl.divergences._power_kernels import Order, choose

_KERNELS = {
    "normal": _power_kernels.normal,
    "multivariate_normal": _power_kernels.multivariate_normal,
    "laplace": _power_kernels.laplace,
}


def order(alpha: Any) -> Order:
    """Return the order as a Python float, or as the traced scalar that it is."""
    if isinstance(alpha, Tracer):
        if alpha.ndim:
            raise ValueError(
                f"`alpha` should be one number; got shape {alpha.shape}. Do use `jax.vmap`."
            )
        return alpha
    number = float(alpha)
    if math.isnan(number):
        raise ValueError("`alpha` should be a number; got nan. Do pass a finite order.")
    return number


def _kernel(two: Pair, a: Array, regime: str | None) -> Array:
    """Return the gap of order a >= 1/2."""
    if two.family in _KERNELS:
        return _KERNELS[two.family](two.p, two.q, a)
    return _exponential.gap(two.family, two.p, two.q, a, regime)


def _over_log(x: Array) -> Array:
    """`-log(1 - x) / x`, 1 at 0."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 1, -jnp.log1p(-jnp.where(x == 0, 0, x)) / safe)


def _over_exp(x: Array) -> Array:
    """`(1 - exp(-x)) / x`, 1 at 0."""
    safe = jnp.where(x == 0, 1, x)
    return jnp.where(x == 0, 1, -jnp.expm1(-jnp.where(x == 0, 0, x)) / safe)


def alpha_of_finite(rows: _finite.Rows, a: Array) -> Array:
    """Return the alpha divergence of finitely many outcomes."""
    return jnp.sum(generators.alpha(a).of(*rows), -1)


@jax.jit
def _alpha_of_rows(two: Pair, a: Array) -> Array:
    rows = _finite.rows(two)
    assert rows is not None
    return alpha_of_finite(rows, a)


def gap(two: Pair, a: Order) -> Array | None:
    """`-log(integral p^a q^(1-a)) / (a (1 - a))`, over the factors; None if unknown."""
    if two.family not in ("bernoulli", "categorical", "binomial"):
        if two.family not in _KERNELS and two.family not in _exponential.FAMILIES:
            return None
    dtype = next(iter(two.p.values())).dtype
    if isinstance(a, Tracer):
        a = jnp.asarray(a, dtype)
        high = _gap(two, jnp.maximum(a, 0.5), None)
        return jnp.where(a >= 0.5, high, _gap(two.swapped(), jnp.maximum(1 - a, 0.5), None))
    two, a = (two, a) if a >= 0.5 else (two.swapped(), 1 - a)
    return _gap(two, jnp.asarray(a, dtype), "inside" if a <= 1 else "above")


@functools.partial(jax.jit, static_argnums=2)
def _gap(two: Pair, a: Array, regime: str | None) -> Array:
    """Return the gap; the order is traced, so one compilation serves a whole regime."""
    if two.family in ("bernoulli", "categorical", "binomial"):
        return two.total(_finite_gap(two, a))
    return two.total(_kernel(two, a, regime))


def _finite_gap(two: Pair, a: Array) -> Array:
    """From the sum over the outcomes; a binomial is so many trials of its Bernoulli."""
    rows = _finite.rows(two.as_bernoulli() if two.family == "binomial" else two)
    assert rows is not None
    value, product = alpha_of_finite(rows, a), a * (1 - a)
    infinite = jnp.isinf(value)
    finite = jnp.where(infinite, 0, value)
    values = jnp.where(infinite, jnp.inf, finite * _over_log(product * finite))
    if two.family == "binomial":
        values = values * jnp.asarray(two.total_count).astype(values.dtype)
    return values


def _gap_or_raise(what: str, p: Any, q: Any, a: Order) -> tuple[Pair, Array]:
    two = pair(what, p, q)
    values = gap(two, a)
    if values is None:
        raise unsupported(what, p, q)
    return two, values


def _product_of(values: Array, a: Order) -> Array:
    """`(1 - exp(-a (1 - a) R)) / (a (1 - a))`, its limit where R is infinite."""
    product = a * (1 - a)
    infinite = jnp.isinf(values)
    finite = jnp.where(infinite, 0, values)
    inside = (a > 0) & (a < 1) if isinstance(a, Tracer) else 0 < a < 1
    limit = choose(
        inside, lambda: _reciprocal(product, values), lambda: jnp.inf * jnp.ones_like(values)
    )
    return jnp.where(infinite, limit, finite * _over_exp(product * finite))


def _reciprocal(product: Order, like: Array) -> Array:
    safe = jnp.where(jnp.equal(product, 0), 1, product)
    return jnp.broadcast_to(1 / jnp.asarray(safe, like.dtype), like.shape)


def renyi_divergence(p: Any, q: Any, alpha: Any) -> Float[Array, "..."]:
    """Rényi divergence of order alpha, `log(integral p^alpha q^(1 - alpha)) / (alpha - 1)`.

    It is KL(p || q) at alpha = 1, 0 at alpha = 0 for densities of one support, and
    `log max(p/q)` at alpha = inf (finite outcomes and normals only). It does not fall with alpha.
    For alpha < 0 it is `alpha / (1 - alpha)` times the divergence of order 1 - alpha of (q, p),
    so not positive.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.
        alpha: any real order, or `math.inf`; a number or a traced scalar.

    Returns:
        One number (nats) for each batch entry; `+inf` where the integral diverges.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: if there is no closed form; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import renyi_divergence
        >>> print(renyi_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0), 2.0))
        1.0

    References:
        van Erven and Harremoës (2014), Rényi divergence and Kullback-Leibler divergence;
        Gil, Alajaji and Linder (2013), Rényi divergence measures for commonly used distributions.
    """
    what, a = "Rényi divergence", order(alpha)
    if isinstance(a, float) and math.isinf(a):
        return _largest_ratio(what, p, q, a)
    two, values = _gap_or_raise(what, p, q, a)
    zero = a == 0 if isinstance(a, float) else jnp.equal(a, 0)
    scaled = choose(zero, lambda: _order_zero(two, values), lambda: a * values)
    return two.finish(scaled)


def _order_zero(two: Pair, values: Array) -> Array:
    """`-log Q(p > 0)`: 0 unless an outcome of q is impossible under p."""
    if two.family not in ("bernoulli", "categorical", "binomial"):
        return jnp.zeros_like(values)
    single = two.as_bernoulli() if two.family == "binomial" else two
    rows = _finite.rows(single)
    assert rows is not None
    log_p, log_q, _ = rows
    lost = jnp.sum(jnp.where(log_p > -jnp.inf, 0, jnp.exp(log_q)), -1)
    result = -jnp.log1p(-jnp.minimum(lost, 1))
    if two.family == "binomial":  # p = (0, 1) leaves one outcome, (1 - lost) to the power n
        result = result * jnp.asarray(two.total_count).astype(result.dtype)
    return two.total(result)


def _largest_ratio(what: str, p: Any, q: Any, a: float) -> Array:
    """Return order +inf: the largest log ratio."""
    if a < 0:
        raise ValueError("`alpha` should be above -inf; got -inf. Do swap p and q and use inf.")
    two = pair(what, p, q)
    rows = _finite.rows(two)
    if rows is not None:
        return two.finish(two.total(jnp.max(jnp.where(rows[0] > -jnp.inf, rows[2], -jnp.inf), -1)))
    if two.family != "normal":
        raise unsupported(f"{what} of infinite order", p, q)
    log_ratio = jnp.log(two.q["scale"] / two.p["scale"])
    distance = two.p["loc"] - two.q["loc"]
    room = (two.q["scale"] - two.p["scale"]) * (two.q["scale"] + two.p["scale"])
    equal = (distance == 0) & (room >= 0)
    shift = jnp.where(room > 0, distance**2 / jnp.where(room > 0, 2 * room, 1), jnp.inf)
    return two.finish(two.total(jnp.where(equal, 0, shift) + jnp.where(room < 0, 0, log_ratio)))


def alpha_divergence(p: Any, q: Any, alpha: Any) -> Float[Array, "..."]:
    """Return the alpha divergence, `(1 - integral p^alpha q^(1 - alpha)) / (alpha (1 - alpha))`.

    Minka's convention: KL(p || q) at alpha = 1, KL(q || p) at alpha = 0, four times the squared
    Hellinger distance at 1/2, half of chi-squared at 2. Amari's is the same with
    `alpha_Amari = 2 alpha - 1` (or 1 - 2 alpha, by author), Cressie and Read's power divergence has
    `lambda = alpha - 1`.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.
        alpha: any real number, or a traced scalar; the limits at 0 and 1 are exact.

    Returns:
        One number for each batch entry; never negative; `+inf` where the integral diverges, and
        `1 / (alpha (1 - alpha))` where p and q do not overlap and 0 < alpha < 1.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit, or alpha is infinite.
        NotImplementedError: if there is no closed form; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import alpha_divergence
        >>> print(alpha_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0), 1.0))
        0.5

    References:
        Minka (2005), Divergence measures and message passing; Amari (1985),
        Differential-geometrical methods in statistics.
    """
    a = order(alpha)
    if isinstance(a, float) and math.isinf(a):
        raise ValueError(f"`alpha` should be finite; got {a}. Do use `renyi_divergence` for inf.")
    two = pair("alpha divergence", p, q)
    if two.family in ("bernoulli", "categorical") and two.factors == 0:
        return two.finish(_alpha_of_rows(two, jnp.asarray(a, next(iter(two.p.values())).dtype)))
    two, values = _gap_or_raise("alpha divergence", p, q, a)
    return two.finish(_product_of(values, a))
