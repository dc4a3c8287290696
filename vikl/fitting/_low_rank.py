"""Fitting a low-rank normal, where matrices of the dimension squared are too large.

L-BFGS climbs to a mode; differences of the gradient along random signs give the curvature of each
coordinate there (Hutchinson); in coordinates scaled by it, stochastic gradients that stick the
landing fit the factor. Everything costs O(dim · rank).
"""

from collections.abc import Callable
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._typing import Array, Scalar
from ..estimators import StickingTheLanding
from ..families import Family, LowRankNormal, std
from ..objectives import ReverseKL
from ..target import Target
from ._ascent import climb
from ._evaluate import Evaluator
from ._loop import Loop
from ._method import Found, Method, Request
from ._stochastic import StochasticGradient

_STARTS = 4
_PROBES = 16
_DRAWS = 8
_STEPS = 4000
_RATE = 0.1


def _scaled_density(u: Array, data: tuple) -> Scalar:
    target, loc, scale = data
    return target.log_density(loc + scale * u)


class LowRankClimb(Method):
    """The automatic method of `LowRankNormal`.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -0.5 * jnp.sum((x - 2.0) ** 2), vikl.families.LowRankNormal,
        ...                 like=jnp.zeros(3), key=jax.random.key(0), num_steps=200)
        >>> post.std.shape
        (3,)

    References:
        Ong, Nott & Smith (2018), Gaussian variational approximation with a factor covariance
        structure; Roeder, Wu & Duvenaud (2017), Sticking the landing.
    """

    families: ClassVar[tuple[type[Family], ...]] = (LowRankNormal,)

    def run(self, target: Target, request: Request) -> Found:
        """Return the fitted low-rank normal, its ending, its record and the gradients it took."""
        evaluate = Evaluator(target, (_STARTS, 2 * _PROBES), request.journal)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(request.key)).ravel().tolist())
        loc, scale = _mode(evaluate, target, rng)
        loc, scale = (jnp.asarray(v, target.dtype) for v in (loc, scale))
        steps = request.num_steps or _STEPS
        algorithm = StochasticGradient(
            ReverseKL(StickingTheLanding(), num_samples=_DRAWS),
            optax.adam(optax.cosine_decay_schedule(_RATE, steps)),
        )
        data = (target, loc, scale)
        scaled = Target.from_density(_scaled_density, jnp.zeros_like(loc), data=data)
        loop = Loop(
            algorithm, scaled, _start(request.family, target), request.key, num_steps=steps,
            stop_on_plateau=False, progress=request.progress, callback=request.callback,
            checkpoint=None if request.journal is None else request.journal.steps,
            max_seconds=request.max_seconds,
        )  # fmt: skip
        state, ending, history = loop.go()
        q = cast(LowRankNormal, state.family)
        ending = ending.with_note(
            f"a mode by L-BFGS, then {int(state.step)} stochastic steps in coordinates scaled by "
            f"its curvature: a covariance of rank {q.factor.shape[1]} plus a diagonal"
        )
        fitted = LowRankNormal(loc + scale * q.loc, jnp.log(scale) + q.log_scale, q.factor)
        used = evaluate.num_gradients + loop.steps_taken * _DRAWS
        iterates = loop.iterates(np.asarray(std(q)))
        return Found(fitted, ending, history, used, iterates=iterates)


def _start(family: Any, target: Target) -> LowRankNormal:
    rank = family.factor.shape[1] if isinstance(family, LowRankNormal) else None
    return LowRankNormal.init(jnp.zeros(target.dim, target.dtype), 1.0, rank)


def _mode(
    evaluate: Evaluator, target: Target, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best mode that was climbed to and a scale for each coordinate there."""
    first = np.asarray(target.start, np.float64)
    points = first + np.concatenate(
        [np.zeros((1, len(first))), rng.uniform(-2, 2, size=(_STARTS - 1, len(first)))]
    )
    climbs = climb(evaluate, points, float(np.finfo(target.dtype).eps), 200)
    if not climbs:
        return first, np.ones_like(first)
    best = max(climbs, key=lambda one: one.value)
    scale = np.full(len(first), _typical_scale(best.inverse_hessian_times, rng, len(first)))
    for step in (1e-2, 1e-1):  # roughly, then by steps that suit each coordinate
        signs = rng.choice([-1.0, 1.0], size=(_PROBES, len(first)))
        ends = np.concatenate([best.x + step * scale * signs, best.x - step * scale * signs])
        _, gradients = evaluate(ends)
        change = (gradients[_PROBES:] - gradients[:_PROBES]) * scale / (2 * step)
        curvature = np.nanmean(np.where(np.isfinite(change), change * signs, np.nan), axis=0)
        scale = scale / np.sqrt(np.clip(curvature, 1e-4, 1e8))
    return best.x, scale


def _typical_scale(inverse_hessian_times: Callable, rng: np.random.Generator, dim: int) -> float:
    probe = rng.choice([-1.0, 1.0], size=dim)
    return float(np.sqrt(max(probe @ inverse_hessian_times(probe) / dim, 1e-16)))
