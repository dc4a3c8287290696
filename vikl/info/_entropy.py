"""Information and entropy of arrays of probabilities."""

import math

import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._stable import floor_at_zero, negative_xlogx


def information(p: ArrayInput, base: float | int = math.e) -> Float[Array, "..."]:
    """Return the information (surprise) of outcomes of probability `p`: `-log p`.

    Args:
        p: probabilities in [0, 1], any shape; they need not sum to one.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        As many numbers as `p` has; `+inf` at p = 0 (with gradient 0 there).

    Raises:
        TypeError: if `p` is not floating.
        ValueError: outside jit, if an entry is NaN or outside [0, 1].

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.information([0.5, 0.25], base=2))
        [1. 2.]

    References:
        Shannon (1948), A mathematical theory of communication.
    """
    x, dtype = _checks.floating("p", p)
    valid = _checks.in_unit_interval("p", x)
    positive = x > 0
    nats = jnp.where(positive, -jnp.log(jnp.where(positive, x, 1)), jnp.inf)
    return _checks.finish(nats, valid, base, dtype)


def entropy(p: ArrayInput, axis: int = -1, base: float | int = math.e) -> Float[Array, "..."]:
    """Entropy `H(p) = -sum_i p_i log p_i`, with `0 log 0 = 0`.

    Args:
        p: probabilities that sum to one along `axis`.
        axis: the axis of outcomes.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The entropies, without `axis`.

    Raises:
        TypeError: if `p` is not floating.
        ValueError: if `p` is empty; outside jit, if it is not an array of probabilities.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.entropy([0.5, 0.25, 0.25], base=2))
        1.5

    References:
        Shannon (1948), A mathematical theory of communication.
    """
    x, dtype = _checks.floating("p", p)
    x = _checks.last_axis("p", x, axis)
    valid = _checks.probabilities("p", x, dtype)
    nats = floor_at_zero(jnp.sum(negative_xlogx(x), -1))
    return _checks.finish(nats, valid, base, dtype)


def binary_entropy(p: ArrayInput, base: float | int = math.e) -> Float[Array, "..."]:
    """Entropy of one yes-or-no outcome: `-p log p - (1 - p) log(1 - p)`.

    Args:
        p: probabilities of "yes", any shape.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        As many entropies as `p` has entries; 0 at both ends (with gradient 0 there).

    Raises:
        TypeError: if `p` is not floating.
        ValueError: outside jit, if an entry is NaN or outside [0, 1].

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.binary_entropy(0.5, base=2))
        1.0

    References:
        Shannon (1948), A mathematical theory of communication.
    """
    x, dtype = _checks.floating("p", p)
    valid = _checks.in_unit_interval("p", x)
    inside = jnp.where((x > 0) & (x < 1), x, 0.5)
    nats = -inside * jnp.log(inside) - (1 - inside) * jnp.log1p(-inside)
    return _checks.finish(jnp.where((x > 0) & (x < 1), nats, 0), valid, base, dtype)
