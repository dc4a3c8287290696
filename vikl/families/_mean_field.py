"""The mean-field (factorised) normal."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import kl
from .._typing import Array, PRNGKey, Scalar, Vector
from ..kl._registry import register_kl
from ._base import Family, check_loc, check_scale, cov, entropy, from_noise, mean, std

HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


class MeanFieldNormal(Family):
    """q(x) = Π_i N(x_i | loc_i, exp(log_scale_i)²): independent normals.

    Reverse KL with this family finds the right means of a normal target and variances
    1/Λ_ii, the conditional ones, which are too small where the target is correlated.

    Args:
        loc: the means, shape (dim,), unconstrained space.
        log_scale: logarithms of the standard deviations, shape (dim,).

    References:
        Bishop (2006), Pattern Recognition and Machine Learning, section 10.1.2.
    """

    loc: Vector
    log_scale: Vector

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(loc: Array, scale: Any = 1.0) -> "MeanFieldNormal":
        """Make one with means `loc` (dim,) and standard deviations `scale` (scalar or (dim,)).

        Example:
            >>> MeanFieldNormal.init(jnp.zeros(3), 0.5).dim
            3
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        log_scale = jnp.log(jnp.asarray(scale, loc.dtype))
        return MeanFieldNormal(loc, jnp.broadcast_to(log_scale, loc.shape))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density (from the noise: no division)."""
        noise = jax.random.normal(key, self.loc.shape, self.loc.dtype)
        log_prob = -0.5 * jnp.sum(noise * noise) - jnp.sum(self.log_scale)
        return from_noise(self, noise), log_prob - self.dim * HALF_LOG_2PI

    def log_prob(self, x: Vector) -> Scalar:
        """Return Σ log N(x_i | loc_i, scale_i²)."""
        z = (x - self.loc) * jnp.exp(-self.log_scale)
        return -0.5 * jnp.sum(z * z) - jnp.sum(self.log_scale) - self.dim * HALF_LOG_2PI


@mean.register
def _(family: MeanFieldNormal) -> Array:
    return family.loc


@cov.register
def _(family: MeanFieldNormal) -> Array:
    return jnp.diag(jnp.exp(2 * family.log_scale))


@std.register
def _(family: MeanFieldNormal) -> Array:
    return jnp.exp(family.log_scale)


@entropy.register
def _(family: MeanFieldNormal) -> Scalar:
    return jnp.sum(family.log_scale) + family.dim * (HALF_LOG_2PI + 0.5)


@from_noise.register
def _(family: MeanFieldNormal, noise: Vector) -> Vector:
    return family.loc + jnp.exp(family.log_scale) * noise


@register_kl(MeanFieldNormal, MeanFieldNormal)
def _kl_mean_field(p: MeanFieldNormal, q: MeanFieldNormal) -> Scalar:
    return jnp.sum(kl.normal(p.loc, jnp.exp(p.log_scale), q.loc, jnp.exp(q.log_scale)))
