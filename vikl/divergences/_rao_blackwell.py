"""Rao-Blackwellisation over independent factors."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vikl._typing import Array, PRNGKey
from vikl.divergences import _draws, _numpyro
from vikl.divergences._estimators import (
    K1,
    AbstractEstimator,
    AbstractMember,
    Outcome,
    mean_and_error,
)
from vikl.kl._registry import kl_divergence


class RaoBlackwellized(AbstractEstimator):
    """KL of a product of independent factors, factor by factor.

    p and q are lists of the factors (of any kinds, one list entry each), or `Independent`
    distributions. A factor whose KL is registered enters exactly, with no error; of the others the
    member is averaged by itself, so that K3 sees the ratio of one factor and not of the product.

    Example:
        >>> import jax, numpyro.distributions as dist, vikl
        >>> p = [dist.Normal(0.0, 1.0), dist.Gamma(2.0, 1.0)]
        >>> q = [dist.Normal(0.5, 1.0), dist.Gamma(2.0, 1.0)]
        >>> found = vikl.estimate_kl(p, q, key=jax.random.key(0),
        ...                          estimator=vikl.estimators.RaoBlackwellized())
        >>> round(float(found.value), 6), float(found.std_error)  # both factors are known exactly
        (0.125, 0.0)
    """

    member: AbstractMember = K1()

    def estimate(self, p: Any, q: Any, key: PRNGKey, num_samples: int) -> Outcome:
        """See `AbstractEstimator`."""
        if isinstance(p, Sequence) != isinstance(q, Sequence) or (
            isinstance(p, Sequence) and len(p) != len(q)
        ):
            raise ValueError(
                "`p` and `q` should be lists of as many factors; got "
                f"{_count(p)} and {_count(q)}. Do pair each factor of p with one of q."
            )
        if isinstance(p, Sequence):
            return self._factors(list(zip(p, q, strict=True)), key, num_samples)
        return self._factors([(p, q)], key, num_samples)

    def _factors(self, factors: list[tuple[Any, Any]], key: PRNGKey, num_samples: int) -> Outcome:
        value, variance, finite, exact = 0.0, 0.0, True, 0
        for i, (p, q) in enumerate(factors):
            try:
                value = value + kl_divergence(p, q)
                exact += 1
            except NotImplementedError:
                mean, error, good = self._sampled(p, q, jax.random.fold_in(key, i), num_samples)
                value, variance, finite = value + mean, variance + error**2, finite & good
        value = jnp.asarray(value)
        error = jnp.broadcast_to(jnp.sqrt(jnp.asarray(variance, value.dtype)), value.shape)
        words = f"Rao-Blackwellised: {exact} of {len(factors)} factors in closed form"
        if exact < len(factors):
            words += f", the rest by {self.member.words()}, {num_samples} draws of each"
        return value, error, jnp.broadcast_to(jnp.asarray(finite), value.shape), words

    def _sampled(
        self, p: Any, q: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Array, Array, Array]:
        """One pair; the factors of two `Independent` distributions of one depth one by one."""
        axes = getattr(p, "reinterpreted_batch_ndims", 0)
        if axes and axes == getattr(q, "reinterpreted_batch_ndims", 0):
            p, q = p.base_dist, q.base_dist
        else:
            axes = 0
        p = _draws.expand(p, q)
        d = _draws.log_ratio(p, q, _numpyro.sample(p, key, num_samples))
        values, finite = self.member.values(d), self.member.finite(p, q, d)
        last = tuple(range(-axes, 0))
        if axes:
            values, finite = jnp.sum(values, last), jnp.all(finite, last)
        return *mean_and_error(values), finite


def _count(p: Any) -> str:
    return f"{len(p)} factors" if isinstance(p, Sequence) else type(p).__name__
