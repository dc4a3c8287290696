"""Focal KL: hard rows weigh more, and it is still a divergence."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Float
from vikl.divergences import generators
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._logits import log_ratio
from vikl.info._stable import relative_entropy_terms
from vikl.losses._rows import Mask, Number, finish, labels_as_probabilities, logit_pair, mask_of

_KL, _TOTAL_VARIATION = generators.kl(), generators.total_variation()


def _exponent(gamma: Any, dtype: Any) -> Float[Array, ""]:
    """`gamma` as a scalar that is not negative; NaN inside jit where it is."""
    number = jnp.asarray(gamma, dtype)
    if number.ndim != 0:
        raise ValueError(f"`gamma` should be one number; got shape {number.shape}. Do vmap.")
    if _checks.is_concrete(number) and not (np.isfinite(number) and number >= 0):
        raise ValueError(
            f"`gamma` should be zero or positive, and finite; got {float(number):.6g}. Do use 0 "
            "for the plain divergence, 2 for the weight of the focal loss."
        )
    return jnp.where((number >= 0) & jnp.isfinite(number), number, jnp.nan)


def _power(x: Float[Array, "..."], gamma: Float[Array, ""]) -> Float[Array, "..."]:
    """`x ** gamma` with gradient 0 at x = 0, where it multiplies a zero; `0 ** 0` is 1."""
    positive = x > 0
    exponent = jnp.broadcast_to(gamma, x.shape)
    at_zero = jnp.where(exponent > 0, 0, jnp.where(exponent == 0, 1, jnp.nan))
    return jnp.where(positive, jnp.where(positive, x, 1) ** exponent, at_zero.astype(x.dtype))


def _weigh(
    divergence: Float[Array, "..."], distance: Float[Array, "..."], gamma: Float[Array, ""]
) -> Float[Array, "..."]:
    """`distance ** gamma * divergence`; an infinite divergence has no gradient."""
    endless = jnp.isposinf(divergence)
    product = _power(distance, gamma) * jnp.where(endless, 0, divergence)
    return jnp.where(endless, jnp.inf, product)


def _probability_pair(
    p: ArrayInput, q: ArrayInput, where: Mask
) -> tuple[Array, Array, Array, _checks.Valid, Any]:
    """Two arrays of probabilities at one shape, checked; rows masked out are uniform."""
    x, dtype_p = _checks.floating("p", p)
    y, dtype_q = _checks.floating("q", q)
    x, y = _checks.last_axis("p", x, -1), _checks.last_axis("q", y, -1)
    x, y = _checks.broadcast_pair(("p", "q"), x, y)
    mask = mask_of(where, x.shape[:-1])
    x, y = (jnp.where(mask[..., None], z, 1 / x.shape[-1]) for z in (x, y))
    valid = _checks.both(
        _checks.probabilities("p", x, dtype_p), _checks.probabilities("q", y, dtype_q)
    )
    return x, y, mask, valid, jnp.promote_types(dtype_p, dtype_q)


def focal_kl(
    p: ArrayInput, q: ArrayInput, gamma: Number = 2.0, *, where: Mask = None
) -> Float[Array, "..."]:
    """Focal KL divergence `TV(p, q)^gamma KL(p||q)`, TV half the sum of |p - q|.

    A row counts by how wrong q is about it. For a one-hot p the total variation is `1 - q_y`, and
    this is the focal loss `-(1 - q_y)^gamma log q_y`. For any p it is a divergence: never
    negative, and zero only at p = q. (Lin's weight put inside the sum for soft p is not; see
    `naive_focal_kl`.) For `gamma = 0` it is KL(p‖q).

    It is q = p that minimises it for a known p. If p is a hard label drawn at random, the
    *average* over labels is not minimised by their probabilities when `gamma > 0` (the focal loss
    is not a proper score): the classes come out ranked rightly, but under-confident.

    Args:
        p: the target, probabilities on the last axis (one-hot or soft).
        q: the prediction, probabilities of the same outcomes; batch axes broadcast.
        gamma: how much more the hard rows weigh; zero or positive.
        where: booleans of the batch's shape; a row where it is False costs 0.

    Returns:
        One number for each row, in nats; +inf where p > 0 = q.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on shapes that do not fit; outside jit, if `p` or `q` are not probabilities or
            `gamma` is negative.

    Examples:
        >>> from vikl.losses import focal_kl
        >>> print(round(float(focal_kl([1.0, 0.0, 0.0], [0.7, 0.2, 0.1], 2.0)), 7))
        0.0321007

    References:
        Lin, Goyal, Girshick, He and Dollár (2017), Focal loss for dense object detection.
    """
    x, y, mask, valid, dtype = _probability_pair(p, q, where)
    divergence = jnp.sum(relative_entropy_terms(x, y), -1)
    distance = jnp.sum(jnp.abs(x - y), -1) / 2
    return finish(_weigh(divergence, distance, _exponent(gamma, x.dtype)), mask, valid, dtype)


def focal_kl_from_logits(
    labels: ArrayInput,
    logits: ArrayInput,
    gamma: Number = 2.0,
    *,
    where: Mask = None,
) -> Float[Array, "..."]:
    """`focal_kl(labels, softmax(logits), gamma)`, for training: finite where softmax underflows.

    Args:
        labels: class numbers, shape (...), or probabilities, shape (..., classes).
        logits: unnormalised log probabilities of the prediction, shape (..., classes).
        gamma: how much more the hard rows weigh; zero or positive.
        where: booleans of shape (...); a row where it is False costs 0.

    Returns:
        One number for each row, in nats.

    Raises:
        TypeError: if `logits` are not floating.
        ValueError: on shapes that do not fit; outside jit, on NaN logits, labels that are not
            classes or probabilities, or a negative `gamma`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.losses import focal_kl_from_logits
        >>> print(focal_kl_from_logits(jnp.array([1]), jnp.array([[1000.0, 0.0]])))
        [1000.]

    References:
        Lin, Goyal, Girshick, He and Dollár (2017), Focal loss for dense object detection.
    """
    z, _, mask, valid, dtype = logit_pair(("logits", "logits"), logits, logits, where)
    p, sound = labels_as_probabilities(labels, z.shape, mask, z.dtype)
    positive = p > 0
    log_p = jnp.where(positive, jnp.log(jnp.where(positive, p, 1)), -jnp.inf)
    rows = log_ratio(log_p, z)
    divergence = jnp.sum(_KL.of(*rows), -1)
    distance = jnp.sum(_TOTAL_VARIATION.of(*rows), -1)
    loss = _weigh(divergence, distance, _exponent(gamma, z.dtype))
    return finish(loss, mask, _checks.both(valid, sound), dtype)


def naive_focal_kl(
    p: ArrayInput, q: ArrayInput, gamma: Number = 2.0, *, where: Mask = None
) -> Float[Array, "..."]:
    """Return `sum_i (1 - q_i)^gamma p_i log(p_i/q_i)`: **not** a divergence, kept to compare with.

    The focal loss's weight put inside the sum of KL. For a one-hot p it is the focal loss; for a
    soft p the terms have both signs, and weighing them apart makes the sum negative near p = q:
    a model trained on it is pushed away from the truth. Use `focal_kl`.

    Args:
        p: the target, probabilities on the last axis.
        q: the prediction, probabilities of the same outcomes; batch axes broadcast.
        gamma: zero or positive; 0 is KL(p‖q).
        where: booleans of the batch's shape; a row where it is False costs 0.

    Returns:
        One number for each row, in nats, of either sign.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on shapes that do not fit; outside jit, if `p` or `q` are not probabilities or
            `gamma` is negative.

    Examples:
        >>> from vikl.losses import focal_kl, naive_focal_kl
        >>> p, q = [0.7, 0.3], [0.6, 0.4]
        >>> bool(naive_focal_kl(p, q) < 0), bool(focal_kl(p, q) > 0)
        (True, True)
    """
    x, y, mask, valid, dtype = _probability_pair(p, q, where)
    both = (x > 0) & (y > 0)
    ratio = jnp.where(both, x, 1) / jnp.where(both, y, 1)
    terms = jnp.where(both, x * jnp.log(ratio), jnp.where(x > 0, jnp.inf, 0))
    weight = _power(1 - y, _exponent(gamma, x.dtype))
    return finish(jnp.sum(weight * terms, -1), mask, valid, dtype)
