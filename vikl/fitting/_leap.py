"""Going on along the line between two normals, further than one natural step dares.

Along a funnel or a ridge every natural-gradient step is short and points the same way. The line
through two normals that the run has been at is then a good guess of the way ahead, and the slope of
the ELBO along it, one number, is known far better than the gradient that a longer step would trust.
"""

import dataclasses

import numpy as np

from ._natural import Moments, Round

_FARTHEST = 16.0  # lengths of the way so far
_STRETCH = 4.0  # of a standard deviation, and (in sds of the new normal) of the mean's way


@dataclasses.dataclass
class Leap:
    """The line of normals with q(0) = `old` and q(1) = `new`, at `reach` beyond the latter.

    The mean goes straight; the covariance along the geodesic, old^½ (old^-½ new old^-½)^s old^½.
    """

    old: Moments
    new: Moments
    reach: float

    def __post_init__(self) -> None:
        root = np.linalg.solve(self.old.scale, self.new.scale)
        values, self.vectors = np.linalg.eigh(root @ root.T)
        self.logs = np.log(np.maximum(values, 1e-300))
        way = np.linalg.norm(np.linalg.solve(self.new.scale, self.new.mean - self.old.mean))
        longest = max(float(np.abs(self.logs).max()) / 2 / np.log(_STRETCH), float(way) / _STRETCH)
        self.reach = min(self.reach, _FARTHEST, 1 / max(longest, 1e-12))

    def at(self, place: float) -> Moments:
        """Return q(place)."""
        root = self.vectors * np.exp(place * self.logs / 2) @ self.vectors.T
        mean = self.old.mean + place * (self.new.mean - self.old.mean)
        return Moments(mean, self.old.scale @ root)

    @property
    def end(self) -> Moments:
        """The normal that is leapt to."""
        return self.at(1 + self.reach)

    def slope(self, q: Moments, seen: Round) -> float:
        """Return the ELBO's derivative along the line, for a round seen at a q on it."""
        mean = np.linalg.solve(q.scale, self.new.mean - self.old.mean)
        spread = self.vectors * self.logs @ self.vectors.T
        return float(seen.step @ mean + 0.5 * np.sum(seen.bend * spread))

    def turn(self, before: float, after: float) -> Moments:
        """Return where the slope vanishes, by its values at the line's `new` and at the end."""
        share = before / (before - after) if before > 0 > after else 0.0
        return self.at(1 + self.reach * float(np.clip(share, 0.0, 1.0)))
