"""The exact trust-region step of a bandit: an exponential tilt of the old policy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Bool, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.kl._discrete import logits_divergence
from vikl.losses._rows import Number

_HALVINGS = 90  # of a bracket of at most 1400 in the logarithm: below rounding in float64


class TiltedPolicy(NamedTuple):
    """The best policy within the trust region.

    Attributes:
        probabilities: of the actions, shape (..., actions).
        multiplier: beta of `old * exp(beta * advantages)`; +inf where the region holds the greedy
            policy, 0 where all advantages are equal.
        kl: KL(new‖old), nats.
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
    probabilities: ArrayInput, advantages: ArrayInput, max_kl: Number
) -> TiltedPolicy:
    """Return the policy of largest expected advantage with KL(new‖old) <= `max_kl`, exactly.

    It is `old * exp(beta * advantages)`, normalised, with beta found by bisection so that the
    constraint holds with equality to rounding. Where even the greedy policy is within the region
    (KL = -log of the old probability of the best actions), that is returned. Differentiable in
    all arguments, by the implicit function theorem.

    Args:
        probabilities: the old policy, shape (..., actions); an action of probability 0 stays so.
        advantages: of the actions, the same shape (batch axes broadcast); any shift is harmless.
        max_kl: the radius, positive, in nats.

    Returns:
        A `TiltedPolicy`.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on shapes that do not fit; outside jit, if `probabilities` are none,
            `advantages` are not finite or `max_kl` is not positive.

    Examples:
        >>> import numpy as np
        >>> from vikl.losses import tilted_policy
        >>> new = tilted_policy([0.2, 0.3, 0.5], [1.0, 0.0, -0.4], 0.01)
        >>> print(np.round(np.asarray(new.probabilities), 4), round(float(new.multiplier), 4))
        [0.2556 0.2971 0.4472] 0.2549

    References:
        Peters, Mülling and Altün (2010), Relative entropy policy search.
    """
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
    rows = jnp.vectorize(_solve, signature="(n),(n),()->(n),(),(),()")
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


@jax.jit
def _solve(
    p: Float[Array, " n"], a: Float[Array, " n"], radius: Float[Array, ""]
) -> tuple[Array, Array, Array, Array]:
    """Return the new probabilities, beta, KL and gain, for one row."""
    inside = p > 0
    log_p = jnp.where(inside, jnp.log(jnp.where(inside, p, 1)), -jnp.inf)
    top = jnp.max(jnp.where(inside, a, -jnp.inf))
    spread = top - jnp.min(jnp.where(inside, a, jnp.inf))
    flat = spread == 0
    unit = jnp.where(inside, a - top, 0) / jnp.where(flat, 1, spread)  # within [-1, 0]

    def divergence(beta: Array, log_p: Array, unit: Array) -> Array:
        return logits_divergence(log_p + beta * unit, log_p, beta * unit)

    # KL <= beta^2 / 8 for advantages within a unit (Hoeffding), so beta is at least this
    low = 0.5 * jnp.log(8 * radius)
    high = jnp.log(jnp.full_like(low, jnp.finfo(p.dtype).max / 8))

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        small = divergence(jnp.exp(middle), log_p, unit) < radius
        return jnp.where(small, middle, ends[0]), jnp.where(small, ends[1], middle)

    ends = jax.lax.fori_loop(0, _HALVINGS, halve, jax.lax.stop_gradient((low, high)))
    beta = jnp.exp(jax.lax.stop_gradient(0.5 * (ends[0] + ends[1])))
    beta = _with_gradient(beta, divergence(beta, log_p, unit) - radius, log_p, unit)
    best = inside & (a == top)
    greedy_kl = -jnp.log(jnp.sum(jnp.where(best, p, 0)))
    greedy = (radius >= greedy_kl) & ~flat
    tilted = jax.nn.softmax(log_p + jnp.where(flat | greedy, 0, beta) * unit)
    new = jnp.where(greedy, jnp.where(best, p, 0) / jnp.sum(jnp.where(best, p, 0)), tilted)
    kl = divergence(jnp.where(flat | greedy, 0, beta), log_p, unit)
    multiplier = jnp.where(greedy, jnp.inf, jnp.where(flat, 0, beta / jnp.where(flat, 1, spread)))
    gain = jnp.sum((new - p) * jnp.where(inside, a - top, 0))
    bad = jnp.isnan(radius)
    return (
        jnp.where(bad, jnp.nan, new),
        jnp.where(bad, jnp.nan, multiplier),
        jnp.where(bad, jnp.nan, jnp.where(greedy, greedy_kl, kl)),
        jnp.where(bad, jnp.nan, gain),
    )


def _with_gradient(beta: Array, excess: Array, log_p: Array, unit: Array) -> Array:
    """`beta` itself, with the derivative of the root of `excess` (implicit function theorem)."""
    q = jax.nn.softmax(jax.lax.stop_gradient(log_p + beta * unit))
    centred = jax.lax.stop_gradient(unit) - jnp.sum(q * jax.lax.stop_gradient(unit))
    slope = beta * jnp.sum(q * centred**2)
    step = jnp.where(slope > 0, excess / jnp.where(slope > 0, slope, 1), 0)
    return beta - (step - jax.lax.stop_gradient(step))
