"""Stein and Fisher checks: does the target's gradient look, from q, as if p were q."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._typing import Array, PRNGKey
from ..families import Family, FullRankNormal, MeanFieldNormal
from ._frame import CHUNK_GRADIENTS, Frame, frame_of, value_and_grad, whiten
from ._weighted import WeightedDraws, seed_of

_POINTS = 100  # half of them mirrored through q's mean: odd parts cancel


@dataclasses.dataclass(frozen=True)
class ScoreChecks:
    """What the gradient g of log p in q's whitened coordinates z says, over draws of q.

    Args:
        names: names of the coordinates.
        mean: E_q[g], zero where q's mean is where the ELBO wants it; shape (dim,).
        mean_error: its standard error.
        spread: 1 + E_q[z g], zero where q's width is what the ELBO wants; shape (dim,).
        spread_error: its standard error.
        fisher: E_q‖∇ log p − ∇ log q‖² / dim in whitened coordinates: 0 where q is p, and about
            1 where they have nothing to do with each other.
        fisher_error: its standard error.
        num_gradients: gradients of the log density used.

    Example:
        >>> import vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 1) ** 2), jnp.zeros(2))
        >>> q, key = vikl.families.MeanFieldNormal.init(jnp.zeros(2)), jax.random.key(0)
        >>> checks = score_checks(target, q, key, vikl.diagnostics.draw_weighted(target, q, key))
        >>> checks.mean.round(3).tolist()  # q is one sd to the left
        [1.0, 1.0]
    """

    names: tuple[str, ...]
    mean: Float[ndarray, " dim"]
    mean_error: Float[ndarray, " dim"]
    spread: Float[ndarray, " dim"]
    spread_error: Float[ndarray, " dim"]
    fisher: float
    fisher_error: float
    num_gradients: int

    def __repr__(self) -> str:
        if not np.isfinite(self.fisher):
            return "ScoreChecks(the gradient is not finite at draws of q)"
        mean, spread = (np.sqrt(np.mean(v**2)) for v in (self.mean, self.spread))
        return (
            f"ScoreChecks(Stein: mean {mean:.2g}, spread {spread:.2g} sds; Fisher divergence "
            f"{self.fisher:.2g} ± {self.fisher_error:.1g} per coordinate)"
        )


def score_checks(target: Any, family: Family, key: PRNGKey, weighted: WeightedDraws) -> ScoreChecks:
    """Compare the target's gradient at draws of q with what Stein's identities ask of it.

    If p were q, then E_q[∇ log p] = 0, E_q[z_i ∂ log p/∂z_i] = −1 for each whitened coordinate,
    and ∇ log p = ∇ log q everywhere. For a normal q the first two are the gradient of the ELBO,
    whatever the target: away from zero by more than their errors, the fit has not converged. The
    third is the Fisher divergence, which is large where q has the wrong shape. It needs no
    normaliser, and like the weights it cannot see a mode that q does not visit.

    100 gradients, at mirrored pairs of draws.

    Args:
        target: has `log_density(x)`, `names`.
        family: q.
        key: a JAX random key.
        weighted: draws of q, for the frame of a family that is not a normal.

    Example:
        >>> import vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q, key = vikl.families.MeanFieldNormal.init(jnp.zeros(2), 0.5), jax.random.key(0)
        >>> found = score_checks(target, q, key, vikl.diagnostics.draw_weighted(target, q, key))
        >>> bool((found.spread > 0.5).all())  # q is half as wide as it should be: 1 − 0.5²
        True

    References:
        Gorham and Mackey (2015), Measuring sample quality with Stein's method; Hyvärinen (2005),
        Estimation of non-normalized statistical models by score matching.
    """
    frame, rng = frame_of(family, weighted), np.random.default_rng(seed_of(key))
    if isinstance(family, MeanFieldNormal | FullRankNormal):
        half = rng.normal(size=(_POINTS // 2, family.dim))
        half /= np.sqrt((half**2).mean(0))  # unit variance: no noise of its own in the spread
        z = np.stack([half, -half], axis=1).reshape(-1, family.dim)
        own = -z
    else:
        z, own = _of_draws(family, frame, weighted)
    gradients = np.concatenate(
        [
            np.asarray(value_and_grad(target, frame, jnp.asarray(part, target.dtype))[1])
            for part in z.reshape(-1, CHUNK_GRADIENTS, family.dim)
        ]
    ).astype(np.float64)
    pairs = lambda v: v.reshape(len(z) // 2, 2, -1).mean(1)
    mean, mean_error = _mean(pairs(gradients))
    spread, spread_error = _mean(pairs(1 + z * gradients))
    fisher, fisher_error = _mean(pairs(((gradients - own) ** 2).mean(1, keepdims=True)))
    return ScoreChecks(
        tuple(target.names), mean, mean_error, spread, spread_error, float(fisher[0]),
        float(fisher_error[0]), len(z),
    )  # fmt: skip


def _mean(values: ndarray) -> tuple[ndarray, ndarray]:
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values))


def _of_draws(family: Any, frame: Frame, weighted: WeightedDraws) -> tuple[ndarray, ndarray]:
    """Return draws of q that are no normal's, whitened, and the gradient of log q there."""
    rows = np.arange(_POINTS) % len(weighted.x)
    z = whiten(frame, weighted.x[rows])
    slope = np.asarray(_gradients(family, jnp.asarray(weighted.x[rows])), np.float64)
    if isinstance(frame, MeanFieldNormal):
        return z, slope * np.exp(np.asarray(frame.log_scale, np.float64))
    return z, slope @ np.asarray(frame.scale_tril, np.float64)


@compile_lightly
def _gradients(family: Any, x: Any) -> Array:
    return jax.vmap(jax.grad(family.log_prob))(x)
