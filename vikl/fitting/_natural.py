"""Natural-gradient steps on the mean and covariance of a normal, in whitened coordinates."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

LARGEST_CHANGE = 4.0  # of a precision, in one step
_DOUBT = 1.0  # nats of two ELBOs' noise, and no more, that excuse a step
_LAST = 8  # rounds: a stretch of a run
LOG_2PI = float(np.log(2 * np.pi))


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
        return float(np.linalg.slogdet(self.scale)[1] + dim / 2 * (1 + LOG_2PI))


@dataclasses.dataclass(frozen=True)
class Round:
    """What one batch of draws from q said."""

    elbo: float
    elbo_std_error: float
    step: np.ndarray  # gradient of the ELBO with respect to the whitened mean
    bend: np.ndarray  # the same for the whitened covariance, twice
    noise: float  # nats of the predicted gain that are sampling noise
    bad: int  # draws with a log density or gradient that is not finite
    curve: np.ndarray  # `bend` before the shape's projection: the identity plus the mean Hessian

    @property
    def gain(self) -> float:
        """The KL between q and the q that one unit step would make, in nats."""
        return self.overlap(self)

    def overlap(self, other: "Round") -> float:
        """Return that product of two rounds' gradients: their noises are independent."""
        return 0.5 * float(self.step @ other.step) + 0.25 * float(np.sum(self.bend * other.bend))


class Row(NamedTuple):
    """A row of the record: gradients so far, ELBO and its standard error, entropy (nats)."""

    step: int
    elbo: float
    elbo_std_error: float
    entropy: float


@dataclasses.dataclass(frozen=True)
class Step:
    """A step from where `seen` was seen to a normal at `length` nats of KL.

    `promise` is by how much the ELBO would be higher there if its slope stayed what it is.
    """

    seen: Round
    promise: float
    length: float

    @classmethod
    def between(cls, old: Moments, new: Moments, seen: Round) -> "Step":
        """Measure the step from `old`, where `seen` was seen, to `new`."""
        move = np.linalg.solve(old.scale, new.mean - old.mean)
        root = np.linalg.solve(old.scale, new.scale)
        bent = np.sum(seen.bend * (root @ root.T)) - np.trace(seen.bend)
        length = 0.5 * (np.sum(root**2) - len(move) + move @ move) - np.linalg.slogdet(root)[1]
        return cls(seen, float(seen.step @ move + 0.5 * bent), float(length))

    def brought(self, share: float, after: Round) -> bool:
        """Return whether the ELBO is higher by that share of the promise, noise in its favour."""
        noise = 2 * float(np.hypot(self.seen.elbo_std_error, after.elbo_std_error))
        return after.elbo - self.seen.elbo + min(noise, _DOUBT) > share * self.promise


@dataclasses.dataclass
class Ascent:
    """The record of a run of natural-gradient steps."""

    moments: Moments
    history: list[Row]
    converged: bool
    reason: str
    elbo: float
    elbo_std_error: float
    noise: float  # nats of sampling noise in `moments`
    pool: Any = None  # the draws of its end, to go on from
    before: Moments | None = None  # q in the first half of its rounds

    @property
    def level(self) -> float:
        """The ELBO about which its last rounds lie."""
        return float(np.median([row.elbo for row in self.history[-_LAST:]] or [-np.inf]))

    @property
    def rising(self) -> bool:
        """Whether the ELBO about its last rounds is clearly higher than about those before."""
        half = min(len(self.history) // 2, _LAST)
        if half < _LAST // 2:
            return False
        last, before = self.history[-half:], self.history[-2 * half : -half]
        gain = np.median([row.elbo for row in last]) - np.median([row.elbo for row in before])
        error = np.median([row.elbo_std_error for row in (*last, *before)])
        return bool(gain > 2 * error * np.sqrt(2 / half))


def square_root(cov: np.ndarray) -> np.ndarray:
    """Return a square root of a covariance, of whatever rounding left of its definiteness."""
    scales = np.sqrt(np.diagonal(cov))
    values, vectors = np.linalg.eigh(cov / np.outer(scales, scales))
    return scales[:, None] * vectors * np.sqrt(np.maximum(values, 1e-15 * values.max()))


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


def draw_directions(rng: np.random.Generator, dim: int) -> np.ndarray:
    """Return 2·dim antithetic rows of length √dim, orthogonal: a uniformly random frame.

    The fewest rows over which every average of a quadratic is exact. What they cannot say is how
    noisy an average is that is not of a quadratic: that takes two frames or more.
    """
    frame, upper = np.linalg.qr(rng.normal(size=(dim, dim)))
    frame = np.sqrt(dim) * frame * np.sign(np.diagonal(upper))
    return np.concatenate([frame.T, -frame.T])


class Shape(NamedTuple):
    """Which covariances a normal may have: all of them, or diagonal ones."""

    diagonal: bool

    def project(self, matrix: np.ndarray) -> np.ndarray:
        """Return the part of a symmetric matrix that such a covariance feels."""
        return np.diag(np.diagonal(matrix)) if self.diagonal else matrix

    def count(self, dim: int) -> int:
        """Return how many numbers the mean and covariance are."""
        return 2 * dim if self.diagonal else dim * (dim + 3) // 2

    def update(
        self, q: Moments, seen: Round, rate: float, trust: float, change: float = LARGEST_CHANGE
    ) -> Moments:
        """Return q after a natural-gradient step of length at most `rate` and `trust`.

        The precision moves by Λ ← Λ − rate · (2∂ELBO/∂Σ), eigenvalue by eigenvalue within a factor
        of `change`, so it stays positive; the mean by rate · H⁻¹ ∂ELBO/∂μ, with the mean curvature
        H, which is Λ unless that is diagonal. The rate is cut until the KL of the new normal from
        the old is at most `trust` nats.

        References:
            Khan & Rue (2023), The Bayesian learning rule.
        """
        values, vectors = np.linalg.eigh(seen.curve)
        slope = vectors.T @ seen.step
        bends = np.diagonal(seen.bend) if self.diagonal else values
        while True:
            curvature = np.clip(1 - rate * values, 1 / LARGEST_CHANGE, LARGEST_CHANGE)
            precision = np.clip(1 - rate * bends, 1 / change, change)
            move = rate * slope / curvature
            kl = 0.5 * float(np.sum(1 / precision - 1 + np.log(precision)) + move @ move)
            if kl <= trust or rate < 1e-12:
                break
            rate *= min(0.9, 1.1 * float(np.sqrt(trust / kl)))
        root = np.diag(1 / np.sqrt(precision))
        if not self.diagonal:
            root = vectors / np.sqrt(precision) @ vectors.T
        return Moments(q.mean + q.scale @ (vectors @ move), q.scale @ root)


FULL, DIAGONAL = Shape(diagonal=False), Shape(diagonal=True)


@np.errstate(over="ignore", invalid="ignore")  # a runaway q is judged by its ELBO
def summarize(
    values: np.ndarray, gradients: np.ndarray, q: Moments, noise: np.ndarray, shape: Shape
) -> Round:
    """Estimate ELBO, gradients and their noise from values and gradients at q's draws.

    With x = mean + scale z and r(z) = scaleᵀ∇log p(x) + z, the whitened gradient of log p − log q,
    the ELBO's gradient is E[r] in the mean and ½E[z rᵀ] in the covariance (Stein). Where q is the
    target r vanishes draw by draw: sticking the landing.
    """
    fine = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    count = max(int(fine.sum()), 1)
    residual = np.where(fine[:, None], np.where(fine[:, None], gradients, 0) @ q.scale + noise, 0)
    # two halves, each of whole antithetic pairs: their difference is the noise of their mean
    even = np.full(len(noise[::2]), 1 / len(noise[::2]))
    odd = np.full(len(noise[1::2]), 1 / len(noise[1::2]))
    steps, curves = zip(
        gradients_of(noise[::2], residual[::2], even),
        gradients_of(noise[1::2], residual[1::2], odd),
    )
    bends = [shape.project(curve) for curve in curves]
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
    curve = (curves[0] + curves[1]) * scale / 2
    bad = len(fine) - count
    return Round(float(elbo), float(std_error), step, bend, float(noise_nats), bad, curve)


def gradients_of(
    noise: np.ndarray, residual: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ELBO's gradient in the whitened mean, and twice that in the covariance."""
    bend = noise.T @ (weights[:, None] * residual)
    return weights @ residual, (bend + bend.T) / 2
