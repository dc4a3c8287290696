"""The target's batched value and gradient, compiled once, counted honestly."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compile_lightly
from .._typing import Array
from ..target import Target
from ._journal import Journal, ask

_FEWEST = 4  # rows in a group; rows one by one would be slow
_LIGHT = 1e7  # operations on a group; above, a wide batch is worth a program of its own


@compile_lightly
def _values_and_gradients(target: Target, x: Array) -> tuple[Array, Array]:
    return jax.vmap(jax.value_and_grad(target.log_density))(x)


@compile_lightly
def _by_groups(target: Target, size: int, x: Array, count: Array) -> tuple[Array, Array]:
    """Evaluate the first `count` groups of `size` rows of x; the others come back as zeros."""
    value_and_grad = jax.vmap(jax.value_and_grad(target.log_density))

    def evaluate(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        new = value_and_grad(jax.lax.dynamic_slice_in_dim(x, size * i, size))
        put = jax.lax.dynamic_update_slice_in_dim
        return put(found[0], new[0], size * i, 0), put(found[1], new[1], size * i, 0)

    return jax.lax.fori_loop(0, count, evaluate, (jnp.zeros_like(x[:, 0]), jnp.zeros_like(x)))


class Evaluator:
    """Log density and gradient of rows of points, in batches of one or two fixed sizes.

    On a CPU two sizes share one program, which takes groups of the smaller one after another:
    compiling is what a cold process waits for, and that costs little unless the target is heavy or
    the groups are tiny. Those, and an accelerator, which wants wide batches, get a program for each
    size. Rows added to fill a group are evaluated too, and therefore counted in `num_gradients`.
    Results are float64: the model runs in the target's own precision, the small linear algebra
    around it does not lose more.
    """

    def __init__(self, target: Target, sizes: tuple[int, ...], journal: Journal | None = None):
        self.target, self.journal = target, journal
        self.small, self.large = min(sizes), max(sizes)
        wide = self.small < _FEWEST or jax.default_backend() != "cpu"
        self.grouped = self.small < self.large and not wide
        self.num_gradients = 0
        self._program: Callable | None = None  # in groups: its arrays always have the same shapes

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log densities (n,) and gradients (n, dim) at `points` (n, dim)."""
        values, gradients, start = [], [], 0
        while start < len(points):
            left = len(points) - start
            size = self.large if left >= self.large else self.small
            if self.grouped and left < self.large:
                size = self._whole_groups(left)
            value, gradient = self._batch(points[start : start + size], size)
            values.append(value)
            gradients.append(gradient)
            start += size
        return np.concatenate(values), np.concatenate(gradients)

    def _whole_groups(self, rows: int) -> int:
        return -(-rows // self.small) * self.small

    def _batch(self, rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        n = len(rows)
        padded = np.concatenate([rows, np.repeat(rows[-1:], size - n, axis=0)])
        with np.errstate(over="ignore"):  # a runaway point becomes inf, and is judged as such
            padded = padded.astype(self.target.dtype)
        value, gradient = ask(self.journal, [padded], lambda: self._run(padded))
        self.num_gradients += size
        return np.asarray(value, np.float64)[:n], np.asarray(gradient, np.float64)[:n]

    def _run(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, found = len(rows), None
        if self.grouped:
            x = np.empty((self._whole_groups(self.large), rows.shape[1]), rows.dtype)
            x[:n], x[n:] = rows, rows[-1]
            args = self.target, self.small, x, np.array(-(-n // self.small), np.int32)
            self._program = self._program or _by_groups.prepare(*args)
            if n < self.large or getattr(self._program, "work", 0.0) < _LIGHT:
                found = self._program(*args)
        values, gradients = found or _values_and_gradients(self.target, rows)
        return np.asarray(values)[:n], np.asarray(gradients)[:n]
