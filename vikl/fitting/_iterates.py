"""Running sums of the iterates of a loop: what says whether they stand still.

Up to 256 parameters, evenly spread over all, are looked at every 16 steps, at step numbers that do
not depend on how the run is cut into chunks. Each cell of the record keeps their count, mean and
variance; cells of the first half of the run are forgotten as it goes on.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Vector
from ..diagnostics._iterates import Iterates
from ..families import Family

EVERY = 16  # steps
_MOST = 256  # parameters
_CELLS = 16


class Sums(NamedTuple):
    """Sums over the iterates of one cell, less the first of them: they may hardly differ."""

    count: Array | np.ndarray
    origin: Array | np.ndarray
    total: Array | np.ndarray
    squares: Array | np.ndarray

    @staticmethod
    def of_none(family: Any) -> "Sums":
        """Return sums over nothing, in NumPy: no program is compiled for them.

        `family` may be any pytree of parameters, such as an encoder.
        """
        value = jax.eval_shape(watched, eqx.filter(family, eqx.is_inexact_array))
        zeros = np.zeros(value.shape, value.dtype)
        return Sums(np.zeros((), np.int32), zeros, zeros, zeros)

    def add(self, value: Vector, wanted: Array) -> "Sums":
        """Return the sums with one more iterate, where it is wanted."""
        origin = jnp.where(self.count == 0, value, self.origin)
        off = jnp.where(wanted, value - origin, 0.0)
        count = self.count + wanted.astype(jnp.int32)
        return Sums(count, origin, self.total + off, self.squares + off**2)


def watched(family: Any) -> Vector:
    """Return the parameters that are looked at, flat."""
    leaves = jax.tree.leaves(eqx.filter(family, eqx.is_inexact_array))
    stride = _stride(leaves)
    dtype = jnp.result_type(*(leaf.dtype for leaf in leaves))
    return jnp.concatenate([leaf.ravel()[::stride].astype(dtype) for leaf in leaves])


def _stride(leaves: list[Any]) -> int:
    return -(-sum(leaf.size for leaf in leaves) // _MOST)


def labels(family: Family) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names of the watched parameters, their units, and their places among all.

    A unit is the coordinate whose sd it is, or −1 where there is none, as of a log scale.
    """
    params = eqx.filter(family, eqx.is_inexact_array)
    pairs = jax.tree_util.tree_leaves_with_path(params)
    stride = _stride([leaf for _, leaf in pairs])
    names, units, places, before = [], [], [], 0
    for path, leaf in pairs:
        index = np.indices(leaf.shape).reshape(leaf.ndim, leaf.size)[:, ::stride]
        axis = {"loc": -1, "lower": -2}.get(getattr(path[-1], "name", ""), 0)
        name = jax.tree_util.keystr(path).lstrip(".")
        names += [f"{name}[{', '.join(map(str, at))}]" if leaf.ndim else name for at in index.T]
        has_unit = axis < 0 and leaf.ndim >= -axis and leaf.shape[axis] == family.dim
        units.append(index[axis] if has_unit else np.full(index.shape[1], -1))
        places.append(before + np.arange(leaf.size)[::stride])
        before += leaf.size
    return names, np.concatenate(units), np.concatenate(places)


@dataclasses.dataclass
class Kept:
    """The cells of the second half of a run, each a row: last step, count, means, variances."""

    rows: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add(self, step: int, sums: Sums) -> None:
        """Remember a cell, and forget those of the first half."""
        count, origin, total, squares = (np.asarray(v, np.float64) for v in sums)
        if count > 0:
            mean = total / count
            row = [[step, count], origin + mean, np.maximum(squares / count - mean**2, 0.0)]
            self.rows.append(np.concatenate(row))
        self.rows = [row for row in self.rows if row[0] > step / 2][-_CELLS:]

    def packed(self, num: int) -> np.ndarray:
        """Return the rows with empty ones below, always of one shape: what a checkpoint holds."""
        found = np.zeros((_CELLS, 2 + 2 * num))
        for place, row in zip(found, self.rows):
            place[:] = row
        return found

    @staticmethod
    def unpacked(packed: np.ndarray) -> "Kept":
        """Return what `packed` was made of."""
        return Kept([row for row in packed if row[1] > 0])

    def iterates(self, family: Family, sd: np.ndarray) -> Iterates | None:
        """Return the means and variances in units of `sd` (dim,) of q, None where there are few."""
        if not self.rows:
            return None
        rows = np.stack(self.rows)
        means, variances = np.split(rows[:, 2:], 2, axis=1)
        return in_units(family, sd, rows[:, 0], rows[:, 1], means, variances)


def of_window(family: Family, sd: np.ndarray, window: np.ndarray) -> Iterates:
    """Return the same of a stretch of iterates (n, p) with all parameters, in eight cells."""
    cells = np.array_split(window[:, labels(family)[2]], 8)
    count = np.asarray([len(cell) for cell in cells], float)
    # as if the stretch were the second half of a run
    step = len(window) + np.cumsum(count)
    means, variances = (np.stack([f(c, axis=0) for c in cells]) for f in (np.mean, np.var))
    return in_units(family, sd, step, count, means, variances)


def in_units(
    family: Family,
    sd: np.ndarray,
    step: np.ndarray,
    count: np.ndarray,
    means: np.ndarray,
    variances: np.ndarray,
) -> Iterates:
    """Divide by the sds of q what has the unit of a coordinate."""
    names, coordinate, _ = labels(family)
    unit = np.where(coordinate < 0, 1.0, sd[np.maximum(coordinate, 0)])
    unit = np.where(unit > 0, unit, 1.0)
    return Iterates(tuple(names), step, count, (means - means[-1]) / unit, variances / unit**2)
