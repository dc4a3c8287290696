"""Cross-entropy, KL divergence and mutual information of arrays of probabilities."""

import math

import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._stable import floor_at_zero, relative_entropy_terms


def _pair(
    p: ArrayInput, q: ArrayInput, axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."], _checks.Valid, jnp.dtype]:
    """Both arrays, checked, outcomes last; which rows are valid; the dtype to return."""
    x, dtype_p = _checks.floating("p", p)
    y, dtype_q = _checks.floating("q", q)
    x, y = _checks.last_axis("p", x, axis), _checks.last_axis("q", y, axis)
    x, y = _checks.broadcast_pair(("p", "q"), x, y)
    valid = _checks.both(
        _checks.probabilities("p", x, dtype_p), _checks.probabilities("q", y, dtype_q)
    )
    return x, y, valid, jnp.promote_types(dtype_p, dtype_q)


def cross_entropy(
    p: ArrayInput, q: ArrayInput, axis: int = -1, base: float | int = math.e
) -> Float[Array, "..."]:
    """Cross-entropy `H(p, q) = -sum_i p_i log q_i = H(p) + KL(p || q)`.

    Args:
        p: probabilities that sum to one along `axis` (the truth: labels, one-hot or soft).
        q: probabilities of the same outcomes (the model); batch axes broadcast against those of
        `p`.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The cross-entropies, without `axis`; `+inf` where p > 0 = q.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on empty arrays or shapes that do not fit; outside jit, if `p` or `q` are not
            probabilities.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.cross_entropy([1.0, 0.0], [0.5, 0.5], base=2))
        1.0

    References:
        Cover and Thomas (2006), Elements of information theory.
    """
    x, y, valid, dtype = _pair(p, q, axis)
    positive = y > 0
    log_q = jnp.log(jnp.where(positive, y, 1))
    nats = jnp.sum(jnp.where(positive, -x * log_q, jnp.where(x > 0, jnp.inf, 0)), -1)
    return _checks.finish(floor_at_zero(nats), valid, base, dtype)


def kl_divergence(
    p: ArrayInput, q: ArrayInput, axis: int = -1, base: float | int = math.e
) -> Float[Array, "..."]:
    """Relative entropy `KL(p || q) = sum_i p_i log(p_i / q_i)`, the price of using q for p.

    Summed as `sum_i (p_i log(p_i/q_i) - p_i + q_i)`, whose terms are non-negative, so that it is
    right in float32 when p and q nearly agree. Its gradients are `log(p/q)` and `1 - p/q`: zero
    at p = q, and the usual ones along the simplex (the textbook's `log(p/q) + 1` and `-p/q`
    differ by a constant).

    Args:
        p: probabilities that sum to one along `axis`.
        q: probabilities of the same outcomes; batch axes broadcast against those of `p`.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The divergences, without `axis`; `0 log 0 = 0`, `+inf` where p > 0 = q.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on empty arrays or shapes that do not fit; outside jit, if `p` or `q` are not
            probabilities.

    Examples:
        >>> import vikl.info
        >>> bits = vikl.info.kl_divergence([0.6, 0.3, 0.1], [0.3, 0.3, 0.4], base=2)
        >>> print(round(float(bits), 6))
        0.4

    References:
        Kullback and Leibler (1951), On information and sufficiency.
    """
    x, y, valid, dtype = _pair(p, q, axis)
    return _checks.finish(jnp.sum(relative_entropy_terms(x, y), -1), valid, base, dtype)


def mutual_information(joint: ArrayInput, base: float | int = math.e) -> Float[Array, "..."]:
    """Mutual information `I(X; Y) = KL(joint || product of its marginals)`.

    Args:
        joint: probabilities of pairs (x, y) on the last two axes, which together sum to one;
        further
            axes are a batch.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        One number for each joint table; 0 when X and Y are independent.

    Raises:
        TypeError: if `joint` is not floating.
        ValueError: if it has fewer than two axes or is empty; outside jit, if it is not an array of
            probabilities.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.mutual_information([[0.5, 0.0], [0.0, 0.5]], base=2))
        1.0

    References:
        Shannon (1948), A mathematical theory of communication.
    """
    table, dtype = _checks.floating("joint", joint)
    if table.ndim < 2:
        raise ValueError(
            f"`joint` should have two axes of outcomes; got shape {table.shape}. "
            "Do pass the table of the probabilities of the pairs."
        )
    flat = table.reshape(*table.shape[:-2], -1)
    valid = _checks.probabilities("joint", flat, dtype)
    product = jnp.sum(table, -1, keepdims=True) * jnp.sum(table, -2, keepdims=True)
    nats = jnp.sum(relative_entropy_terms(flat, product.reshape(flat.shape)), -1)
    return _checks.finish(nats, valid, base, dtype)
