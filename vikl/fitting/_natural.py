"""Natural-gradient steps on the mean and covariance of a normal, in whitened coordinates."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ._ascent import Evaluate

_FULL_STEPS = 8  # unit steps first: a normal target is exact after one
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


@dataclasses.dataclass
class Ascent:
    """The record of a run of natural-gradient steps."""

    moments: Moments
    history: list[tuple[int, float, float]]  # gradients so far, ELBO, its standard error
    converged: bool
    reason: str
    elbo: float
    elbo_std_error: float


def draw_noise(rng: np.random.Generator, num: int, dim: int, matched: bool) -> np.ndarray:
    """Return `num` antithetic standard normal rows; `matched` gives them exactly unit covariance.

    With exactly matched moments every average of a quadratic is exact, and so is the step on a
    normal target. It takes at least 2·dim rows; with fewer, it is left out.
    """
    half = rng.normal(size=(num // 2, dim))
    if matched and len(half) >= dim:
        root = np.linalg.cholesky(half.T @ half / len(half))
        half = np.linalg.solve(root, half.T).T
    return np.concatenate([half, -half])


def look(evaluate: Evaluate, q: Moments, noise: np.ndarray) -> Round:
    """Evaluate the target at q's draws and estimate ELBO, gradients and their noise.

    With x = mean + scale z and r(z) = scaleᵀ∇log p(x) + z, the whitened gradient of log p − log q,
    the ELBO's gradient is E[r] in the mean and ½E[z rᵀ] in the covariance (Stein). Where q is the
    target r vanishes draw by draw: sticking the landing.
    """
    values, gradients = evaluate(q.mean + noise @ q.scale.T)
    fine = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    count = max(int(fine.sum()), 1)
    residual = np.where(fine[:, None], np.where(fine[:, None], gradients, 0) @ q.scale + noise, 0)
    step = residual.sum(axis=0) / count
    bend = noise.T @ residual / count
    bend = (bend + bend.T) / 2
    half = len(noise) // 2
    pairs = (residual[:half] + residual[half:]) / 2
    odd = (residual[:half] - residual[half:]) / 2
    scatter = np.sum((pairs - pairs.mean(axis=0)) ** 2) / max(half - 1, 1) / half
    products = np.sum((noise[:half] ** 2).sum(axis=1) * (odd**2).sum(axis=1)) / half
    spread = max(products - float(np.sum(bend**2)), 0.0) / max(half - 1, 1)
    elbo = values[fine].mean() + q.entropy if fine.any() else -np.inf
    pair_values = (values[:half] + values[half:])[fine[:half] & fine[half:]] / 2
    std_error = pair_values.std(ddof=1) / np.sqrt(len(pair_values)) if len(pair_values) > 1 else np.inf
    # E‖sym(z rᵀ)‖² is at most half of E‖z rᵀ‖² plus the diagonal's share: 0.25·½ rounds up to 0.15
    noise_nats = 0.5 * scatter + 0.15 * spread
    return Round(float(elbo), float(std_error), step, bend, float(noise_nats), len(fine) - count)


def full_update(q: Moments, seen: Round, rate: float, radius: float) -> Moments:
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
    return Moments(q.mean + q.scale @ move, q.scale @ (vectors / np.sqrt(precision)))


def diagonal_update(q: Moments, seen: Round, rate: float, radius: float) -> Moments:
    """Return mean-field q after the same step, restricted to a diagonal covariance."""
    bend = np.diagonal(seen.bend)
    precision = np.clip(1 - rate * bend, 1 / _LARGEST_CHANGE, _LARGEST_CHANGE)
    move = rate * seen.step / precision
    move *= min(1.0, radius / max(float(np.linalg.norm(move)), 1e-300))
    return Moments(q.mean + q.scale @ move, q.scale / np.sqrt(precision))


Update = Callable[[Moments, Round, float, float], Moments]


def ascend(
    evaluate: Evaluate,
    q: Moments,
    rng: np.random.Generator,
    *,
    num_draws: int,
    max_rounds: int,
    tolerance: float,
    update: Update = full_update,
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
    best, best_round, average = q, None, _Average()
    history: list[tuple[int, float, float]] = []
    settled, used, reason, converged = 0, first_count, "", False
    for t in range(max_rounds):
        seen = look(evaluate, q, draw_noise(rng, num_draws, dim, matched=True))
        used += num_draws
        history.append((used, seen.elbo, seen.elbo_std_error))
        if watch is not None and watch(q, used, seen):
            reason = "stopped by the caller"
            break
        if best_round is not None and _worse(seen, best_round):
            q, radius, settled = best, radius / 2, 0
            average = _Average()
            if radius < 1e-3 * largest_radius:
                reason = "no step improved the ELBO"
                break
            best_round = dataclasses.replace(best_round, elbo=best_round.elbo - seen.elbo_std_error)
            continue
        if best_round is None or seen.elbo > best_round.elbo:
            best, best_round = q, seen
        settled = settled + 1 if seen.gain - 2 * seen.noise < tolerance else 0
        rate = 1.0 if settled < 2 and t < _FULL_STEPS else (average.count + 2.0) ** -_DECAY
        q = update(q, seen, rate, radius)
        radius = min(1.3 * radius, largest_radius)
        if settled >= 1:
            average.add(q)
            if seen.noise / average.count < tolerance and average.count >= 2:
                converged, reason = True, "the predicted gain is below its noise"
                break
        else:
            average = _Average()
    moments = average.moments() if average.count > 1 else best
    if best_round is None:
        best_round = Round(-np.inf, np.inf, np.zeros(dim), np.zeros((dim, dim)), np.inf, num_draws)
    last = history[-1] if history else (used, -np.inf, np.inf)
    elbo, std_error = (last[1], last[2]) if converged else (best_round.elbo, best_round.elbo_std_error)
    return Ascent(moments, history, converged, reason or "the budget is spent", elbo, std_error)


def _worse(seen: Round, best: Round) -> bool:
    margin = 3 * np.hypot(seen.elbo_std_error, best.elbo_std_error) + 1.0
    return not seen.elbo > best.elbo - margin


class _Average:
    """The running mean of the iterates' means and covariances."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.cov = np.zeros(())

    def add(self, q: Moments) -> None:
        self.count += 1
        self.mean = self.mean + (q.mean - self.mean) / self.count
        self.cov = self.cov + (q.cov - self.cov) / self.count

    def moments(self) -> Moments:
        return Moments(self.mean, np.linalg.cholesky(self.cov))
