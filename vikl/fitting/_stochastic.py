"""Stochastic gradient steps on any objective with any optax optimizer: pure `init` and `step`."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .._typing import Array, Bool, Int, PRNGKey, PyTree, Scalar
from ..objectives import Objective, evaluate, initial_state
from ..target import Target

_RECOVERY = 1.02  # how fast the step grows back after a rejected one
_RETREAT = 0.5


class GradientState(NamedTuple):
    """What the next step needs: the family, the optimizer's state, and the record of failures.

    Example:
        >>> import jax.numpy as jnp, optax, vikl
        >>> algorithm = StochasticGradient(vikl.objectives.ReverseKL(), optax.sgd(0.1))
        >>> state = algorithm.init(vikl.families.MeanFieldNormal.init(jnp.zeros(2)))
        >>> int(state.step), float(state.step_scale)
        (0, 1.0)
    """

    family: Any  # or an encoder, which makes one of data
    optimizer_state: PyTree
    step: Int[Array, ""]
    step_scale: Scalar  # multiplies updates; below 1 after rejected steps
    rejected: Int[Array, ""]
    rejected_in_a_row: Int[Array, ""]
    carried: PyTree = None  # what the objective takes from step to step, such as a Markov chain


class StochasticGradient(eqx.Module):
    """An objective and an optimizer as one pure algorithm.

    `init(family) -> state` and `step(state, target, key) -> (state, info)`. A step whose loss or
    gradient is not finite is rejected: parameters and optimizer state stay as they were, and the
    following steps are half as long, growing back as steps succeed.

    Args:
        objective: what is minimised.
        optimizer: any optax gradient transformation.

    Raises:
        TypeError: `objective` or `optimizer` is something else.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 3) ** 2), jnp.zeros(2))
        >>> algorithm = StochasticGradient(vikl.objectives.ReverseKL(), optax.adam(0.1))
        >>> state = algorithm.init(vikl.families.MeanFieldNormal.init(jnp.zeros(2)))
        >>> state, info = eqx.filter_jit(algorithm.step)(state, target, jax.random.key(0))
        >>> int(state.step), sorted(info)
        (1, ['elbo', 'loss'])
    """

    objective: Objective
    optimizer: optax.GradientTransformation

    def __init__(self, objective: Objective, optimizer: optax.GradientTransformation):
        if not isinstance(objective, Objective):
            raise TypeError(
                f"`objective` should be an instance of vikl.objectives, such as ReverseKL(); "
                f"got {objective!r}. Call the class to make an instance."
            )
        if not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "update")):
            raise TypeError(
                f"`optimizer` should be an optax gradient transformation, such as "
                f"optax.adam(1e-2); got {optimizer!r} of type {type(optimizer).__name__}."
            )
        self.objective = objective
        self.optimizer = optimizer

    def init(
        self, family: Any, target: Target | None = None, key: PRNGKey | None = None
    ) -> GradientState:
        """Return the state before the first step.

        An objective with a state of its own, such as a Markov chain, needs `target` and `key`.
        """
        params = eqx.filter(family, eqx.is_inexact_array)
        zero = jnp.zeros((), jnp.int32)
        one = jnp.ones((), _float_dtype(params))
        carried = None
        if target is not None and key is not None:
            carried = initial_state(self.objective, family, target, key)
        state = GradientState(family, self.optimizer.init(params), zero, one, zero, zero, carried)
        # weak types would make the state after the first step another type, and compile twice
        return jax.tree.map(lambda v: jnp.asarray(v, v.dtype) if eqx.is_array(v) else v, state)

    def step(
        self, state: GradientState, target: Target, key: PRNGKey
    ) -> tuple[GradientState, dict[str, Scalar]]:
        """Return the state after one step and what the objective recorded."""
        params, static = eqx.partition(state.family, eqx.is_inexact_array)

        def loss_at(params: PyTree) -> tuple[Scalar, tuple[dict[str, Scalar], PyTree]]:
            family = eqx.combine(params, static)
            loss, *rest = evaluate(self.objective, state.carried, family, target, key)
            return loss, (rest[0], rest[1])

        (loss, (aux, carried)), gradients = jax.value_and_grad(loss_at, has_aux=True)(params)
        # the gradients, not the updates: a reduction of these would compute the optimizer twice
        ok = jnp.isfinite(loss) & _all_finite(gradients)

        # under `cond` the optimizer writes in place; a choice leaf by leaf would copy every leaf
        def take(params: PyTree, old: PyTree) -> tuple[PyTree, PyTree]:
            with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats
                updates, new = optax.with_extra_args_support(self.optimizer).update(
                    gradients, eqx.combine(old, fixed), params,
                    value=loss, grad=gradients, value_fn=lambda p: loss_at(p)[0],
                )  # fmt: skip
            moved = jax.tree.map(
                lambda p, u: p + (state.step_scale * u).astype(p.dtype), params, updates
            )
            new = eqx.filter(new, eqx.is_array)
            return moved, jax.tree.map(lambda a, b: a.astype(b.dtype), new, old)

        old, fixed = eqx.partition(state.optimizer_state, eqx.is_array)
        params, optimizer_state = jax.lax.cond(ok, take, lambda p, old: (p, old), params, old)
        new = GradientState(
            family=eqx.combine(params, static),
            optimizer_state=eqx.combine(optimizer_state, fixed),
            step=state.step + 1,
            step_scale=jnp.where(
                ok, jnp.minimum(state.step_scale * _RECOVERY, 1.0), state.step_scale * _RETREAT
            ),
            rejected=state.rejected + (~ok).astype(jnp.int32),
            rejected_in_a_row=jnp.where(ok, 0, state.rejected_in_a_row + 1),
            carried=jax.tree.map(lambda a, b: jnp.where(ok, a, b), carried, state.carried),
        )
        return new, {"loss": loss, **aux}


def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every entry is finite, by the largest magnitudes.

    A maximum, axis by axis: a sum has to keep its order, so it is not vectorised, and overflows.
    Leaves of the same last axis share their reduction: each costs as much as an optimizer's step.
    """
    largest: dict[Any, Array] = {}
    for leaf in jax.tree.leaves(tree):
        part = jnp.abs(jnp.atleast_1d(leaf))
        while part.ndim > 1:
            part = part.max(axis=0, initial=0.0)
        kind = (part.shape, part.dtype)
        largest[kind] = jnp.maximum(largest[kind], part) if kind in largest else part
    ok = jnp.ones((), bool)
    for part in largest.values():
        ok &= jnp.isfinite(part.max(initial=0.0))
    return ok


def _float_dtype(params: PyTree) -> Any:
    return jnp.result_type(*(v.dtype for v in jax.tree.leaves(params)))
