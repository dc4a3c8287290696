"""What a callback sees, and how it is called: it may stop a fit, never lose one."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a callback sees after each cell of the record.

    `record` has the means over the cell's steps of what the objective records, such as `loss`
    and `elbo` (nats), with standard errors; `family` is the present approximation
    (of an amortised fit: the encoder).

    Example:
        >>> import jax, jax.numpy as jnp, optax, vikl
        >>> seen = []
        >>> post = vikl.fit(lambda x: -0.5 * jnp.sum(x**2), vikl.families.MeanFieldNormal,
        ...                 optimizer=optax.adam(0.1), like=jnp.zeros(2), key=jax.random.key(0),
        ...                 num_steps=20, callback=lambda snapshot: seen.append(snapshot.step))
        >>> seen
        [10, 20]
    """

    step: int
    num_steps: int
    seconds: float
    record: dict[str, float]
    family: Any


def call_back(callback: Callable[[Snapshot], Any], snapshot: Snapshot) -> str:
    """Call and return why the fit should stop: because it says so, or because it raised."""
    try:
        stop = callback(snapshot)
    except Exception as error:
        text = f"`callback` raised {type(error).__name__}: {error}"
        warnings.warn(f"{text}. The fit so far is returned.", stacklevel=2)
        return text
    # numpy's and jax's True are True too; what is no truth value at all is not a wish to stop
    is_flag = getattr(stop, "shape", None) == () and str(getattr(stop, "dtype", "")) == "bool"
    stops = stop is True or (is_flag and bool(stop))
    return "`callback` returned True" if stops else ""
