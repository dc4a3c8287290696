"""The importance-weighted bound (IWAE)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .._typing import PRNGKey, Scalar
from ..estimators import DoublyReparameterized, Estimator, Pathwise, ScoreFunction
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples
from ._renyi import power_loss
from ._weighted import check_estimator


class ImportanceWeighted(Objective):
    """−L_k, L_k = E[log (1/k) Σ_i p̃(x_i)/q(x_i)], x_1 ... x_k ~ q: the bound of IWAE.

    L_1 is the ELBO; L_k grows with k towards log Z and never passes it, so it is `elbo` in the
    record. What is fitted is q as a proposal for k draws, not q itself: for a large k it is
    wider than the reverse-KL fit, and the signal in its gradient fades against the noise, unless
    by `DoublyReparameterized`.

    Args:
        estimator: `Pathwise` (the default), `DoublyReparameterized`, or `ScoreFunction` (each draw
            judged against the bound of the others).
        num_importance: k, the draws inside the logarithm.
        num_samples: independent bounds averaged for one gradient.

    Raises:
        TypeError: the estimator is not right for it.
        ValueError: a count that is not positive, or ScoreFunction with k = 1.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> bound = ImportanceWeighted(num_importance=5)(q, target, jax.random.key(0))[1]["elbo"]
        >>> print(f"{bound:.4f}")  # ½ log 2π: q is the target
        0.9189

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders.
        Tucker, Lawson, Gu & Maddison (2019), Doubly reparameterized gradient estimators.
        Mnih & Rezende (2016), Variational inference for Monte Carlo objectives.
    """

    estimator: Estimator
    num_importance: int = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)

    def __init__(
        self,
        estimator: Estimator | None = None,
        num_importance: int = 10,
        num_samples: int = 1,
    ):
        right = (Pathwise, DoublyReparameterized, ScoreFunction)
        self.estimator = check_estimator(estimator, right, "ImportanceWeighted")
        self.num_importance = check_num_samples(num_importance, "num_importance")
        self.num_samples = check_num_samples(num_samples)
        if isinstance(self.estimator, ScoreFunction) and num_importance < 2:
            raise ValueError(
                f"`num_importance` should be at least 2 with ScoreFunction; got {num_importance}. "
                "Its baseline is the bound of the other draws."
            )

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return −L_k's surrogate and its estimate."""

        def one(key: PRNGKey) -> tuple[Scalar, Scalar]:
            surrogate, bound, _, _ = power_loss(
                1.0, self.estimator, self.num_importance, family, target, key
            )
            return surrogate, bound

        surrogates, bounds = jax.vmap(one)(jax.random.split(key, self.num_samples))
        elbo = stop_gradient(jnp.mean(bounds))
        return -jnp.mean(surrogates), {"loss": -elbo, "elbo": elbo}

    def prepare(self, target: Target) -> "ImportanceWeighted":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of all draws."""
        return self.num_importance * self.num_samples
