"""The contract of an estimator."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from .._typing import Array, Float, PRNGKey, Scalar, Vector
from ..families import Family

#: f(x, log q(x)), one draw at a time.
Integrand = Callable[[Vector, Scalar], Scalar]


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


def require_reparameterized(family: Family, name: str) -> None:
    """Refuse a pathwise estimator for a family whose draws have no pathwise derivative."""
    if not family.reparameterized:
        raise ValueError(
            f"`estimator` {name} needs draws that are differentiable functions of the family's "
            f"parameters; {type(family).__name__} is not such a family. "
            "Use `vikl.estimators.ScoreFunction()`."
        )
