"""Whether the iterates of a stochastic fit stand still, and how well their average is known."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_FEWEST = 8  # iterates in a quarter of the run
_FEWEST_CELLS = 4


class Iterates(NamedTuple):
    """Parameters of q over the second half of a run, cell by cell.

    In sds of q where a parameter has the unit of a coordinate, as they are where it is a logarithm;
    means less those of the last cell.
    """

    names: tuple[str, ...]
    step: Float[ndarray, " cells"]
    count: Float[ndarray, " cells"]
    mean: Float[ndarray, "cells p"]
    variance: Float[ndarray, "cells p"]


@dataclasses.dataclass(frozen=True)
class Settling:
    """Whether the iterates stand still over the second half of a run: the worst of the parameters.

    Args:
        rhat: split R-hat, of the third and the fourth quarter as two chains.
        moving: the parameter of that R-hat.
        drift: the largest difference between the means of the two quarters, in sds of q.
        monte_carlo_error: the largest standard error of the mean over both, in sds of q.
        num_iterates: how many were looked at.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cell = rng.normal(size=(8, 32, 2))  # of 8 cells, 32 iterates of 2 parameters
        >>> still = Iterates(("a", "b"), np.arange(9.0, 17), np.full(8, 32.0), cell.mean(1),
        ...                  cell.var(1))
        >>> settle(still).rhat < 1.1
        True
        >>> settle(still._replace(mean=still.mean + [0, 1] * np.arange(8.0)[:, None])).moving
        'b'
    """

    rhat: float
    moving: str
    drift: float
    monte_carlo_error: float
    num_iterates: int

    def __repr__(self) -> str:
        return (
            f"Settling(R-hat {self.rhat:.3f} at worst ({self.moving}), drift {self.drift:.2g} and "
            f"Monte Carlo error {self.monte_carlo_error:.1g} sd)"
        )


def settle(iterates: Iterates | None) -> Settling | None:
    """Judge iterates: split R-hat, drift, and the Monte Carlo error of their mean by batch means.

    None where there are too few to say.

    References:
        Dhaka, Catalina, Andersen, Magnusson, Huggins & Vehtari (2020), Robust, accurate stochastic
        optimization for variational inference; Welandawe, Andersen, Vehtari & Huggins (2024), A
        framework for improving the reliability of black-box variational inference.
    """
    if iterates is None or len(iterates.step) < _FEWEST_CELLS:
        return None
    newer = iterates.step > 0.75 * iterates.step[-1]
    quarters = []
    for part in (~newer, newer):
        count = iterates.count[part]
        if count.sum() < _FEWEST:
            return None
        share = count[:, None] / count.sum()
        mean = (share * iterates.mean[part]).sum(0)
        inside = (share * (iterates.variance[part] + (iterates.mean[part] - mean) ** 2)).sum(0)
        quarters.append((count.sum(), mean, inside * count.sum() / (count.sum() - 1)))
    (few, old, old_variance), (many, new, new_variance) = quarters
    n, within = (few + many) / 2, (old_variance + new_variance) / 2
    between = (new - old) ** 2 / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.where(between > 0, np.sqrt((n - 1) / n + between / within), 1.0)
    error = iterates.mean.std(axis=0, ddof=1) / np.sqrt(len(iterates.mean))
    worst = int(np.argmax(rhat))
    return Settling(
        float(rhat[worst]), iterates.names[worst], float(np.abs(new - old).max()),
        float(error.max()), int(iterates.count.sum()),
    )  # fmt: skip
