"""Pathwise (reparameterised) estimators."""

import equinox as eqx
import jax
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family
from ._base import (
    Estimator,
    Integrand,
    expectation_negative_elbo,
    require_reparameterized,
    split,
)


class Pathwise(Estimator):
    """∇E_q[f] = E_ε[∇ f(T_φ(ε), log q_φ(T_φ(ε)))]: differentiate through the draw.

    The total derivative, with log q's own dependence on the parameters. Low variance for smooth
    integrands; not zero at the optimum.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=Pathwise()).num_samples
        8

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes.
        Mohamed et al. (2020), Monte Carlo Gradient Estimation in Machine Learning.
    """

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the mean over draws, differentiable through them, and the values per draw."""
        require_reparameterized(family, "Pathwise")

        def one(key):
            return integrand(*family.sample_and_log_prob(key))

        values = jax.vmap(one)(split(key, num_samples))
        return values.mean(), values

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the pathwise negative ELBO."""
        return expectation_negative_elbo(self, family, target, key, num_samples)


class StickingTheLanding(Estimator):
    """The pathwise derivative without the score term: log q is scored with its parameters held.

    E_q[∇_φ log q_φ(x)] = 0, so leaving that term out keeps the gradient of the reverse KL (and of
    any integrand with ∂f/∂log q constant) unbiased, and makes it exactly zero, draw by draw,
    where q is the target. Far from the optimum its variance can be larger than `Pathwise`.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=StickingTheLanding(), num_samples=2).num_samples
        2

    References:
        Roeder, Wu & Duvenaud (2017), Sticking the Landing.
    """

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the mean over draws with log q's parameters held, and the values per draw."""
        require_reparameterized(family, "StickingTheLanding")
        held = stop_gradient(family)

        def one(key):
            x, _ = family.sample_and_log_prob(key)
            return integrand(x, held.log_prob(x))

        values = jax.vmap(one)(split(key, num_samples))
        return values.mean(), values

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the sticking-the-landing negative ELBO."""
        return expectation_negative_elbo(self, family, target, key, num_samples)
