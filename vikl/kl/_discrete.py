"""Classes: sums of p log(p/q) − p + q, which is never negative; from logits, one log1p of such."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ._kernel import Value, extended, kernel, logits, probability, simplex
from ._stable import entropy_term, expm1_minus


@kernel(probs_p=simplex, probs_q=simplex)
def categorical(probs_p: Value, probs_q: Value) -> Array:
    """KL(p‖q) of two categorical distributions given by probabilities; the last axis is the event.

    Σ p log(p/q) as Σ [p log(p/q) − p + q]. +inf where p > 0 = q; 0 log 0 = 0.

    Args:
        probs_p: probabilities of p, shape (..., classes), summing to one.
        probs_q: probabilities of q, shape (..., classes), summing to one.

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> round(float(kl.categorical(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]))), 6)
    0.693147

    Source: Cover and Thomas (2006), "Elements of Information Theory", section 2.3.
    """
    return entropy_term(probs_p, probs_q).sum(-1)  # type: ignore[arg-type]


def _log_sum_exp(z: Array) -> Array:
    top = jax.lax.stop_gradient(z.max(-1, keepdims=True))
    return top + jnp.log(jnp.exp(z - top).sum(-1, keepdims=True))


def two_difference(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a − b and its rounding error, which is 0 where that is not finite."""
    s = a - b
    t = s - a
    return s, jnp.where(jnp.isfinite(s), (a - (s - t)) - (b + t), 0.0)


class _Tilt(NamedTuple):
    """What value and slopes of a divergence of classes share."""

    value: Array
    p: Array
    e: Array  # log p − log q less its mean under p
    slope_q: Array  # q − p


def _tilt(zp: Array, lp: Array, zq: Array, lq: Array, difference: Array) -> _Tilt:
    """From log weights as words (high, low), zp at most 0, and `difference`, log p − log q + c."""
    weight = jnp.exp(zp) * (1.0 + lp)
    total_p = weight.sum(-1, keepdims=True)
    p = weight / total_p
    difference = jnp.where(p > 0, difference, 0.0)
    mean = (p * difference).sum(-1, keepdims=True)
    e = jnp.where(p > 0, difference - mean, 0.0)
    near = (p > 0) & (jnp.abs(e) < 1.0)
    # p exp(−e) from zq, not from p: classes that p has hardly or not at all still count
    lift = mean - jnp.log(total_p)
    calm = zq.max(-1, keepdims=True) + lift < (600.0 if zp.dtype == np.float64 else 60.0)
    apart = jnp.abs(lift) < 20.0  # a rounded sum in the exponent would cost digits
    exponent = jnp.where(calm & ~near, zq + jnp.where(apart, 0.0, lift), 0.0)
    q = jnp.exp(exponent) * jnp.exp(jnp.where(apart, lift, 0.0)) * (1.0 + lq)
    rest = q - p * (1.0 - e)
    terms = jnp.where(near, p * expm1_minus(-jnp.where(near, e, 0.0)), rest)
    total = jnp.where(calm, jnp.maximum(terms.sum(-1, keepdims=True), 0.0), 0.0)
    total_q = _log_sum_exp(zq)
    value = jnp.where(calm, jnp.log1p(total), total_q + lift)
    # q − p = p expm1(−(e + KL)) vanishes exactly at p = q
    change = jnp.expm1(-jnp.where(near, e + value, 0.0))
    slope_q = jnp.where(near, p * change, jnp.exp(zq - total_q) * (1.0 + lq) - p)
    impossible = ((zp > -jnp.inf) & jnp.isneginf(zq)).any(-1)
    return _Tilt(jnp.where(impossible, jnp.inf, value[..., 0]), p, e, slope_q)


def _slope(tilt: _Tilt, zq: Array, zp_dot: Array, zq_dot: Array) -> Array:
    slope_p = tilt.p * tilt.e * jnp.where(tilt.p > 0, zp_dot, 0.0)
    return (slope_p + tilt.slope_q * jnp.where(zq > -jnp.inf, zq_dot, 0.0)).sum(-1)


def _shifted(zp: Array, zq: Array, difference: Array) -> _Tilt:
    top = jax.lax.stop_gradient(zp.max(-1, keepdims=True))
    nothing = jnp.zeros_like(zp)
    return _tilt(zp - top, nothing, zq - top, nothing, difference)


@jax.custom_jvp
def logits_divergence(zp: Array, zq: Array, difference: Array) -> Array:
    """KL of softmax(zp) from softmax(zq) over the last axis; `difference` is zp − zq to rounding.

    With e = difference − E_p[difference], KL = log E_p[exp(−e)] = log1p(Σ p (expm1(−e) + e)):
    one logarithm of a sum of non-negative terms. Any constant in the logits is harmless.
    """
    return _shifted(zp, zq, difference).value


@logits_divergence.defjvp
def _logits_divergence_jvp(primals, tangents):
    tilt = _shifted(*primals)
    return tilt.value, _slope(tilt, primals[1], tangents[0], tangents[1])


def _referred(zp: Array, zq: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Logits relative to those of p's likeliest class, in words, and their exact difference.

    Logits carry an arbitrary constant; rounding it in would drown a difference of the rest.
    """
    top = jax.lax.stop_gradient(zp.max(-1, keepdims=True))
    other = jax.lax.stop_gradient(jnp.where(zp == top, zq, -jnp.inf).max(-1, keepdims=True))
    hp, lp = two_difference(zp, top)
    hq, lq = two_difference(zq, jnp.where(jnp.isfinite(other), other, 0.0))
    gap, rounding = two_difference(hp, hq)
    difference = gap + (rounding + (lp - lq))
    return hp, lp, hq, lq, jnp.where(jnp.isfinite(difference), difference, 0.0)


@jax.custom_jvp
def _logits_formula(zp: Array, zq: Array) -> Array:
    return _tilt(*_referred(zp, zq)).value


@_logits_formula.defjvp
def _logits_formula_jvp(primals, tangents):
    tilt = _tilt(*_referred(*primals))
    return tilt.value, _slope(tilt, primals[1], *tangents)


@kernel(logits_p=logits, logits_q=logits)
def categorical_logits(logits_p: Value, logits_q: Value) -> Array:
    """KL(p‖q) of two categorical distributions given by unnormalised log-probabilities.

    log E_p[exp(−e)] with e = (logits_p − logits_q) − E_p[logits_p − logits_q]. −inf logits are
    classes of probability zero; +inf where p has a class that q has not.

    Args:
        logits_p: logits of p, shape (..., classes); any constant may be added.
        logits_q: logits of q, shape (..., classes); any constant may be added.

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> float(kl.categorical_logits(jnp.array([0.0, 1.0]), jnp.array([3.0, 4.0])))
    0.0

    Source: Cover and Thomas (2006), "Elements of Information Theory", section 2.3.
    """
    return _logits_formula(*jnp.broadcast_arrays(logits_p, logits_q))


def logits_gap(zp: Array, zq: Array) -> tuple[Array, Array]:
    """Return zp − zq and its rounding error, 0 where both are the same infinity."""
    same = (zp == zq) & jnp.isinf(zp)
    gap, rounding = two_difference(jnp.where(same, 0.0, zp), jnp.where(same, 0.0, zq))
    return gap, rounding


def bernoulli_formula(p: Array, q: Array) -> Array:
    """KL of two Bernoullis by probability of success, unchecked."""
    return entropy_term(p, q) + entropy_term(1.0 - p, 1.0 - q, q - p)


@kernel(probs_p=probability, probs_q=probability)
def bernoulli(probs_p: Value, probs_q: Value) -> Array:
    """KL(p‖q) of two Bernoulli distributions given by the probability of success.

    Args:
        probs_p: probability of success under p, between 0 and 1.
        probs_q: probability of success under q, between 0 and 1.

    >>> from vikl import kl
    >>> round(float(kl.bernoulli(1.0, 0.5)), 6)
    0.693147
    """
    return bernoulli_formula(probs_p, probs_q)  # type: ignore[arg-type]


@jax.custom_jvp
def bernoulli_logits_formula(zp: Array, zq: Array) -> Array:
    """KL of two Bernoullis by logits, unchecked: `logits_divergence` of two classes, unrolled."""
    p1, p0 = jax.nn.sigmoid(zp), jax.nn.sigmoid(-zp)
    delta, rounding = logits_gap(zp, zq)
    calm = jnp.abs(delta) < 60.0
    safe = jnp.where(calm, delta, 0.0)
    down, up = -safe * p0, safe * p1
    total = p1 * expm1_minus(down) + p0 * expm1_minus(up)
    total = total + p1 * p0 * (jnp.expm1(up) - jnp.expm1(down)) * rounding
    near = jnp.log1p(jnp.maximum(total, 0.0))
    log1 = jax.nn.log_sigmoid(zp) - jax.nn.log_sigmoid(zq)
    log0 = jax.nn.log_sigmoid(-zp) - jax.nn.log_sigmoid(-zq)
    direct = jnp.where(p1 > 0, p1 * log1, 0.0) + jnp.where(p0 > 0, p0 * log0, 0.0)
    impossible = (jnp.isneginf(zq) & (zp > -jnp.inf)) | ((zq == jnp.inf) & (zp < jnp.inf))
    return jnp.where(impossible, jnp.inf, jnp.where(calm, near, direct))


@bernoulli_logits_formula.defjvp
def _bernoulli_logits_jvp(primals, tangents):
    zp, zq = primals
    p1, p0 = jax.nn.sigmoid(zp), jax.nn.sigmoid(-zp)
    q1, q0 = jax.nn.sigmoid(zq), jax.nn.sigmoid(-zq)
    delta = logits_gap(zp, zq)[0]
    variance = p1 * p0
    slope_p = jnp.where(variance > 0, variance * jnp.where(variance > 0, delta, 0.0), 0.0)
    fall = jnp.expm1(-jnp.abs(delta))
    slope_q = jnp.where(delta >= 0, p1 * q0 * fall, -q1 * p0 * fall)
    return bernoulli_logits_formula(zp, zq), slope_p * tangents[0] + slope_q * tangents[1]


@kernel(logits_p=extended, logits_q=extended)
def bernoulli_logits(logits_p: Value, logits_q: Value) -> Array:
    """KL(p‖q) of two Bernoulli distributions given by log-odds, which may be ±inf.

    Args:
        logits_p: log-odds of success under p.
        logits_q: log-odds of success under q.

    >>> from vikl import kl
    >>> round(float(kl.bernoulli_logits(40.0, -40.0)), 4)
    40.0
    """
    return bernoulli_logits_formula(*jnp.broadcast_arrays(logits_p, logits_q))
