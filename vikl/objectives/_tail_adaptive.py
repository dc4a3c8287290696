"""The tail-adaptive f-divergence: weights by rank."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .._typing import PRNGKey, Scalar
from ..estimators import DoublyReparameterized
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples
from ._weighted import effective_sample_size, log_ratios


class TailAdaptive(Objective):
    """The f-divergence whose weights f″(w) w² have finite moments whatever the tail of w = p/q.

    The gradient −E_q[ρ ∂_x log w ∂x/∂φ] with ρ ∝ F̄(w)^β, F̄(w) the share of draws whose weight
    is at least w: the largest of n weights counts as n, however large it is. β = −1 is
    mass-covering as far as a finite variance allows; β = 0 is the reverse KL. f follows the draws,
    so no number of its own is estimated: the record has the ELBO, and `loss` = −`elbo`.

    Args:
        beta: the exponent β, in [−1, 0].
        num_samples: draws for one gradient, which also make the ranks.

    Raises:
        ValueError: `beta` is outside [−1, 0], or `num_samples` is not positive.

    Example:
        >>> import vikl
        >>> TailAdaptive(num_samples=32).beta
        -1.0

    References:
        Wang, Liu & Liu (2018), Variational inference with tail-adaptive f-divergence.
    """

    beta: float = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)

    def __init__(self, beta: float = -1.0, num_samples: int = 64):
        if not -1.0 <= beta <= 0.0:
            raise ValueError(f"`beta` should lie in [-1, 0]; got {beta}. Use for example -1.0.")
        self.beta = float(beta)
        self.num_samples = check_num_samples(num_samples)

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the surrogate, and the ELBO for the record."""
        draws = DoublyReparameterized().draws(family, key, self.num_samples)
        log_ratio = log_ratios(draws, target)
        held = stop_gradient(log_ratio)
        at_least = jnp.mean((held[None, :] >= held[:, None]).astype(held.dtype), axis=1)
        share = jax.nn.softmax(self.beta * jnp.log(at_least))
        elbo = held.mean()
        aux = {"loss": -elbo, "elbo": elbo, "ess": effective_sample_size(held)}
        return -jnp.sum(share * log_ratio), aux

    def prepare(self, target: Target) -> "TailAdaptive":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples
