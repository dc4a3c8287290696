"""Rényi divergences of every real order, and χ² both ways: moments of the weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp

from .._typing import Array, Float, PRNGKey, Scalar
from ..estimators import (
    DefensiveMixture,
    DoublyReparameterized,
    Draws,
    Estimator,
    Pathwise,
    Quadrature,
    ScoreFunction,
    Stratified,
)
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples, verdict
from ._pareto import FEWEST, pareto_smooth
from ._tails import diverges
from ._weighted import check_estimator, effective_sample_size, log_ratios

_RIGHT = (
    Pathwise, DoublyReparameterized, ScoreFunction, Stratified, DefensiveMixture, Quadrature,
)  # fmt: skip
DIRECTIONS = ("q||p", "p||q")


def log_mean_power(order: float, log_weight: Array, log_ratio: Array) -> Scalar:
    """Return (1/a) log Σ weight · w^a, and at its limit a = 0 Σ weight · log w."""
    if order == 0:
        return jnp.sum(jnp.exp(log_weight) * log_ratio)
    return logsumexp(log_weight + order * log_ratio) / order


def power_loss(
    order: float, estimator: Estimator, num_samples: int,
    family: Family, target: Target, key: PRNGKey,
) -> tuple[Scalar, Scalar, Draws, Array]:  # fmt: skip
    """Return a surrogate of the bound B_a = (1/a) log E_q[w^a], its value, the draws and log w.

    B_a grows with a: it is the ELBO at a = 0, log Z at a = 1, and an upper bound on log Z beyond.
    The gradient is that of the estimate from `num_samples` draws, exactly, whatever the estimator.
    """
    draws = estimator.draws(family, key, num_samples)
    log_ratio = log_ratios(draws, target)
    value = log_mean_power(order, draws.log_weight, log_ratio)
    if isinstance(estimator, DoublyReparameterized):
        share = stop_gradient(jax.nn.softmax(order * log_ratio))
        weight = share * (1 - order + order * share)
        return jnp.sum(weight * log_ratio), value, draws, log_ratio
    if isinstance(estimator, ScoreFunction):
        held = stop_gradient(draws.log_weight)
        direct = log_mean_power(order, held, log_ratio)
        gain = stop_gradient(direct - _without_each(order, log_ratio))
        return direct + jnp.sum(gain * (draws.log_weight - held)), value, draws, log_ratio
    return value, value, draws, log_ratio


def _without_each(order: float, log_ratio: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return the bound that the other draws give, for each draw: its baseline."""
    count = len(log_ratio)
    others = jnp.where(jnp.eye(count, dtype=bool), 0.0, 1.0 / (count - 1)).astype(log_ratio.dtype)
    if order == 0:
        return others @ log_ratio
    return logsumexp(order * log_ratio[None], b=others, axis=1) / order


def tail_of(order: float, draws: Draws, log_ratio: Array) -> dict[str, Scalar]:
    """Return the effective sample size and k-hat of w^a, where draws are many enough."""
    log_terms = stop_gradient(draws.log_weight + order * log_ratio)
    aux = {"ess": effective_sample_size(log_terms)}
    if len(log_terms) >= FEWEST:
        aux["khat"] = pareto_smooth(log_terms)[1]
    return aux


class Renyi(Objective):
    """Rényi's divergence of any real order, as a bound on log Z, from draws of q.

    Which order is which? With D_α(q‖p) = log E_q[(q/p)^(α−1)] / (α − 1), the way of Li & Turner,
    and D_α(p‖q) = log E_q[(p/q)^α] / (α − 1), D_α(p‖q)/α = D_{1−α}(q‖p)/(1 − α): one divergence
    has two labels, α ↔ 1 − α. So `direction` is part of the name:

    | what | `direction="q||p"` | `direction="p||q"` | exponent a of w = p̃/q |
    |---|---|---|---|
    | reverse KL(q‖p), seeking | α = 1 | (α → 0) | 0 |
    | Hellinger, Bhattacharyya | α = ½ | α = ½ | ½ |
    | forward KL(p‖q), covering | (α → 0) | α = 1 | 1 |
    | χ²(p‖q), CUBO | α = −1 | α = 2 | 2 |
    | χ²(q‖p) | α = 2 | α = −1 | −1 |

    Minimised is ∓B_a (and, for direction p‖q, times |a/(1−a)|), B_a = (1/a) log E_q[w^a], which
    differs from the divergence by log Z only: p may be unnormalised, nothing else is estimated.
    For a ≤ 1 B_a is a lower bound on log Z, called `elbo` in the record; the average of n draws
    inside the logarithm keeps it one. For a > 1 it is an upper bound, `upper_bound`, but its
    estimate from n draws is too low, and the divergence is infinite where p^a/q^(a−1) has no
    integral: the fit's status is then `infinite divergence`. Orders whose divergence is negative
    (α < 0) are minimised in absolute value.

    Args:
        alpha: the order α.
        direction: `"q||p"` or `"p||q"`.
        estimator: `Pathwise` (the default), `DoublyReparameterized`, `ScoreFunction`,
            `Stratified`, `DefensiveMixture`, or `Quadrature`.
        num_samples: draws n inside the logarithm.

    Raises:
        TypeError: the estimator is not right for it.
        ValueError: an unknown direction, or α = 0, where the divergence is zero for every q.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> print(f"{Renyi(0.5)(q, target, jax.random.key(0))[1]['elbo']:.4f}")  # ½ log 2π
        0.9189

    References:
        Li & Turner (2016), Rényi divergence variational inference.
        van Erven & Harremoës (2014), Rényi divergence and Kullback-Leibler divergence.
    """

    alpha: float = eqx.field(static=True)
    direction: str = eqx.field(static=True)
    estimator: Estimator
    num_samples: int = eqx.field(static=True)

    def __init__(
        self,
        alpha: float,
        direction: str = "q||p",
        estimator: Estimator | None = None,
        num_samples: int = 64,
    ):
        self.alpha = _check_order(alpha)
        self.direction = _check_direction(direction)
        self.estimator = check_estimator(estimator, _RIGHT, "Renyi")
        self.num_samples = check_num_samples(num_samples)

    @property
    def exponent(self) -> float:
        """The exponent a of the weights p̃/q whose moment is taken."""
        return 1.0 - self.alpha if self.direction == "q||p" else self.alpha

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the loss, and the bound under the name that it deserves."""
        order = self.exponent
        if order == 1.0:
            return self._forward(family, target, key)
        surrogate, bound, draws, log_ratio = power_loss(
            order, self.estimator, self.num_samples, family, target, key
        )
        scale = 1.0 if self.direction == "q||p" else abs(order / (1.0 - order))
        scale = scale if order > 1 else -scale
        name = "upper_bound" if order > 1 else "elbo"
        aux = {"loss": scale * bound, name: bound}
        if order > 1:
            aux |= tail_of(order, draws, log_ratio)
        return scale * surrogate, aux

    def _forward(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return KL(p‖q) = E_q[w log w]/E_q[w] − log E_q[w], self-normalised."""
        draws = self.estimator.draws(family, key, self.num_samples)
        log_ratio = log_ratios(draws, target)
        log_terms = draws.log_weight + log_ratio
        share = jax.nn.softmax(log_terms)
        held = stop_gradient(share)
        value = jnp.sum(share * log_ratio) - logsumexp(log_terms)
        aux = {"loss": value} | tail_of(1.0, draws, log_ratio)
        if isinstance(self.estimator, DoublyReparameterized):
            return -jnp.sum(held * log_ratio), aux
        return value, aux

    def prepare(self, target: Target) -> "Renyi":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples


class ChiSquared(Objective):
    """χ²(p‖q) = E_q[(p/q)²] − 1 or χ²(q‖p) = E_q[q/p] − 1, by its bound on log Z.

    - `direction="p||q"` (the default): minimises CUBO = ½ log E_q[(p̃/q)²] = log Z +
      ½ log(1 + χ²(p‖q)), an *upper* bound on log Z (never called `elbo`). More covering than
      forward KL. The estimate from n draws is too low (by Jensen), so it bounds log Z only as n
      grows, and the divergence is infinite where p²/q has no integral, as for a Student-t p and a
      normal q: the fit's status is then `infinite divergence`.
    - `direction="q||p"`: minimises log E_q[q/p̃] = log(1 + χ²(q‖p)) − log Z, whose negative is a
      lower bound, `elbo`. More seeking than reverse KL; infinite where q has mass and p has none.

    Args:
        direction: `"p||q"` or `"q||p"`.
        estimator: `Pathwise` (the default), `DoublyReparameterized`, `ScoreFunction`,
            `Stratified`, `DefensiveMixture`, or `Quadrature`.
        num_samples: draws inside the logarithm.

    Raises:
        TypeError: the estimator is not right for it.
        ValueError: an unknown direction.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> print(f"{ChiSquared()(q, target, jax.random.key(0))[1]['cubo']:.4f}")  # ½ log 2π
        0.9189

    References:
        Dieng, Tran, Ranganath, Paisley & Blei (2017), Variational inference via χ upper bound
        minimization.
    """

    direction: str = eqx.field(static=True)
    estimator: Estimator
    num_samples: int = eqx.field(static=True)

    def __init__(
        self,
        direction: str = "p||q",
        estimator: Estimator | None = None,
        num_samples: int = 64,
    ):
        self.direction = _check_direction(direction)
        self.estimator = check_estimator(estimator, _RIGHT, "ChiSquared")
        self.num_samples = check_num_samples(num_samples)

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the loss, and the bound as `cubo` or `elbo`."""
        covering = self.direction == "p||q"
        surrogate, bound, draws, log_ratio = power_loss(
            2.0 if covering else -1.0, self.estimator, self.num_samples, family, target, key
        )
        if covering:
            return surrogate, {"loss": bound, "cubo": bound} | tail_of(2.0, draws, log_ratio)
        return -surrogate, {"loss": -bound, "elbo": bound}

    def prepare(self, target: Target) -> "ChiSquared":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples


@verdict.register
def _(
    objective: Renyi, family: Family, target: Target, history: dict[str, np.ndarray]
) -> tuple[str, str] | None:
    return _infinite(objective.exponent, family, target)


@verdict.register
def _(
    objective: ChiSquared, family: Family, target: Target, history: dict[str, np.ndarray]
) -> tuple[str, str] | None:
    return _infinite(2.0 if objective.direction == "p||q" else -1.0, family, target)


def _infinite(order: float, family: Family, target: Target) -> tuple[str, str] | None:
    where = None if 0 <= order <= 1 else diverges(order, family, target)
    if where is None:
        return None
    remedy = (
        "give q heavier tails (`StudentT`), or use ForwardKL"
        if order > 1
        else "make q narrower than the target's tails there, or use ReverseKL"
    )
    return (
        "infinite divergence",
        f"E_q[(p/q)^{order:g}] does not exist: {where} its integrand does not fall, so the "
        f"divergence is infinite and the recorded bound is that of the draws only; {remedy}",
    )


def _check_order(alpha: Any) -> float:
    try:
        order = float(alpha)
    except (TypeError, ValueError):
        order = float("nan")
    if not abs(order) < float("inf"):
        raise ValueError(f"`alpha` should be a finite number; got {alpha!r}. Use for example 0.5.")
    if order == 0:
        raise ValueError(
            "`alpha` should not be 0; got 0: that divergence is zero for every q. Use "
            "ImportanceWeighted, the bound of that order from few draws, ForwardKL, or ReverseKL."
        )
    return order


def _check_direction(direction: Any) -> str:
    if direction not in DIRECTIONS:
        raise ValueError(
            f'`direction` should be "q||p" or "p||q" (p is the target); got {direction!r}.'
        )
    return direction
