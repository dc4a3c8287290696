"""Bad input: an error that names the argument outside jit, NaN inside it."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from vikl._typing import Array, Bool, Float

#: What the public functions take: a jax or numpy array, a number, or nested lists of numbers.
ArrayInput = ArrayLike | Sequence[Any]
#: Where the input was valid; None when it was looked at and all of it is.
Valid = Bool[Array, "..."] | None


def is_concrete(x: Any) -> bool:
    """Whether the values of `x` can be looked at (not inside jit, grad or vmap)."""
    return not isinstance(x, Tracer)


def floating(name: str, x: ArrayInput) -> tuple[Float[Array, "..."], jnp.dtype]:
    """`x` as an array fit for computing (half precision is raised to float32) and its own dtype."""
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` should be an array of floating-point numbers; got dtype {array.dtype}. "
            f"Do `jnp.asarray({name}, float)`."
        )
    if array.size == 0:
        raise ValueError(
            f"`{name}` should have at least one entry; got an empty array of shape {array.shape}. "
            "Do not call this on empty batches."
        )
    half = jnp.finfo(array.dtype).bits < 32
    return (array.astype(jnp.float32) if half else array), array.dtype


def last_axis(name: str, x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """`x` with `axis` moved to the end."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"`axis` should be an axis of `{name}`; got axis {axis} for shape {x.shape}. "
            "Do pass an array with one axis of outcomes."
        )
    return jnp.moveaxis(x, axis, -1)


def broadcast_pair(
    names: tuple[str, str], a: Float[Array, "..."], b: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Both arrays (outcomes last) at one shape and dtype; unequal outcomes are an error."""
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` should have the same number of outcomes; got "
            f"{a.shape[-1]} and {b.shape[-1]}. Do pass probabilities of the same outcomes."
        )
    try:
        shape = jnp.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` should have batch shapes that broadcast; got "
            f"{a.shape[:-1]} and {b.shape[:-1]}. Do add axes of length 1 where they differ."
        ) from None
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return jnp.broadcast_to(a.astype(dtype), shape), jnp.broadcast_to(b.astype(dtype), shape)


def tolerance(dtype: Any, count: int) -> float:
    """How far from 1 a sum of `count` probabilities may be: rounding, not mistakes."""
    return max(1e-5, 8 * float(jnp.finfo(dtype).eps) * math.sqrt(count))


def probabilities(name: str, p: Float[Array, "..."], given: Any) -> Valid:
    """Which rows (outcomes last) are probabilities; outside jit a row that is not raises."""
    slack = tolerance(given, p.shape[-1])
    if is_concrete(p):
        values = np.asarray(p, np.float64)
        _entries(name, values, upper=1 + slack)
        total = values.sum(-1)
        off = np.abs(total - 1)
        if off.max() > slack:
            raise ValueError(
                f"`{name}` should sum to one along its axis of outcomes; got a sum of "
                f"{float(np.ravel(total)[np.argmax(off)]):.6g}. "
                f"Do divide by the sum, or use `vikl.info.logits` for logits."
            )
        return None
    return jnp.all(p >= 0, -1) & (jnp.abs(jnp.sum(p, -1) - 1) <= slack)


def in_unit_interval(name: str, p: Float[Array, "..."]) -> Valid:
    """Which entries are in [0, 1]; outside jit one that is not raises."""
    if is_concrete(p):
        _entries(name, np.asarray(p, np.float64), upper=1.0)
        return None
    return (p >= 0) & (p <= 1)


def not_nan(name: str, x: Float[Array, "..."]) -> Valid:
    """Which entries are numbers; outside jit one that is not raises."""
    if is_concrete(x):
        _entries(name, np.asarray(x, np.float64), lower=-np.inf, upper=np.inf)
        return None
    return x == x


def _entries(name: str, values: np.ndarray, lower: float = 0.0, upper: float = 1.0) -> None:
    """Raise for NaN, negative or too large entries of a concrete array."""
    if np.isnan(values).any():
        raise ValueError(
            f"`{name}` should hold numbers; got NaN in {int(np.isnan(values).sum())} of "
            f"{values.size} entries. Do find where they come from (`jax.config.jax_debug_nans`)."
        )
    if values.min() < lower or values.max() > upper:
        worst = values.min() if values.min() < lower else values.max()
        raise ValueError(
            f"`{name}` should lie between 0 and 1; got {float(worst):.6g}. "
            "Do pass probabilities; for logits use `vikl.info.logits`."
        )


def log_weights(name: str, x: Float[Array, "..."]) -> Valid:
    """Which rows of logits define probabilities: no NaN, not all -inf; else raises."""
    if not is_concrete(x):
        return jnp.all(x == x, -1) & jnp.any(x > -jnp.inf, -1)
    values = np.asarray(x)
    if np.isnan(values).any() or not (values > -np.inf).any(-1).all():
        got = "NaN" if np.isnan(values).any() else "a row whose entries are all -inf"
        raise ValueError(
            f"`{name}` should hold logits, at least one above -inf in each row; got {got}. "
            "Do find where they come from."
        )
    return None


def both(a: Valid, b: Valid) -> Valid:
    """Return valid in the first and in the second argument."""
    if a is None or b is None:
        return b if a is None else a
    return a & b


def in_base(nats: Float[Array, "..."], base: float | int) -> Float[Array, "..."]:
    """Change of unit: nats to `base` (2 = bits)."""
    number = float(base)
    if not (number > 0 and number != 1 and math.isfinite(number)):
        raise ValueError(
            f"`base` should be a positive number other than 1; got {base}. "
            "Do use math.e for nats or 2 for bits."
        )
    return nats if number == math.e else nats / math.log(number)


def finish(
    nats: Float[Array, "..."], valid: Valid, base: float | int, dtype: Any
) -> Float[Array, "..."]:
    """NaN where the input was not valid, in the unit and the dtype asked for."""
    return in_base(nats if valid is None else jnp.where(valid, nats, jnp.nan), base).astype(dtype)
