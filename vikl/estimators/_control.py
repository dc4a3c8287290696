"""A control variate from the curvature of the target."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar, Vector
from ..families import Family, cov, entropy, mean
from ._base import Draws, Estimator, Integrand, no_draws, require_reparameterized
from ._pathwise import Pathwise


class HessianControlVariate(Estimator):
    """E_q[log p] by pathwise draws, less its quadratic part about the mean, which is exact.

    With m the mean of q (held) and t(x) the Taylor polynomial of second order of log p about m,
    E_q[log p] = E_q[log p − t] + E_q[t]: the first by draws, the second from q's exact mean and
    covariance. The gradient of a normal target has no noise; it costs one Hessian, dim gradients,
    for each step, and pays where log p is nearly quadratic over the width of q. The entropy is
    exact.

    Args:
        pathwise: how the rest is drawn.

    Raises:
        NotImplementedError: the family has no exact mean, covariance or entropy.

    Example:
        >>> import vikl
        >>> vikl.objectives.ReverseKL(HessianControlVariate(), num_samples=4).num_samples
        4

    References:
        Miller, Foti, D'Amour & Adams (2017), Reducing reparameterization gradient variance.
    """

    pathwise: Pathwise = Pathwise()

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Refuse: the integrand must be the log density alone."""
        raise NotImplementedError(
            "`estimator` HessianControlVariate knows the reverse KL only: it expands the log "
            "density. Use `vikl.estimators.Pathwise()` here."
        )

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Refuse: it corrects one plain average."""
        raise no_draws("HessianControlVariate", "knows the reverse KL only")

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return −E_q[log p − t] − E_q[t] − H[q]."""
        require_reparameterized(family, "HessianControlVariate")
        center = stop_gradient(mean(family))
        value, slope = jax.value_and_grad(target.log_density)(center)
        curvature = jax.hessian(target.log_density)(center)
        value, slope, curvature = stop_gradient((value, slope, curvature))

        def taylor(x: Vector) -> Scalar:
            away = x - center
            return value + slope @ away + 0.5 * away @ (curvature @ away)

        rest, _ = self.pathwise.expectation(
            lambda x, log_q: taylor(x) - target.log_density(x), family, key, num_samples
        )
        exact = taylor(mean(family)) + 0.5 * jnp.sum(curvature * cov(family))
        loss = rest - exact - entropy(family)
        return loss, loss
