"""Draws from every component of a mixture."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family, components
from ._base import (
    Draws,
    Estimator,
    Integrand,
    expectation_negative_elbo,
    split,
    weighted_expectation,
)


class Stratified(Estimator):
    """∇E_q[f] = ∇ Σ_k w_k E_{q_k}[f]: as many pathwise draws from each component of a mixture.

    The sum over components is exact, so the weights have a pathwise gradient too, and rare
    components are drawn as often as frequent ones.

    Raises:
        NotImplementedError: the family has no `components`.
        ValueError: `num_samples` is not a multiple of their number.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(Stratified(), num_samples=8).estimator
        Stratified()

    References:
        Morningstar et al. (2021), Automatic differentiation variational inference with mixtures.
    """

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the weighted mean over draws and its terms times n, whose mean it is."""
        return weighted_expectation(self.draws(family, key, num_samples), integrand)

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return draws from each component, weighted by the component's share."""
        weights, parts = components(family)
        count = weights.shape[0]
        if num_samples % count:
            raise ValueError(
                f"`num_samples` should be a multiple of the {count} components with Stratified; "
                f"got {num_samples}. Use for example {count * (num_samples // count + 1)}."
            )
        each = num_samples // count
        keys = split(key, num_samples).reshape(count, each, *jnp.shape(key))

        def of(part: Family, keys: Array) -> Array:
            return jax.vmap(lambda k: part.sample_and_log_prob(k)[0])(keys)

        x = jax.vmap(of)(parts, keys).reshape(num_samples, family.dim)
        log_weight = jnp.repeat(jnp.log(weights) - float(np.log(each)), each)
        return Draws(x, jax.vmap(family.log_prob)(x), log_weight)

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the stratified negative ELBO."""
        return expectation_negative_elbo(self, family, target, key, num_samples)
