"""Paths of L-BFGS, and the normal that each point of a path suggests, in thin form."""

import dataclasses

import numpy as np

from ..fitting._ascent import Climb, Evaluate, _iterate, aim

_LOG_2PI = float(np.log(2 * np.pi))
_CURVED = 1e-12  # of |s||y|, below which a pair says nothing of curvature
_SMALL = 1e-6  # nats a step promises, at which a path ends


@dataclasses.dataclass
class Path:
    """Points (l, dim) and gradients (l, dim) of one climb, and how it ended."""

    points: list[np.ndarray]
    gradients: list[np.ndarray]
    done: str = ""


@dataclasses.dataclass(frozen=True)
class ThinNormal:
    """N(mean, A (I + Q (C Cᵀ − I) Qᵀ) A) with A diagonal and Q of few orthonormal columns."""

    mean: np.ndarray
    sizes: np.ndarray  # the diagonal of A, (dim,)
    axes: np.ndarray  # Q, (dim, r)
    root: np.ndarray  # C, lower triangular, (r, r)

    def draw(self, noise: np.ndarray) -> np.ndarray:
        """Return the draws that rows of standard normal noise (n, dim) become."""
        inner = noise @ self.axes
        return self.mean + (noise + (inner @ self.root.T - inner) @ self.axes.T) * self.sizes

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Return the log density at rows of `x` (n, dim), in nats."""
        away = (x - self.mean) / self.sizes
        inner = away @ self.axes
        inside = np.linalg.solve(self.root, inner.T).T
        square = np.sum(away**2, axis=1) - np.sum(inner**2, axis=1) + np.sum(inside**2, axis=1)
        log_det = np.sum(np.log(self.sizes)) + np.sum(np.log(np.diagonal(self.root)))
        return -0.5 * square - log_det - 0.5 * len(self.mean) * _LOG_2PI

    @property
    def scale(self) -> np.ndarray:
        """A square root of the covariance, (dim, dim)."""
        rank = self.root - np.eye(len(self.root))
        return self.sizes[:, None] * (np.eye(len(self.mean)) + self.axes @ rank @ self.axes.T)


def follow(
    evaluate: Evaluate, starts: np.ndarray, precision: float, max_iterations: int
) -> list[Path]:
    """Climb by L-BFGS from each usable row of `starts`, in lockstep, and keep the paths."""
    values, gradients = evaluate(starts)
    usable = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    climbs = [Climb(*item) for item in zip(starts[usable], values[usable], gradients[usable])]
    paths = [Path([one.x], [one.gradient]) for one in climbs]
    aim(climbs)
    for _ in range(max_iterations):
        active = [(one, path) for one, path in zip(climbs, paths) if not one.done]
        if not active:
            break
        _iterate(evaluate, [one for one, _ in active], precision)
        for one, path in active:
            if one.x is not path.points[-1]:
                path.points.append(one.x)
                path.gradients.append(one.gradient)
                _go_on(one, precision)
    for one, path in zip(climbs, paths):
        path.done = one.done or "unfinished"
    return paths


def _go_on(one: Climb, precision: float) -> None:
    """Let a path go on while a step promises anything: a climb is over at a hundredth of a nat."""
    if one.done == "converged":
        promise = 0.5 * float(one.inverse_hessian_times(one.gradient) @ one.gradient)
        if promise > _SMALL + 4 * precision * (1 + abs(one.value)):
            one.done = ""
            aim([one])


def normals(path: Path, memory: int) -> list[ThinNormal]:
    """Return the normal at each point after the first: one inverse-Hessian estimate, one step.

    The estimate is diag(α) + β γ βᵀ from the last `memory` steps s and changes of gradient y, with
    α from a diagonal recursion of its own; the mean is the Newton step from the point.
    """
    found = []
    alpha = np.ones_like(path.points[0])
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for here, there in zip(range(len(path.points) - 1), range(1, len(path.points))):
        s = path.points[there] - path.points[here]
        y = path.gradients[here] - path.gradients[there]
        if s @ y > _CURVED * np.linalg.norm(s) * np.linalg.norm(y):
            new = _diagonal(alpha, s, y)
            if not (np.isfinite(new).all() and new.min() > 0):
                continue
            alpha = new
            steps, changes = [*steps, s][-memory:], [*changes, y][-memory:]
        if steps:
            one = _normal(path, there, alpha, np.stack(steps, 1), np.stack(changes, 1))
            if one is not None:
                found.append(one)
    return found


def _diagonal(alpha: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the diagonal estimate of the inverse Hessian after one more pair.

    References:
        Gilbert & Lemaréchal (1989), Some numerical experiments with variable-storage
        quasi-Newton algorithms.
    """
    a, b, c = y @ (alpha * y), y @ s, s @ (s / alpha)
    with np.errstate(all="ignore"):  # pairs at rounding level: the caller looks at the result
        return 1 / (a / (b * alpha) + y**2 / b - a * s**2 / (b * c * alpha**2))


def _normal(
    path: Path, index: int, alpha: np.ndarray, s: np.ndarray, y: np.ndarray
) -> ThinNormal | None:
    sizes = np.sqrt(alpha)
    upper = np.triu(s.T @ y)
    try:
        inverse = np.linalg.inv(upper)
        middle = np.diag(np.diagonal(upper)) + y.T @ (alpha[:, None] * y)
        corner = inverse.T @ middle @ inverse
        gamma = np.block([[np.zeros_like(upper), -inverse], [-inverse.T, corner]])
        # in coordinates divided by √α: I + B γ Bᵀ with B = [√α Y, S/√α]
        axes, thin = np.linalg.qr(np.concatenate([sizes[:, None] * y, s / sizes[:, None]], 1))
        bent = thin @ gamma @ thin.T
        root = np.linalg.cholesky(np.eye(len(bent)) + (bent + bent.T) / 2)
    except np.linalg.LinAlgError:
        return None
    pull = sizes * path.gradients[index]
    inner = axes.T @ pull
    move = sizes * (pull + axes @ (root @ (root.T @ inner) - inner))
    if not (np.isfinite(move).all() and np.isfinite(root).all() and np.isfinite(sizes).all()):
        return None
    return ThinNormal(path.points[index] + move, sizes, axes, root)
