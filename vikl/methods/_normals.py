"""Normals on the host: between families and float64 NumPy, compiling nothing."""

import jax.numpy as jnp
import numpy as np

from ..families import Family, FullRankNormal, MeanFieldNormal
from ..fitting._natural import Moments


def full_rank(q: Moments, dtype: np.dtype) -> FullRankNormal:
    """Return the family of a mean and any square root of a covariance."""
    lower = np.linalg.qr(q.scale.T)[1].T
    diagonal = np.diagonal(lower)
    with np.errstate(divide="ignore"):
        log_diagonal = np.log(np.abs(diagonal))
    lower = np.tril(lower * np.where(diagonal < 0, -1.0, 1.0), -1)
    return FullRankNormal(*(jnp.asarray(v.astype(dtype)) for v in (q.mean, log_diagonal, lower)))


def mean_field(mean: np.ndarray, sd: np.ndarray, dtype: np.dtype) -> MeanFieldNormal:
    """Return the family of means and standard deviations."""
    return MeanFieldNormal(*(jnp.asarray(v.astype(dtype)) for v in (mean, np.log(sd))))


def conditional_sds(scale: np.ndarray) -> np.ndarray:
    """Return the sds of the mean-field normal closest in reverse KL: 1/√Λᵢᵢ, Λ = (scale scaleᵀ)⁻¹.

    Example:
        >>> conditional_sds(np.diag([1.0, 2.0])).tolist()
        [1.0, 2.0]
    """
    return 1 / np.linalg.norm(np.linalg.inv(scale), axis=0)


def as_kind(q: Moments, kind: type[Family], dtype: np.dtype) -> Family:
    """Return the member of a class of normals closest to `q` in reverse KL."""
    if kind is MeanFieldNormal:
        return mean_field(q.mean, conditional_sds(q.scale), dtype)
    return full_rank(q, dtype)


def moments_of(family: Family) -> Moments:
    """Return the mean and a square root of the covariance of a normal family, in float64."""
    if isinstance(family, MeanFieldNormal):
        scale = np.diag(np.exp(np.asarray(family.log_scale, np.float64)))
        return Moments(np.asarray(family.loc, np.float64), scale)
    if not isinstance(family, FullRankNormal):
        raise TypeError(
            f"`start` should find a normal; it found {type(family).__name__}. Use for example "
            "`vikl.methods.Laplace()`."
        )
    scale = np.tril(np.asarray(family.lower, np.float64), -1)
    scale = scale + np.diag(np.exp(np.asarray(family.log_diagonal, np.float64)))
    return Moments(np.asarray(family.loc, np.float64), scale)


def symmetric_kl(p: Moments, q: Moments) -> float:
    """Return KL(p‖q) + KL(q‖p) in nats.

    Example:
        >>> one = Moments(np.zeros(2), np.eye(2))
        >>> symmetric_kl(one, one), symmetric_kl(one, Moments(np.ones(2), np.eye(2)))
        (0.0, 2.0)
    """
    forward, backward = np.linalg.solve(q.scale, p.scale), np.linalg.solve(p.scale, q.scale)
    move = p.mean - q.mean
    distance = sum(np.sum(np.linalg.solve(r.scale, move) ** 2) for r in (p, q))
    return 0.5 * float(np.sum(forward**2) + np.sum(backward**2) - 2 * len(move) + distance)
