"""The contract of an objective."""

from abc import abstractmethod
from typing import Any

import equinox as eqx

from .._typing import PRNGKey, Scalar
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


def check_num_samples(num_samples: Any) -> int:
    """Return `num_samples`, a positive whole number, or say what is wrong with it."""
    if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
        raise ValueError(
            f"`num_samples` should be a whole number of draws, at least 1; got {num_samples!r}."
        )
    return num_samples
