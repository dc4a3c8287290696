"""Finding modes: L-BFGS from several starts in lockstep, and their curvature."""

import dataclasses
from collections.abc import Callable, Sequence

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
    length: float = 1.0
    backtracks: int = 0
    done: str = ""

    def __post_init__(self) -> None:
        self.direction = np.zeros(0)
        self.forget()

    def forget(self) -> None:
        """Forget the curvature seen: the last steps and changes of gradient, the newest last."""
        self.steps = self.changes = np.zeros((_MEMORY, len(self.x)))

    @property
    def promise(self) -> float:
        """The nats that the slope promises for the next step."""
        return float(self.direction @ self.gradient)

    def inverse_hessian_times(self, vectors: np.ndarray) -> np.ndarray:
        """Apply the L-BFGS estimate of the inverse of −Hessian to a vector or to rows of them."""
        rows = np.atleast_2d(vectors)
        found = _inverse_hessian_times(rows, self.steps[None], self.changes[None], [self.gradient])
        return found.reshape(vectors.shape)

    def accept(self, x: np.ndarray, value: float, gradient: np.ndarray, noise: float) -> None:
        """Move to `x`, remember the curvature seen, and stop where nothing more is to be won."""
        step, change = x - self.x, self.gradient - gradient
        if step @ change > 1e-12 * np.linalg.norm(step) * np.linalg.norm(change):
            self.steps = np.concatenate([self.steps[1:], step[None]])
            self.changes = np.concatenate([self.changes[1:], change[None]])
        gain = value - self.value
        predicted = self.promise
        self.x, self.value, self.gradient = x, value, gradient
        if max(gain, 0.0) < 1e-3 + noise and predicted < 1e-2 + noise:
            self.done = "converged"
        elif not np.isfinite(value) or np.abs(x).max() > 1e15:
            self.done = "unbounded"

    def scale(self) -> np.ndarray:
        """Return a scale (dim, dim) whose outer product is the inverse Hessian estimate."""
        dense = self.inverse_hessian_times(np.eye(len(self.x)))
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return vectors * np.sqrt(np.maximum(values, 1e-12 * values.max()))


def aim(climbs: list[Climb]) -> None:
    """Set search directions: L-BFGS, or the gradient where that does not ascend.

    All at once, as Python's time for one small product is NumPy's for ten.
    """
    if not climbs:
        return
    steps, changes = (np.stack(v) for v in zip(*((one.steps, one.changes) for one in climbs)))
    gradients = [one.gradient for one in climbs]
    directions = _inverse_hessian_times(np.stack(gradients), steps, changes, gradients)
    for one, direction in zip(climbs, directions):
        if not direction @ one.gradient > 0:
            one.forget()
            direction = one.inverse_hessian_times(one.gradient)
        one.direction, one.length, one.backtracks = direction, 1.0, 0


def _inverse_hessian_times(
    vectors: np.ndarray, steps: np.ndarray, changes: np.ndarray, gradients: Sequence[np.ndarray]
) -> np.ndarray:
    """Apply L-BFGS estimates to rows (n, dim): two-loop recursions over (n or 1, memory, dim).

    A pair of zeros is none; where there is no pair, a row is divided by its gradient's length.
    """
    dot = lambda a, b: np.sum(a * b, axis=-1)
    curved = dot(steps, changes)
    inverse = np.divide(1.0, curved, out=np.zeros_like(curved), where=curved != 0)
    used = range(steps.shape[1] - int((curved != 0).any(axis=0).sum()), steps.shape[1])
    v, alphas = vectors.copy(), {}
    for i in reversed(used):
        alphas[i] = inverse[:, i] * dot(steps[:, i], v)
        v -= alphas[i][:, None] * changes[:, i]
    plain = 1 / np.maximum([np.linalg.norm(g) for g in gradients], 1.0)
    newest = dot(changes[:, -1], changes[:, -1])
    sizes = np.divide(curved[:, -1], newest, out=plain, where=newest != 0)
    v *= sizes[:, None]
    for i in used:
        v += (alphas[i] - inverse[:, i] * dot(changes[:, i], v))[:, None] * steps[:, i]
    return v


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
    aim(climbs)
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
    moved = []
    for one, x, value, gradient in zip(active, trial, values, gradients):
        noise = 4 * precision * (1 + abs(one.value))
        ascent = one.length * float(one.direction @ one.gradient)
        fine = np.isfinite(value) and np.isfinite(gradient).all()
        if value == np.inf:
            one.done = "unbounded"
        elif fine and value >= one.value + 1e-4 * ascent - noise:
            one.accept(x, float(value), gradient, noise)
            moved.append(one)
        elif one.backtracks >= _BACKTRACKS:
            one.done = "stuck"  # at rounding level this is an optimum; the Newton steps judge it
        else:
            one.length *= 0.4
            one.backtracks += 1
    aim([one for one in moved if not one.done])


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
