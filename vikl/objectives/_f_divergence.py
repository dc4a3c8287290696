"""f-divergences: any generator, and the named ones whose limits are finite or symmetric."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp

from .._typing import Array, Float, PRNGKey, Scalar
from ..divergences._generators import Generator
from ..estimators import (
    DefensiveMixture,
    DoublyReparameterized,
    Estimator,
    Pathwise,
    Quadrature,
    ScoreFunction,
    Stratified,
)
from ..estimators._base import without_mean
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples
from ._weighted import check_estimator, effective_sample_size, log_ratios

RIGHT = (
    Pathwise, DoublyReparameterized, ScoreFunction, Stratified, DefensiveMixture, Quadrature,
)  # fmt: skip


def curvature(generator: Generator, w: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return f″(u) u² at u = e^w, the weight of the doubly reparameterised gradient."""

    def value(w: Scalar) -> Scalar:
        low = generator.low(jnp.minimum(w, 0.0))
        return jnp.where(w <= 0, low, jnp.exp(w) * generator.high(-jnp.maximum(w, 0.0)))

    slope = jax.grad(value)
    # f″u² = d²f/dw² − df/dw, from the side of w that does not sit on the seam
    away = jnp.where(jnp.abs(w) < 1e-6, -1e-6, w).astype(w.dtype)
    return jax.vmap(lambda w: jax.grad(slope)(w) - slope(w))(away)


def f_loss(
    generator: Generator, estimator: Estimator, num_samples: int, log_normalizer: Any,
    family: Family, target: Target, key: PRNGKey,
) -> tuple[Scalar, dict[str, Scalar]]:  # fmt: skip
    """Return a surrogate of D_f(p‖q) = E_q f(p/(Z q)), its value, and the weights' sample size."""
    draws = estimator.draws(family, key, num_samples)
    log_ratio = log_ratios(draws, target)
    log_weight = draws.log_weight
    if log_normalizer is None:
        log_normalizer = logsumexp(log_weight + log_ratio) - logsumexp(log_weight)
    u = log_ratio - stop_gradient(log_normalizer)
    terms = generator.of(log_weight + u, log_weight, u)
    value = terms.sum()
    aux = {"loss": value, "ess": effective_sample_size(log_weight + log_ratio)}
    if isinstance(estimator, DoublyReparameterized):
        finite = jnp.isfinite(u)
        weight = jnp.exp(log_weight) * curvature(generator, stop_gradient(jnp.where(finite, u, 0)))
        return -jnp.sum(jnp.where(finite, weight * u, 0)), aux
    strata = estimator.strata(num_samples)
    return value + (without_mean(log_weight, terms, strata) if strata else 0), aux


class FDivergence(Objective):
    """D_f(p‖q) = E_q[f(p(x)/q(x))] for a convex f with f(1) = 0.

    The arguments are in the order of the name: u = p/q, p the target, expectations under q. With
    f(u) = u log u it is the forward KL(p‖q), with f(u) = −log u the reverse KL(q‖p), with
    f(u) = (u − 1)² the χ²(p‖q); f and u f(1/u) are the two directions of one divergence.

    p is unnormalised, and f is not homogeneous: the ratio needs the normaliser Z. It is estimated
    from the same draws, Z ≈ Σ weight · p̃/q, held, so the loss estimates D_f of the target
    normalised *as far as the draws see it*, with a bias of the order 1/num_samples. From draws of
    a narrow q alone, a mode never visited does not count: use `DefensiveMixture` then. Where the
    density is normalised, say `log_normalizer=0.0`, and nothing is estimated.

    Args:
        generator: one of `vikl.generators`, made once and kept (a new one compiles anew), or
            `vikl.generators.from_function(f)`.
        estimator: `Pathwise` (the default), `DoublyReparameterized` (no noise where q is p),
            `ScoreFunction`, `Stratified`, `DefensiveMixture`, or `Quadrature`.
        num_samples: draws for one gradient.
        log_normalizer: log Z in nats where it is known, or None.

    Raises:
        TypeError: `generator` is not a generator, or the estimator is not right for it.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> objective = FDivergence(vikl.generators.squared_hellinger())
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> print(f"{abs(objective(q, target, jax.random.key(0))[0]):.6f}")  # q is the target
        0.000000

    References:
        Ali & Silvey (1966), A general class of coefficients of divergence.
        Liese & Vajda (2006), On divergences and informations in statistics.
    """

    generator: Generator = eqx.field(static=True)
    estimator: Estimator
    num_samples: int = eqx.field(static=True)
    log_normalizer: float | None = eqx.field(static=True)

    def __init__(
        self,
        generator: Generator,
        estimator: Estimator | None = None,
        num_samples: int = 64,
        log_normalizer: float | None = None,
    ):
        if not isinstance(generator, Generator):
            raise TypeError(
                f"`generator` should be one of vikl.generators, such as chi_squared(); got "
                f"{generator!r}. Make one of a function by `vikl.generators.from_function(f)`."
            )
        self.generator = generator
        self.estimator = check_estimator(estimator, RIGHT, "FDivergence")
        if generator.kink and isinstance(self.estimator, DoublyReparameterized):
            raise TypeError(
                f"`estimator` DoublyReparameterized needs a second derivative of the generator; "
                f"the {generator.name} has a corner at p = q. Use Pathwise()."
            )
        self.num_samples = check_num_samples(num_samples)
        self.log_normalizer = log_normalizer

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the divergence's surrogate and its value."""
        return f_loss(
            self.generator, self.estimator, self.num_samples, self.log_normalizer,
            family, target, key,
        )  # fmt: skip

    def prepare(self, target: Target) -> "FDivergence":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples
