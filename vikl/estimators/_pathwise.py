"""Pathwise (reparameterised) estimators."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family, from_noise
from ._base import (
    Draws,
    Estimator,
    Integrand,
    equal_weights,
    expectation_negative_elbo,
    no_draws,
    require_reparameterized,
    split,
)
from ._noise import Noise


def path(
    family: Family, noise: Noise | None, key: PRNGKey, num_samples: int, held: Family | None = None
) -> tuple[Array, Array]:
    """Return draws that are differentiable in the family, and their log densities.

    With `held`, that family scores the draws: log q without its own derivative.
    """
    if noise is None:
        x, log_q = jax.vmap(family.sample_and_log_prob)(split(key, num_samples))
        return (x, log_q) if held is None else (x, jax.vmap(held.log_prob)(x))
    dtype = jnp.result_type(*jax.tree.leaves(eqx.filter(family, eqx.is_inexact_array)))
    eps = noise.draw(key, num_samples, family.dim, dtype)
    x = jax.vmap(lambda e: from_noise(family, e))(eps)
    return x, jax.vmap((family if held is None else held).log_prob)(x)


class Pathwise(Estimator):
    """∇E_q[f] = E_ε[∇ f(T_φ(ε), log q_φ(T_φ(ε)))]: differentiate through the draw.

    The total derivative, with log q's own dependence on the parameters. Low variance for smooth
    integrands; not zero at the optimum.

    Args:
        noise: how the normal noise behind the draws is made, such as `SobolNoise()` or
            `AntitheticNoise()`, for families with `from_noise`; None draws independently.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=Pathwise()).num_samples
        8

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes.
        Mohamed et al. (2020), Monte Carlo Gradient Estimation in Machine Learning.
    """

    noise: Noise | None = None

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the mean over draws, differentiable through them, and the values per draw."""
        require_reparameterized(family, "Pathwise")
        values = jax.vmap(integrand)(*path(family, self.noise, key, num_samples))
        return values.mean(), values

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return equally weighted draws, differentiable through them."""
        require_reparameterized(family, "Pathwise")
        x, log_q = path(family, self.noise, key, num_samples)
        return Draws(x, log_q, equal_weights(x))

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the pathwise negative ELBO."""
        return expectation_negative_elbo(self, family, target, key, num_samples)


class DoublyReparameterized(Estimator):
    """The pathwise derivative whose score term is reparameterised once more.

    For a loss E_q[g(w)] of the weights w = p/q the total derivative has the term
    −E[g′(w) w ∂_φ log q]; as an expectation under q it is itself reparameterised, and what is
    left, −E[g″(w) w² ∂_x log w ∂x/∂φ], vanishes draw by draw where q is the target. For the
    reverse KL (g = −log) it is `StickingTheLanding`. The objective supplies g″(w) w², or, for the
    bounds of several draws, their own weights.

    Example:
        >>> import vikl
        >>> vikl.objectives.ImportanceWeighted(DoublyReparameterized(), num_importance=10).estimator
        DoublyReparameterized()

    References:
        Tucker, Lawson, Gu & Maddison (2019), Doubly reparameterized gradient estimators.
    """

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Refuse: it needs to know the integrand as a function of the weights."""
        raise NotImplementedError(
            "`estimator` DoublyReparameterized needs a loss of the weights p/q, such as "
            "ImportanceWeighted, Renyi or FDivergence. Use `vikl.estimators.Pathwise()` here."
        )

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return equally weighted draws, differentiable, scored with log q's parameters held."""
        require_reparameterized(family, "DoublyReparameterized")
        x, log_q = path(family, None, key, num_samples, held=stop_gradient(family))
        return Draws(x, log_q, equal_weights(x))

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the negative ELBO: here this is sticking the landing."""
        return StickingTheLanding().negative_elbo(family, target, key, num_samples)


class StickingTheLanding(Estimator):
    """The pathwise derivative without the score term: log q is scored with its parameters held.

    E_q[∇_φ log q_φ(x)] = 0, so leaving that term out keeps the gradient of the reverse KL (and of
    any integrand with ∂f/∂log q constant) unbiased, and makes it exactly zero, draw by draw,
    where q is the target. Far from the optimum its variance can be larger than `Pathwise`.

    Args:
        noise: how the normal noise behind the draws is made, as for `Pathwise`.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=StickingTheLanding(), num_samples=2).num_samples
        2

    References:
        Roeder, Wu & Duvenaud (2017), Sticking the Landing.
    """

    noise: Noise | None = None

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the mean over draws with log q's parameters held, and the values per draw."""
        require_reparameterized(family, "StickingTheLanding")
        draws = path(family, self.noise, key, num_samples, held=stop_gradient(family))
        values = jax.vmap(integrand)(*draws)
        return values.mean(), values

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Refuse: what it leaves out has mean zero in the reverse KL only."""
        raise no_draws(
            "StickingTheLanding", "drops a term whose mean is zero for the reverse KL only"
        )

    def negative_elbo(
        self, family: Family, target: eqx.Module, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the sticking-the-landing negative ELBO."""
        return expectation_negative_elbo(self, family, target, key, num_samples)
