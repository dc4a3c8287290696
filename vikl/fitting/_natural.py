"""Natural-gradient steps on the mean and covariance of a normal, in whitened coordinates."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._ascent import Evaluate

_FULL_STEPS = 12  # unit steps first: a normal target is exact after one
_FULL_STEPS_AT_LEAST = 2
_DECAY = 0.6  # then steps of t^-0.6, averaged: Polyak & Juditsky (1992)
_LARGEST_CHANGE = 4.0  # of a precision, in one step
_LOG_2PI = float(np.log(2 * np.pi))


@dataclasses.dataclass(frozen=True)
class Moments:
    """A normal by its mean and a square root of its covariance (scale @ scaleᵀ)."""

    mean: np.ndarray
    scale: np.ndarray

    @property
    def cov(self) -> np.ndarray:
        """The covariance matrix."""
        return self.scale @ self.scale.T

    @property
    def entropy(self) -> float:
        """H[q] in nats."""
        dim = len(self.mean)
        return float(np.linalg.slogdet(self.scale)[1] + dim / 2 * (1 + _LOG_2PI))


@dataclasses.dataclass(frozen=True)
class Round:
    """What one batch of draws from q said."""

    elbo: float
    elbo_std_error: float
    step: np.ndarray  # gradient of the ELBO with respect to the whitened mean
    bend: np.ndarray  # the same for the whitened covariance, twice
    noise: float  # nats of the predicted gain that are sampling noise
    bad: int  # draws with a log density or gradient that is not finite

    @property
    def gain(self) -> float:
        """The KL between q and the q that one unit step would make, in nats."""
        return 0.5 * float(self.step @ self.step) + 0.25 * float(np.sum(self.bend**2))


class Row(NamedTuple):
    """A row of the record: gradients so far, ELBO and its standard error, entropy (nats)."""

    step: int
    elbo: float
    elbo_std_error: float
    entropy: float


@dataclasses.dataclass
class Ascent:
    """The record of a run of natural-gradient steps."""

    moments: Moments
    history: list[Row]
    converged: bool
    reason: str
    elbo: float
    elbo_std_error: float


def draw_noise(rng: np.random.Generator, num: int, dim: int, matched: bool) -> np.ndarray:
    """Return `num` antithetic standard normal rows; `matched` gives them exactly unit covariance.

    With exactly matched moments every average of a quadratic is exact, and so is the step on a
    normal target. It takes 4·dim rows (with 2·dim every row would have the same length); with
    fewer, matching is left out.
    """
    half = rng.normal(size=(num // 2, dim))
    if matched and len(half) >= 2 * dim:
        root = np.linalg.cholesky(half.T @ half / len(half))
        half = np.linalg.solve(root, half.T).T
    return np.concatenate([half, -half])


class Shape(NamedTuple):
    """Which covariances a normal may have: what is kept of a matrix, how many numbers that is."""

    project: Callable[[np.ndarray], np.ndarray]
    count: Callable[[int], int]

    def update(self, q: Moments, seen: Round, rate: float, radius: float) -> Moments:
        """Return q after a natural-gradient step of length `rate` on its precision and mean.

        The precision moves by Λ ← Λ − rate · (2∂ELBO/∂Σ), eigenvalue by eigenvalue within a factor
        of four, so it stays positive; the mean by rate · Λ⁻¹ ∂ELBO/∂μ, within `radius` sds.

        References:
            Khan & Rue (2023), The Bayesian learning rule.
        """
        values, vectors = np.linalg.eigh(seen.bend)
        precision = np.clip(1 - rate * values, 1 / _LARGEST_CHANGE, _LARGEST_CHANGE)
        move = (vectors / precision) @ (vectors.T @ (rate * seen.step))
        move *= min(1.0, radius / max(float(np.linalg.norm(move)), 1e-300))
        scale = q.scale @ self.project(vectors / np.sqrt(precision) @ vectors.T)
        return Moments(q.mean + q.scale @ move, scale)


FULL = Shape(lambda matrix: matrix, lambda dim: dim * (dim + 3) // 2)
DIAGONAL = Shape(lambda matrix: np.diag(np.diagonal(matrix)), lambda dim: 2 * dim)


def look(evaluate: Evaluate, q: Moments, noise: np.ndarray, shape: Shape = FULL) -> Round:
    """Evaluate the target at q's draws and estimate ELBO, gradients and their noise.

    With x = mean + scale z and r(z) = scaleᵀ∇log p(x) + z, the whitened gradient of log p − log q,
    the ELBO's gradient is E[r] in the mean and ½E[z rᵀ] in the covariance (Stein). Where q is the
    target r vanishes draw by draw: sticking the landing.
    """
    values, gradients = evaluate(q.mean + noise @ q.scale.T)
    fine = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    count = max(int(fine.sum()), 1)
    residual = np.where(fine[:, None], np.where(fine[:, None], gradients, 0) @ q.scale + noise, 0)
    # two halves, each of whole antithetic pairs: their difference is the noise of their mean
    steps, bends = zip(*(_gradient(noise[i::2], residual[i::2], shape) for i in (0, 1)))
    scale = len(noise) / count
    step, bend = (steps[0] + steps[1]) * scale / 2, (bends[0] + bends[1]) * scale / 2
    noise_nats = (
        0.5 * np.sum((steps[0] - steps[1]) ** 2) + 0.25 * np.sum((bends[0] - bends[1]) ** 2)
    ) / 4
    elbo = values[fine].mean() + q.entropy if fine.any() else -np.inf
    half = len(noise) // 2
    pair_values = (values[:half] + values[half:])[fine[:half] & fine[half:]] / 2
    std_error = np.inf
    if len(pair_values) > 1:
        std_error = pair_values.std(ddof=1) / np.sqrt(len(pair_values))
    return Round(float(elbo), float(std_error), step, bend, float(noise_nats), len(fine) - count)


def _gradient(
    noise: np.ndarray, residual: np.ndarray, shape: Shape
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ELBO's gradient in the whitened mean, and twice that in the covariance."""
    bend = noise.T @ residual / len(noise)
    return residual.mean(axis=0), shape.project((bend + bend.T) / 2)


def ascend(
    evaluate: Evaluate,
    q: Moments,
    rng: np.random.Generator,
    *,
    num_draws: int,
    max_rounds: int,
    tolerance: float,
    shape: Shape = FULL,
    first_count: int = 0,
    watch: Callable[[Moments, int, Round], bool] | None = None,
) -> Ascent:
    """Climb the ELBO by natural gradients until the predicted gain is below its own noise.

    Unit steps with matched draws first, then decreasing steps whose iterates are averaged, until
    what sampling noise costs the average is below `tolerance` nats. A round whose ELBO is worse
    than the best by more than its error goes back and halves the trust radius. `watch`, called
    after each round with q, the gradients used so far and what was seen, stops the run by returning
    True.
    """
    dim = len(q.mean)
    radius = largest_radius = 1.5 * np.sqrt(dim)
    # a sum of n squared noises is within this factor of its mean
    doubt = 1 + 6 * np.sqrt(2 / shape.count(dim))
    best, best_round, average = q, None, _Average(doubt)
    history: list[Row] = []
    used, reason, converged = first_count, "the budget is spent", False
    for t in range(max_rounds):
        # matched moments make a quadratic exact, but with few rows also every radius alike, which
        # is a bias for heavy tails: then they are for the way, not for the average at its end
        matched = average.count == 0 or num_draws >= 8 * dim
        noise = draw_noise(rng, num_draws, dim, matched)
        seen = look(evaluate, q, noise, shape)
        used += num_draws
        history.append(Row(used, seen.elbo, seen.elbo_std_error, q.entropy))
        if watch is not None and watch(q, used, seen):
            reason = "stopped by the caller"
            break
        if best_round is not None and _worse(seen, best_round):
            q, radius, average = best, radius / 2, _Average(doubt)
            if radius < 1e-3 * largest_radius:
                reason = "no step improved the ELBO"
                break
            best_round = dataclasses.replace(best_round, elbo=best_round.elbo - seen.elbo_std_error)
            continue
        if best_round is None or seen.elbo > best_round.elbo:
            best, best_round = q, seen
        # matched draws have less noise than their halves say, so at first it is ignored
        noise_nats = 0.0 if t < _FULL_STEPS_AT_LEAST else seen.noise
        clear = seen.gain > max(tolerance, doubt * noise_nats)
        if average.count == 0 and t < _FULL_STEPS and clear:
            q = shape.update(q, seen, 1 - noise_nats / seen.gain, radius)
        else:
            quiet = seen.noise < tolerance
            q = shape.update(q, seen, (average.count + (1.0 if quiet else 2.0)) ** -_DECAY, radius)
            average.add(q, seen)
            if average.settled(tolerance):
                converged, reason = True, "the predicted gain is below its noise"
                break
            if average.drifting(tolerance):
                average = _Average(doubt)
        radius = min(1.3 * radius, largest_radius)
    moments = average.moments() if average.count > 1 else best
    elbo, error = -np.inf, np.inf
    if history:
        elbo, error = history[-1].elbo, history[-1].elbo_std_error
    if not converged and best_round is not None:
        elbo, error = best_round.elbo, best_round.elbo_std_error
    return Ascent(moments, history, converged, reason, elbo, error)


def _worse(seen: Round, best: Round) -> bool:
    margin = 3 * np.hypot(seen.elbo_std_error, best.elbo_std_error) + 1.0
    return not seen.elbo > best.elbo - margin


class _Average:
    """The running mean of the iterates' moments, and of the gradients seen at them.

    Later iterates weigh more, in proportion to their number, which forgets where it began
    (Shamir & Zhang 2013, polynomial-decay averaging) and costs a third more noise.
    """

    def __init__(self, doubt: float) -> None:
        self.count, self.doubt = 0, doubt
        self.mean = self.cov = self.step = self.bend = np.zeros(())
        self.noise = 0.0

    def add(self, q: Moments, seen: Round) -> None:
        self.count += 1
        share = 2.0 / (self.count + 1)
        self.mean = self.mean + (q.mean - self.mean) * share
        self.cov = self.cov + (q.cov - self.cov) * share
        self.step = self.step + (seen.step - self.step) * share
        self.bend = self.bend + (seen.bend - self.bend) * share
        self.noise += (seen.noise - self.noise) * share

    @property
    def gain(self) -> float:
        """What the mean gradient still promises, in nats."""
        return 0.5 * float(np.sum(self.step**2)) + 0.25 * float(np.sum(self.bend**2))

    @property
    def gain_noise(self) -> float:
        """How much of `gain` is sampling noise, in nats: also what the noise costs the average."""
        return 4 / 3 * self.noise / self.count

    def settled(self, tolerance: float) -> bool:
        """Whether the mean gradient's promise and its noise are both below `tolerance`."""
        noise = self.gain_noise
        # the noise is itself estimated: where it is not small, a few rounds could be lucky
        enough = 2 if self.noise < tolerance else 6
        return bool(self.count >= enough and noise < tolerance and self.gain - noise < tolerance)

    def drifting(self, tolerance: float) -> bool:
        """Whether the mean gradient is clearly not zero: averaging began too early."""
        return bool(self.count >= 4 and self.gain > self.doubt * self.gain_noise + tolerance)

    def moments(self) -> Moments:
        return Moments(self.mean, np.linalg.cholesky(self.cov))
