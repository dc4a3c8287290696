"""The contract of an objective."""

import functools
from abc import abstractmethod
from typing import Any

import equinox as eqx
import numpy as np

from .._typing import PRNGKey, PyTree, Scalar
from ..families import Family
from ..target import Target


class Objective(eqx.Module):
    """A loss of a family and a target, always minimised.

    Abstract: `ReverseKL` and `ForwardKL` are its final subclasses.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(num_samples=4).gradients_per_step()
        4
    """

    @abstractmethod
    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the loss to differentiate, and scalars for the record.

        `aux["loss"]`, where given, is the value to record in place of the loss (a surrogate's
        value can differ from what it estimates).
        """

    @abstractmethod
    def prepare(self, target: Target) -> "Objective":
        """Check the objective against the target before the loop and return it, ready to use."""

    @abstractmethod
    def gradients_per_step(self) -> int:
        """Return how many gradients of the target's log density one step evaluates."""


@functools.singledispatch
def initial_state(objective: Any, family: Any, target: Target, key: PRNGKey) -> PyTree:
    """Return what the objective carries from step to step; None for most.

    A Markov chain or a step counter lives in this pytree of arrays, in the algorithm's state, so
    that checkpoints, rejected steps and roll-backs keep it in line with the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> objective = vikl.objectives.MarkovianScoreClimbing(num_chains=3)
        >>> initial_state(objective, q, target, jax.random.key(0)).shape
        (3, 1)
    """
    return None


@functools.singledispatch
def evaluate(
    objective: Any, carried: PyTree, family: Any, target: Target, key: PRNGKey
) -> tuple[Scalar, dict[str, Scalar], PyTree]:
    """Return the loss, the record, and what is carried to the next step.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> print(evaluate(vikl.objectives.ReverseKL(), None, q, target, jax.random.key(0))[2])
        None
    """
    loss, aux = objective(family, target, key)
    return loss, aux, carried


@functools.singledispatch
def verdict(
    objective: Any, family: Family, target: Target, history: dict[str, np.ndarray]
) -> tuple[str, str] | None:
    """Return a status and a sentence where the record shows that the fit is not what it seems.

    Example:
        >>> import jax.numpy as jnp, numpy as np, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> verdict(vikl.objectives.ForwardKL(), q, target, {"ess": np.array([1.3])})[0]
        'not inclusive any more'
    """
    return None


def late(history: dict[str, np.ndarray], name: str) -> float | None:
    """Return the mean of a column of the record over its last quarter."""
    column = history.get(name, ())
    if len(column) == 0:
        return None
    return float(np.mean(column[-max(len(column) // 4, 1) :]))


def check_num_samples(num_samples: Any, name: str = "num_samples") -> int:
    """Return `num_samples`, a positive whole number, or say what is wrong with it."""
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(
            f"`{name}` should be a whole number of draws, at least 1; got {num_samples!r}."
        )
    return num_samples
