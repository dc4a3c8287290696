"""How the standard normal noise behind pathwise draws is made: antithetic or quasi-Monte Carlo."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from .._typing import Array, Float, PRNGKey
from ..divergences._draws import sobol


class Noise(eqx.Module):
    """A way to draw n vectors of standard normal noise that need not be independent.

    Abstract: `AntitheticNoise` and `SobolNoise` are its final subclasses. Each vector is standard
    normal by itself, so averages over them stay unbiased; together they cover more evenly.

    Example:
        >>> import vikl
        >>> isinstance(vikl.estimators.SobolNoise(), Noise)
        True
    """

    @abstractmethod
    def draw(self, key: PRNGKey, num_samples: int, dim: int, dtype: Any) -> Float[Array, "n dim"]:
        """Return `num_samples` vectors, each standard normal."""


class AntitheticNoise(Noise):
    """Pairs ε, −ε: what is odd in the noise cancels exactly.

    The gradient of a linear integrand then has no noise at all; that of a quadratic one gains
    nothing in the scales.

    Raises:
        ValueError: `num_samples` is odd.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> noise = AntitheticNoise().draw(jax.random.key(0), 4, 3, jnp.float32)
        >>> bool((abs(noise.sum(axis=0)) < 1e-6).all())
        True

    References:
        Hammersley & Morton (1956), A new Monte Carlo technique: antithetic variates.
    """

    def draw(self, key: PRNGKey, num_samples: int, dim: int, dtype: Any) -> Float[Array, "n dim"]:
        """Return `num_samples` / 2 vectors and their mirror images."""
        if num_samples % 2:
            raise ValueError(
                f"`num_samples` should be even with AntitheticNoise; got {num_samples}. Draws come "
                "in pairs."
            )
        half = jax.random.normal(key, (num_samples // 2, dim), dtype)
        return jnp.concatenate([half, -half])


class SobolNoise(Noise):
    """Normal quantiles of a Sobol sequence, scrambled anew for each gradient.

    Randomised quasi-Monte Carlo: unbiased, and for smooth integrands the error falls nearly as
    1/n instead of 1/√n.

    Raises:
        ValueError: `num_samples` is not a power of two.

    Example:
        >>> import vikl
        >>> vikl.estimators.Pathwise(SobolNoise()).noise
        SobolNoise()

    References:
        Owen (1997), Scrambled net variance for integrals of smooth functions.
        Buchholz, Wenzel & Mandt (2018), Quasi-Monte Carlo variational inference.
    """

    def draw(self, key: PRNGKey, num_samples: int, dim: int, dtype: Any) -> Float[Array, "n dim"]:
        """Return `num_samples` vectors that cover the cube of quantiles evenly."""
        if num_samples & (num_samples - 1):
            near = 1 << (num_samples - 1).bit_length()
            raise ValueError(
                f"`num_samples` should be a power of two with SobolNoise; got {num_samples}. Use "
                f"for example {near}."
            )
        return ndtri(sobol(key, num_samples, (), dim, dtype))
