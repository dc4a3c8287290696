"""KL of policies: distributions over actions, of one agent or of several."""

from typing import Any

import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.kl._registry import kl_divergence
from vikl.losses._rows import Mask, mask_of


def policy_kl(p: Any, q: Any, *, where: Mask = None) -> Float[Array, "..."]:
    """KL(p‖q) of two policies, one number for each state; agents that act independently add up.

    A policy is a distribution over actions: `Categorical(logits=...)`, `Normal(mean,
    sd).to_event(1)`, `MultivariateNormal` of NumPyro, a `vikl.losses.TanhNormal`, or any class
    known to `vikl.kl_divergence`. A tuple, list or dict of them is a team that acts
    independently given the state: KL(∏ pᵢ‖∏ qᵢ) = Σ KL(pᵢ‖qᵢ).

    The direction matters, and papers differ. TRPO constrains, and PPO penalises,
    `policy_kl(old, new)`; the exact step of `tilted_policy` and KL-regularised rewards have
    `policy_kl(new, old)`.

    Args:
        p: the policy that the expectation is under.
        q: the other, with the same actions (and the same agents).
        where: booleans of the batch's shape; a state where it is False costs 0 (padding after
            the end of an episode).

    Returns:
        KL in nats, of the batch's shape: action dimensions are summed over, states are not.

    Raises:
        ValueError: if the teams differ, or their agents have different batch shapes; outside jit,
            on invalid parameters.
        NotImplementedError: if the pair has no closed form.

    Examples:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> from vikl.losses import policy_kl
        >>> old = dist.Normal(jnp.zeros((5, 2)), 1.0).to_event(1)  # 5 states, 2 joints
        >>> new = dist.Normal(jnp.full((5, 2), 0.1), 1.0).to_event(1)
        >>> print(policy_kl(old, new).shape, round(float(policy_kl(old, new)[0]), 3))
        (5,) 0.01

    References:
        Schulman, Levine, Moritz, Jordan and Abbeel (2015), Trust region policy optimization; Yu
        et al. (2022), The surprising effectiveness of PPO in cooperative multi-agent games.
    """
    values = _by_agent(p, q, "")
    shapes = {name: value.shape for name, value in values}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"`p` and `q` should have one batch shape for all agents; got {shapes}. Do make the "
            "axes of an action events with `.to_event(1)`, and give every agent the same states."
        )
    total = values[0][1]
    for _, value in values[1:]:
        total = total + value
    return jnp.where(mask_of(where, total.shape), total, 0)


def _by_agent(p: Any, q: Any, path: str) -> list[tuple[str, Array]]:
    """Return the name and the divergence of every agent."""
    here = path or "the policy"
    team = isinstance(p, tuple | list | dict)
    if team != isinstance(q, tuple | list | dict):
        raise ValueError(
            f"`p` and `q` should have the same agents; got {type(p).__name__} and "
            f"{type(q).__name__} for {here}. Do give both as the same tuple or dict."
        )
    if not team:
        return [(here, kl_divergence(p, q))]
    a, b = (dict(t) if isinstance(t, dict) else dict(enumerate(t)) for t in (p, q))
    if a.keys() != b.keys() or not a:
        raise ValueError(
            f"`p` and `q` should have the same agents, at least one; got {list(a)} and {list(b)} "
            f"for {here}. Do give both as the same tuple or dict."
        )
    return [found for name in a for found in _by_agent(a[name], b[name], f"{path}[{name!r}]")]
