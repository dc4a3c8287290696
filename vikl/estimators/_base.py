"""The contract of an estimator."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Float, PRNGKey, Scalar, Vector
from ..families import Family

#: f(x, log q(x)), one draw at a time.
Integrand = Callable[[Vector, Scalar], Scalar]


class Draws(NamedTuple):
    """Weighted points: Σ exp(log_weight) g(x, log_q) estimates E_q[g] and, derived, its gradient.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2))
        >>> draws = vikl.estimators.Pathwise().draws(q, jax.random.key(0), 4)
        >>> print(draws.x.shape, jnp.exp(draws.log_weight))
        (4, 2) [0.25 0.25 0.25 0.25]
    """

    x: Float[Array, "n dim"]
    log_q: Float[Array, " n"]
    log_weight: Float[Array, " n"]


class Estimator(eqx.Module):
    """A way to draw from q and to differentiate what is averaged over the draws.

    Abstract: `Pathwise`, `StickingTheLanding` and the others are its final subclasses.

    Example:
        >>> import vikl
        >>> isinstance(vikl.estimators.Pathwise(), Estimator)
        True
    """

    @abstractmethod
    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return a surrogate for E_q[integrand(x, log q(x))] and the integrand's values.

        The gradient of the surrogate with respect to the family is an unbiased estimate of the
        gradient of the expectation; its own value may differ from it, so the values per draw,
        shape (num_samples,), come back beside it.
        """

    @abstractmethod
    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return weighted draws, for losses that are not one plain average over draws.

        Differentiable in the family: a smooth function of their weighted sums has the gradient of
        the same function of the expectations, up to what few draws bias it.
        """

    @abstractmethod
    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return how many draws of each kind are held; () where the draws are differentiated.

        Where draws are held the gradient runs through their weights, and a baseline helps.
        """

    @abstractmethod
    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return a surrogate for E_q[log q(x) − log p(x)] and its plain value, in nats."""


def expectation_negative_elbo(
    estimator: Estimator, family: Family, target: Any, key: PRNGKey, num_samples: int
) -> tuple[Scalar, Scalar]:
    """Return the negative ELBO as a plain expectation of log q(x) − log p(x)."""
    surrogate, values = estimator.expectation(
        lambda x, log_q: log_q - target.log_density(x), family, key, num_samples
    )
    return surrogate, values.mean()


def split(key: PRNGKey, num_samples: int) -> Array:
    """Return `num_samples` keys; a single draw uses the key itself, which costs no hashing."""
    return key[None] if num_samples == 1 else jax.random.split(key, num_samples)


def equal_weights(x: Float[Array, "n dim"]) -> Float[Array, " n"]:
    """Return log(1/n) for each of n draws."""
    return jnp.full(x.shape[0], -float(np.log(x.shape[0])), x.dtype)


def weighted_expectation(draws: Draws, integrand: Integrand) -> tuple[Scalar, Float[Array, " n"]]:
    """Return Σ weight · integrand, differentiable, and its terms times n, whose mean it is."""
    terms = jnp.exp(draws.log_weight) * jax.vmap(integrand)(draws.x, draws.log_q)
    return terms.sum(), jax.lax.stop_gradient(terms * len(terms))


def without_mean(
    log_weight: Float[Array, " n"], terms: Float[Array, " n"], strata: tuple[int, ...]
) -> Scalar:
    """Return what a leave-one-out baseline adds to the loss Σ terms: zero, but for its gradient.

    The derivatives of the weights of held draws sum to zero in mean, and so do their products with
    any b of one mean that does not look at the draw itself. b_i is the loss without the term i,
    the others of its stratum counting for it.
    """
    weight, terms = jnp.exp(log_weight), jax.lax.stop_gradient(terms)
    baseline, start = [], 0
    for size in strata:
        part = terms[start : start + size]
        others = (part.sum() - part) * (size / (size - 1)) - part.sum()
        baseline.append(terms.sum() + others)
        start += size
    return -jnp.sum(jnp.concatenate(baseline) * (weight - jax.lax.stop_gradient(weight)))


def no_draws(name: str, why: str) -> NotImplementedError:
    """Return the error of an estimator that knows plain averages only."""
    return NotImplementedError(
        f"`estimator` {name} {why}. Use `vikl.estimators.Pathwise()`, `DoublyReparameterized()` or "
        "`ScoreFunction()` with this objective."
    )


def require_reparameterized(family: Family, name: str) -> None:
    """Refuse a pathwise estimator for a family whose draws have no pathwise derivative."""
    if not family.reparameterized:
        raise ValueError(
            f"`estimator` {name} needs draws that are differentiable functions of the family's "
            f"parameters; {type(family).__name__} is not such a family. "
            "Use `vikl.estimators.ScoreFunction()`."
        )
