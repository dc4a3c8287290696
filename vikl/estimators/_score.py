"""The score-function (REINFORCE) estimator with a leave-one-out baseline."""

import equinox as eqx
import jax
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family
from ._base import Draws, Estimator, Integrand, equal_weights, expectation_negative_elbo, split


class ScoreFunction(Estimator):
    """∇E_q[f] = E_q[(f − b) ∇log q + ∂f/∂log q · ∇log q], b the mean of the other draws.

    Needs neither a differentiable target nor a reparameterised family, at the price of a variance
    that grows with the dimension. The baseline of a draw is the mean of the others, so the
    estimate stays unbiased; it takes at least two draws.

    Raises:
        ValueError: `num_samples` is 1.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=ScoreFunction(), num_samples=64).num_samples
        64

    References:
        Williams (1992), Simple statistical gradient-following algorithms.
        Kool, van Hoof & Welling (2019), Buy 4 REINFORCE samples, get a baseline for free.
    """

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return that all draws are held, and alike."""
        return (num_samples,)

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the score-function surrogate and the values per draw."""
        if num_samples < 2:
            raise ValueError(
                f"`num_samples` should be at least 2 with ScoreFunction; got {num_samples}. "
                "Its leave-one-out baseline needs another draw."
            )

        def one(key):
            x = stop_gradient(family.sample_and_log_prob(key)[0])
            log_q = family.log_prob(x)
            return integrand(x, log_q), log_q

        values, log_q = jax.vmap(one)(split(key, num_samples))
        held = stop_gradient(values)
        baseline = (held.sum() - held) / (num_samples - 1)
        score = (held - baseline) * (log_q - stop_gradient(log_q))
        return (values + score).mean(), held

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return held draws whose weights carry the score: 1/n in value, ∇log q in gradient."""

        def one(key):
            x = stop_gradient(family.sample_and_log_prob(key)[0])
            return x, family.log_prob(x)

        x, log_q = jax.vmap(one)(split(key, num_samples))
        return Draws(x, log_q, equal_weights(x) + log_q - stop_gradient(log_q))

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the score-function surrogate of the negative ELBO and its value."""
        return expectation_negative_elbo(self, family, target, key, num_samples)
