"""The words of `vikl.info` for arrays of logits: unnormalised log probabilities.

`softmax(logits)` are the probabilities; adding a constant to all logits of a row changes nothing.
A logit may be `-inf` (probability 0) or `+inf` (all the probability). A module of its own rather
than a keyword: `kl_divergence(a, b)` should not mean two things. To mix the two, pass
`jnp.log(probabilities)`.
"""

import math

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._stable import exp_bregman, exp_excess, floor_at_zero


@jax.jit
def log_softmax(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Normalised log probabilities; the largest keeps its digits (by `log1p`)."""
    top = jnp.isposinf(x)
    x = jnp.where(jnp.any(top, -1, keepdims=True), jnp.where(top, 0, -jnp.inf), x)
    first = jax.nn.one_hot(jnp.argmax(x, -1), x.shape[-1], dtype=bool)
    finite = x > -jnp.inf
    # not the maximum: at a tie its derivative is shared out, but `first` is one outcome
    shift = jnp.sum(jnp.where(first & finite, x, 0), -1, keepdims=True)
    centred = jnp.where(finite, x, 0) - shift
    others = jnp.where(finite & ~first, jnp.exp(jnp.where(finite, centred, 0)), 0)
    return jnp.where(finite, centred - jnp.log1p(jnp.sum(others, -1, keepdims=True)), -jnp.inf)


@jax.jit
def log_ratio(
    a: Float[Array, "*batch n"],
    b: Float[Array, "*batch n"],
    difference: Float[Array, "*batch n"] | None = None,
) -> tuple[Float[Array, "*batch n"], Float[Array, "*batch n"], Float[Array, "*batch n"]]:
    """`log p`, `log q` and `log p - log q` of two rows of logits.

    The ratio is formed from the centred difference of the logits where that is small, so that it
    keeps its digits when the rows nearly agree; it is -inf, +inf or 0 where p, q or both are
    zero. `difference` is `a - b` where that is known better than by subtracting.
    """
    log_p, log_q = log_softmax(a), log_softmax(b)
    both = (log_p > -jnp.inf) & (log_q > -jnp.inf)
    use = both & jnp.isfinite(a) & jnp.isfinite(b)
    delta = jnp.where(use, a, 0) - jnp.where(use, b, 0)
    delta = delta if difference is None else jnp.where(use, difference, 0)
    q = jnp.where(use, jnp.exp(jnp.where(use, log_q, 0)), 0)
    delta = delta - jnp.sum(q * delta, -1, keepdims=True)
    near = jnp.all(use, -1, keepdims=True) & (jnp.max(jnp.abs(delta), -1, keepdims=True) < 0.5)
    small = jnp.where(near, delta, 0)
    small = small - jnp.log1p(jnp.sum(q * exp_excess(small), -1, keepdims=True))
    plain = jnp.where(both, log_p, 0) - jnp.where(both, log_q, 0)
    apart = jnp.where(log_p > log_q, jnp.inf, jnp.where(log_p < log_q, -jnp.inf, 0))
    return log_p, log_q, jnp.where(both, jnp.where(near, small, plain), apart)


def _times_log(log_p: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(log_p) * x`, 0 where `log_p` is -inf."""
    positive = log_p > -jnp.inf
    return jnp.where(positive, jnp.exp(jnp.where(positive, log_p, 0)) * x, 0)


def _rows(logits: ArrayInput, axis: int) -> tuple[Float[Array, "..."], _checks.Valid, jnp.dtype]:
    x, dtype = _checks.floating("logits", logits)
    x = _checks.last_axis("logits", x, axis)
    return x, _checks.log_weights("logits", x), dtype


def _pair(
    logits_p: ArrayInput, logits_q: ArrayInput, axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."], _checks.Valid, jnp.dtype]:
    a, dtype_p = _checks.floating("logits_p", logits_p)
    b, dtype_q = _checks.floating("logits_q", logits_q)
    a, b = _checks.last_axis("logits_p", a, axis), _checks.last_axis("logits_q", b, axis)
    a, b = _checks.broadcast_pair(("logits_p", "logits_q"), a, b)
    valid = _checks.both(_checks.log_weights("logits_p", a), _checks.log_weights("logits_q", b))
    return a, b, valid, jnp.promote_types(dtype_p, dtype_q)


def information(
    logits: ArrayInput, axis: int = -1, base: float | int = math.e
) -> Float[Array, "..."]:
    """Return the information `-log softmax(logits)` of every outcome.

    Args:
        logits: unnormalised log probabilities.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        An array of the same shape, with `axis` last.

    Raises:
        TypeError: if `logits` is not floating.
        ValueError: if it is empty; outside jit, if a row has NaN or only -inf.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.logits.information([0.0, 0.0], base=2))
        [1. 1.]
    """
    x, valid, dtype = _rows(logits, axis)
    return _checks.finish(-log_softmax(x), None if valid is None else valid[..., None], base, dtype)


def entropy(logits: ArrayInput, axis: int = -1, base: float | int = math.e) -> Float[Array, "..."]:
    """Entropy of `softmax(logits)`, in nats or in units of `base`.

    Args:
        logits: unnormalised log probabilities.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The entropies, without `axis`.

    Raises:
        TypeError: if `logits` is not floating.
        ValueError: if it is empty; outside jit, if a row has NaN or only -inf.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.logits.entropy([0.0, 0.0, -float("inf")], base=2))
        1.0
    """
    x, valid, dtype = _rows(logits, axis)
    log_p = log_softmax(x)
    nats = jnp.sum(_times_log(log_p, -jnp.where(log_p > -jnp.inf, log_p, 0)), -1)
    return _checks.finish(floor_at_zero(nats), valid, base, dtype)


def binary_entropy(logit: ArrayInput, base: float | int = math.e) -> Float[Array, "..."]:
    """Entropy of one yes-or-no outcome of probability `sigmoid(logit)`.

    Args:
        logit: log odds, any shape.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        As many entropies as there are log odds; accurate also where the probability rounds to 1.

    Raises:
        TypeError: if `logit` is not floating.
        ValueError: outside jit, if an entry is NaN.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.logits.binary_entropy(0.0, base=2))
        1.0
    """
    x, dtype = _checks.floating("logit", logit)
    valid = _checks.not_nan("logit", x)
    size = jnp.where(x >= 0, x, -x)
    inside = size < 200
    a = jnp.where(inside, size, 0)
    odds = jnp.exp(-a)
    nats = jnp.where(inside, jnp.log1p(odds) + a * odds / (1 + odds), 0)
    return _checks.finish(nats, valid, base, dtype)


def cross_entropy(
    logits_p: ArrayInput, logits_q: ArrayInput, axis: int = -1, base: float | int = math.e
) -> Float[Array, "..."]:
    """Cross-entropy `-sum_i p_i log q_i` of `p = softmax(logits_p)` and `q = softmax(logits_q)`.

    Args:
        logits_p: unnormalised log probabilities of p; `jnp.log(labels)` for labels.
        logits_q: of q, the same outcomes; batch axes broadcast.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The cross-entropies, without `axis`; `+inf` where p > 0 = q.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on empty arrays or shapes that do not fit; outside jit, if a row has NaN or
        only -inf.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.logits.cross_entropy([0.0, 0.0], [1.0, 1.0], base=2))
        1.0
    """
    a, b, valid, dtype = _pair(logits_p, logits_q, axis)
    log_p, log_q = log_softmax(a), log_softmax(b)
    possible = log_q > -jnp.inf
    terms = _times_log(log_p, -jnp.where(possible, log_q, 0))
    terms = jnp.where(possible | (log_p == -jnp.inf), terms, jnp.inf)
    return _checks.finish(floor_at_zero(jnp.sum(terms, -1)), valid, base, dtype)


def kl_divergence(
    logits_p: ArrayInput, logits_q: ArrayInput, axis: int = -1, base: float | int = math.e
) -> Float[Array, "..."]:
    """`KL(softmax(logits_p) || softmax(logits_q))`, in nats or in units of `base`.

    With `w = log p - log q` from centred differences it is the sum of `p (exp(-w) - 1 + w)`,
    whose terms are non-negative.

    Args:
        logits_p: unnormalised log probabilities of p.
        logits_q: of q, the same outcomes; batch axes broadcast.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The divergences, without `axis`; `+inf` where p > 0 = q.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on empty arrays or shapes that do not fit; outside jit, if a row has NaN or
        only -inf.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.logits.kl_divergence([1.0, 2.0], [3.0, 4.0]))
        0.0

    References:
        Kullback and Leibler (1951), On information and sufficiency.
    """
    a, b, valid, dtype = _pair(logits_p, logits_q, axis)
    return _checks.finish(_relative(a, b), valid, base, dtype)


@jax.jit
def _relative(a: Float[Array, "*batch n"], b: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Return the sum behind `kl_divergence`."""
    log_p, log_q, w = log_ratio(a, b)
    finite = jnp.isfinite(w)
    up, down = jnp.where(finite & (w > 0), w, 0), jnp.where(finite & (w <= 0), w, 0)
    above = _times_log(log_p, exp_excess(-up))  # p (e^-w - 1 + w)
    below = _times_log(log_q, exp_bregman(down))  # the same, from q's side
    terms = jnp.where(w > 0, above, below)
    alone = jnp.where(w > 0, jnp.inf, _times_log(log_q, jnp.ones_like(w)))
    return jnp.sum(jnp.where(finite, terms, alone), -1)
