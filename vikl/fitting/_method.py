"""The contract of a named method, which `fit(..., method=...)` runs."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np

from .._typing import PRNGKey
from ..diagnostics._iterates import Iterates
from ..families import Family, FullRankNormal
from ..target import Target
from ._arguments import initial_family
from ._automatic import Start
from ._journal import Journal
from ._status import Ending


class Request(NamedTuple):
    """What a method is asked for: the arguments of `fit` that are not the target's."""

    key: PRNGKey
    family: type[Family] | Family | None = None
    num_steps: int | None = None
    num_starts: int | None = None
    progress: bool | None = None
    callback: Callable | None = None
    max_seconds: float | None = None
    journal: Journal | None = None


class Found(NamedTuple):
    """What a method found.

    `details` has arrays by name that a family cannot hold, such as a corrected covariance;
    `iterates` are those of a stochastic loop.
    """

    family: Family
    ending: Ending
    history: Mapping[str, np.ndarray]
    num_gradients: int
    starts: tuple[Start, ...] = ()
    details: Mapping[str, np.ndarray] = {}
    iterates: Iterates | None = None


class Method(eqx.Module):
    """A way to fit, with its settings. Final subclasses live in `vikl.methods`.

    `families` are the classes that it fits, the first by default; empty means any.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -0.5 * jnp.sum((x - 2.0) ** 2), like=jnp.zeros(3),
        ...                 method=vikl.methods.Laplace(), key=jax.random.key(0))
        >>> post.status
        'converged'
    """

    families: ClassVar[tuple[type[Family], ...]] = (FullRankNormal,)

    @abstractmethod
    def run(self, target: Target, request: Request) -> Found:
        """Fit and return what was found, whatever happens on the way."""


def check_method(
    method: Any, target: Target, family: Any, objective: Any, optimizer: Any
) -> type[Family] | Family | None:
    """Refuse what does not go with a named method; return the family to fit.

    Raises:
        TypeError: `method` is not a method; `family` is not a family.
        ValueError: an objective or an optimizer beside it, or a family it cannot fit.
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"`method` should be an instance of vikl.methods, such as Laplace(); got {method!r}. "
            "Call the class to make an instance, or leave it out for the automatic method."
        )
    name = type(method).__name__
    for argument, value in {"objective": objective, "optimizer": optimizer}.items():
        if value is not None:
            raise ValueError(
                f"`{argument}` should be left out beside `method`; got {value!r}. {name} has its "
                "own: leave one of the two out, or give it to `vikl.methods.StochasticVI`."
            )
    if family is None:
        return None
    chosen = initial_family(target, family)
    if method.families and type(chosen) not in method.families:
        known = " or ".join(kind.__name__ for kind in method.families)
        raise ValueError(
            f"`family` should be {known} with the method {name}; got {type(chosen).__name__}. "
            "Leave it out, or leave `method` out."
        )
    return family if isinstance(family, type) else chosen
