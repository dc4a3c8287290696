"""A log density whose likelihood is a sum over rows of data: some rows can stand for all."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import PyTree, Scalar, Vector
from ._layout import Layout
from ._problem import Problem, density_problem


class RowsProblem(Problem):
    """A log likelihood of rows, a log prior, and how many rows make a minibatch."""

    likelihood: Callable
    prior: Callable | None
    layout: Layout = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)

    def log_likelihood(self, x: Vector, rows: PyTree) -> Scalar:
        """Return the log likelihood of `rows`, summed over them."""
        return jnp.asarray(self.likelihood(self.layout.constrain(x)[0], rows)).astype(x.dtype)

    def log_prior(self, x: Vector) -> Scalar:
        """Return the log prior, log Jacobian of the supports included."""
        values, log_det = self.layout.constrain(x)
        return log_det if self.prior is None else log_det + self.prior(values)

    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Return the log density from all rows."""
        return self.log_prior(x) + self.log_likelihood(x, data)

    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return the pytree the user's functions take."""
        return self.layout.constrain(x)[0]

    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the flat vector of such a pytree."""
        return self.layout.unconstrain(values)


def rows_problem(
    log_likelihood: Callable,
    like: PyTree,
    support: Any,
    data: PyTree,
    batch_size: Any,
    log_prior: Callable | None,
) -> RowsProblem:
    """Check a log likelihood of rows and wrap it.

    Raises:
        TypeError: `log_prior` is not a function.
        ValueError: `data` are not rows, or `batch_size` is not some of them, or the likelihood is
            not a sum over rows.
    """
    num = num_rows(data)
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not whole or not 1 <= batch_size <= num:
        raise ValueError(
            f"`batch_size` should be a whole number from 1 to the number of rows of `data`, {num}; "
            f"got {batch_size!r}. A few hundred rows are usual; leave it out to use all rows."
        )
    if log_prior is not None:
        density_problem(log_prior, like, support, None)  # refuses what is not a log density
    plain = density_problem(log_likelihood, like, support, data)
    problem = RowsProblem(
        likelihood=log_likelihood, prior=log_prior, layout=plain.layout, batch_size=int(batch_size)
    )
    _check_sum(problem, jnp.asarray(problem.layout.start(like)), data, num)
    return problem


def num_rows(data: PyTree) -> int:
    """Return how many rows `data` have: the length of the first axis of every array.

    Raises:
        ValueError: there are none, or the arrays disagree.
    """
    shapes = [np.shape(v) for v in jax.tree.leaves(data) if eqx.is_array_like(v)]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"`data` should be arrays of rows, all of one length, where `batch_size` is given; "
            f"got shapes {shapes}. Put what is not a row into the function, and pad ragged rows."
        )
    return int(lengths.pop() or 0)


def take_rows(data: PyTree, index: Any) -> PyTree:
    """Return some rows of every array."""
    return jax.tree.map(lambda v: jnp.asarray(v)[index], data)


def _check_sum(problem: RowsProblem, start: Vector, data: PyTree, num: int) -> None:
    """Look whether two rows together are the sum of each: a mean, or a prior inside, is not."""
    if num < 2:
        return
    x = start + jnp.asarray(0.37, start.dtype)
    last = num - 1
    together = float(problem.log_likelihood(x, take_rows(data, np.array([0, last]))))
    apart = [float(problem.log_likelihood(x, take_rows(data, np.array([i])))) for i in (0, last)]
    if not np.isfinite([together, *apart]).all():
        return  # the fit says what is not finite
    size = sum(abs(v) for v in apart) + abs(together)
    if abs(together - sum(apart)) > 1e-3 * size + 1e-6:
        raise ValueError(
            f"`log_density` should be a sum over rows where `batch_size` is given; rows 0 and "
            f"{last} together give {together:.6g}, apart {apart[0]:.6g} and {apart[1]:.6g}. Return "
            "the sum of the rows' log likelihoods, not their mean, without scaling it up, and give "
            "the log prior apart, as `log_prior`."
        )
