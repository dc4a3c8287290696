"""What a natural-gradient run that did not settle was doing: growing or shrinking without end."""

import numpy as np

from ._ascend import WIDENED
from ._ascent import Evaluate
from ._leap import Leap
from ._natural import Ascent
from ._status import Ending

_FLAT = 0.05  # curvature, where 1 balances the entropy: hardly any pull back towards the mean
_ENDLESS = 1e12  # nats no log density of real data reaches
_RISE = 0.5  # nats of ELBO won, and of entropy lost, between the halves of the late rounds


def unsettled(
    best: Ascent, evaluate: Evaluate, noise: np.ndarray, names: tuple[str, ...]
) -> Ending | None:
    """Return the ending of a run whose target is improper or unbounded, None of any other."""
    values, gradients = evaluate(best.moments.mean + noise @ best.moments.scale.T)
    if not np.isfinite(values).any():
        return Ending("diverged", "no draw has a finite log density any more")
    if best.elbo > _ENDLESS or np.nanmax(values) > _ENDLESS:
        return Ending(
            "unbounded target",
            f"the ELBO reached {best.elbo:.3g} nats: the log density has no upper bound; look for "
            "a pole, or a sign error",
        )
    pull = np.where(np.isfinite(gradients), gradients, 0.0) @ best.moments.scale
    flattest = _flattest(noise, pull)
    if best.reason == WIDENED:
        flattest = np.linalg.svd(best.moments.scale)[2][0]
    if flattest is not None and not _shrinking(best):
        widest = best.moments.scale @ flattest
        return Ending(
            "improper target",
            f"the log density hardly falls off along {names[int(np.argmax(np.abs(widest)))]}: no "
            "normal fits it; give it a proper prior",
        )
    if _shrinking(best) and _endless(best, evaluate, noise):
        return Ending(
            "unbounded target",
            "the ELBO kept rising while q kept shrinking: the density seems to have no upper "
            "bound; keep scales away from zero by a prior",
        )
    return None


def _flattest(noise: np.ndarray, pull: np.ndarray) -> np.ndarray | None:
    """Return the direction of least curvature where that is surely none to speak of, else None.

    It is found by half of the draws (whole antithetic pairs) and judged by the others: the least
    of many noisy numbers is low for no other reason.
    """
    curvature = -(noise[::2].T @ pull[::2] + pull[::2].T @ noise[::2]) / len(noise)
    direction = np.linalg.eigh(curvature)[1][:, 0]
    half = len(noise) // 2
    bends = -(noise @ direction) * (pull @ direction)
    judged = (bends[:half] + bends[half:])[1::2] / 2
    error = float(judged.std()) / np.sqrt(len(judged))
    return direction if float(judged.mean()) + 3 * error < 2 * _FLAT else None


def _endless(best: Ascent, evaluate: Evaluate, noise: np.ndarray) -> bool:
    """Whether the ELBO is higher still much further along the way that q came.

    A run that is only slow is near its end, and has left it behind there.
    """
    if best.before is None:
        return False
    far = Leap(best.before, best.moments, np.inf).end
    here, there = (
        evaluate(q.mean + noise @ q.scale.T)[0].mean() + q.entropy for q in (best.moments, far)
    )
    return bool(there > here)


def _shrinking(best: Ascent) -> bool:
    """Whether the ELBO kept rising while q kept shrinking over the second half of the rounds."""
    rows = [row for row in best.history[len(best.history) // 2 :] if np.isfinite(row.elbo)]
    if len(rows) < 8:
        return False
    halves = np.array_split(np.array([(row.elbo, row.entropy) for row in rows]), 2)
    gain, growth = np.diff([np.median(half, axis=0) for half in halves], axis=0)[0]
    return bool(gain > _RISE and growth < -_RISE)
