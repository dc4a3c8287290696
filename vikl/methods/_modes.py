"""Modes with their exact curvature: climbs from several starts, then Newton steps."""

import dataclasses

import numpy as np

from ..fitting._arguments import check_start
from ..fitting._ascent import Climb, climb
from ..fitting._automatic import Start
from ..fitting._evaluate import Evaluator
from ..fitting._journal import Journal
from ..target import Target
from ._curvature import Curvature

_SPREAD = 2.0  # starts are uniform within this of the first, in unconstrained units (as in Stan)
_MOST_MODES = 3  # distinct modes that are polished
_ROUNDS = 15
_WIDER = 100.0  # times its old width that a direction may become in one round
_WIDEST = 1e15  # a mode wider than this is flat
_SMALL = 1e-8  # nats a Newton step promises at a mode
_LENGTHS = 0.5 ** np.arange(8.0)
_LOG_2PI = float(np.log(2 * np.pi))
_PRODUCTS = 32  # Hessian products in a batch, at most


@dataclasses.dataclass
class Mode:
    """Where a climb ended after Newton steps: a scale with scale scaleᵀ = (−Hessian)⁻¹ there.

    `state` is `settled`, `flat` (no curvature along some direction), `narrow` (no width along
    one), `rising` (the log density still grew), or `unsettled`.
    """

    x: np.ndarray
    scale: np.ndarray
    log_density: float
    gradient: np.ndarray
    state: str = "unsettled"

    @property
    def log_evidence(self) -> float:
        """The Laplace estimate of the log normaliser, in nats."""
        log_det = float(np.linalg.slogdet(self.scale)[1])
        return self.log_density + log_det + len(self.x) / 2 * _LOG_2PI


class Search:
    """Climbs and Newton steps on one target; `modes` are the distinct ones, best evidence first."""

    def __init__(self, target: Target, num_starts: int, journal: Journal | None = None):
        self.target, self.num_starts = target, num_starts
        self.evaluate = Evaluator(target, (max(num_starts, len(_LENGTHS)),), journal)
        self.curvature = Curvature(target, min(target.dim, _PRODUCTS), journal)
        self.precision = float(np.finfo(target.dtype).eps)
        self.modes: list[Mode] = []
        self.starts: list[Start] = []
        self.notes: list[str] = []
        self.ran_away = 0

    @property
    def num_gradients(self) -> int:
        """Gradients so far, Hessians counted as `dim` of them."""
        return self.evaluate.num_gradients + self.curvature.num_gradients

    def go(self, rng: np.random.Generator) -> None:
        """Climb, then polish the distinct ends."""
        points = start_points(self.target, self.evaluate, rng, self.num_starts, self.notes)
        for one in sorted(climb(self.evaluate, points, self.precision), key=lambda c: -c.value):
            self._look_at(one)
        self.modes.sort(key=lambda mode: -mode.log_evidence if mode.state == "settled" else np.inf)

    def _look_at(self, one: Climb) -> None:
        if one.done == "unbounded" or not np.isfinite(one.value):
            self.ran_away += 1
            self.starts.append(Start("climb", one.value, np.nan, one.done))
            return
        seen = next((mode for mode in self.modes if _same(mode, one)), None)
        if seen is not None or len(self.modes) >= _MOST_MODES:
            note = "not looked at" if seen is None else "the same mode"
            evidence = np.nan if seen is None else seen.log_evidence
            self.starts.append(Start("climb", one.value, evidence, note))
            return
        mode = self.polish(one)
        self.starts.append(Start("climb", mode.log_density, mode.log_evidence, mode.state))
        if not any(_same(other, Climb(mode.x, mode.log_density, mode.x)) for other in self.modes):
            self.modes.append(mode)

    def polish(self, one: Climb) -> Mode:
        """Take Newton steps in whitened coordinates until they promise nothing more."""
        mode = Mode(one.x, one.scale(), one.value, one.gradient)
        first = mode.log_density
        for round_ in range(_ROUNDS):
            if round_ == 2:
                first = mode.log_density
            clipped = self._whiten(mode)
            sizes = np.linalg.norm(mode.scale, axis=1)
            if sizes.min() < 1 / _WIDEST or not sizes.max() < _WIDEST:
                mode.state = "narrow" if sizes.min() < 1 / _WIDEST else "flat"
                return mode
            pull = mode.scale.T @ mode.gradient
            gain = 0.5 * float(pull @ pull)
            if not np.isfinite(gain):
                break
            moved = gain > _SMALL and self._step(mode, pull, gain)
            if not moved and not clipped and gain < 1e-2:
                mode.state = "settled"
                return mode
        mode.state = "rising" if mode.log_density > first + 1.0 else "unsettled"
        return mode

    def _whiten(self, mode: Mode) -> bool:
        """Whiten by the Hessian here; return whether some direction has no or wrong curvature."""
        bend = -self.curvature.along(mode.x, mode.scale)
        values, vectors = np.linalg.eigh(np.where(np.isfinite(bend), bend, 0.0))
        least = max(_WIDER**-2, 1e-12 * np.abs(values).max())
        mode.scale = mode.scale @ (vectors / np.sqrt(np.maximum(np.abs(values), least)))
        return bool(values[0] < least)

    def _step(self, mode: Mode, pull: np.ndarray, gain: float) -> bool:
        """Try eight lengths of a Newton step in one batch; return whether one was better."""
        points = mode.x + _LENGTHS[:, None] * (mode.scale @ pull)
        values, gradients = self.evaluate(points)
        fine = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        if not fine.any():
            return False
        if gain > 1e-2:
            best = int(np.argmax(np.where(fine, values, -np.inf)))
            better = values[best] > mode.log_density
        else:  # the values no longer tell, in float32: the gradients still do
            pulls = np.linalg.norm(np.where(fine[:, None], gradients, np.inf) @ mode.scale, axis=1)
            best = int(np.argmin(np.where(fine, pulls, np.inf)))
            better = pulls[best] < 0.5 * np.linalg.norm(pull)
        if better:
            mode.x, mode.log_density = points[best], float(values[best])
            mode.gradient = gradients[best]
        return bool(better)


def _same(mode: Mode, one: Climb) -> bool:
    """Whether a climb ended in the bowl of `mode`: as low as a bowl is at its distance."""
    if mode.state != "settled":
        return False
    distance = float(np.linalg.norm(np.linalg.solve(mode.scale, one.x - mode.x)))
    return distance < 3.0 or 0.5 * distance**2 < 2.0 * (mode.log_density - one.value) + 2.0


def start_points(
    target: Target,
    evaluate: Evaluator,
    rng: np.random.Generator,
    num: int,
    notes: list[str],
) -> np.ndarray:
    """Return the given start and others spread about it, (num, dim).

    Raises:
        ValueError: the log density is NaN at the start, nowhere finite, or without a gradient.
    """
    first = np.asarray(target.start, np.float64)
    spread = rng.uniform(-_SPREAD, _SPREAD, size=(num, len(first)))
    spread[0] = 0.0
    points = first + spread
    values, gradients = evaluate(points)
    check_start(target, first, values[0], gradients[0])
    if num > 1 and not gradients.any() and len(set(values.tolist())) > 1:
        raise ValueError(
            "`method` needs the gradient of the log density, which is zero at all of "
            f"{num} starts, though the values differ. Leave `method` out: score-function "
            "gradients are then used."
        )
    usable = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    if not usable.any():
        raise ValueError(
            f"`log_density` is {values[0]} at the start and not finite at {num - 1} points within "
            f"{_SPREAD:g} of it (unconstrained). Give `like` values where the density is "
            "positive, or a `support`."
        )
    if not usable.all():
        notes.append(f"{int((~usable).sum())} of {num} starts were not finite")
    return points
