"""Products of the log density's Hessian with vectors, compiled once, counted honestly."""

import jax
import numpy as np

from .._compile import compile_lightly
from .._typing import Array
from ..fitting._journal import Journal, ask
from ..target import Target


@compile_lightly
def _products(target: Target, x: Array, v: Array) -> Array:
    def product(x: Array, v: Array) -> Array:
        return jax.jvp(jax.grad(target.log_density), (x,), (v,))[1]

    return jax.vmap(product)(x, v)


class Curvature:
    """H(x) v for rows of points and vectors, in batches of one fixed size.

    A product counts as one gradient (a Hessian as `dim` of them), rows that fill the last batch
    included.
    """

    def __init__(self, target: Target, size: int, journal: Journal | None = None):
        self.target, self.size, self.journal = target, size, journal
        self.num_gradients = 0

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the products (n, dim) of rows `x` (n, dim) and `v` (n, dim), in float64."""
        found = []
        for start in range(0, len(x), self.size):
            rows = [_pad(part[start : start + self.size], self.size) for part in (x, v)]
            rows = [part.astype(self.target.dtype) for part in rows]
            self.num_gradients += self.size
            (product,) = ask(self.journal, rows, lambda r=rows: [_products(self.target, *r)])
            found.append(np.asarray(product, np.float64))
        return np.concatenate(found)[: len(x)]

    def along(self, x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return scaleᵀ H(x) scale at one point `x` (dim,), symmetric."""
        # unit columns, so that scales of 1e8 neither overflow nor underflow in float32
        sizes = np.linalg.norm(scale, axis=0)
        columns = self(np.broadcast_to(x, scale.T.shape), (scale / sizes).T)
        hessian = (columns * sizes[:, None]) @ scale
        return (hessian + hessian.T) / 2


def _pad(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])
