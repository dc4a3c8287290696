"""Prefix codes: the coding reading of entropy and KL. Plain numpy on the host, in bits."""

import heapq

import jax.numpy as jnp
import numpy as np

from vikl.info import _checks
from vikl.info._checks import ArrayInput


def _distribution(name: str, p: ArrayInput) -> np.ndarray:
    """`p` as a checked one-dimensional float64 array (in the precision it was given)."""
    given = p if isinstance(p, np.ndarray) else np.asarray(p)
    if not np.issubdtype(given.dtype, np.floating) and given.dtype != jnp.bfloat16:
        raise TypeError(
            f"`{name}` should be an array of floating-point numbers; got dtype {given.dtype}. "
            f"Do `np.asarray({name}, float)`."
        )
    if given.ndim != 1 or given.size == 0:
        raise ValueError(
            f"`{name}` should be a vector of at least one probability; got shape {given.shape}. "
            "Do pass one distribution at a time."
        )
    values = given.astype(np.float64)
    _checks._entries(name, values, upper=1 + 1e-5)
    slack = _checks.tolerance(given.dtype, given.size)
    if abs(values.sum() - 1) > slack:
        raise ValueError(
            f"`{name}` should sum to one; got a sum of {values.sum():.6g}. Do divide by the sum."
        )
    return values


def shannon_code_lengths(p: ArrayInput) -> np.ndarray:
    """Lengths `ceil(log2(1/p_i))` of Shannon's prefix code, in bits.

    Args:
        p: a vector of probabilities that sums to one.

    Returns:
        The lengths; `inf` for a symbol of probability 0, which gets no word.

    Raises:
        TypeError: if `p` is not floating.
        ValueError: if `p` is not one vector of probabilities.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.shannon_code_lengths([0.5, 0.3, 0.2]))
        [1. 2. 3.]

    References:
        Shannon (1948), A mathematical theory of communication, section 9.
    """
    values = _distribution("p", p)
    with np.errstate(divide="ignore"):
        bits = -np.log2(values)
    # 1/8 given in binary is exactly 3 bits: no rounding enters log2 there
    return np.where(np.isfinite(bits), np.ceil(bits) + 0.0, np.inf)


def huffman_code_lengths(p: ArrayInput) -> np.ndarray:
    """Lengths of Huffman's prefix code, the shortest on average, in bits.

    Args:
        p: a vector of probabilities that sums to one.

    Returns:
        The lengths; 0 for a certain symbol, `inf` for a symbol of probability 0, which gets no
        word.

    Raises:
        TypeError: if `p` is not floating.
        ValueError: if `p` is not one vector of probabilities.

    Examples:
        >>> import vikl.info
        >>> print(vikl.info.huffman_code_lengths([0.5, 0.3, 0.2]))
        [1. 2. 2.]

    References:
        Huffman (1952), A method for the construction of minimum-redundancy codes.
    """
    values = _distribution("p", p)
    lengths = np.where(values > 0, 0.0, np.inf)
    # (weight, age, symbols below): ties go to the older node, which keeps the longest word short
    heap = [(v, i, [i]) for i, v in enumerate(values) if v > 0]
    heapq.heapify(heap)
    age = len(values)
    while len(heap) > 1:
        weight_a, _, a = heapq.heappop(heap)
        weight_b, _, b = heapq.heappop(heap)
        lengths[a + b] += 1
        heapq.heappush(heap, (weight_a + weight_b, age, a + b))
        age += 1
    return lengths


def expected_code_length(p: ArrayInput, lengths: ArrayInput) -> float:
    """Mean number of bits per symbol, `sum_i p_i length_i`, of a code used on data from p.

    With the code of p it lies in `[H(p), H(p) + 1)` bits; with the code of another distribution q
    the excess is about `KL(p || q)`.

    Args:
        p: a vector of probabilities that sums to one: the data.
        lengths: the lengths of the words, in bits; `inf` where there is none.

    Returns:
        The mean length in bits; `inf` if a symbol that occurs has no word.

    Raises:
        TypeError: if `p` is not floating.
        ValueError: if `p` is not one vector of probabilities, or `lengths` has another shape or is
            negative.

    Examples:
        >>> import vikl.info
        >>> p = [0.5, 0.25, 0.25]
        >>> vikl.info.expected_code_length(p, vikl.info.huffman_code_lengths(p))
        1.5

    References:
        Cover and Thomas (2006), Elements of information theory, section 5.4.
    """
    values = _distribution("p", p)
    words = np.asarray(lengths, np.float64)
    if words.shape != values.shape or np.isnan(words).any() or words.min() < 0:
        raise ValueError(
            f"`lengths` should hold one non-negative length for each of the {values.size} symbols; "
            f"got shape {words.shape}. Do use the lengths of a code for the same symbols."
        )
    used = values > 0
    return float(np.sum(values[used] * words[used]))
