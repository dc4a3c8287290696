"""TRPO's step: a natural gradient by conjugate gradients, and a line search that keeps the word."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from vikl._typing import Array, Bool, Float, Int, PyTree
from vikl.info._checks import is_concrete

Scalar = Callable[[Any], Float[Array, ""]]


class TrustRegionStep(NamedTuple):
    """What `trust_region_step` did.

    Attributes:
        params: the new parameters; the old ones where no step was good.
        kl: at the new parameters, at most `max_kl`.
        loss: at the new parameters.
        accepted: whether a step was taken.
        num_backtracks: how many times the step was shortened; all of them where none was good.
        proposed_kl: at the whole step of the quadratic model, which often exceeds `max_kl`.
        residual: how far conjugate gradients were from a solution, relative to the gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> from vikl.losses import trust_region_step
        >>> half_square = lambda x: 0.5 * (x - 1.0) ** 2
        >>> step = trust_region_step(lambda x: -x, half_square, jnp.array(1.0), max_kl=0.5)
        >>> print(step.params.round(4), step.accepted)  # KL is quadratic here
        2.0 True
    """

    params: PyTree
    kl: Float[Array, ""]
    loss: Float[Array, ""]
    accepted: Bool[Array, ""]
    num_backtracks: Int[Array, ""]
    proposed_kl: Float[Array, ""]
    residual: Float[Array, ""]

    @property
    def status(self) -> str:
        """Say in words how it went (outside jit)."""
        if bool(self.accepted):
            return f"step taken, shortened {int(self.num_backtracks)} times"
        if not np.isfinite(self.residual):
            return "no step: the gradient or the Fisher product is not finite; look at the data"
        if not np.isfinite(self.proposed_kl):
            return "no step: KL is not finite along the step; lower `max_kl` or raise `damping`"
        return "no step: none was within `max_kl` and improved the loss; at an optimum, or noise"


class _Solution(NamedTuple):
    x: Array
    residual: Array
    direction: Array
    square: Array
    iteration: Array
    stuck: Array


def conjugate_gradients(
    product: Callable[[Array], Array], right: Array, num_iterations: int, tolerance: float
) -> tuple[Array, Array]:
    """Solve `product(x) = right`, product positive semi-definite; x and the relative residual.

    Stops early at the tolerance, and where a direction has no curvature (a flat direction of the
    Fisher matrix, into which the gradient has no component but rounding).
    """
    square = right @ right

    def more(s: _Solution) -> Array:
        far = s.square > tolerance**2 * square
        return far & (s.iteration < num_iterations) & ~s.stuck

    def step(s: _Solution) -> _Solution:
        image = product(s.direction)
        curvature = s.direction @ image
        good = curvature > 0
        length = jnp.where(good, s.square / jnp.where(good, curvature, 1), 0)
        residual = s.residual - length * image
        after = residual @ residual
        # rounding may send the residual up again once it is spent: then the last x is the best
        good = good & jnp.isfinite(after)
        direction = residual + (after / s.square) * s.direction
        return _Solution(
            jnp.where(good, s.x + length * s.direction, s.x),
            jnp.where(good, residual, s.residual),
            jnp.where(good, direction, s.direction),
            jnp.where(good, after, s.square),
            s.iteration + 1,
            ~good,
        )

    zero = jnp.zeros((), int)
    start = _Solution(jnp.zeros_like(right), right, right, square, zero, ~(square > 0))
    end = jax.lax.while_loop(more, step, start)
    safe = jnp.where(square > 0, square, 1)
    return end.x, jnp.where(square == 0, 0, jnp.sqrt(end.square / safe)).astype(right.dtype)


def trust_region_step(
    loss: Scalar,
    kl: Scalar,
    params: PyTree,
    *,
    max_kl: float = 0.01,
    damping: float = 0.0,
    num_iterations: int = 20,
    tolerance: float = 1e-5,
    shrink: float = 0.8,
    max_backtracks: int = 30,
) -> TrustRegionStep:
    """One step that lowers `loss` with `kl(new params) <= max_kl`, as TRPO takes it.

    The direction is x = F⁻¹ g by conjugate gradients, F the Hessian of `kl` at `params` (the
    Fisher matrix, by products only), and its length `sqrt(2 max_kl / (x F x))` would meet the
    constraint exactly if KL were quadratic. It is not, and the whole step often violates the
    constraint (`proposed_kl` says by how much), so it is shortened until the true KL is within
    `max_kl` and the loss is lower; if that never happens the parameters stay.

    It differentiates `loss` and `kl`, and is not itself differentiable in reverse mode: conjugate
    gradients and line search are loops that stop on evidence, and `jax.grad` through them raises.

    Args:
        loss: from parameters to the scalar to lower, for example minus the mean of
            `ratio * advantage`.
        kl: from parameters to the mean divergence from the policy at `params`, for example the
            mean of `policy_kl(old, policy(params))` with `old` fixed: zero and flat at `params`.
        params: a pytree of float arrays.
        max_kl: the radius, in nats, positive.
        damping: added to the diagonal of F; a little (1e-3 of its size) helps noisy estimates.
        num_iterations: of conjugate gradients.
        tolerance: of conjugate gradients, on the relative residual.
        shrink: by what the step is multiplied when it is not good, between 0 and 1.
        max_backtracks: how often that may happen.

    Returns:
        A `TrustRegionStep`; `.status` says in words how it went.

    Raises:
        ValueError: if `max_kl` is not positive or `damping` is negative, and, outside jit, if
            `kl(params)` is not zero.

    Examples:
        >>> import jax, jax.numpy as jnp, vikl
        >>> from vikl.losses import trust_region_step
        >>> old, advantages = jnp.log(jnp.array([0.2, 0.3, 0.5])), jnp.array([1.0, 0.0, -0.4])
        >>> step = trust_region_step(
        ...     lambda z: -jax.nn.softmax(z) @ advantages,
        ...     lambda z: vikl.kl.categorical_logits(old, z),
        ...     old,
        ... )
        >>> bool(step.proposed_kl > 0.01), bool(step.kl <= 0.01), step.status
        (True, True, 'step taken, shortened 1 times')

    References:
        Schulman, Levine, Moritz, Jordan and Abbeel (2015), Trust region policy optimization,
        appendix C.
    """
    _check_settings(max_kl, damping, shrink)
    flat, unravel = ravel_pytree(params)
    here = jax.value_and_grad(lambda v: loss(unravel(v)))
    slope_of_kl = jax.grad(lambda v: kl(unravel(v)))
    loss_here, gradient = here(flat)
    _check_origin(kl(params))

    def product(v: Array) -> Array:
        return jax.jvp(slope_of_kl, (flat,), (v,))[1] + damping * v

    x, residual = conjugate_gradients(product, gradient, num_iterations, tolerance)
    curvature = x @ product(x)
    curved = curvature > 0
    length = jnp.where(curved, jnp.sqrt(2 * max_kl / jnp.where(curved, curvature, 1)), 0)
    whole = -length.astype(flat.dtype) * x

    def candidate(count: Array) -> tuple[Array, Array, Array]:
        v = flat + whole * shrink ** count.astype(flat.dtype)
        return v, kl(unravel(v)), loss(unravel(v))

    def poor(count: Array) -> Array:
        _, divergence, value = candidate(count)
        good = (divergence <= max_kl) & (value < loss_here) & jnp.isfinite(value)
        return ~good & (count < max_backtracks)

    first = jnp.zeros((), int)
    count = jax.lax.while_loop(poor, lambda n: n + 1, first)
    new, divergence, value = candidate(count)
    good = (divergence <= max_kl) & (value < loss_here) & jnp.all(jnp.isfinite(new))
    return TrustRegionStep(
        unravel(jnp.where(good, new, flat)),
        jnp.where(good, divergence, 0),
        jnp.where(good, value, loss_here),
        good,
        count,
        candidate(first)[1],
        residual,
    )


def _check_settings(max_kl: float, damping: float, shrink: float) -> None:
    for name, value, least in (("max_kl", max_kl, 0), ("damping", damping, -1e-300)):
        if is_concrete(value) and not value > least:
            should = "positive" if name == "max_kl" else "zero or positive"
            raise ValueError(
                f"`{name}` should be {should}; got {float(value):.6g}. Do use `max_kl` of about "
                "0.01 nats and `damping` of 0 for an exact Fisher matrix."
            )
    if not 0 < shrink < 1:
        raise ValueError(f"`shrink` should lie between 0 and 1; got {shrink}. Do use 0.5 or 0.8.")


def _check_origin(divergence: Array) -> None:
    """Outside jit, refuse a `kl` that is not a divergence from the policy at `params`."""
    if is_concrete(divergence) and abs(float(divergence)) > 1e-4:
        raise ValueError(
            f"`kl` should be zero at `params`; got {float(divergence):.6g}. Do compare with the "
            "policy at `params`, held fixed, and not with an older one."
        )
