"""How a fit ended, in words a person can act on."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ending:
    """A status (a few fixed words), the sentence why, and what happened on the way.

    `status` is one of: `converged`, `budget spent`, `time spent`, `interrupted`,
    `stopped by callback`, `out of memory`, `diverged`, `not inclusive any more`,
    `infinite divergence`, `improper target`, `unbounded target`, `outside the support`,
    `modes missed`.

    Example:
        >>> Ending("budget spent", "all 100 steps were taken").with_note("3 were rejected").notes
        ('3 were rejected',)
    """

    status: str
    because: str
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"`status` should be one of {STATUSES}; got {self.status!r}.")

    def with_note(self, note: str) -> "Ending":
        """Return the same ending with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))


STATUSES = (
    "converged",
    "budget spent",
    "time spent",
    "interrupted",
    "stopped by callback",
    "out of memory",
    "diverged",
    "not inclusive any more",
    "infinite divergence",
    "improper target",
    "unbounded target",
    "outside the support",
    "modes missed",
)

#: Stopped from outside: the same call with the same `checkpoint` goes on.
UNFINISHED = ("interrupted", "stopped by callback", "time spent", "out of memory")

#: nats between the halves of the second half of the record that count as standing still
PLATEAU_NATS = 0.05
_FEWEST_CELLS = 8


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Whether the loss still falls: the gain over the last quarter of the steps, and its error."""

    gain: float
    std_error: float

    @property
    def reached(self) -> bool:
        """Whether even an optimistic reading of the gain is below `PLATEAU_NATS`."""
        return self.gain + 2 * self.std_error < PLATEAU_NATS

    def __str__(self) -> str:
        return f"{self.gain:.3g} ± {self.std_error:.2g} nats"


def plateau(steps: np.ndarray, losses: np.ndarray) -> Plateau:
    """Compare the third and the fourth quarter of a record of mean losses.

    `steps` are the last steps of each cell and `losses` their mean losses. The error comes from
    the scatter between cells, so correlation inside a cell is accounted for.
    """
    previous = np.concatenate([[0], steps[:-1]])
    weights = steps - previous
    older = (previous >= steps[-1] / 2) & (steps <= 0.75 * steps[-1] + 1e-9)
    newer = previous >= 0.75 * steps[-1] - 1e-9
    if min(older.sum(), newer.sum()) < 2 or len(steps) < _FEWEST_CELLS:
        return Plateau(np.inf, np.inf)
    (a, sa), (b, sb) = (_weighted(losses[m], weights[m]) for m in (older, newer))
    return Plateau(float(a - b), float(np.hypot(sa, sb)))


def _weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    share = weights / weights.sum()
    center = float(share @ values)
    count = 1.0 / float(share @ share)
    variance = float(share @ (values - center) ** 2) * count / max(count - 1, 1e-9)
    return center, float(np.sqrt(variance / count))
