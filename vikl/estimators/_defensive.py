"""Importance sampling from a mixture of q and a wide proposal."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family, as_family
from ._base import Draws, Estimator, Integrand, split, weighted_expectation, without_mean


class DefensiveMixture(Estimator):
    """E_q[f] = E_m[(q/m) f], m = share · q + (1 − share) · proposal, both halves held.

    The draws see what q itself would never reach, so objectives that must be inclusive can be;
    the weights q/m never exceed 1/share. The gradient runs through q/m only: neither the target
    nor the draws need a derivative. Draws are stratified over the halves, and a leave-one-out
    baseline takes the mean away.

    Args:
        proposal: a family that covers p, such as a wide normal; never trained.
        share: of the draws that come from q itself, between 0 and 1.

    Raises:
        TypeError: `proposal` is not an instance of a family.
        ValueError: `share` is not between 0 and 1.

    Example:
        >>> import jax.numpy as jnp, vikl
        >>> wide = vikl.families.MeanFieldNormal.init(jnp.zeros(1), 5.0)
        >>> vikl.objectives.JensenShannon(estimator=DefensiveMixture(wide)).num_samples
        64

    References:
        Hesterberg (1995), Weighted average importance sampling and defensive mixtures.
    """

    proposal: Family
    share: float = eqx.field(static=True)

    def __init__(self, proposal: Any, share: float = 0.5):
        proposal = as_family(proposal, "proposal")
        if not 0 < share < 1:
            raise ValueError(
                f"`share` should lie between 0 and 1; got {share}. Use for example 0.5."
            )
        self.proposal, self.share = proposal, share

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the weighted mean, differentiable in the weights, and its terms times n."""
        draws = self.draws(family, key, num_samples)
        surrogate, terms = weighted_expectation(draws, integrand)
        zero = without_mean(draws.log_weight, terms / num_samples, self.strata(num_samples))
        return surrogate + zero, terms

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return held draws of the mixture with the weights q/(n m)."""
        held, wide = stop_gradient(family), stop_gradient(self.proposal)
        own, other = self.strata(num_samples)
        keys = split(key, num_samples)
        x_own, _ = jax.vmap(held.sample_and_log_prob)(keys[:own])
        x_wide, _ = jax.vmap(wide.sample_and_log_prob)(keys[own:])
        x = stop_gradient(jnp.concatenate([x_own, x_wide]))
        log_q = jax.vmap(family.log_prob)(x)
        log_own = stop_gradient(log_q) + float(np.log(own))
        log_wide = jax.vmap(wide.log_prob)(x) + float(np.log(other))
        return Draws(x, log_q, log_q - jnp.logaddexp(log_own, log_wide))

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return how many draws come from q and how many from the proposal."""
        if num_samples < 4:
            raise ValueError(
                f"`num_samples` should be at least 4 with DefensiveMixture; got {num_samples}. "
                "Each half of the mixture gives two or more."
            )
        own = min(max(round(self.share * num_samples), 2), num_samples - 2)
        return own, num_samples - own

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the negative ELBO by importance sampling."""
        surrogate, values = self.expectation(
            lambda x, log_q: log_q - target.log_density(x), family, key, num_samples
        )
        return surrogate, values.mean()
