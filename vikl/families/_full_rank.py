"""The full-rank (multivariate) normal."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import kl
from .._typing import Array, Matrix, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ._base import Family, check_finite, check_loc, check_scale, cov, entropy, from_noise, mean, std
from ._mean_field import HALF_LOG_2PI, MeanFieldNormal


class FullRankNormal(Family):
    """q(x) = N(x | loc, L Lᵀ) with L lower triangular, diagonal exp(log_diagonal).

    Args:
        loc: the mean, shape (dim,), unconstrained space.
        log_diagonal: logarithms of the diagonal of L, shape (dim,).
        lower: the part of L below its diagonal, shape (dim, dim). Entries on and above the
            diagonal are ignored and have no gradient: a dense array costs memory but is several
            times faster to use than a packed one.

    References:
        Kucukelbir et al. (2017), Automatic Differentiation Variational Inference.
    """

    loc: Vector
    log_diagonal: Vector
    lower: Matrix

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "FullRankNormal":
        """Make one with mean `loc` (dim,) and independent coordinates of sd `scale`.

        Example:
            >>> FullRankNormal.init(jnp.zeros(3), 0.5).scale_tril.shape
            (3, 3)
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        log_scale = jnp.log(jnp.asarray(scale, loc.dtype))
        dim = loc.shape[0]
        return FullRankNormal(
            loc, jnp.broadcast_to(log_scale, (dim,)), jnp.zeros((dim, dim), loc.dtype)
        )

    @staticmethod
    def from_moments(loc: Array, scale_tril: Array) -> "FullRankNormal":
        """Make one with mean `loc` (dim,) and Cholesky factor `scale_tril` (dim, dim).

        Example:
            >>> q = FullRankNormal.from_moments(jnp.zeros(2), jnp.array([[1.0, 0.0], [0.5, 2.0]]))
            >>> print(cov(q)[1])
            [0.5  4.25]
        """
        loc, scale_tril = jnp.asarray(loc), jnp.asarray(scale_tril)
        check_loc(loc)
        _check_tril(scale_tril, loc.shape[0])
        return FullRankNormal(loc, jnp.log(jnp.diagonal(scale_tril)), jnp.tril(scale_tril, -1))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[0]

    @property
    def scale_tril(self) -> Matrix:
        """The Cholesky factor L of the covariance, shape (dim, dim)."""
        return jnp.tril(self.lower, -1) + jnp.diag(jnp.exp(self.log_diagonal))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density (from the noise: no triangular solve)."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        log_prob = -0.5 * jnp.sum(noise * noise) - jnp.sum(self.log_diagonal)
        return from_noise(self, noise), log_prob - self.dim * HALF_LOG_2PI

    def log_prob(self, x: Vector) -> Scalar:
        """Return log N(x | loc, L Lᵀ)."""
        from jax.scipy.linalg import solve_triangular  # late: an automatic fit does without

        z = solve_triangular(self.scale_tril, x - self.loc, lower=True)
        return -0.5 * jnp.sum(z * z) - jnp.sum(self.log_diagonal) - self.dim * HALF_LOG_2PI


def _check_tril(scale_tril: Any, dim: int) -> None:
    if scale_tril.shape != (dim, dim):
        raise ValueError(
            f"`scale_tril` should have shape {(dim, dim)}, as `loc` has {dim} entries; got "
            f"{scale_tril.shape}."
        )
    if isinstance(scale_tril, Tracer):
        return
    values = np.asarray(scale_tril, np.float64)
    check_finite(scale_tril, "scale_tril")
    if (np.diagonal(values) <= 0).any() or np.triu(values, 1).any():
        raise ValueError(
            "`scale_tril` should be lower triangular with a positive diagonal; got "
            f"{np.array2string(values, precision=3, threshold=9)}. Use "
            "`jnp.linalg.cholesky(covariance)`."
        )


@mean.register
def _(family: FullRankNormal) -> Array:
    return family.loc


@cov.register
def _(family: FullRankNormal) -> Array:
    return family.scale_tril @ family.scale_tril.T


@std.register
def _(family: FullRankNormal) -> Array:
    return jnp.linalg.norm(family.scale_tril, axis=1)


@entropy.register
def _(family: FullRankNormal) -> Scalar:
    return jnp.sum(family.log_diagonal) + family.dim * (HALF_LOG_2PI + 0.5)


@from_noise.register
def _(family: FullRankNormal, noise: Vector) -> Vector:
    return family.loc + family.scale_tril @ noise


def _scale_tril(family: FullRankNormal | MeanFieldNormal) -> Matrix:
    return family.scale_tril if isinstance(family, FullRankNormal) else jnp.diag(std(family))


@register_kl(FullRankNormal, FullRankNormal)
@register_kl(FullRankNormal, MeanFieldNormal)
@register_kl(MeanFieldNormal, FullRankNormal)
def _kl(p: FullRankNormal | MeanFieldNormal, q: FullRankNormal | MeanFieldNormal) -> Scalar:
    return kl.multivariate_normal(p.loc, _scale_tril(p), q.loc, _scale_tril(q))
