"""The exact trust-region step of a bandit: a tilt of the old policy, for each direction of KL."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Bool, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.kl._discrete import logits_divergence
from vikl.losses._rows import Number

_HALVINGS = 90  # of a bracket in the logarithm: below rounding in float64
_DIRECTIONS = ("new||old", "old||new")


class TiltedPolicy(NamedTuple):
    """The best policy within the trust region.

    Attributes:
        probabilities: of the actions, shape (..., actions).
        multiplier: beta of `old * exp(beta * advantages)`, or of
            `old / (1 + beta * (advantages.max() - advantages))` for `"old||new"`; +inf where the
            region holds the greedy policy or beta is beyond the floats, 0 where all advantages are
            equal.
        kl: KL(new‖old) or KL(old‖new), as it was asked for, nats.
        gain: expected advantage of the new policy less that of the old.

    Example:
        >>> from vikl.losses import tilted_policy
        >>> print(tilted_policy([0.5, 0.5], [0.0, 1.0], 10.0))  # the region holds the greedy one
        TiltedPolicy(probabilities=Array([0., 1.], ...), multiplier=Array(inf, ...), ...)
    """

    probabilities: Float[Array, "..."]
    multiplier: Float[Array, "..."]
    kl: Float[Array, "..."]
    gain: Float[Array, "..."]


def tilted_policy(
    probabilities: ArrayInput,
    advantages: ArrayInput,
    max_kl: Number,
    *,
    direction: str = "new||old",
) -> TiltedPolicy:
    """Return the policy of largest expected advantage within a KL ball of the old one, exactly.

    With `"new||old"` the ball is KL(new‖old) <= `max_kl`, and the policy
    `old * exp(beta * advantages)`, normalised. Where even the greedy policy is within the ball
    (KL = -log of the old probability of the best actions), that is returned.

    With `"old||new"` the ball is that of TRPO, KL(old‖new) <= `max_kl`, and the policy
    `old / (1 + beta * (best advantage - advantages))`, normalised: the price of giving up an action
    has no end, so that every action keeps some probability (which may be below the smallest float).

    Either way beta is found by bisection, so that the constraint holds with equality to rounding.
    Differentiable in all arguments, by the implicit function theorem.

    Args:
        probabilities: the old policy, shape (..., actions); an action of probability 0 stays so.
        advantages: of the actions, the same shape (batch axes broadcast); any shift is harmless.
        max_kl: the radius, positive, in nats.
        direction: `"new||old"` or `"old||new"`.

    Returns:
        A `TiltedPolicy`.

    Raises:
        TypeError: if an array is not floating.
        ValueError: an unknown direction; shapes that do not fit; outside jit, if `probabilities`
            are none, `advantages` are not finite or `max_kl` is not positive.

    Examples:
        >>> import numpy as np
        >>> from vikl.losses import tilted_policy
        >>> new = tilted_policy([0.2, 0.3, 0.5], [1.0, 0.0, -0.4], 0.01)
        >>> print(np.round(np.asarray(new.probabilities), 4), round(float(new.multiplier), 4))
        [0.2556 0.2971 0.4472] 0.2549
        >>> new = tilted_policy([0.2, 0.3, 0.5], [1.0, 0.0, -0.4], 0.01, direction="old||new")
        >>> print(np.round(np.asarray(new.probabilities), 4), round(float(new.multiplier), 4))
        [0.2578 0.2944 0.4479] 0.3136

    References:
        Peters, Mülling and Altün (2010), Relative entropy policy search (`"new||old"`);
        Schulman, Levine, Moritz, Jordan and Abbeel (2015), Trust region policy optimization
        (the constraint of `"old||new"`).
    """
    if direction not in _DIRECTIONS:
        raise ValueError(
            f"`direction` should be one of {_DIRECTIONS}; got {direction!r}. Do write which policy "
            "the mean is over first: TRPO constrains 'old||new'."
        )
    p, dtype = _checks.floating("probabilities", probabilities)
    a, _ = _checks.floating("advantages", advantages)
    for name, array in (("probabilities", p), ("advantages", a)):
        _checks.last_axis(name, array, -1)
    p, a = _checks.broadcast_pair(("probabilities", "advantages"), p, a)
    valid = _checks.probabilities("probabilities", p, dtype)
    radius = _radius(max_kl, p.dtype)
    if _checks.is_concrete(a) and not np.isfinite(a).all():
        raise ValueError(
            f"`advantages` should be finite; got {int((~np.isfinite(a)).sum())} entries that are "
            "not. Do find where they come from."
        )
    solve = partial(_solve, direction=direction)
    rows = jnp.vectorize(solve, signature="(n),(n),()->(n),(),(),()")
    found = rows(p, a, radius)
    valid = None if valid is None else valid & jnp.isfinite(a).all(-1)
    new, beta, kl, gain = (
        (x if valid is None else jnp.where(_like(valid, x), x, jnp.nan)).astype(dtype)
        for x in found
    )
    return TiltedPolicy(new, beta, kl, gain)


def _like(valid: Bool[Array, "..."], x: Array) -> Array:
    return valid[..., None] if x.ndim > valid.ndim else valid


def _radius(max_kl: Any, dtype: Any) -> Float[Array, ""]:
    radius = jnp.asarray(max_kl, dtype)
    if radius.ndim != 0:
        raise ValueError(f"`max_kl` should be one number; got shape {radius.shape}. Do vmap.")
    if _checks.is_concrete(radius) and not radius > 0:
        raise ValueError(
            f"`max_kl` should be positive; got {float(radius):.6g}. Do use a small number of nats, "
            "such as 0.01."
        )
    return jnp.where(radius > 0, radius, jnp.nan)


@partial(jax.jit, static_argnames="direction")
def _solve(
    p: Float[Array, " n"], a: Float[Array, " n"], radius: Float[Array, ""], direction: str
) -> tuple[Array, Array, Array, Array]:
    """Return the new probabilities, beta, KL and gain, for one row."""
    inside = p > 0
    log_p = jnp.where(inside, jnp.log(jnp.where(inside, p, 1)), -jnp.inf)
    top = jnp.max(jnp.where(inside, a, -jnp.inf))
    spread = top - jnp.min(jnp.where(inside, a, jnp.inf))
    flat = spread == 0
    worse = jnp.where(inside, top - a, 0) / jnp.where(flat, 1, spread)  # within [0, 1]
    best = inside & (a == top)
    forward = direction == "new||old"

    def log_ratio(log_beta: Array, worse: Array) -> Array:
        """Log of new over old, up to a constant, at beta times the spread of the advantages."""
        if forward:
            return -jnp.exp(log_beta) * worse
        some = worse > 0
        return jnp.where(some, -jax.nn.softplus(log_beta + jnp.log(jnp.where(some, worse, 1))), 0)

    def divergence(log_beta: Array, log_p: Array, worse: Array) -> Array:
        ratio = log_ratio(log_beta, worse)
        new = log_p + ratio
        if forward:
            return logits_divergence(new, log_p, ratio)
        return logits_divergence(log_p, new, -ratio)

    # Hoeffding: KL is at most an eighth of the squared range of the log ratio
    reach = jnp.sqrt(8 * radius)
    if forward:
        low, high = jnp.log(reach), jnp.log(jnp.full_like(reach, jnp.finfo(p.dtype).max / 8))
        greedy_kl = -jnp.log(jnp.sum(jnp.where(best, p, 0)))
        greedy = (radius >= greedy_kl) & ~flat
    else:
        # KL >= log P(best) + E log(beta worse), the mean over the others only
        low = reach + jnp.log(-jnp.expm1(-reach))  # log expm1
        others = jnp.where(inside & ~best, p, 0)
        price = radius - jnp.log(jnp.sum(jnp.where(best, p, 0)))
        price = price - jnp.sum(others * jnp.log(jnp.where(worse > 0, worse, 1)))
        high = jnp.maximum(low, price / jnp.where(flat, 1, jnp.sum(others)))
        greedy_kl, greedy = jnp.full_like(low, jnp.inf), jnp.zeros_like(flat)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        small = divergence(middle, log_p, worse) < radius
        return jnp.where(small, middle, ends[0]), jnp.where(small, ends[1], middle)

    ends = jax.lax.fori_loop(0, _HALVINGS, halve, jax.lax.stop_gradient((low, high)))
    log_beta = jax.lax.stop_gradient(0.5 * (ends[0] + ends[1]))
    slope = jax.jvp(
        lambda s: divergence(s, *jax.lax.stop_gradient((log_p, worse))),
        (log_beta,), (jnp.ones_like(log_beta),),
    )[1]  # fmt: skip
    log_beta = _with_gradient(log_beta, divergence(log_beta, log_p, worse) - radius, slope)
    moved = ~(flat | greedy)
    safe = jnp.where(moved, log_beta, 0)
    tilted = jax.nn.softmax(log_p + jnp.where(moved, log_ratio(safe, worse), 0))
    new = jnp.where(greedy, jnp.where(best, p, 0) / jnp.sum(jnp.where(best, p, 0)), tilted)
    kl = jnp.where(moved, divergence(safe, log_p, worse), 0)
    beta = jnp.exp(safe) / jnp.where(flat, 1, spread)
    multiplier = jnp.where(greedy, jnp.inf, jnp.where(flat, 0, beta))
    gain = jnp.sum((new - p) * jnp.where(inside, a - top, 0))
    bad = jnp.isnan(radius)
    return (
        jnp.where(bad, jnp.nan, new),
        jnp.where(bad, jnp.nan, multiplier),
        jnp.where(bad, jnp.nan, jnp.where(greedy, greedy_kl, kl)),
        jnp.where(bad, jnp.nan, gain),
    )


def _with_gradient(root: Array, excess: Array, slope: Array) -> Array:
    """`root` itself, with the derivative of the root of `excess` (implicit function theorem)."""
    slope = jax.lax.stop_gradient(slope)
    step = jnp.where(slope > 0, excess / jnp.where(slope > 0, slope, 1), 0)
    return root - (step - jax.lax.stop_gradient(step))
