"""The symmetric f-divergences: Jensen-Shannon, Jeffreys, squared Hellinger."""

import functools

import equinox as eqx

from .._typing import PRNGKey, Scalar
from ..divergences import generators
from ..estimators import Estimator
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples
from ._f_divergence import RIGHT, f_loss
from ._weighted import check_estimator

# one generator for each, because a new one would compile anew
_jensen_shannon = functools.cache(generators.jensen_shannon)
_jeffreys = functools.cache(generators.jeffreys)
_squared_hellinger = functools.cache(generators.squared_hellinger)


class JensenShannon(Objective):
    """JS(p, q) = w₀ KL(p‖m) + w₁ KL(q‖m), m = w₀ p + w₁ q; at most H(w), log 2 for halves.

    Between the two KLs: bounded, so a mode that q misses costs a finite price, and which optimum
    is the best depends on the target. Symmetric for equal weights. What is estimated for an
    unnormalised target is said at `FDivergence`; from draws of q alone a missed mode costs nothing.

    Args:
        weights: (w₀, w₁), the shares of p and of q.
        estimator: as for `FDivergence`.
        num_samples: draws for one gradient.
        log_normalizer: log Z in nats where it is known, or None.

    Raises:
        TypeError: the estimator is not right for it.
        ValueError: the weights do not sum to one.

    Example:
        >>> import vikl
        >>> JensenShannon(num_samples=32).weights
        (0.5, 0.5)

    References:
        Lin (1991), Divergence measures based on the Shannon entropy.
    """

    weights: tuple[float, float] = eqx.field(static=True)
    estimator: Estimator
    num_samples: int = eqx.field(static=True)
    log_normalizer: float | None = eqx.field(static=True)

    def __init__(
        self,
        weights: tuple[float, float] = (0.5, 0.5),
        estimator: Estimator | None = None,
        num_samples: int = 64,
        log_normalizer: float | None = None,
    ):
        self.weights = (float(weights[0]), float(weights[1]))
        _jensen_shannon(self.weights)  # checks them
        self.estimator = check_estimator(estimator, RIGHT, "JensenShannon")
        self.num_samples = check_num_samples(num_samples)
        self.log_normalizer = log_normalizer

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the divergence's surrogate and its value, in nats."""
        return f_loss(
            _jensen_shannon(self.weights), self.estimator, self.num_samples, self.log_normalizer,
            family, target, key,
        )  # fmt: skip

    def prepare(self, target: Target) -> "JensenShannon":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples


class Jeffreys(Objective):
    """J(p, q) = KL(p‖q) + KL(q‖p) = E_q[(p/q − 1) log(p/q)], in nats.

    Symmetric and unbounded from both sides: as intolerant of missing a mode as forward KL and of
    filling a valley as reverse KL. What is estimated for an unnormalised target is said at
    `FDivergence`; its forward half needs `DefensiveMixture` to see modes that q does not reach.

    Args:
        estimator: as for `FDivergence`.
        num_samples: draws for one gradient.
        log_normalizer: log Z in nats where it is known, or None.

    Raises:
        TypeError: the estimator is not right for it.

    Example:
        >>> import vikl
        >>> Jeffreys(vikl.estimators.DoublyReparameterized()).num_samples
        64

    References:
        Jeffreys (1946), An invariant form for the prior probability in estimation problems.
    """

    estimator: Estimator
    num_samples: int = eqx.field(static=True)
    log_normalizer: float | None = eqx.field(static=True)

    def __init__(
        self,
        estimator: Estimator | None = None,
        num_samples: int = 64,
        log_normalizer: float | None = None,
    ):
        self.estimator = check_estimator(estimator, RIGHT, "Jeffreys")
        self.num_samples = check_num_samples(num_samples)
        self.log_normalizer = log_normalizer

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the divergence's surrogate and its value, in nats."""
        return f_loss(
            _jeffreys(), self.estimator, self.num_samples, self.log_normalizer, family, target, key
        )

    def prepare(self, target: Target) -> "Jeffreys":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples


class SquaredHellinger(Objective):
    """H²(p, q) = 1 − ∫ √(p q) = ½ E_q[(√(p/q) − 1)²], between 0 and 1.

    Symmetric; Minka's α-divergence of order ½ is 4 H², and Rényi's of order ½ is −2 log(1 − H²):
    all three have the same minima, and `Renyi(0.5)` needs no normaliser. What is estimated for an
    unnormalised target is said at `FDivergence`.

    Args:
        estimator: as for `FDivergence`.
        num_samples: draws for one gradient.
        log_normalizer: log Z in nats where it is known, or None.

    Raises:
        TypeError: the estimator is not right for it.

    Example:
        >>> import vikl
        >>> SquaredHellinger(num_samples=16).gradients_per_step()
        16

    References:
        Hellinger (1909), Neue Begründung der Theorie quadratischer Formen von unendlichvielen
        Veränderlichen.
        Minka (2005), Divergence measures and message passing.
    """

    estimator: Estimator
    num_samples: int = eqx.field(static=True)
    log_normalizer: float | None = eqx.field(static=True)

    def __init__(
        self,
        estimator: Estimator | None = None,
        num_samples: int = 64,
        log_normalizer: float | None = None,
    ):
        self.estimator = check_estimator(estimator, RIGHT, "SquaredHellinger")
        self.num_samples = check_num_samples(num_samples)
        self.log_normalizer = log_normalizer

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the distance's surrogate and its value."""
        return f_loss(
            _squared_hellinger(), self.estimator, self.num_samples, self.log_normalizer,
            family, target, key,
        )  # fmt: skip

    def prepare(self, target: Target) -> "SquaredHellinger":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples
