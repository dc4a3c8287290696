"""Iterates of a method that hops from normal to normal: their averages, and when they stand still.

A run with a noisy update wanders about its answer. The average of its second half has less noise,
and comparing the average of the third quarter with that of the fourth shows both what noise is left
and whether the run still drifts.
"""

import dataclasses

import numpy as np

from ..fitting._natural import Moments
from ._normals import symmetric_kl

_MOST_CELLS = 64


@dataclasses.dataclass
class _Cell:
    """Sums over consecutive iterates."""

    count: int
    mean: np.ndarray
    cov: np.ndarray

    def __add__(self, other: "_Cell") -> "_Cell":
        return _Cell(self.count + other.count, self.mean + other.mean, self.cov + other.cov)


class Track:
    """Running sums of iterates, in at most 64 cells of equal width, so memory stays bounded."""

    def __init__(self) -> None:
        self.cells: list[_Cell] = []
        self.width, self.count = 1, 0

    def add(self, q: Moments) -> None:
        """Remember one more iterate."""
        one = _Cell(1, q.mean, q.cov)
        if self.cells and self.cells[-1].count < self.width:
            self.cells[-1] = self.cells[-1] + one
        else:
            self.cells.append(one)
        self.count += 1
        if len(self.cells) == _MOST_CELLS and self.cells[-1].count == self.width:
            self.cells = [a + b for a, b in zip(self.cells[::2], self.cells[1::2])]
            self.width *= 2

    def average(self, first: float = 0.5, last: float = 1.0) -> Moments:
        """Return the average over a part of the run, by the mean of means and of covariances."""
        low, high = round(first * len(self.cells)), round(last * len(self.cells))
        part = self.cells[min(low, len(self.cells) - 1) : max(high, low + 1)]
        total = part[0]
        for cell in part[1:]:
            total = total + cell
        return Moments(total.mean / total.count, _root(total.cov / total.count))

    def restlessness(self) -> float:
        """Return the symmetric KL, in nats, between the third and the fourth quarter's averages."""
        if self.count < 4:
            return np.inf
        try:
            return symmetric_kl(self.average(0.5, 0.75), self.average(0.75, 1.0))
        except np.linalg.LinAlgError:
            return np.inf


def _root(cov: np.ndarray) -> np.ndarray:
    """Return a square root that survives scales far apart: the Cholesky factor of correlations."""
    sd = np.sqrt(np.diagonal(cov))
    return np.linalg.cholesky(cov / np.outer(sd, sd)) * sd[:, None]
