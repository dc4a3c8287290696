"""`PolyakAverage`: the average of a run's iterates, kept by the optimizer as it goes."""

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._typing import Array, PyTree
from ..families import Family
from ..fitting._stochastic import GradientState
from ._checks import check_positive


class PolyakAverage(eqx.Module):
    """Average the parameters over the run, later ones more: polynomial-decay averaging.

    θ̄ ← θ̄ + (n+1)/(t+n) (θ − θ̄) with n = `memory`: about the last 1/n of the run counts, so where it
    began is forgotten, and what noise is left is that of an average.

    Args:
        memory: n, positive; 0.0001 or so is the plain mean.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> optimizer = PolyakAverage(1.0).wrap(optax.sgd(1.0))
        >>> params = jnp.array([0.0]); state = optimizer.init(params)
        >>> for _ in range(3):
        ...     updates, state = optimizer.update(jnp.array([-3.0]), state, params)
        ...     params = params + updates
        >>> print(state.average)  # of 0, 3, 6, with weights 1, 2, 3
        [4.]

    References:
        Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging.
        Shamir & Zhang (2013), Stochastic gradient descent for non-smooth optimization.
    """

    memory: float = 3.0

    def __check_init__(self) -> None:
        check_positive(self, "memory")

    def wrap(self, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        """Return the optimizer that also keeps the average."""
        return _averaged(optimizer, float(self.memory))


class AverageState(NamedTuple):
    """The optimizer's own state, the average of the parameters, and how many are in it."""

    inner: PyTree
    average: PyTree
    count: Array


def _averaged(optimizer: Any, memory: float) -> optax.GradientTransformation:
    inner = optax.with_extra_args_support(optimizer)
    # partials of module-level functions, which `compile_once` compares by what they hold
    return optax.GradientTransformationExtraArgs(
        functools.partial(_init, inner), functools.partial(_update, inner, memory)
    )


def _init(inner: Any, params: PyTree) -> AverageState:
    return AverageState(inner.init(params), params, jnp.zeros((), jnp.int32))


def _update(
    inner: Any, memory: float, updates: Any, state: Any, params: Any = None, **extra: Any
) -> Any:
    updates, own = inner.update(updates, state.inner, params, **extra)
    count = state.count + 1

    def towards(average: Array, now: Array) -> Array:
        t = count.astype(average.dtype)
        share = np.asarray(memory + 1, t.dtype) / (t + np.asarray(memory, t.dtype))
        return average + share * (now - average)

    return updates, AverageState(own, jax.tree.map(towards, state.average, params), count)


def averaged_family(state: GradientState) -> Family:
    """Return the family of the averaged parameters; the last one where there is no average."""
    kept = state.optimizer_state
    if not isinstance(kept, AverageState):
        return state.family
    _, static = eqx.partition(state.family, eqx.is_inexact_array)
    return eqx.combine(kept.average, static)
