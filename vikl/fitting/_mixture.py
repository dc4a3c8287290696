"""The automatic method of a mixture of normals: a component for each mode that climbs find.

With the responsibilities γ_k = w_k q_k / q of the present mixture held fixed, the ELBO is bounded
below by Σ_k w_k (E_{q_k}[log p γ_k − log q_k] − log w_k): each component is a normal fitted to
p γ_k by natural gradients on draws of its own, and the best weights are w_k ∝ exp(its ELBO).
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from ..families import Family, FullRankNormal, NormalMixture
from ..target import Target
from ._ascend import Goal, ascend
from ._ascent import Climb, Evaluate, Mode, climb
from ._automatic import Automatic
from ._method import Found, Method, Request
from ._natural import LOG_2PI, Ascent, Moments, Row
from ._status import Ending

_STARTS, _SPREAD = 64, 4.0
_MOST = 48
_LONELY = 0.1  # share of climbs that ended where no other did: as much may be unseen
_SWEEPS = 4
_ROUNDS = 30
_NEGLIGIBLE = 1e-4  # weight below which a component is left out
_STEADY = 0.01  # nats of ELBO between sweeps


class MixtureClimb(Method):
    """The automatic method of `NormalMixture`.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> def two(x):
        ...     return jnp.logaddexp(-0.5 * jnp.sum((x - 5) ** 2), -0.5 * jnp.sum((x + 5) ** 2))
        >>> post = vikl.fit(two, vikl.families.NormalMixture, like=jnp.zeros(1),
        ...                 key=jax.random.key(0))
        >>> post.family.loc.shape[0], round(float(post.family.weights[0]), 2)
        (2, 0.5)

    References:
        Arenz et al. (2022), A unified perspective on natural gradient variational inference with
        Gaussian mixture models.
    """

    families: ClassVar[tuple[type[Family], ...]] = (NormalMixture,)

    def run(self, target: Target, request: Request) -> Found:
        """Return the mixture, its ending, its record and the gradients it took."""
        auto = Automatic(
            target, FullRankNormal, request.key, None,
            num_starts=request.num_starts or _STARTS, progress=request.progress,
            callback=request.callback, max_seconds=request.max_seconds,
            journal=request.journal, spread=_SPREAD, most_modes=_MOST,
        )  # fmt: skip
        climbs = climb(auto.evaluate, auto.start_points(), auto.precision)
        modes = auto.modes(climbs)
        found = [Moments(mode.x, mode.scale) for mode in modes]
        if not found:
            start = np.asarray(target.start, np.float64)
            found = [Moments(start, np.eye(len(start)))]
        weights = np.full(len(found), 1 / len(found))
        rows: list[Row] = []
        before, steady, runs = -np.inf, False, []
        for sweep in range(_SWEEPS):
            shared = len(found) > 1 and sweep > 0
            runs = [self._one(auto, found, weights, k, shared, request) for k in range(len(found))]
            elbos = np.asarray([run.elbo for run in runs])
            found, weights, elbo = _renew(runs, elbos)
            error = float(np.max([run.elbo_std_error for run in runs]))
            rows.append(Row(auto.evaluate.num_gradients, elbo, error, np.nan))
            steady = abs(elbo - before) < max(_STEADY, 2 * error) and sweep > 0
            if auto.stopped or steady or len(found) == 1:
                break
            before = elbo
        history = {n: np.asarray(v, float) for n, v in zip(Row._fields, zip(*rows))}
        converged = all(run.converged for run in runs) and (steady or len(found) == 1)
        ending = _ending(auto, len(modes), len(found), converged, _lonely(auto, modes, climbs))
        family = _family(found, weights, target)
        return Found(family, ending, history, auto.evaluate.num_gradients, tuple(auto.starts))

    def _one(
        self,
        auto: Automatic,
        found: list[Moments],
        weights: np.ndarray,
        k: int,
        shared: bool,
        request: Request,
    ) -> Ascent:
        evaluate = _part(auto.evaluate, found, weights, k) if shared else auto.evaluate
        rounds = request.num_steps or _ROUNDS
        return ascend(
            evaluate, found[k], auto.rng, Goal(0.005, 0.04, rounds), num_draws=auto.num_draws,
            first_count=auto.evaluate.num_gradients, watch=auto.watch,
        )  # fmt: skip


def _renew(runs: list[Ascent], elbos: np.ndarray) -> tuple[list[Moments], np.ndarray, float]:
    """Return the components worth keeping, their weights, and the bound of the whole."""
    elbos = np.where(np.isfinite(elbos), elbos, -np.inf)
    top = float(elbos.max())
    if not np.isfinite(top):
        return [run.moments for run in runs], np.full(len(runs), 1 / len(runs)), -np.inf
    weights = np.exp(elbos - top)
    bound = top + float(np.log(weights.sum()))
    weights /= weights.sum()
    kept = np.flatnonzero(weights > _NEGLIGIBLE)
    chosen: list[int] = []
    for k in kept[np.argsort(-weights[kept])]:  # two climbs may have ended in one mode
        if all(_apart(runs[k].moments, runs[j].moments) for j in chosen):
            chosen.append(int(k))
    found, shares = [runs[k].moments for k in chosen], weights[chosen]
    return found, shares / shares.sum(), bound


def _apart(a: Moments, b: Moments) -> bool:
    """Whether two normals are more than half a sd from each other, by either's."""
    gaps = [np.linalg.norm(np.linalg.solve(q.scale, a.mean - b.mean)) for q in (a, b)]
    return bool(max(gaps) > 0.5)


def _part(evaluate: Evaluate, found: list[Moments], weights: np.ndarray, k: int) -> Evaluate:
    """Return the log density of p γ_k, the part of the target that component k answers for."""

    def part(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = evaluate(points)
        logs, slopes = [], []
        for q, weight in zip(found, weights):
            z = np.linalg.solve(q.scale, (points - q.mean).T).T
            log_det = np.linalg.slogdet(q.scale)[1] + 0.5 * len(q.mean) * LOG_2PI
            logs.append(np.log(weight) - 0.5 * np.sum(z * z, axis=1) - log_det)
            slopes.append(-np.linalg.solve(q.scale.T, z.T).T)
        total = np.logaddexp.reduce(logs, axis=0)
        shares = np.exp(np.asarray(logs) - total)
        slope = slopes[k] - np.einsum("kn,knd->nd", shares, np.asarray(slopes))
        return values + logs[k] - total, gradients + slope

    return part


def _family(found: list[Moments], weights: np.ndarray, target: Target) -> NormalMixture:
    trils = np.stack([np.linalg.qr(q.scale.T)[1].T for q in found])
    trils = trils * np.sign(np.diagonal(trils, axis1=1, axis2=2))[:, None, :]
    parts = (weights, np.stack([q.mean for q in found]), trils)
    return NormalMixture.from_components(*(jnp.asarray(v, target.dtype) for v in parts))


def _lonely(auto: Automatic, modes: list[Mode], climbs: list[Climb]) -> float:
    """Return the share of the climbs that ended where no other did."""
    visits = [sum(auto.same(mode, one) for one in climbs) for mode in modes]
    return sum(v == 1 for v in visits) / max(len(climbs), 1) if len(modes) > 1 else 0.0


def _ending(auto: Automatic, modes: int, kept: int, converged: bool, lonely: float) -> Ending:
    used = auto.evaluate.num_gradients
    notes = (
        f"{kept} components of {modes} distinct modes of {auto.num_starts} climbs: a mode that no "
        "climb reached is not in it",
    )
    if auto.stopped:
        because = f"{auto.because}, after" if auto.because else "after"
        return Ending(auto.stopped, f"{because} {used} gradients", notes)
    if converged and lonely > _LONELY:
        # Good (1953): the unseen share is about the share of what was seen once
        because = (
            f"{100 * lonely:.0f} % of the climbs ended where no other did, so about as "
            f"much is unseen: take more `num_starts`; after {used} gradients"
        )
        return Ending("modes missed", because, notes)
    if converged:
        because = f"the components and their weights stand still, after {used} gradients"
        return Ending("converged", because, notes)
    return Ending("budget spent", f"some component has not settled, after {used} gradients", notes)
