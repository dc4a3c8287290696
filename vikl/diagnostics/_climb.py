"""Many hill climbs in lockstep: a small L-BFGS on the host that shares one budget of gradients."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_MEMORY = 8
_ARMIJO = 1e-4
_TOLERANCE = 1e-3  # nats that a quasi-Newton step still promises
_NOTHING = 1e-8  # the same before any curvature was seen: a far plateau is no summit
_MAX_RETREATS = 12  # failed trials in a row before a climb gives up
_STRIDE = 5.0  # a step is at most this many times as long as the way already made
_FAR = 1e4  # distance, in units of the starting coordinates, at which a climb has run away


@dataclasses.dataclass
class Climbs:
    """Where each climb stands; `state` says why it stopped.

    States: "climbing" (the budget ran out), "arrived" (the next step promises next to nothing),
    "stuck" (no step goes up: a corner, a plateau's edge, rounding), "ran away" (beyond all bounds,
    or +inf), "undefined" (NaN or −inf from its start inwards).
    """

    z: Float[ndarray, "n dim"]
    value: Float[ndarray, " n"]
    gradient: Float[ndarray, "n dim"]
    state: list[str]
    num_gradients: int = 0

    def joined(self, other: "Climbs") -> "Climbs":
        """Return these climbs followed by the others."""
        return Climbs(
            np.concatenate([self.z, other.z]),
            np.concatenate([self.value, other.value]),
            np.concatenate([self.gradient, other.gradient]),
            self.state + other.state,
            self.num_gradients + other.num_gradients,
        )


Evaluate = Callable[[ndarray], tuple[ndarray, ndarray]]


def climb(evaluate: Evaluate, starts: Float[ndarray, "n dim"], budget: int) -> Climbs:
    """Maximise from every start at once until all have stopped or `budget` gradients are used.

    Each round evaluates one trial point for each climb that still moves. A first step is the
    gradient itself: where coordinates are whitened it is Newton's. A start where the function is
    not finite is halved towards the origin.

    Args:
        evaluate: maps points (m, dim) to values (m,) and gradients (m, dim).
        starts: starting points, shape (n, dim), in coordinates of scale about one.
        budget: gradients in all.

    Example:
        >>> found = climb(lambda z: (-((z - 1) ** 2).sum(1), -2 * (z - 1)), np.zeros((2, 3)), 50)
        >>> found.z.round(3).tolist(), found.state
        ([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], ['arrived', 'arrived'])

    References:
        Nocedal and Wright (2006), Numerical Optimization, algorithms 7.4 and 3.1.
    """
    n = len(starts)
    climbs = Climbs(starts.astype(np.float64), np.full(n, -np.inf), 0.0 * starts, ["climbing"] * n)
    climbers = [_Climber(start) for start in climbs.z]
    while True:
        active = [i for i in range(n) if climbers[i].state == "climbing"]
        if not active or climbs.num_gradients + len(active) > budget:
            break
        values, gradients = evaluate(np.stack([climbers[i].trial for i in active]))
        climbs.num_gradients += len(active)
        for row, i in enumerate(active):
            climbers[i].see(float(values[row]), gradients[row].astype(np.float64))
    for i, climber in enumerate(climbers):
        climbs.z[i], climbs.value[i] = climber.z, climber.value
        climbs.gradient[i], climbs.state[i] = climber.gradient, climber.state
    return climbs


class _Climber:
    """One climb: `trial` is what to evaluate next, `see` takes the answer."""

    def __init__(self, start: ndarray) -> None:
        self.z = start
        self.trial = start
        self.value = -np.inf
        self.gradient = np.zeros_like(start)
        self.step = np.zeros_like(start)
        self.length = 1.0
        self.scale = 1.0
        self.pairs: list[tuple[ndarray, ndarray]] = []
        self.retreats = 0
        self.state = "climbing"

    def see(self, value: float, gradient: ndarray) -> None:
        """Accept the trial point or retreat, and choose the next one."""
        if value == np.inf or np.linalg.norm(self.trial) > _FAR * np.sqrt(len(self.z)):
            self.z, self.value, self.gradient, self.state = self.trial, value, gradient, "ran away"
        elif not (np.isfinite(value) and np.isfinite(gradient).all()):
            self._retreat(0.25)
        elif not np.isfinite(self.value):  # the start itself
            self._accept(value, gradient)
        else:
            slope = float(self.gradient @ self.step)
            slack = 4 * float(np.finfo(np.float32).eps) * abs(self.value)
            gain = value - self.value
            if gain >= _ARMIJO * self.length * slope - slack:
                self._remember(gradient)
                self._accept(value, gradient)
            else:
                curve = gain - self.length * slope
                self._retreat(np.clip(-0.5 * self.length * slope / min(curve, -1e-30), 0.02, 0.5))

    def _retreat(self, factor: float) -> None:
        self.retreats += 1
        if self.retreats > _MAX_RETREATS:
            self.state = "stuck" if np.isfinite(self.value) else "undefined"
        elif np.isfinite(self.value):
            self.length *= float(factor)
            self.trial = self.z + self.length * self.step
        else:
            self.z = self.trial = 0.5 * self.z

    def _remember(self, gradient: ndarray) -> None:
        moved, bent = self.trial - self.z, self.gradient - gradient
        curvature = float(moved @ bent)
        if curvature > 1e-8 * np.linalg.norm(moved) * np.linalg.norm(bent):
            self.pairs = [*self.pairs, (moved, bent)][-_MEMORY:]
            self.scale = curvature / float(bent @ bent)
        else:  # not concave here: take longer steps until it is
            self.scale *= 4.0

    def _accept(self, value: float, gradient: ndarray) -> None:
        self.z, self.value, self.gradient = self.trial, value, gradient
        self.step = self._direction()
        self.length, self.retreats = 1.0, 0
        promised = 0.5 * float(self.gradient @ self.step)
        if promised <= (_TOLERANCE if self.pairs else _NOTHING):
            self.state = "arrived"
        self.trial = self.z + self.step

    def _direction(self) -> ndarray:
        direction, alphas = self.gradient.copy(), []
        for moved, bent in reversed(self.pairs):
            alphas.append(float(moved @ direction) / float(moved @ bent))
            direction -= alphas[-1] * bent
        direction *= self.scale
        for (moved, bent), alpha in zip(self.pairs, reversed(alphas), strict=True):
            direction += (alpha - float(bent @ direction) / float(moved @ bent)) * moved
        longest = _STRIDE * (np.linalg.norm(self.z) + np.sqrt(len(self.z)))
        return direction * min(1.0, longest / max(np.linalg.norm(direction), 1e-300))
