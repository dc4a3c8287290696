"""`GaussianScoreMatching`: the nearest normal whose score agrees with the target's at a draw."""

import numpy as np

from ..fitting._method import Found, Method, Request
from ..fitting._natural import Moments
from ..target import Target
from ._checks import check_positive, check_start_method, check_whole
from ._hops import hop
from ._laplace import Laplace


class GaussianScoreMatching(Method):
    """Gaussian score matching (GSM): the normal nearest to q_t that has the target's score.

    For each draw, the normal of least KL(q_t‖q) whose score there is the target's has a closed
    form; a step averages them over the batch. No step size and nothing to tune; a normal target is
    a fixed point. The noise of a step does not fade where the target is not normal.

    vikl departs from the paper in three things: it starts from a Laplace fit, stops where the
    averages of the last two quarters of the run agree, and returns the average of its second half.

    Args:
        batch_size: draws, and gradients, in one step.
        start: the method that finds the first normal; a `family` instance given to `fit` is one.
        tolerance: symmetric KL, in nats, between the averages of the last two quarters at which
            the run stops.
        num_steps: the most steps.

    Raises:
        ValueError: a number is not positive. TypeError: `start` is not a method.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=GaussianScoreMatching(), key=jax.random.key(0))
        >>> print(post.mean.round(3), post.std.round(3))
        [1. 1.] [0.5 0.5]

    References:
        Modi, Margossian, Yao, Gower, Blei & Saul (2023), Variational inference with Gaussian score
        matching.
    """

    batch_size: int = 2
    start: Method = Laplace()
    tolerance: float = 0.01
    num_steps: int = 10_000

    def __check_init__(self) -> None:
        check_whole(self, "batch_size", "num_steps")
        check_positive(self, "tolerance")
        check_start_method(self)

    def run(self, target: Target, request: Request) -> Found:
        """Start, then match until the run stands still."""

        def update(t: int, q: Moments, noise: np.ndarray, x: np.ndarray, scores: np.ndarray):
            return match(q, noise, scores)

        return hop(
            target, request, self.start, update, batch_size=self.batch_size,
            num_steps=self.num_steps, tolerance=self.tolerance,
        )  # fmt: skip


def match(q: Moments, noise: np.ndarray, scores: np.ndarray) -> Moments:
    """Return the normal after one step on draws q.mean + q.scale @ noise.

    In the whitened coordinates of q, with z the draw, g its score there, e = g + z and
    ρ = ½√(1 + 4(|g|² + (zᵀg)²)) − ½, the nearest normal that matches has
    mean μ = (e + z(gᵀe)/(1 + ρ − zᵀg))/(1 + ρ) and covariance I + zzᵀ − (μ−z)(μ−z)ᵀ.
    """
    count, dim = noise.shape
    pulls = scores @ q.scale
    inner = np.sum(noise * pulls, axis=1)
    # ½√(1 + 4v) − ½ without the cancellation of small v
    rest = np.sum(pulls**2, axis=1) + inner**2
    rho = 2 * rest / (1 + np.sqrt(1 + 4 * rest))
    error = pulls + noise
    along = np.sum(pulls * error, axis=1) / (1 + rho - inner)
    means = (error + noise * along[:, None]) / (1 + rho)[:, None]
    off = means - noise
    cov = np.eye(dim) + (noise.T @ noise - off.T @ off) / count
    return Moments(
        q.mean + q.scale @ means.mean(axis=0), q.scale @ np.linalg.cholesky((cov + cov.T) / 2)
    )
