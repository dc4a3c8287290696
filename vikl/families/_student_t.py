"""The multivariate Student-t."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma, gammaln

from .._typing import Array, Matrix, PRNGKey, Scalar, Vector
from ._base import Family, check_loc, check_scale, cov, entropy, mean
from ._gamma_draws import log_gamma_over_shape

_LOG_PI = float(np.log(np.pi))
_LARGE = 20.0  # where the asymptotic series of a half step of lgamma take over


class StudentT(Family):
    """q(x) = t_df(x | loc, L Lᵀ): a multivariate Student-t, heavier in the tails than a normal.

    One draw is loc + L z / √(g/df), z standard normal and g ~ χ²_df, so its coordinates share
    the divisor: even with a diagonal L they are uncorrelated, but not independent. df is trained
    with the rest, through the implicit derivative of the χ² draw; where the target has normal
    tails it grows without end. The mean exists for df > 1 and the covariance, df/(df − 2) L Lᵀ,
    for df > 2; otherwise `mean` is NaN and `cov` infinite.

    Args:
        loc: the centre, shape (dim,), unconstrained space.
        log_diagonal: logarithms of the diagonal of L, shape (dim,).
        lower: the part of L below its diagonal, shape (dim, dim), or None for a diagonal L.
        log_df: logarithm of the degrees of freedom, scalar.

    References:
        Kotz & Nadarajah (2004), Multivariate t distributions and their applications.
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """

    loc: Vector
    log_diagonal: Vector
    lower: Matrix | None
    log_df: Scalar

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0, df: float = 5.0, full: bool = False) -> "StudentT":
        """Make one with centre `loc` (dim,) and the scale (not the sd) `scale`.

        Args:
            loc: the centre, shape (dim,).
            scale: the diagonal of L, a scalar or (dim,); the sd is √(df/(df − 2)) times as much.
            df: degrees of freedom, positive.
            full: whether L has a part below its diagonal.

        Raises:
            ValueError: `scale` or `df` is not positive.

        Example:
            >>> q = StudentT.init(jnp.zeros(2), 1.0, df=4.0)
            >>> print(f"{cov(q)[0, 0]:.4f}")
            2.0000
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        if not df > 0:
            raise ValueError(f"`df` should be positive; got {df}. It counts degrees of freedom.")
        log_scale = jnp.log(jnp.asarray(scale, loc.dtype))
        lower = jnp.zeros((loc.shape[0], loc.shape[0]), loc.dtype) if full else None
        log_df = jnp.log(jnp.asarray(df, loc.dtype))
        return StudentT(loc, jnp.broadcast_to(log_scale, loc.shape), lower, log_df)

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[0]

    @property
    def df(self) -> Scalar:
        """The degrees of freedom."""
        return jnp.exp(self.log_df)

    @property
    def scale_tril(self) -> Matrix:
        """The factor L of the scale matrix, shape (dim, dim), lower triangular."""
        diagonal = jnp.diag(jnp.exp(self.log_diagonal))
        return diagonal if self.lower is None else jnp.tril(self.lower, -1) + diagonal

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density (from the noise: no triangular solve)."""
        noise_key, divisor_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, self.loc.shape, self.loc.dtype)
        z = noise * jnp.exp(-0.5 * log_gamma_over_shape(divisor_key, 0.5 * self.df))
        x = z * jnp.exp(self.log_diagonal)
        if self.lower is not None:
            x = x + jnp.tril(self.lower, -1) @ z
        return self.loc + x, self._log_prob(z)

    def log_prob(self, x: Vector) -> Scalar:
        """Return log t_df(x | loc, L Lᵀ)."""
        if self.lower is None:
            return self._log_prob((x - self.loc) * jnp.exp(-self.log_diagonal))
        return self._log_prob(solve_triangular(self.scale_tril, x - self.loc, lower=True))

    def _log_prob(self, z: Vector) -> Scalar:
        tail = 0.5 * (self.df + self.dim) * jnp.log1p(jnp.sum(z * z) / self.df)
        return _log_normalizer(self) - tail


def _log_normalizer(family: StudentT) -> Scalar:
    """Return log Γ((df+dim)/2) − log Γ(df/2) − (dim/2) log(π df) − log |L|, for any df > 0."""
    half, dim = 0.5 * family.df, family.dim
    steps = [jnp.log(half + j + 0.5 * (dim % 2)) for j in range(dim // 2)]
    gammas = sum(steps, _half_step(half) if dim % 2 else jnp.zeros_like(half))
    return gammas - 0.5 * dim * (_LOG_PI + family.log_df) - jnp.sum(family.log_diagonal)


def _half_step(a: Scalar) -> Scalar:
    """Return log Γ(a + ½) − log Γ(a), without cancellation for a large a."""
    large = jnp.maximum(a, _LARGE)
    small = jnp.minimum(a, _LARGE)
    r = 1.0 / large
    series = 0.5 * jnp.log(large) - r / 8 + r**3 / 192 - r**5 / 640 + 17 * r**7 / 14336
    return jnp.where(a > _LARGE, series, gammaln(small + 0.5) - gammaln(small))


def _digamma_half_step(a: Scalar) -> Scalar:
    """Return ψ(a + ½) − ψ(a), without cancellation for a large a."""
    large = jnp.maximum(a, _LARGE)
    small = jnp.minimum(a, _LARGE)
    r = 1.0 / large
    series = r / 2 + r**2 / 8 - r**4 / 64 + r**6 / 128 - 17 * r**8 / 2048
    return jnp.where(a > _LARGE, series, digamma(small + 0.5) - digamma(small))


@mean.register
def _(family: StudentT) -> Array:
    return jnp.where(family.df > 1, family.loc, jnp.nan)


@cov.register
def _(family: StudentT) -> Array:
    exists = family.df > 2
    ratio = jnp.where(exists, family.df / jnp.where(exists, family.df - 2, 1), jnp.inf)
    matrix = family.scale_tril @ family.scale_tril.T
    return jnp.where(matrix == 0, matrix, ratio * matrix)  # not inf * 0


@entropy.register
def _(family: StudentT) -> Scalar:
    half, dim = 0.5 * family.df, family.dim
    steps = [1.0 / (half + j + 0.5 * (dim % 2)) for j in range(dim // 2)]
    digammas = sum(steps, _digamma_half_step(half) if dim % 2 else jnp.zeros_like(half))
    return 0.5 * (family.df + dim) * digammas - _log_normalizer(family)
