"""Reverse KL: the negative ELBO."""

import equinox as eqx

from .._typing import PRNGKey, Scalar
from ..estimators import AnalyticKL, Estimator, Pathwise
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples


class ReverseKL(Objective):
    """KL(q‖p) up to the constant log Z: the negative ELBO, E_q[log q(x) − log p̃(x)].

    Exclusive, mode-seeking: q avoids places where p is small. The loss is −ELBO and
    `aux["elbo"]` = ELBO ≤ log Z, in nats.

    Args:
        estimator: how draws are differentiated: `Pathwise`, `StickingTheLanding`,
            `ClosedFormEntropy`, `ScoreFunction`, or `AnalyticKL` (with a prior).
        num_samples: draws from q for one gradient.

    Raises:
        TypeError: `estimator` is not an estimator.
        ValueError: `num_samples` is not a positive whole number.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2))
        >>> loss, aux = ReverseKL()(q, target, jax.random.key(0))
        >>> print(f"{aux['elbo']:.4f}")  # log Z = log 2π: q is the target
        1.8379

    References:
        Jordan et al. (1999), An introduction to variational methods for graphical models.
        Blei, Kucukelbir & McAuliffe (2017), Variational inference: a review for statisticians.
    """

    estimator: Estimator
    num_samples: int = eqx.field(static=True)

    def __init__(self, estimator: Estimator | None = None, num_samples: int = 8):
        if estimator is not None and not isinstance(estimator, Estimator):
            raise TypeError(
                f"`estimator` should be one of vikl.estimators, such as Pathwise(); "
                f"got {estimator!r}. Call the class to make an instance."
            )
        self.estimator = Pathwise() if estimator is None else estimator
        self.num_samples = check_num_samples(num_samples)

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the negative ELBO's surrogate and the ELBO's estimate."""
        loss, value = self.estimator.negative_elbo(family, target, key, self.num_samples)
        return loss, {"loss": value, "elbo": -value}

    def prepare(self, target: Target) -> "ReverseKL":
        """Check that an analytic KL has its prior."""
        if isinstance(self.estimator, AnalyticKL) and target.prior is None:
            raise ValueError(
                "`objective` uses the estimator AnalyticKL, which needs a target with a prior. "
                "Build it by `Target.from_density(log_likelihood, like=..., prior=...)`."
            )
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples
