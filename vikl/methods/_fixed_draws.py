"""The reverse KL of a mean-field normal on draws that are fixed once: a deterministic function.

With z_1, ..., z_M fixed, f(μ, ρ) = −(1/M) Σ log p(μ + exp(ρ) z_m) − Σρ. Derivatives are taken in
the natural coordinates a = δμ/σ and b = δρ, in which a posterior has no scale.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ..fitting._evaluate import Evaluator
from ..fitting._journal import Journal
from ..target import Target
from ._curvature import Curvature

_DENSE_UP_TO = 50  # dimensions up to which the whole Hessian costs less than its products


def antithetic(rng: np.random.Generator, num: int, dim: int) -> np.ndarray:
    """Return `num` (even) standard normal rows in pairs z, −z: halves of the array."""
    half = rng.normal(size=(num // 2, dim))
    return np.concatenate([half, -half])


@dataclasses.dataclass
class Point:
    """Means, log sds, and what the target said at the draws there."""

    mean: np.ndarray
    log_sd: np.ndarray
    value: float  # of f, in nats
    pulls: np.ndarray  # σ ∇log p, (M, dim)
    x: np.ndarray  # the draws, (M, dim)


class FixedDraws:
    """f, its gradient and its Hessian, for a target and fixed standard normal draws (M, dim)."""

    def __init__(self, target: Target, noise: np.ndarray, journal: Journal | None = None):
        self.noise, self.dim = noise, target.dim
        self.evaluate = Evaluator(target, (len(noise),), journal)
        self.curvature = Curvature(target, len(noise), journal)

    @property
    def num_gradients(self) -> int:
        """Gradients so far, each Hessian product counted as one."""
        return self.evaluate.num_gradients + self.curvature.num_gradients

    def at(self, mean: np.ndarray, log_sd: np.ndarray) -> Point:
        """Evaluate at a mean-field normal; the value is +inf where some draw is not finite."""
        sd = np.exp(log_sd)
        x = mean + sd * self.noise
        values, gradients = self.evaluate(x)
        fine = np.isfinite(values).all() and np.isfinite(gradients).all()
        value = -float(values.mean()) - float(log_sd.sum()) if fine else np.inf
        return Point(mean, log_sd, value, gradients * sd, x)

    def gradients(self, point: Point) -> np.ndarray:
        """Return the gradient that each draw alone would give, (M, 2 dim)."""
        return np.concatenate([-point.pulls, -point.pulls * self.noise - 1.0], axis=1)

    def gradient(self, point: Point) -> np.ndarray:
        """Return the gradient of f, (2 dim,)."""
        return self.gradients(point).mean(axis=0)

    def product(self, point: Point) -> Callable[[np.ndarray], np.ndarray]:
        """Return the map v -> Hessian v in natural coordinates."""
        if self.dim <= _DENSE_UP_TO:
            hessian = self.hessian(point)
            return lambda v: hessian @ v
        sd, own = np.exp(point.log_sd), (point.pulls * self.noise).mean(axis=0)

        def times(v: np.ndarray) -> np.ndarray:
            a, b = v[: self.dim], v[self.dim :]
            bent = sd * self.curvature(point.x, sd * (a + self.noise * b))
            return -np.concatenate([bent.mean(axis=0), (self.noise * bent).mean(axis=0) + own * b])

        return times

    def hessian(self, point: Point, own: np.ndarray | None = None) -> np.ndarray:
        """Return the Hessian (2 dim, 2 dim); costs `dim` products at each draw.

        `own` replaces the average of z σ ∂log p, which is −1 at an optimum.
        """
        sd, num = np.exp(point.log_sd), len(self.noise)
        bends = np.empty((num, self.dim, self.dim))  # diag(σ) H_m diag(σ)
        for j in range(self.dim):
            v = np.zeros((num, self.dim))
            v[:, j] = 1.0
            bends[:, :, j] = sd * self.curvature(point.x, v) * sd[j]
        bends = (bends + bends.transpose(0, 2, 1)) / 2
        across = -np.mean(bends * self.noise[:, None, :], axis=0)
        if own is None:
            own = (point.pulls * self.noise).mean(axis=0)
        corner = -np.mean(self.noise[:, :, None] * bends * self.noise[:, None, :], axis=0)
        return np.block(
            [[-bends.mean(axis=0), across], [across.T, corner - np.diag(np.asarray(own))]]
        )
