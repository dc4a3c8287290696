"""`BatchAndMatch`: proximal steps on a score-based divergence, in closed form."""

from collections.abc import Callable

import numpy as np

from ..fitting._method import Found, Method, Request
from ..fitting._natural import Moments
from ..target import Target
from ._checks import check_positive, check_start_method, check_whole
from ._hops import hop
from ._laplace import Laplace


def decaying_regularization(step: int, batch_size: int, dim: int) -> float:
    """Return λ = batch_size · dim / (step + 1), the paper's schedule for targets in general.

    Example:
        >>> decaying_regularization(0, 32, 5), decaying_regularization(9, 32, 5)
        (160.0, 16.0)
    """
    return batch_size * dim / (step + 1)


def constant_regularization(step: int, batch_size: int, dim: int) -> float:
    """Return λ = batch_size · dim, the paper's schedule for normal targets.

    Example:
        >>> constant_regularization(9, 32, 5)
        160.0
    """
    del step
    return float(batch_size * dim)


class BatchAndMatch(Method):
    """Batch and match (BaM): match the scores of q to the target's at a batch of draws.

    Each step minimises a score-based divergence on the batch plus (2/λ) KL(q_t‖q), whose minimum
    over normals has a closed form; where the batch is smaller than the dimension it is taken in
    its low-rank form. A normal target is a fixed point of every batch. It needs a start that sees
    the target's scale: from a standard normal it fails on ill-scaled posteriors.

    vikl departs from the paper in three things: it starts from a Laplace fit, stops where the
    averages of the last two quarters of the run agree, and returns the average of its second half.

    Args:
        batch_size: draws, and gradients, in one step.
        regularization: λ as a function of the step (from 0), the batch size and the dimension.
            Larger is bolder.
        start: the method that finds the first normal; a `family` instance given to `fit` is one.
        tolerance: symmetric KL, in nats, between the averages of the last two quarters at which
            the run stops.
        num_steps: the most steps.

    Raises:
        ValueError: a number is not positive. TypeError: `start` is not a method, `regularization`
            not a function.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=BatchAndMatch(), key=jax.random.key(0))
        >>> print(post.mean.round(3), post.std.round(3))
        [1. 1.] [0.5 0.5]

    References:
        Cai, Modi, Pillaud-Vivien, Margossian, Gower, Blei & Saul (2024), Batch and match:
        black-box variational inference with a score-based divergence.
    """

    batch_size: int = 32
    regularization: Callable[[int, int, int], float] = decaying_regularization
    start: Method = Laplace()
    tolerance: float = 0.01
    num_steps: int = 2000

    def __check_init__(self) -> None:
        check_whole(self, "batch_size", least=2)
        check_whole(self, "num_steps")
        check_positive(self, "tolerance")
        check_start_method(self)
        if not callable(self.regularization):
            raise TypeError(
                "`regularization` should be a function of the step, the batch size and the "
                f"dimension; got {self.regularization!r}. Use `decaying_regularization`."
            )

    def run(self, target: Target, request: Request) -> Found:
        """Start, then match until the run stands still."""

        def update(t: int, q: Moments, noise: np.ndarray, x: np.ndarray, scores: np.ndarray):
            strength = float(self.regularization(t, self.batch_size, target.dim))
            return match(q, noise, scores, strength)

        return hop(
            target, request, self.start, update, batch_size=self.batch_size,
            num_steps=self.num_steps, tolerance=self.tolerance,
        )  # fmt: skip


def match(q: Moments, noise: np.ndarray, scores: np.ndarray, strength: float) -> Moments:
    """Return the normal after one step of strength λ on draws q.mean + q.scale @ noise.

    With C and Γ the covariances of draws and scores over the batch, z̄ and ḡ their means, and
    r = λ/(1+λ): Σ solves Σ U Σ + Σ = V, where U = λΓ + r ḡḡᵀ and V = Σ_t + λC + r (μ_t−z̄)(μ_t−z̄)ᵀ,
    and μ = (μ_t + λ(z̄ + Σḡ))/(1+λ). All in the whitened coordinates of q, where Σ_t = I.
    """
    count, dim = noise.shape
    pulls = scores @ q.scale
    share = strength / (1 + strength)
    z, g = noise.mean(axis=0), pulls.mean(axis=0)
    # V = I + W Wᵀ and U = Q Qᵀ, with one column for each draw and one for the means
    spread = np.sqrt(strength / count) * (noise - z), np.sqrt(share) * z[None]
    bend = np.sqrt(strength / count) * (pulls - g), np.sqrt(share) * g[None]
    wide, steep = np.concatenate(spread).T, np.concatenate(bend).T
    solve = _solve_dense if count + 1 >= dim else _solve_low_rank
    root = solve(wide, steep)
    mean = share * (z + root @ (root.T @ g))
    return Moments(q.mean + q.scale @ mean, q.scale @ root)


def _solve_dense(wide: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Return a square root of the Σ with Σ Q Qᵀ Σ + Σ = I + W Wᵀ: 2V(I + (I + 4UV)^½)⁻¹."""
    lower = np.linalg.cholesky(np.eye(len(wide)) + wide @ wide.T)
    values, vectors = np.linalg.eigh(lower.T @ steep @ steep.T @ lower)
    return (lower @ vectors) * np.sqrt(2 / (1 + np.sqrt(1 + 4 * np.maximum(values, 0))))


def _solve_low_rank(wide: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Return the same for fewer columns than rows: V − VQ(½I + (QᵀVQ + ¼I)^½)⁻²QᵀV.

    With V = L Lᵀ and the thin singular value decomposition LᵀQ = A s Bᵀ, that is
    L (I − A diag(c) Aᵀ) Lᵀ with 1 − c = 2/(1 + √(1 + 4s²)), whose root needs no large eigenvalues.
    """
    # L of I + W Wᵀ, symmetric, by the thin decomposition of W
    basis, sizes, _ = np.linalg.svd(wide, full_matrices=False)
    grow = np.sqrt(1 + sizes**2) - 1

    def lift(matrix: np.ndarray) -> np.ndarray:
        return matrix + (basis * grow) @ (basis.T @ matrix)

    axes, sizes, _ = np.linalg.svd(lift(steep), full_matrices=False)
    shrink = 1 - np.sqrt(2 / (1 + np.sqrt(1 + 4 * sizes**2)))
    return lift(np.eye(len(wide)) - (axes * shrink) @ axes.T)
