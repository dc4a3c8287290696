"""Counts: Poisson, binomial, geometric, negative binomial, and the pairs between them."""

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ._discrete import bernoulli_formula, bernoulli_logits_formula, logits_gap
from ._kernel import (
    Value,
    count,
    extended,
    interior_probability,
    kernel,
    non_negative,
    positive,
    probability,
)
from ._stable import STIRLING, entropy_term, expm1_minus, horner, is_wide


@kernel(rate_p=non_negative, rate_q=non_negative)
def poisson(rate_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of two Poisson distributions; a rate may be zero.

    Args:
        rate_p: rate of p, not negative.
        rate_q: rate of q, not negative.

    >>> from vikl import kl
    >>> float(kl.poisson(0.0, 1.5))
    1.5
    """
    return entropy_term(rate_p, rate_q)  # type: ignore[arg-type]


def _repeated(count_p: Array, count_q: Array, one: Array, certain_zero: Array) -> Array:
    """`count_p` times the KL of one trial; no closed form (NaN) where q has more trials."""
    value = jnp.where(one == 0, 0.0, count_p * one)
    value = jnp.where(count_p > count_q, jnp.where(certain_zero, value, jnp.inf), value)
    return jnp.where(count_p < count_q, jnp.nan, value)


@kernel(total_count_p=count, probs_p=probability, total_count_q=count, probs_q=probability)
def binomial(total_count_p: Value, probs_p: Value, total_count_q: Value, probs_q: Value) -> Array:
    """KL(p‖q) of two binomials: `total_count` times that of one trial.

    +inf where p has more trials than q; NaN where it has fewer, which has no closed form.

    Args:
        total_count_p: number of trials under p (integers allowed).
        probs_p: probability of success under p.
        total_count_q: number of trials under q (integers allowed).
        probs_q: probability of success under q.

    >>> from vikl import kl
    >>> round(float(kl.binomial(2, 1.0, 2, 0.5)), 6)
    1.386294
    """
    one = bernoulli_formula(probs_p, probs_q)  # type: ignore[arg-type]
    return _repeated(total_count_p, total_count_q, one, probs_p == 0)  # type: ignore[arg-type]


@kernel(total_count_p=count, logits_p=extended, total_count_q=count, logits_q=extended)
def binomial_logits(
    total_count_p: Value, logits_p: Value, total_count_q: Value, logits_q: Value
) -> Array:
    """KL(p‖q) of two binomials given by log-odds: `total_count` times that of one trial.

    +inf where p has more trials than q; NaN where it has fewer, which has no closed form.

    Args:
        total_count_p: number of trials under p (integers allowed).
        logits_p: log-odds of success under p.
        total_count_q: number of trials under q (integers allowed).
        logits_q: log-odds of success under q.

    >>> from vikl import kl
    >>> float(kl.binomial_logits(3, 0.5, 3, 0.5))
    0.0
    """
    one = bernoulli_logits_formula(*jnp.broadcast_arrays(logits_p, logits_q))
    return _repeated(total_count_p, total_count_q, one, jnp.isneginf(logits_p))  # type: ignore[arg-type]


@kernel(probs_p=interior_probability, probs_q=probability)
def geometric(probs_p: Value, probs_q: Value) -> Array:
    """KL(p‖q) of two geometrics, pmf (1 − probs)^k probs for k = 0, 1, ...

    The KL of one trial times the expected number of trials, 1 / probs_p.

    Args:
        probs_p: probability of success under p, above 0.
        probs_q: probability of success under q.

    >>> from vikl import kl
    >>> float(kl.geometric(0.5, 0.5))
    0.0
    """
    return bernoulli_formula(probs_p, probs_q) / probs_p  # type: ignore[arg-type, operator]


def _per_trial_logits(zp: Array, zq: Array) -> Array:
    """KL of one Bernoulli trial over the probability of success, by log-odds."""
    rare = zp < -30.0
    one = bernoulli_logits_formula(zp, zq) * (1.0 + jnp.exp(jnp.where(rare, 0.0, -zp)))
    # successes so rare that 1 − p is one: δ − 1 + log1p(e^zq) / p, as expm1(−δ) + δ where q is too
    low, other = jnp.where(rare, zp, -40.0), jnp.where(rare, zq, -40.0)
    delta, rounding = logits_gap(low, other)
    both = (other < -29.0) & (low > -jnp.inf)  # else δ is not small
    gap = jnp.where(both, -delta, 0.0)
    poisson = expm1_minus(gap) - jnp.expm1(gap) * jnp.where(both, rounding, 0.0)
    root = jnp.exp(-0.5 * low)
    far = root * (root * jax.nn.softplus(other)) + (delta - 1.0)
    certain = jnp.isneginf(zp)  # no success, ever
    value = jnp.where(rare, jnp.where(both, poisson, far), one)
    return jnp.where(certain, jnp.where(jnp.isneginf(zq), 0.0, jnp.inf), value)


@kernel(logits_p=extended, logits_q=extended)
def geometric_logits(logits_p: Value, logits_q: Value) -> Array:
    """KL(p‖q) of two geometrics given by the log-odds of success.

    Args:
        logits_p: log-odds of success under p.
        logits_q: log-odds of success under q.

    >>> from vikl import kl
    >>> float(kl.geometric_logits(0.5, 0.5))
    0.0
    """
    zp, zq = jnp.broadcast_arrays(logits_p, logits_q)
    return _per_trial_logits(zp, zq)


@kernel(total_count_p=positive, probs_p=probability, total_count_q=positive, probs_q=probability)
def negative_binomial(
    total_count_p: Value, probs_p: Value, total_count_q: Value, probs_q: Value
) -> Array:
    """KL(p‖q) of two negative binomials, pmf C(k + r − 1, k) (1 − probs)^r probs^k.

    r / (1 − probs_p) times the KL of one trial. NaN where the counts r differ: no closed form.

    Args:
        total_count_p: r of p, positive.
        probs_p: probability of another success under p, below 1.
        total_count_q: r of q, positive.
        probs_q: probability of another success under q.

    >>> from vikl import kl
    >>> float(kl.negative_binomial(3.0, 0.5, 3.0, 0.5))
    0.0
    """
    one = bernoulli_formula(probs_p, probs_q)  # type: ignore[arg-type]
    value = total_count_p * one / (1.0 - probs_p)  # type: ignore[operator]
    return jnp.where(jnp.equal(total_count_p, total_count_q), value, jnp.nan)


@kernel(total_count_p=positive, logits_p=extended, total_count_q=positive, logits_q=extended)
def negative_binomial_logits(
    total_count_p: Value, logits_p: Value, total_count_q: Value, logits_q: Value
) -> Array:
    """KL(p‖q) of two negative binomials given by log-odds (see `negative_binomial`).

    Args:
        total_count_p: r of p, positive.
        logits_p: log-odds of another success under p, below +inf.
        total_count_q: r of q, positive.
        logits_q: log-odds of another success under q.

    >>> from vikl import kl
    >>> float(kl.negative_binomial_logits(3.0, 0.5, 3.0, 0.5))
    0.0
    """
    zp, zq = jnp.broadcast_arrays(logits_p, logits_q)
    value = total_count_p * _per_trial_logits(-zp, -zq)  # type: ignore[operator]
    return jnp.where(jnp.equal(total_count_p, total_count_q), value, jnp.nan)


@kernel(probs_p=probability, rate_q=non_negative)
def bernoulli_poisson(probs_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a Bernoulli from a Poisson distribution.

    Args:
        probs_p: probability of success under p.
        rate_q: rate of q, not negative.

    >>> from vikl import kl
    >>> float(kl.bernoulli_poisson(0.0, 2.0))
    2.0
    """
    p, q = jnp.broadcast_arrays(probs_p, rate_q)
    return entropy_term(p, q) + entropy_term(1.0 - p, jnp.ones_like(p), -p)


def _stirling_rest(x: Array) -> Array:
    """Return log x! − x log x + x, which is ½ log(2πx) + 1/(12x) − ... and 0 at x = 0."""
    steps = 8 if is_wide(x) else 3  # the fewer, the less is lost in what cancels
    small = x < float(steps)
    high = jnp.where(small, x + float(steps), x)
    inverse = 1.0 / high
    series = inverse * horner(STIRLING[:7], inverse * inverse)
    rest = 0.5 * jnp.log(2.0 * np.pi * high) + series
    product = jnp.ones_like(x)
    for k in range(1, steps + 1):
        product = product * jnp.where(small, (x + k) / high, 1.0)
    safe = jnp.where(x > 0, x, 1.0)
    # log x! = log (x + n)! − Σ log(x + k) for n steps, with the powers of x + n taken out of both
    shifted = rest - jnp.log(product) + x * jnp.log(high / safe) - float(steps)
    return jnp.where(x > 0, jnp.where(small, shifted, rest), 0.0)


@kernel(total_count_p=count, probs_p=probability, rate_q=non_negative)
def binomial_poisson(total_count_p: Value, probs_p: Value, rate_q: Value) -> Array:
    """KL(p‖q) of a binomial from a Poisson distribution.

    With n trials, m failures and M = E[m]: the divergence np log(np/λ) − np + λ of the means, plus
    s(n) − E[s(m)] − E[m log(m/M) − m + M], s(x) = log x! − x log x + x, summed over at most 257
    values of m (every one for n up to 256, an even grid over 12 standard deviations beyond).

    Args:
        total_count_p: number of trials under p (integers allowed).
        probs_p: probability of success under p.
        rate_q: rate of q, not negative.

    >>> from vikl import kl
    >>> float(kl.binomial_poisson(7, 0.0, 2.0))
    2.0
    """
    n, p, rate = jnp.broadcast_arrays(total_count_p, probs_p, rate_q)
    mean = n * (1.0 - p)
    spread = 12.0 * jnp.sqrt(n * p * (1.0 - p)) + 30.0
    low = jnp.maximum(jnp.floor(mean - spread), 0.0)
    high = jnp.minimum(jnp.ceil(mean + spread), n)
    stride = jnp.maximum((high - low) / 256.0, 1.0)
    m = low[..., None] + stride[..., None] * jnp.arange(257, dtype=n.dtype)
    inside = m <= high[..., None] + 1e-3
    m, total = jnp.where(inside, m, 0.0), n[..., None]
    k = jnp.where(inside, total - m, 0.0)
    rests = [_stirling_rest(x) for x in (total, m, k)]
    # log of the binomial pmf: entropy terms of (m, k) from its mean, and rests of the factorials
    exponent = rests[0] - rests[1] - rests[2]
    exponent = exponent - entropy_term(m, jnp.broadcast_to(mean[..., None], m.shape))
    exponent = exponent - entropy_term(k, jnp.broadcast_to((n * p)[..., None], k.shape))
    weight = jnp.where(inside, jnp.exp(jnp.where(inside, exponent, 0.0)), 0.0)
    weight = weight / weight.sum(-1, keepdims=True)
    term = entropy_term(m, jnp.broadcast_to(mean[..., None], m.shape)) + rests[1] - rests[0]
    extra = -jnp.where(weight > 0, weight * term, 0.0).sum(-1)
    return entropy_term(n * p, rate) + jnp.maximum(extra, 0.0)


@kernel(rate_p=non_negative, total_count_q=count, probs_q=probability)
def poisson_binomial(rate_p: Value, total_count_q: Value, probs_q: Value) -> Array:
    """KL(p‖q) of a Poisson from a binomial distribution: +inf, unless the rate is zero.

    Args:
        rate_p: rate of p, not negative.
        total_count_q: number of trials under q (integers allowed).
        probs_q: probability of success under q.

    >>> from vikl import kl
    >>> float(kl.poisson_binomial(1.0, 10, 0.5))
    inf
    """
    nothing = -total_count_q * jnp.log1p(-probs_q)  # type: ignore[operator, arg-type]
    return jnp.where(jnp.equal(rate_p, 0.0), nothing, jnp.inf)
