"""The target's batched value and gradient, compiled once, counted honestly."""

import jax
import numpy as np

from .._compile import compile_once
from .._typing import Array
from ..target import Target
from ._journal import Journal, ask


@compile_once
def _values_and_gradients(target: Target, x: Array) -> tuple[Array, Array]:
    return jax.vmap(jax.value_and_grad(target.log_density))(x)


class Evaluator:
    """Log density and gradient of rows of points, in batches of a few fixed sizes.

    Fixed sizes, so that at most `len(sizes)` programs are ever compiled, the largest that fits
    first; rows added to fill the last batch are evaluated too, and therefore counted in
    `num_gradients`. Results are float64: the
    model runs in the target's own precision, the small linear algebra around it does not lose
    more.
    """

    def __init__(self, target: Target, sizes: tuple[int, ...], journal: Journal | None = None):
        self.target, self.journal = target, journal
        self.sizes = tuple(sorted(set(sizes)))
        self.num_gradients = 0

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log densities (n,) and gradients (n, dim) at `points` (n, dim)."""
        values, gradients, start = [], [], 0
        while start < len(points):
            left = len(points) - start
            size = max((s for s in self.sizes if s <= left), default=self.sizes[0])
            value, gradient = self._batch(points[start : start + size], size)
            values.append(value)
            gradients.append(gradient)
            start += size
        return np.concatenate(values), np.concatenate(gradients)

    def _batch(self, rows: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        padded = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
        with np.errstate(over="ignore"):  # a runaway point becomes inf, and is judged as such
            padded = padded.astype(self.target.dtype)
        value, gradient = ask(
            self.journal, [padded], lambda: _values_and_gradients(self.target, padded)
        )
        self.num_gradients += size
        n = len(rows)
        return np.asarray(value, np.float64)[:n], np.asarray(gradient, np.float64)[:n]
