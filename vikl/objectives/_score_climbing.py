"""Forward KL by Markovian score climbing: a Markov chain in the state."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family, as_family
from ..target import Target
from ._base import Objective, check_num_samples, evaluate, initial_state, late, verdict
from ._weighted import mixture_draws

_STUCK = 0.01  # share of chains that move in a step, below which they say nothing new


class MarkovianScoreClimbing(Objective):
    """KL(p‖q) up to −H[p]: −E_p[log q], expectations under p by Markov chains that go on.

    Each chain is a conditional importance sampler: the place where it is and `num_samples` − 1
    fresh draws of ½ q + ½ `proposal` (of q alone without one) are weighted by p̃/mixture, the loss
    is −Σ w log q, and the chain goes to one of them, drawn by weight. Its stationary distribution
    is p whatever q is, so the fit converges to the minimum of KL(p‖q) itself, where
    self-normalised importance sampling with as few draws stays biased. The chains live in the
    state of the algorithm and are saved with it. A chain can still be stuck: `moved` in the
    record is the share of chains that moved in a step, `ess` the effective number of the weights.

    Args:
        proposal: a family that covers p, held fixed, or None.
        num_samples: places weighed in one step of a chain.
        num_chains: chains side by side, averaged.

    Raises:
        TypeError: `proposal` is not an instance of a family.
        ValueError: fewer than 2 samples, or no chain.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 3) ** 2), jnp.zeros(1))
        >>> post = vikl.fit(target, vikl.families.MeanFieldNormal,
        ...                 MarkovianScoreClimbing(num_chains=8),
        ...                 optax.adam(optax.cosine_decay_schedule(0.05, 800)),
        ...                 key=jax.random.key(0), num_steps=800)
        >>> bool(abs(post.mean[0] - 3.0) < 0.2)
        True

    References:
        Naesseth, Lindsten & Blei (2020), Markovian score climbing: variational inference with
        KL(p||q).
    """

    proposal: Family | None
    num_samples: int = eqx.field(static=True)
    num_chains: int = eqx.field(static=True)

    def __init__(self, proposal: Any = None, num_samples: int = 16, num_chains: int = 4):
        if proposal is not None:
            proposal = as_family(proposal, "proposal")
        if check_num_samples(num_samples) < 2:
            raise ValueError(
                f"`num_samples` should be at least 2; got {num_samples}: the place where the chain "
                "is, and a fresh draw."
            )
        self.proposal, self.num_samples = proposal, num_samples
        self.num_chains = check_num_samples(num_chains, "num_chains")

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the first step of new chains, which start at draws of q."""
        start_key, key = jax.random.split(key)
        carried = initial_state(self, family, target, start_key)
        return evaluate(self, carried, family, target, key)[:2]

    def prepare(self, target: Target) -> "MarkovianScoreClimbing":
        """Check the proposal against the target."""
        if self.proposal is not None and self.proposal.dim != target.dim:
            raise ValueError(
                f"`proposal` should have the dimension of the target, {target.dim}; "
                f"got {self.proposal.dim}."
            )
        return self

    def gradients_per_step(self) -> int:
        """Return the evaluations of the log density (they are not differentiated)."""
        return self.num_chains * self.num_samples


@initial_state.register
def _(
    objective: MarkovianScoreClimbing, family: Family, target: Target, key: PRNGKey
) -> Float[Array, "chains dim"]:
    keys = jax.random.split(key, objective.num_chains)
    return stop_gradient(jax.vmap(lambda k: family.sample_and_log_prob(k)[0])(keys))


@evaluate.register
def _(
    objective: MarkovianScoreClimbing,
    carried: Float[Array, "chains dim"],
    family: Family,
    target: Target,
    key: PRNGKey,
) -> tuple[Scalar, dict[str, Scalar], Float[Array, "chains dim"]]:
    held = stop_gradient(family)

    def one(place: Array, key: PRNGKey) -> tuple[Scalar, Scalar, Scalar, Array]:
        draw_key, choice_key = jax.random.split(key)
        x, log_mixture = mixture_draws(
            held, objective.proposal, draw_key, objective.num_samples - 1
        )
        here = _mixture_log_prob(objective, held, place)
        x = jnp.concatenate([place[None], x])
        log_mixture = jnp.concatenate([here[None], log_mixture])
        log_weight = stop_gradient(jax.vmap(target.log_density)(x) - log_mixture)
        weight = jax.nn.softmax(log_weight)
        loss = -jnp.sum(weight * jax.vmap(family.log_prob)(stop_gradient(x)))
        chosen = jax.random.categorical(choice_key, log_weight)
        moved = (chosen > 0).astype(loss.dtype)
        return loss, 1.0 / jnp.sum(weight * weight), moved, stop_gradient(x[chosen])

    keys = jax.random.split(key, objective.num_chains)
    losses, ess, moved, places = jax.vmap(one)(carried, keys)
    loss = losses.mean()
    return loss, {"loss": loss, "ess": ess.mean(), "moved": moved.mean()}, places


def _mixture_log_prob(objective: MarkovianScoreClimbing, held: Family, x: Array) -> Scalar:
    """Return the log density of the mixture that the other places are drawn from."""
    count = objective.num_samples - 1
    own = (count + 1) // 2 / count
    if objective.proposal is None or own == 1.0:
        return held.log_prob(x)
    wide = stop_gradient(objective.proposal).log_prob(x) + float(np.log1p(-own))
    return jnp.logaddexp(held.log_prob(x) + float(np.log(own)), wide)


@verdict.register
def _(
    objective: MarkovianScoreClimbing, family: Family, target: Target,
    history: dict[str, np.ndarray],
) -> tuple[str, str] | None:  # fmt: skip
    moved = late(history, "moved")
    if moved is None or moved >= _STUCK:
        return None
    return (
        "not inclusive any more",
        f"the chains moved in {100 * moved:.1g} % of the steps: they stand for a few places of p "
        "only; give a wider `proposal` or more `num_samples`",
    )
