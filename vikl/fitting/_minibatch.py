"""The automatic method for a likelihood that is a sum over very many rows.

A fit to some rows, weighted up, gives a place and the coordinates whitened there. A few passes
over all rows make the place the mode. From then on, minibatches: each draw's log density is a
second-order remainder, estimated from a few rows, beside the first-order expansion from all.
"""

from typing import ClassVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compile_once
from .._typing import Array, Scalar, Vector
from ..families import Family, FullRankNormal, MeanFieldNormal
from ..target import Target
from ..target._rows import RowsProblem, num_rows, take_rows
from ._ascend import Goal, ascend
from ._automatic import Automatic
from ._journal import Journal, ask
from ._method import Found, Method, Request
from ._natural import Moments, Row
from ._status import Ending
from ._weigh import seed_of

_ROWS_OF_A_START = 40  # for each parameter
_PASSES = 3
_ROUNDS = 100


def _problem(target: Target) -> RowsProblem:
    return cast(RowsProblem, target.problem)


def _some_rows(x: Vector, data: tuple) -> Scalar:
    """Log density with the likelihood of some rows weighted up to all."""
    target, rows, weight = data
    prior = _problem(target).log_prior(x) + (
        0.0 if target.prior is None else target.prior.log_prob(x)
    )
    return prior + weight * _problem(target).log_likelihood(x, rows)


@compile_once
def _all_rows(target: Target, x: Array | np.ndarray) -> tuple[Array, Array]:
    likelihood = lambda x: _problem(target).log_likelihood(x, target.data)
    return jax.value_and_grad(likelihood)(x)


@compile_once
def _prior_gradient(target: Target, x: Array | np.ndarray) -> Array:
    return jax.grad(lambda x: _some_rows(x, (target, target.data, 0.0)))(x)


@compile_once
def _estimates(
    target: Target, points: Array, index: Array, center: Vector, value: Scalar, gradient: Vector
) -> tuple[Array, Array]:
    problem = _problem(target)
    weight = num_rows(target.data) / index.shape[1]

    def one(x: Vector, index: Array) -> Scalar:
        rows = take_rows(target.data, index)
        likelihood = lambda x: problem.log_likelihood(x, rows)
        there, slope = jax.value_and_grad(likelihood)(center)
        remainder = likelihood(x) - there - slope @ (x - center)
        prior = _some_rows(x, (target, rows, 0.0))
        return prior + value + gradient @ (x - center) + weight * remainder

    return jax.vmap(jax.value_and_grad(one))(points, index)


class MinibatchClimb(Method):
    """The automatic method of a target with a `batch_size`.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> y = jnp.arange(8.0)
        >>> target = vikl.Target.from_density(
        ...     lambda x, y: -0.5 * jnp.sum((y - x) ** 2), 0.0, data=y, batch_size=4)
        >>> post = vikl.fit(target, key=jax.random.key(0))
        >>> round(float(post.mean[0]), 2), round(float(post.std[0]), 2)
        (3.5, 0.35)

    References:
        Baker, Fearnhead, Fox & Nemeth (2019), Control variates for stochastic gradient MCMC.
    """

    families: ClassVar[tuple[type[Family], ...]] = (FullRankNormal, MeanFieldNormal)

    def run(self, target: Target, request: Request) -> Found:
        """Return the fitted normal; `num_gradients` counts gradients of minibatches."""
        rng, journal = np.random.default_rng(seed_of(request.key, 2)), request.journal
        num, batch = num_rows(target.data), _problem(target).batch_size
        some = min(num, max(_ROWS_OF_A_START * target.dim, batch))
        first = _first_fit(target, rng.choice(num, some, replace=False), num / some, request)
        center = first.current.mean.astype(target.dtype)
        for _ in range(_PASSES):
            value, gradient = _look(target, center, journal)
            (prior,) = ask(journal, [center], lambda c=center: [_prior_gradient(target, c)])
            total = gradient + np.asarray(prior)
            scale = first.current.scale
            step = scale @ (scale.T @ total.astype(np.float64))
            if not np.isfinite(step).all() or np.linalg.norm(scale.T @ total) < 0.1:
                break
            center = (center + step).astype(target.dtype)
        value, gradient = _look(target, center, journal)
        count = 0

        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal count
            count += 2 * len(points)
            index = rng.integers(0, num, size=(len(points), batch), dtype=np.int32)
            with np.errstate(over="ignore"):
                x = points.astype(target.dtype)
            found = ask(
                journal, [x, index], lambda: _estimates(target, x, index, center, value, gradient)
            )
            return tuple(np.asarray(v, np.float64) for v in found)  # pyright: ignore

        best = ascend(
            evaluate, Moments(center.astype(np.float64), first.current.scale), rng,
            Goal(0.002, 0.04, request.num_steps or _ROUNDS), num_draws=first.num_draws,
            shape=first.shape, framed=False, watch=first.watch,
        )  # fmt: skip
        columns = zip(*best.history) if best.history else [()] * len(Row._fields)
        history = {n: np.asarray(v, float) for n, v in zip(Row._fields, columns)}
        status = "converged" if best.converged else "budget spent"
        because = f"{best.reason}, after {count} gradients of {batch} of {num} rows"
        if first.stopped:
            status = first.stopped
        ending = Ending(status, because, (
            f"minibatches, in coordinates whitened by a fit to {some} rows, around a mode found by "
            f"passes over all rows",
        ))  # fmt: skip
        return Found(first._family(best.moments), ending, history, count)


def _look(target: Target, x: np.ndarray, journal: Journal | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the log likelihood of all rows and its gradient."""
    value, gradient = ask(journal, [x], lambda: _all_rows(target, x))
    return np.asarray(value), np.asarray(gradient)


def _first_fit(target: Target, index: np.ndarray, weight: float, request: Request) -> Automatic:
    """Fit some rows, weighted up: a start and its coordinates."""
    rows = take_rows(target.data, jnp.asarray(np.sort(index)))
    start = jnp.asarray(target.start)
    some = Target.from_density(
        _some_rows,
        start,
        data=(target_without_data(target), rows, jnp.asarray(weight, start.dtype)),
    )
    family = request.family
    kind = family if isinstance(family, type) else type(family)
    kind = kind if kind is MeanFieldNormal else FullRankNormal
    first = Automatic(
        some, kind, request.key, None, num_starts=request.num_starts,
        progress=request.progress, callback=request.callback, max_seconds=request.max_seconds,
        journal=request.journal, fine=False,
    )  # fmt: skip
    first.go()
    return first


def target_without_data(target: Target) -> Target:
    """Return a target that has forgotten its data, so that they are not traced."""
    return eqx.tree_at(lambda t: t.data, target, None, is_leaf=lambda v: v is None)
