"""Classes: sums of p log(p/q) − p + q, which is never negative; from logits, one log1p of such."""

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


def _difference(zp: Array, zq: Array) -> Array:
    """Return zp − zq, with 0 where both are the same infinity."""
    same = (zp == zq) & jnp.isinf(zp)
    return jnp.where(same, 0.0, jnp.where(same, 0.0, zp) - jnp.where(same, 0.0, zq))


def _centred(zp: Array, difference: Array) -> tuple[Array, Array, Array]:
    """Return p = softmax(zp), e = difference − E_p[difference] where p > 0, and that mean."""
    p = jnp.exp(zp - _log_sum_exp(zp))
    difference = jnp.where(p > 0, difference, 0.0)
    mean = (p * difference).sum(-1, keepdims=True)
    return p, jnp.where(p > 0, difference - mean, 0.0), mean


@jax.custom_jvp
def logits_divergence(zp: Array, zq: Array, difference: Array) -> Array:
    """KL of softmax(zp) from softmax(zq) over the last axis; `difference` is zp − zq to rounding.

    With e = difference − E_p[difference], KL = log E_p[exp(−e)] = log1p(Σ p (expm1(−e) + e)):
    one logarithm of a sum of non-negative terms. Any constant in the logits is harmless.
    """
    top = jax.lax.stop_gradient(zp.max(-1, keepdims=True))
    possible = zp > -jnp.inf
    zp, zq = zp - top, zq - top
    p, e, mean = _centred(zp, difference)
    near = (p > 0) & (jnp.abs(e) < 1.0)
    # p exp(−e) from zq, not from p: classes that p has hardly or not at all still count
    exponent = zq - _log_sum_exp(zp) + mean
    calm = exponent.max(-1, keepdims=True) < (600.0 if zp.dtype == np.float64 else 60.0)
    far = jnp.exp(jnp.where(calm & ~near, exponent, 0.0)) - p * (1.0 - e)
    total = jnp.where(near, p * expm1_minus(-jnp.where(near, e, 0.0)), far).sum(-1)
    direct = (_log_sum_exp(zq) - _log_sum_exp(zp) + mean)[..., 0]
    calm = calm[..., 0]
    value = jnp.where(calm, jnp.log1p(jnp.where(calm, jnp.maximum(total, 0.0), 0.0)), direct)
    return jnp.where((possible & jnp.isneginf(zq)).any(-1), jnp.inf, value)


@logits_divergence.defjvp
def _logits_divergence_jvp(primals, tangents):
    zp, zq, difference = primals
    value = logits_divergence(zp, zq, difference)
    p, e, _ = _centred(zp, difference)
    near = (p > 0) & (jnp.abs(e) < 1.0)
    # q − p = p expm1(−(e + KL)), the first slope is p e: both vanish exactly at p = q
    log_ratio = jnp.where(near, e + value[..., None], 0.0)
    apart = jnp.exp(zq - _log_sum_exp(zq)) - p
    slope_q = jnp.where(near, p * jnp.expm1(-log_ratio), apart)
    zp_dot = jnp.where(p > 0, tangents[0], 0.0)
    return value, (p * e * zp_dot + slope_q * jnp.where(zq > -jnp.inf, tangents[1], 0.0)).sum(-1)


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
    zp, zq = jnp.broadcast_arrays(logits_p, logits_q)
    return logits_divergence(zp, zq, _difference(zp, zq))


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
    delta = _difference(zp, zq)
    calm = jnp.abs(delta) < 60.0
    safe = jnp.where(calm, delta, 0.0)
    near = jnp.log1p(p1 * expm1_minus(-safe * p0) + p0 * expm1_minus(safe * p1))
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
    delta = _difference(zp, zq)
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
