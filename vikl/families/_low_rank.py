"""The normal whose covariance is low-rank plus diagonal."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from .. import kl
from .._typing import Array, Float, Matrix, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ._base import Family, check_scale, cov, entropy, from_noise, mean, std
from ._full_rank import FullRankNormal
from ._mean_field import HALF_LOG_2PI, MeanFieldNormal

_RANK = 10
_SMALL = 0.1  # a factor of zeros would have no gradient: it starts small


class LowRankNormal(Family):
    """q(x) = N(x | loc, S (I + F Fᵀ) S), S = diag(exp(log_scale)), F of shape (dim, rank).

    As S S + W Wᵀ with W = S F: a diagonal and `rank` directions. Drawing, scoring and the entropy
    cost O(dim rank²) and never make a matrix (dim, dim). With the Cholesky factor L Lᵀ = I + FᵀF,
    of rank × rank, R = I + F (I + L)⁻¹ Fᵀ is a square root: R Rᵀ = I + F Fᵀ.

    Args:
        loc: the mean, shape (dim,), unconstrained space.
        log_scale: logarithms of the scales S, shape (dim,): the standard deviations are these
            times sqrt(1 + Σ_k F_ik²).
        factor: F, relative to the scales, shape (dim, rank).

    References:
        Ong, Nott and Smith (2018), Gaussian variational approximation with a factor covariance
        structure.
    """

    loc: Vector
    log_scale: Vector
    factor: Float[Array, "dim rank"]

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0, rank: int | None = None) -> "LowRankNormal":
        """Make one with mean `loc` (dim,), standard deviations `scale` and hardly a correlation.

        `rank` is 10, or `dim` where that is less. The factor is small, but not zero: there it
        would have no gradient.

        Example:
            >>> q = LowRankNormal.init(jnp.zeros(50), 2.0, rank=3)
            >>> q.factor.shape, round(float(std(q)[7]), 4)
            ((50, 3), 2.0)
        """
        loc = jnp.asarray(loc)
        check_scale(scale, loc.shape, "scale")
        dim = loc.shape[0]
        rank = min(_RANK, dim) if rank is None else rank
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= dim:
            raise ValueError(
                f"`rank` should be a whole number from 1 to the dimension {dim}; got {rank!r}. "
                "Full rank is FullRankNormal, no rank MeanFieldNormal."
            )
        waves = np.outer(np.arange(dim) + 0.5, np.arange(1, rank + 1)) * np.pi / dim
        factor = jnp.asarray(_SMALL * np.cos(waves), loc.dtype)
        log_scale = jnp.broadcast_to(jnp.log(jnp.asarray(scale, loc.dtype)), loc.shape)
        return LowRankNormal(loc, log_scale - 0.5 * jnp.log1p(jnp.sum(factor**2, 1)), factor)

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[0]

    @property
    def _root(self) -> Matrix:
        """The Cholesky factor L of I + FᵀF, shape (rank, rank)."""
        rank = self.factor.shape[1]
        return jnp.linalg.cholesky(
            jnp.eye(rank, dtype=self.factor.dtype) + self.factor.T @ self.factor
        )

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density (from the noise: no solve of size dim)."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        return from_noise(self, noise), -0.5 * jnp.sum(noise * noise) - _log_volume(self)

    def log_prob(self, x: Vector) -> Scalar:
        """Return log q(x), by Woodbury's identity for R: R⁻¹ = I − F (I + Lᵀ)⁻¹ L⁻¹ Fᵀ."""
        u = (x - self.loc) * jnp.exp(-self.log_scale)
        root = self._root
        inner = solve_triangular(root, self.factor.T @ u, lower=True)
        inner = solve_triangular(_plus_one(root).T, inner, lower=False)
        z = u - self.factor @ inner
        return -0.5 * jnp.sum(z * z) - _log_volume(self)


def _plus_one(root: Matrix) -> Matrix:
    return root + jnp.eye(root.shape[0], dtype=root.dtype)


def _log_volume(family: LowRankNormal) -> Scalar:
    """Return ½ log det(2π Σ)."""
    log_det = jnp.sum(family.log_scale) + jnp.sum(jnp.log(jnp.diagonal(family._root)))
    return log_det + family.dim * HALF_LOG_2PI


@mean.register
def _(family: LowRankNormal) -> Array:
    return family.loc


@cov.register
def _(family: LowRankNormal) -> Array:
    weights = jnp.exp(family.log_scale)[:, None] * family.factor
    return weights @ weights.T + jnp.diag(jnp.exp(2 * family.log_scale))


@std.register
def _(family: LowRankNormal) -> Array:
    return jnp.exp(family.log_scale) * jnp.sqrt(1 + jnp.sum(family.factor**2, axis=1))


@entropy.register
def _(family: LowRankNormal) -> Scalar:
    return _log_volume(family) + 0.5 * family.dim


@from_noise.register
def _(family: LowRankNormal, noise: Vector) -> Vector:
    inner = solve_triangular(_plus_one(family._root), family.factor.T @ noise, lower=True)
    return family.loc + jnp.exp(family.log_scale) * (noise + family.factor @ inner)


def _parts(family: LowRankNormal | MeanFieldNormal) -> tuple[Array, Array, Array]:
    """Return the mean, the factor W and the variances of the diagonal part."""
    scale = jnp.exp(family.log_scale)
    if isinstance(family, MeanFieldNormal):
        return family.loc, jnp.zeros((family.dim, 1), scale.dtype), scale**2
    return family.loc, scale[:, None] * family.factor, scale**2


@register_kl(LowRankNormal, LowRankNormal)
@register_kl(LowRankNormal, MeanFieldNormal)
@register_kl(MeanFieldNormal, LowRankNormal)
def _kl(p: LowRankNormal | MeanFieldNormal, q: LowRankNormal | MeanFieldNormal) -> Scalar:
    return kl.low_rank_normal(*_parts(p), *_parts(q))


def _scale_tril(family: LowRankNormal | FullRankNormal) -> Matrix:
    if isinstance(family, FullRankNormal):
        return family.scale_tril
    correlation = jnp.eye(family.dim, dtype=family.loc.dtype) + family.factor @ family.factor.T
    return jnp.exp(family.log_scale)[:, None] * jnp.linalg.cholesky(correlation)


@register_kl(LowRankNormal, FullRankNormal)
@register_kl(FullRankNormal, LowRankNormal)
def _kl_full(p: LowRankNormal | FullRankNormal, q: LowRankNormal | FullRankNormal) -> Scalar:
    return kl.multivariate_normal(p.loc, _scale_tril(p), q.loc, _scale_tril(q))
