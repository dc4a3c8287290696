"""A model that is known by draws of its latents and its data only."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import PyTree, Scalar, Vector
from ._layout import Layout, layout_of
from ._problem import Problem
from ._target import Target


class SimulatedProblem(Problem):
    """Latents by name and support, without a density."""

    layout: Layout = eqx.field(static=True)

    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Refuse: there are draws only."""
        raise TypeError(
            "`target` is known by simulations only and has no log density. Make one by "
            "`vikl.Target.from_density(log_joint, like=..., data=...)` to weigh draws or to check."
        )

    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return the latents as the simulator gives them."""
        return self.layout.constrain(x)[0]

    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the flat vector of such latents."""
        return self.layout.unconstrain(values)


def simulated_target(simulate: Callable, support: Any) -> tuple[Target, PyTree]:
    """Return the target whose latents a simulator draws, and the shapes of its data.

    Raises:
        TypeError: `simulate` is not a function, or draws latents that are not floating point.
        ValueError: it raises, does not return a pair, or a support does not fit.
    """
    if not callable(simulate):
        raise TypeError(
            f"`simulate` should be a function of a key that returns (latents, data); got "
            f"{simulate!r} of type {type(simulate).__name__}."
        )
    try:
        drawn = jax.eval_shape(lambda key: simulate(key), jax.random.key(0))
    except Exception as error:
        raise ValueError(
            f"`simulate` raised {type(error).__name__} when called with a key: {error}. Make it a "
            "pure JAX function `simulate(key)` of one draw that returns (latents, data)."
        ) from error
    if not (isinstance(drawn, tuple) and len(drawn) == 2 and jax.tree.leaves(drawn[1])):
        raise ValueError(
            f"`simulate` should return a pair (latents, data) of one joint draw; got {drawn!r}. "
            "Draw the latents from their prior, then data given them, and return both."
        )
    layout = _layout(drawn[0], support)
    problem = SimulatedProblem(layout)
    return Target(problem, None, jnp.zeros(layout.dim, layout.dtype)), drawn[1]


def _layout(latents: PyTree, support: Any) -> Layout:
    try:
        return layout_of(latents, support)
    except (TypeError, ValueError) as error:
        if not str(error).startswith("`like`"):
            raise
        message = str(error).replace("`like`", "`simulate`: its latents", 1)
        raise type(error)(message) from error
