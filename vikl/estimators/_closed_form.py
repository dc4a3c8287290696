"""Estimators of the ELBO that know part of it in closed form."""

from typing import Any

import jax

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family, entropy
from ..kl._registry import kl_divergence
from ._base import Draws, Estimator, Integrand, no_draws
from ._pathwise import Pathwise


def _only_reverse_kl(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"`estimator` {name} knows the reverse KL only: its closed form is part of the ELBO. "
        "Use `vikl.estimators.Pathwise()` or `vikl.estimators.ScoreFunction()` here."
    )


class ClosedFormEntropy(Estimator):
    """E_q[log p(x)] by pathwise draws, plus the exact entropy H[q].

    Less noise in the ELBO's value than `Pathwise`, the same gradient in mean.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(estimator=ClosedFormEntropy()).num_samples
        8

    References:
        Kucukelbir et al. (2017), Automatic Differentiation Variational Inference.
    """

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Refuse: a general integrand has no closed form."""
        raise _only_reverse_kl("ClosedFormEntropy")

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Refuse: its closed form is part of the ELBO."""
        raise no_draws("ClosedFormEntropy", "knows the reverse KL only")

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return −E_q[log p(x)] − H[q]."""
        energy, _ = Pathwise().expectation(
            lambda x, log_q: -target.log_density(x), family, key, num_samples
        )
        loss = energy - entropy(family)
        return loss, loss


class AnalyticKL(Estimator):
    """E_q[log likelihood(x)] by pathwise draws, minus the exact KL(q‖prior).

    For targets with a prior of their own (`Target.from_density(..., prior=...)`).

    Raises:
        ValueError: the target has no prior.
        NotImplementedError: no closed-form KL is registered for the family and the prior.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> prior = vikl.families.MeanFieldNormal.init(jnp.zeros(2))
        >>> target = vikl.Target.from_density(lambda x: -jnp.sum((x - 1) ** 2), jnp.zeros(2),
        ...                                   prior=prior)
        >>> loss, aux = vikl.objectives.ReverseKL(AnalyticKL())(prior, target, jax.random.key(0))
        >>> bool(aux["elbo"] == -loss)
        True

    References:
        Kingma & Welling (2014), Auto-Encoding Variational Bayes, equation 3.
    """

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Refuse: a general integrand has no closed form."""
        raise _only_reverse_kl("AnalyticKL")

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Refuse: its closed form is part of the ELBO."""
        raise no_draws("AnalyticKL", "knows the reverse KL only")

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return KL(q‖prior) − E_q[log likelihood(x)]."""
        if target.prior is None:
            raise ValueError(
                "`estimator` AnalyticKL needs a target with a prior; got one without. Build it by "
                "`Target.from_density(log_likelihood, like=..., prior=...)`, or use Pathwise()."
            )
        misfit, _ = Pathwise().expectation(
            lambda x, log_q: -target.log_likelihood(x), family, key, num_samples
        )
        # the prior is part of the target: it is not trained
        loss = misfit + kl_divergence(family, jax.lax.stop_gradient(target.prior))
        return loss, loss
