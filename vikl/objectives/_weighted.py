"""What the losses of the weights w = p/q share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.special import logsumexp

from .._typing import Array, Float, PRNGKey, Scalar
from ..estimators import Draws, Estimator, Pathwise
from ..families import Family
from ..target import Target


def log_ratios(draws: Draws, target: Target) -> Float[Array, " n"]:
    """Return log p(x) − log q(x) at each draw, p unnormalised."""
    return jax.vmap(target.log_density)(draws.x) - draws.log_q


def effective_sample_size(log_weights: Float[Array, " n"]) -> Scalar:
    """Return (Σ w)²/Σ w², between 1 and n."""
    held = stop_gradient(log_weights)
    return jnp.exp(2 * logsumexp(held) - logsumexp(2 * held))


def mixture_draws(
    held: Family, proposal: Family | None, key: PRNGKey, num_samples: int
) -> tuple[Array, Array]:
    """Return draws of ½ q + ½ proposal, stratified over the halves, and its log density there."""
    keys = jax.random.split(key, num_samples)
    if proposal is None:
        return jax.vmap(held.sample_and_log_prob)(keys)
    wide = stop_gradient(proposal)
    own = (num_samples + 1) // 2
    x_own, _ = jax.vmap(held.sample_and_log_prob)(keys[:own])
    x_wide, _ = jax.vmap(wide.sample_and_log_prob)(keys[own:])
    x = jnp.concatenate([x_own, x_wide])
    share = own / num_samples
    log_q = jax.vmap(held.log_prob)(x) + float(np.log(share))
    if share == 1.0:
        return x, log_q
    return x, jnp.logaddexp(log_q, jax.vmap(wide.log_prob)(x) + float(np.log1p(-share)))


def tempered_to(log_ratio: Float[Array, " n"], share: float) -> Scalar:
    """Return the largest power τ ≤ 1 of the weights that keeps this share of effective draws."""
    wanted = share * len(log_ratio)

    def narrow(ends: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        low, high = ends
        middle = 0.5 * (low + high)
        enough = effective_sample_size(middle * log_ratio) >= wanted
        return (jnp.where(enough, middle, low), jnp.where(enough, high, middle)), None

    one = jnp.ones((), log_ratio.dtype)
    (low, _), _ = jax.lax.scan(narrow, (0 * one, one), length=20)
    return jnp.where(effective_sample_size(log_ratio) >= wanted, one, low)


def check_estimator(
    estimator: Any, allowed: tuple[type[Estimator], ...], objective: str
) -> Estimator:
    """Return the estimator, `Pathwise()` for None, or say which are right for the objective."""
    if estimator is None:
        return Pathwise()
    if not isinstance(estimator, allowed):
        names = ", ".join(f"{kind.__name__}" for kind in allowed)
        raise TypeError(
            f"`estimator` should be one of those that are right for {objective}: {names}; got "
            f"{estimator!r}. Make an instance of one of vikl.estimators."
        )
    return estimator


def check_general(estimator: Any, closed: tuple[type[Estimator], ...], objective: str) -> Estimator:
    """Return the estimator, `Pathwise()` for None, or refuse one that knows the ELBO only."""
    if estimator is None:
        return Pathwise()
    if not isinstance(estimator, Estimator) or isinstance(estimator, closed):
        raise TypeError(
            f"`estimator` should be one of those that are right for {objective}: Pathwise, "
            f"StickingTheLanding, ScoreFunction, Stratified, DefensiveMixture, Quadrature; got "
            f"{estimator!r}. Make an instance of one of vikl.estimators."
        )
    return estimator
