"""PPO's adaptive penalty: the coefficient of the KL follows the KL that was measured."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from vikl._typing import Array, Float, Int
from vikl.losses._rows import Number


class PenaltyState(NamedTuple):
    """The coefficient, and how many measurements were not finite and left it alone."""

    coefficient: Float[Array, ""]
    num_ignored: Int[Array, ""]


class AdaptivePenalty(eqx.Module):
    """The rule of PPO: KL too small, halve the coefficient; KL too large, double it.

    `coefficient / factor` where `kl < target / tolerance`, `coefficient * factor` where `kl >
    target * tolerance`, else unchanged. Pure: a state goes in and a state comes out, under jit
    and scan too. It is a soft constraint: KL hovers around the target and may exceed it at any
    one step; for a hard one see `trust_region_step`.

    Attributes:
        target: the KL aimed at, nats per state.
        tolerance: how far KL may be from it, as a factor above 1.
        factor: by how much the coefficient changes, above 1.
        smallest: the coefficient goes no lower.
        largest: nor higher.

    Example:
        >>> from vikl.losses import AdaptivePenalty
        >>> penalty = AdaptivePenalty(target=0.01)
        >>> state = penalty.init(1.0)
        >>> state = penalty.update(state, 0.1)  # moved too far
        >>> print(state.coefficient)
        2.0
        >>> print(penalty.update(state, 0.001).coefficient)
        1.0

    References:
        Schulman, Wolski, Dhariwal, Radford and Klimov (2017), Proximal policy optimization
        algorithms, section 4.
    """

    target: float = eqx.field(converter=float)
    tolerance: float = eqx.field(default=1.5, converter=float)
    factor: float = eqx.field(default=2.0, converter=float)
    smallest: float = eqx.field(default=1e-6, converter=float)
    largest: float = eqx.field(default=1e6, converter=float)

    def __check_init__(self):
        """Raise for a rule that could not work."""
        for name, least in (("target", 0.0), ("tolerance", 1.0), ("factor", 1.0)):
            value = getattr(self, name)
            if not value > least:
                raise ValueError(
                    f"`{name}` should be above {least:g}; got {value}. Do use the values of the "
                    "paper: tolerance 1.5, factor 2."
                )
        if not 0 < self.smallest <= self.largest:
            raise ValueError(
                f"`smallest` should be positive and at most `largest`; got {self.smallest} and "
                f"{self.largest}. Do leave them out."
            )

    def init(self, coefficient: Number = 1.0) -> PenaltyState:
        """Return the state to start from, its coefficient within the two ends."""
        start = jnp.clip(jnp.asarray(coefficient, float), self.smallest, self.largest)
        return PenaltyState(start, jnp.zeros((), int))

    def update(self, state: PenaltyState, kl: Number) -> PenaltyState:
        """Return the state after a step whose mean KL was `kl`; NaN changes nothing but a count."""
        measured = jnp.asarray(kl, state.coefficient.dtype)
        less = jnp.where(measured < self.target / self.tolerance, 1 / self.factor, 1.0)
        change = jnp.where(measured > self.target * self.tolerance, self.factor, less)
        after = state.coefficient * change.astype(state.coefficient.dtype)
        ignored = state.num_ignored + jnp.isnan(measured).astype(state.num_ignored.dtype)
        return PenaltyState(jnp.clip(after, self.smallest, self.largest), ignored)
