"""Finding modes: L-BFGS from several starts in lockstep, and their curvature."""

import dataclasses
from collections.abc import Callable

import numpy as np

#: points (n, dim) -> log densities (n,), gradients (n, dim)
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

_MEMORY = 10
_BACKTRACKS = 30


@dataclasses.dataclass
class Climb:
    """One start on its way up: where it is, what it remembers, whether it is done."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    steps: list = dataclasses.field(default_factory=list)
    changes: list = dataclasses.field(default_factory=list)
    length: float = 1.0
    backtracks: int = 0
    direction: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    done: str = ""

    def aim(self) -> None:
        """Set the search direction: L-BFGS, or the gradient where that does not ascend."""
        direction = self.inverse_hessian_times(self.gradient)
        if not direction @ self.gradient > 0:
            self.steps, self.changes = [], []
            direction = self.inverse_hessian_times(self.gradient)
        self.direction, self.length, self.backtracks = direction, 1.0, 0

    def inverse_hessian_times(self, vector: np.ndarray) -> np.ndarray:
        """Apply the L-BFGS estimate of the inverse of −Hessian (two-loop recursion)."""
        v, alphas = vector.copy(), []
        for s, y in zip(self.steps[::-1], self.changes[::-1]):
            alphas.append((s @ v) / (s @ y))
            v -= alphas[-1] * y
        if self.steps:
            v *= (self.steps[-1] @ self.changes[-1]) / (self.changes[-1] @ self.changes[-1])
        else:
            v /= max(np.linalg.norm(self.gradient), 1.0)
        for s, y, alpha in zip(self.steps, self.changes, alphas[::-1]):
            v += s * (alpha - (y @ v) / (s @ y))
        return v

    def accept(self, x: np.ndarray, value: float, gradient: np.ndarray, noise: float) -> None:
        """Move to `x`, remember the curvature seen, and stop where nothing more is to be won."""
        step, change = x - self.x, self.gradient - gradient
        if step @ change > 1e-12 * np.linalg.norm(step) * np.linalg.norm(change):
            self.steps = [*self.steps, step][-_MEMORY:]
            self.changes = [*self.changes, change][-_MEMORY:]
        gain = value - self.value
        predicted = float(self.direction @ self.gradient)
        self.x, self.value, self.gradient = x, value, gradient
        if max(gain, 0.0) < 1e-3 + noise and predicted < 1e-2 + noise:
            self.done = "converged"
        elif not np.isfinite(value) or np.abs(x).max() > 1e15:
            self.done = "unbounded"
        else:
            self.aim()

    def scale(self) -> np.ndarray:
        """Return a scale (dim, dim) whose outer product is the inverse Hessian estimate."""
        dense = np.stack([self.inverse_hessian_times(row) for row in np.eye(len(self.x))])
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return vectors * np.sqrt(np.maximum(values, 1e-12 * values.max()))


@dataclasses.dataclass
class Mode:
    """A distinct mode with its curvature."""

    x: np.ndarray
    scale: np.ndarray
    log_density: float

    @property
    def log_evidence(self) -> float:
        """The Laplace estimate of the log normaliser, in nats."""
        log_det = float(np.linalg.slogdet(self.scale)[1])
        return self.log_density + log_det + len(self.x) / 2 * float(np.log(2 * np.pi))


def climb(
    evaluate: Evaluate, starts: np.ndarray, precision: float, max_iterations: int = 60
) -> list[Climb]:
    """Climb from each row of `starts` (k, dim) at once; a start with no finite value is left out.

    `precision` is the relative rounding error of the log density (its dtype's epsilon): gains
    below it are noise. One iteration evaluates every start once, so the batch is always full.

    References:
        Nocedal & Wright (2006), Numerical Optimization, chapter 7.
    """
    values, gradients = evaluate(starts)
    usable = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    climbs = [Climb(*item) for item in zip(starts[usable], values[usable], gradients[usable])]
    for one in climbs:
        one.aim()
    for _ in range(max_iterations):
        active = [one for one in climbs if not one.done]
        if not active:
            break
        _iterate(evaluate, active, precision)
    for one in climbs:
        one.done = one.done or "unfinished"
    return climbs


def _iterate(evaluate: Evaluate, active: list[Climb], precision: float) -> None:
    trial = np.stack([one.x + one.length * one.direction for one in active])
    values, gradients = evaluate(trial)
    for one, x, value, gradient in zip(active, trial, values, gradients):
        noise = 4 * precision * (1 + abs(one.value))
        ascent = one.length * float(one.direction @ one.gradient)
        fine = np.isfinite(value) and np.isfinite(gradient).all()
        if value == np.inf:
            one.done = "unbounded"
        elif fine and value >= one.value + 1e-4 * ascent - noise:
            one.accept(x, float(value), gradient, noise)
        elif one.backtracks >= _BACKTRACKS:
            one.done = "stuck"  # at rounding level this is an optimum; the Newton steps judge it
        else:
            one.length *= 0.4
            one.backtracks += 1


def curvature(evaluate: Evaluate, x: np.ndarray, scale: np.ndarray, step: float) -> np.ndarray:
    """Return scaleᵀ H scale at `x`, from central differences of the gradient.

    The differences are taken along the columns of `scale` (dim, dim), `step` of them long: where
    `scale` whitens the posterior, one step length suits every direction. Costs 2 dim gradients.
    """
    forward, backward = x + step * scale.T, x - step * scale.T
    _, gradients = evaluate(np.concatenate([forward, backward]))
    dim = len(x)
    change = gradients[:dim] - gradients[dim:]
    hessian = np.where(np.isfinite(change), change, 0.0) @ scale / (2 * step)
    return (hessian + hessian.T) / 2


def whiten(scale: np.ndarray, hessian: np.ndarray, widest: float) -> np.ndarray:
    """Return a new scale in which −hessian (given in the old one's coordinates) is the identity.

    Directions with no or wrong curvature keep at most `widest` times their old length.
    """
    values, vectors = np.linalg.eigh(np.where(np.isfinite(hessian), hessian, 0.0))
    curved = np.maximum(np.abs(values), max(1.0 / widest**2, 1e-12 * np.abs(values).max()))
    return scale @ (vectors / np.sqrt(curved))


def newton(
    evaluate: Evaluate, x: np.ndarray, scale: np.ndarray, rounds: int = 12
) -> tuple[np.ndarray, np.ndarray, float]:
    """Polish a mode by Newton steps in whitened coordinates; return it, its scale and log density.

    The line search tries eight lengths in one batch.
    """
    lengths = 0.5 ** np.arange(8.0)
    value = -np.inf
    for round_ in range(rounds):
        # the first scale is a guess: keep the differences local; once whitened, larger steps
        # average over the posterior and drown rounding errors
        hessian = curvature(evaluate, x, scale, 1e-2 if round_ == 0 else 1e-1)
        bends = np.linalg.eigvalsh(-hessian)
        scale = whiten(scale, hessian, widest=100.0)
        here, gradient = evaluate(x[None])
        value = float(here[0])
        step = scale @ (scale.T @ gradient[0])
        gain = float(step @ gradient[0])
        if not np.isfinite(gain):
            break
        if gain > 1e-2:
            values, _ = evaluate(x + lengths[:, None] * step)
            best = int(np.argmax(np.where(np.isfinite(values), values, -np.inf)))
            if values[best] > value:
                x, value = x + lengths[best] * step, float(values[best])
        elif bends[0] > 0.25 and bends[-1] < 4.0:
            break
    return x, scale, value
