"""Which of two fits is better, how far apart they are, and whether one can still overtake."""

from collections.abc import Callable

import numpy as np

from ..diagnostics import WeightedDraws
from ._natural import Moments

_PATIENCE = 8  # rounds before a pace is a pace
_FASTER = 3.0  # times its pace: how fast it may yet become
_NEAR_NATS = 3.0
_CLEARLY = 0.1  # nats by which a fit has to be better than another, and twice its error
_WILD_NATS = 100.0  # or more, if it is better by as much


def clearly_better(one: WeightedDraws, other: WeightedDraws) -> bool:
    """Compare by fresh draws: an ELBO that was seen on the way may have been a lucky one."""
    if not np.isfinite([one.elbo, other.elbo]).all():
        return bool(one.elbo > other.elbo)
    # an ELBO of wild draws is no better known than its error says, but surely no good one
    error = min(2 * float(np.hypot(one.elbo_std_error, other.elbo_std_error)), _WILD_NATS)
    return bool(one.elbo - other.elbo > max(_CLEARLY, error))


def behind(goal: float, began: int, end: float) -> Callable[[int, float], bool]:
    """Return what says, of gradients used and an ELBO, that a run will not reach `goal` by `end`.

    It is given up if it would come too late at three times the pace of its last half, and also
    if the gap keeps shrinking by the same factor.
    """
    used, highest = [began], [-np.inf]

    def too_late(now: int, elbo: float) -> bool:
        used.append(now)
        highest.append(max(highest[-1], elbo))
        if len(used) <= _PATIENCE:
            return False
        half = len(used) // 2
        then, gap = goal - highest[half], goal - highest[-1]
        spans = max(end - now, 0.0) / (now - used[half])  # as long as that half, yet to come
        late = gap > _FASTER * spans * (then - gap)
        return bool(late and gap * (gap / then) ** spans > _NEAR_NATS)

    return too_late


def symmetric_kl(a: Moments, b: Moments) -> float:
    """Return KL(a‖b) + KL(b‖a) in nats; NaN where a scale is singular."""
    try:
        one, other = np.linalg.solve(a.scale, b.scale), np.linalg.solve(b.scale, a.scale)
        gaps = [np.linalg.solve(q.scale, a.mean - b.mean) for q in (a, b)]
    except np.linalg.LinAlgError:
        return np.nan
    spread = sum(float(np.sum(m**2)) for m in (one, other, *gaps))
    return max(spread / 2 - len(a.mean), 0.0)


def apart(a: Moments, b: Moments) -> bool:
    """Whether two normals lie more than three of either's sds from each other."""
    return all(np.linalg.norm(np.linalg.solve(q.scale, a.mean - b.mean)) > 3.0 for q in (a, b))
