"""What the losses over rows of outcomes share: checked logits, masks, and the mean under a mask."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Bool, Float, Shaped
from vikl.info import _checks
from vikl.info._checks import ArrayInput

#: One number, traced or not (an array of more is refused, with a message).
Number = float | int | Shaped[Array, "..."]
#: A mask: booleans that broadcast to the batch (other dtypes are refused, with a message).
Mask = Shaped[Array, "..."] | Shaped[np.ndarray, "..."] | bool | None


def mask_of(where: Mask, batch: tuple[int, ...]) -> Bool[Array, "..."]:
    """`where` as booleans of the shape `batch`; everything counts where it is None."""
    mask = jnp.asarray(True if where is None else where)
    if mask.dtype != bool:
        raise TypeError(
            f"`where` should be an array of booleans; got dtype {mask.dtype}. Do `where > 0`."
        )
    try:
        return jnp.broadcast_to(mask, batch)
    except ValueError:
        raise ValueError(
            f"`where` should have the shape of the batch, {batch}, or broadcast to it; got "
            f"{mask.shape}. Do give one boolean for each row."
        ) from None


def logit_pair(
    names: tuple[str, str], a: ArrayInput, b: ArrayInput, where: Mask
) -> tuple[Array, Array, Bool[Array, "..."], _checks.Valid, Any]:
    """Two arrays of logits at one shape, the mask, which rows are valid, the dtype to return.

    Rows that are masked out are zero from here on, so that nothing in them can leak.
    """
    x, dtype_x = _checks.floating(names[0], a)
    y, dtype_y = _checks.floating(names[1], b)
    for name, array in zip(names, (x, y)):
        _checks.last_axis(name, array, -1)
    x, y = _checks.broadcast_pair(names, x, y)
    mask = mask_of(where, x.shape[:-1])
    x, y = jnp.where(mask[..., None], x, 0), jnp.where(mask[..., None], y, 0)
    valid = _checks.both(_checks.log_weights(names[0], x), _checks.log_weights(names[1], y))
    return x, y, mask, valid, jnp.promote_types(dtype_x, dtype_y)


def labels_as_probabilities(
    labels: ArrayInput, shape: tuple[int, ...], mask: Bool[Array, "..."], dtype: Any
) -> tuple[Float[Array, "..."], _checks.Valid]:
    """Class numbers (one for each row) or probabilities as probabilities of the given shape."""
    given = jnp.asarray(labels)
    if jnp.issubdtype(given.dtype, jnp.integer):
        return _one_hot(given, shape, mask, dtype)
    p, own = _checks.floating("labels", labels)
    if p.ndim == 0 or p.shape[-1] != shape[-1]:
        raise ValueError(
            f"`labels` should be class numbers of shape {shape[:-1]} or probabilities of shape "
            f"{shape}; got floats of shape {p.shape}. Do `labels.astype(int)` for class numbers."
        )
    p = _checks.broadcast_pair(("labels", "logits"), p, jnp.zeros(shape, p.dtype))[0]
    p = jnp.where(mask[..., None], p, 1 / shape[-1])
    return p.astype(dtype), _checks.probabilities("labels", p, own)


def _one_hot(
    given: Array, shape: tuple[int, ...], mask: Bool[Array, "..."], dtype: Any
) -> tuple[Float[Array, "..."], _checks.Valid]:
    """Class numbers as rows with a single one."""
    if given.shape != shape[:-1]:
        raise ValueError(
            f"`labels` should have one class number for each row, shape {shape[:-1]}; got "
            f"{given.shape}. Do drop or add axes."
        )
    given = jnp.where(mask, given, 0)
    inside = (given >= 0) & (given < shape[-1])
    if _checks.is_concrete(given) and not np.all(inside):
        worst = int(np.asarray(given)[~np.asarray(inside)].ravel()[0])
        raise ValueError(
            f"`labels` should be class numbers from 0 to {shape[-1] - 1}; got {worst}. Do mask "
            "padding out with `where`."
        )
    classes = jnp.arange(shape[-1], dtype=given.dtype)
    hot = given[..., None] == classes.reshape((1,) * given.ndim + (-1,))
    return hot.astype(dtype), None if _checks.is_concrete(given) else inside


def finish(
    loss: Float[Array, "..."], mask: Bool[Array, "..."], valid: _checks.Valid, dtype: Any
) -> Float[Array, "..."]:
    """NaN where the input was not valid, 0 where it is masked out, in the dtype asked for."""
    loss = loss if valid is None else jnp.where(valid, loss, jnp.nan)
    return jnp.where(mask, loss, 0).astype(dtype)


def masked_mean(values: Float[Array, "..."], where: Mask = None) -> Float[Array, ""]:
    """Mean of the values that count: `sum(values[where]) / count(where)`.

    Args:
        values: losses, any shape.
        where: booleans that broadcast to it; None counts everything.

    Returns:
        A scalar; 0 (with gradient 0) if nothing counts. NaN that is masked out stays out.

    Raises:
        TypeError: if `where` is not boolean, or `values` not floating.
        ValueError: if `values` is empty or the shapes do not broadcast.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.losses import masked_mean
        >>> print(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
        2.0
    """
    x, dtype = _checks.floating("values", values)
    mask = mask_of(where, x.shape)
    total = jnp.sum(jnp.where(mask, x, 0))
    return (total / jnp.maximum(jnp.sum(mask.astype(x.dtype)), 1)).astype(dtype)
