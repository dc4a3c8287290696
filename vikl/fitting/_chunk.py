"""The compiled part of the loop: many steps in one program, with a row of the record for each.

On a CPU a step of a small problem is a few dozen instructions of a microsecond together, so what
surrounds it is kept small: keys are hashed and rows are stored a block at a time, rejected steps
are counted from the rows, and sums of the record are left to the host.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compile_once
from .._typing import Array, PRNGKey
from ..target import Target
from ._iterates import EVERY, Sums, watched
from ._stochastic import GradientState, StochasticGradient

ROW_LIMIT = 10  # rejected steps in a row before going back to the last good cell
LONGEST = 16_384  # steps of one chunk
_BLOCK = EVERY  # steps whose keys and rows are handled together; few, so that all stay in cache


@compile_once
def run_chunk(
    algorithm: StochasticGradient,
    state: GradientState,
    sums: Sums,
    target: Target,
    key: PRNGKey,
    num_steps: Array,
) -> tuple[GradientState, Sums, Array]:
    """Take up to `num_steps` steps, at most `LONGEST`; stop early where steps keep being rejected.

    Returns the state, the sums over iterates with those of these steps, and a row for each step:
    what the objective recorded, by name, and 1 where the step was accepted or 0 where it was
    rejected. Keys are `fold_in(key, step)`.
    """
    dynamic, static = eqx.partition(state, eqx.is_array)
    first = state.step
    info = jax.eval_shape(lambda: algorithm.step(state, target, key)[1])
    width = len(info) + 1

    def unfinished(dynamic: GradientState, end: Array) -> Array:
        return (dynamic.step < end) & (dynamic.rejected_in_a_row < ROW_LIMIT)

    def block(carry: tuple) -> tuple:
        dynamic, sums, record = carry
        began = dynamic.step
        steps = began + jnp.arange(_BLOCK, dtype=jnp.int32)
        keys = jax.vmap(lambda step: jax.random.fold_in(key, step))(steps)
        # up to a multiple of its length, so that it ends there however chunks are cut
        end = jnp.minimum((began // _BLOCK + 1) * _BLOCK, first + num_steps)

        def body(carry: tuple) -> tuple:
            dynamic, rows = carry
            place = dynamic.step - began
            step_key = jax.lax.dynamic_index_in_dim(keys, place, keepdims=False)
            new, info = algorithm.step(eqx.combine(dynamic, static), target, step_key)
            rows = jax.lax.dynamic_update_index_in_dim(rows, _row(new, info), place, 0)
            new = new._replace(rejected=dynamic.rejected)
            return eqx.filter(new, eqx.is_array), rows

        dynamic, rows = jax.lax.while_loop(
            lambda carry: unfinished(carry[0], end),
            body,
            (dynamic, jnp.ones((_BLOCK, width), jnp.float32)),
        )
        rejected = dynamic.rejected + jnp.sum(rows[:, -1] == 0, dtype=jnp.int32)
        record = jax.lax.dynamic_update_slice_in_dim(record, rows, began - first, 0)
        sums = sums.add(watched(dynamic.family), dynamic.step % _BLOCK == 0)
        return dynamic._replace(rejected=rejected), sums, record

    dynamic, sums, record = jax.lax.while_loop(
        lambda carry: unfinished(carry[0], first + num_steps),
        block,
        (dynamic, sums, jnp.zeros((LONGEST + _BLOCK, width), jnp.float32)),
    )
    return eqx.combine(dynamic, static), sums, record


def _row(state: GradientState, info: dict[str, Array]) -> Array:
    accepted = state.rejected_in_a_row == 0
    columns = [info[name] for name in sorted(info)] + [accepted]
    return jnp.stack([jnp.asarray(v).astype(jnp.float32) for v in columns])


def accepted_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Return the rows (n, names) of the accepted steps, of the rows of consecutive chunks."""
    stacked = np.concatenate(rows).astype(np.float64)
    return stacked[stacked[:, -1] == 1.0, :-1]
