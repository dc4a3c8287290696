"""The mode probe: what reverse KL cannot see, looked for by climbing from far outside q."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._typing import PRNGKey
from ..families import Family
from ._climb import Climbs, climb
from ._frame import CHUNK_GRADIENTS, Frame, frame_of, unwhiten, value_and_grad
from ._outside import Laplace, Outside, evidence_inside, laplace, mass_outside
from ._weighted import WeightedDraws, check_dims, draw_weighted, seed_of

_RADII = (3.0, 6.0, 12.0, 24.0)  # how many times as wide as q the starts are scattered
_LATER_RADII = (2.0, 4.0, 8.0, 16.0)  # in the second wave and each later one
_PER_RADIUS = 6
_CHUNK = CHUNK_GRADIENTS  # 25 climbs make five full ones
_BUDGET = 460
_SAME = 0.25  # ends closer than this (in q's sds) are one optimum
_DIP = 0.5  # a path that sinks by less than this (nats) does not separate two optima
_MAX_PATHS = 20  # paths looked along, five gradients each
_MAX_OPTIMA = 4  # the highest ones; each costs `dim` gradients for its Hessian


@dataclasses.dataclass(frozen=True)
class ModeProbe:
    """What climbing from outside q found.

    Args:
        share_outside: share of the mass found that lies outside q, between 0 and 1: evidence of
            the optima outside q over that plus q's own.
        share_std_error: its standard error.
        optima: the distinct regular optima outside q, shape (k, dim), unconstrained, best first.
        log_evidence: of each of them, nats (Laplace, corrected by importance sampling).
        log_evidence_inside: q's own, nats, which they were compared with (`evidence_inside`).
        distance: how far each is from q's mean, in q's standard deviations, shape (k,).
        num_starts: climbs, the one from q's mean included.
        num_gradients: gradients of the log density used, all told.
        num_evaluations: evaluations of the log density without its gradient.
        ends: how the climbs ended, counted by word (see `Climbs`).
        num_irregular: separate ends that turned out not to be optima (flat, a ridge, a saddle).
        home_distance: from q's mean to where a climb from there ends, in q's sds per √dim.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2), 1.0)
        >>> probe = vikl.diagnostics.mode_probe(target, q, jax.random.key(0))
        >>> probe.share_outside, probe.optima.shape
        (0.0, (0, 2))
    """

    share_outside: float
    share_std_error: float
    optima: Float[ndarray, "k dim"]
    log_evidence: Float[ndarray, " k"]
    log_evidence_inside: float
    distance: Float[ndarray, " k"]
    num_starts: int
    num_gradients: int
    num_evaluations: int
    ends: dict[str, int]
    num_irregular: int
    home_distance: float

    def __repr__(self) -> str:
        where = ", ".join(f"{d:.1f} sds away" for d in self.distance) or "none"
        ends = ", ".join(f"{count} {word}" for word, count in self.ends.items())
        return (
            f"ModeProbe({100 * self.share_outside:.1f} % of the mass found is outside q; optima "
            f"outside: {where}; {self.num_starts} climbs ({ends}), {self.num_gradients} gradients)"
        )


def mode_probe(
    target: Any, family: Family, key: PRNGKey, weighted: WeightedDraws | None = None
) -> ModeProbe:
    """Look for mass that q does not see: climb from far outside, and weigh what is found.

    24 starts at 3, 6, 12 and 24 times q's width in q's whitened coordinates (pairs on opposite
    sides, along randomly rotated axes) and one at q's mean climb in lockstep by L-BFGS; while more
    than half of the 460 gradients is left, 24 more set out from 2 to 16 times. Ends that coincide
    are one optimum. An end that a straight path without a dip joins to the end of the climb from
    q's mean is q's own optimum: a q that is merely misplaced is not a missed mode (its effective
    sample size says so). Every other regular optimum gets its Laplace evidence, corrected by
    importance sampling, counting only mass where q has less than 1/20 of the density it should
    have; that is compared with q's own evidence.

    It costs 230 to 600 gradients; each optimum outside adds `dim` or so for its Hessian. It cannot
    find a mode so narrow that no slope leads there from a few of q's widths away. A target without
    a regular optimum (improper, flat, unbounded) raises nothing: `ends` says so.

    Args:
        target: has `log_density(x)`, `dim`.
        family: the fitted q.
        key: a JAX random key.
        weighted: draws of q, where there are any already; otherwise 512 are made.

    Raises:
        ValueError: the dimensions differ.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> from vikl.target import Target
        >>> two = lambda x: jnp.logaddexp(-2 * (x + 2) ** 2, -2 * (x - 2) ** 2)
        >>> target = Target.from_density(two, like=0.0)
        >>> q = MeanFieldNormal.init(-2 * jnp.ones(1), 0.5)
        >>> probe = mode_probe(target, q, jax.random.key(0))
        >>> round(probe.share_outside, 1), probe.optima.round(1).tolist()
        (0.5, [[2.0]])

    References:
        Yao, Vehtari and Gelman (2022), Stacking for non-mixing Bayesian computations; MacKay
        (2003), Information Theory, Inference, and Learning Algorithms, chapter 27 (Laplace).
    """
    check_dims(target, family)
    weighted = weighted or draw_weighted(target, family, jax.random.fold_in(key, 1), 512)
    rng = np.random.default_rng(seed_of(key))
    frame = frame_of(family, weighted)
    counter = _Counter(target, frame)
    climbs = _climb_in_waves(counter, rng)
    candidates = _separate(counter, climbs)
    optima = _refine(counter, climbs, candidates)
    inside = evidence_inside(weighted.log_ratios)
    found = mass_outside(target, family, frame, optima, inside, rng)
    return _report(found, climbs, counter, inside, len(candidates) - len(optima))


def _report(
    found: Outside, climbs: Climbs, counter: "_Counter", inside: float, num_irregular: int
) -> ModeProbe:
    frame = counter.frame
    return ModeProbe(
        share_outside=found.share,
        share_std_error=found.share_std_error,
        optima=unwhiten(frame, found.z),
        log_evidence=found.log_evidence,
        log_evidence_inside=inside,
        distance=np.linalg.norm(found.z, axis=1),
        num_starts=len(climbs.z),
        num_gradients=counter.num_gradients,
        num_evaluations=found.num_evaluations,
        ends={word: climbs.state.count(word) for word in dict.fromkeys(climbs.state)},
        num_irregular=num_irregular,
        home_distance=float(np.linalg.norm(climbs.z[0]) / np.sqrt(frame.dim)),
    )


def _climb_in_waves(counter: "_Counter", rng: np.random.Generator) -> Climbs:
    """Climb from q's mean and 24 starts, and from 24 more as long as the budget is half unused."""
    dim = counter.frame.dim
    starts = np.concatenate([np.zeros((1, dim)), _starts(rng, dim, _RADII)])
    climbs = climb(counter, starts, _BUDGET)
    while counter.num_gradients < _BUDGET / 2:
        left = _BUDGET - counter.num_gradients
        climbs = climbs.joined(climb(counter, _starts(rng, dim, _LATER_RADII), left))
    return climbs


def _starts(rng: np.random.Generator, dim: int, radii: tuple[float, ...]) -> ndarray:
    """Return, for each radius, points on opposite sides of q's mean along rotated axes."""
    starts = []
    for radius in radii:
        axes: list[ndarray] = []
        while len(axes) < _PER_RADIUS // 2:
            rotated = np.linalg.qr(rng.normal(size=(dim, min(dim, _PER_RADIUS // 2))))[0]
            axes.extend(rotated.T)
        half = np.stack(axes[: _PER_RADIUS // 2]) * np.sqrt(dim)
        half = half * (radius * rng.uniform(0.75, 1.25, size=(len(half), 1)))
        starts += [half, -half]
    return np.concatenate(starts)


class _Counter:
    """Evaluates log p and its gradient at whitened points in small chunks, and counts."""

    def __init__(self, target: Any, frame: Frame) -> None:
        self.target, self.frame, self.num_gradients = target, frame, 0
        self.dtype = target.dtype

    def __call__(self, z: ndarray) -> tuple[ndarray, ndarray]:
        padded = np.concatenate([z, np.repeat(z[:1], -len(z) % _CHUNK, axis=0)])
        self.num_gradients += len(padded)
        parts = [
            value_and_grad(self.target, self.frame, jnp.asarray(chunk, self.dtype))
            for chunk in padded.reshape(-1, _CHUNK, z.shape[1])
        ]
        values, gradients = (
            np.concatenate([np.asarray(v) for v in vs]) for vs in zip(*parts, strict=True)
        )
        return values[: len(z)].astype(np.float64), gradients[: len(z)].astype(np.float64)


def _separate(counter: _Counter, climbs: Climbs) -> list[ndarray]:
    """Return the distinct ends that a dip separates from the climb from q's mean, best first."""
    kept: list[int] = []
    for i in np.argsort(-climbs.value, kind="stable"):
        near = [np.linalg.norm(climbs.z[i] - climbs.z[j]) for j in [0, *kept]]
        if climbs.state[i] == "arrived" and min(near) > _SAME:
            kept.append(int(i))
    kept = kept[:_MAX_PATHS]
    apart = [climbs.z[i] for i in kept if _dips(counter, climbs, climbs.z[i], climbs.value[i])]
    return apart[:_MAX_OPTIMA]


def _dips(counter: _Counter, climbs: Climbs, z: ndarray, value: float) -> bool:
    """Whether the straight path from the end of q's own climb to `z` sinks below both ends."""
    home, home_value = climbs.z[0], climbs.value[0]
    if not np.isfinite(home_value):
        return True
    steps = np.linspace(0, 1, _CHUNK + 2)[1:-1, None]
    along = counter(home + steps * (z - home))[0]
    return bool(np.nan_to_num(along, nan=-np.inf).min() < min(home_value, value) - _DIP)


def _refine(counter: _Counter, climbs: Climbs, candidates: list[ndarray]) -> list[Laplace]:
    """Return the Laplace normals of those that are regular optima and stay separate."""
    optima: list[Laplace] = []
    for z in candidates:
        normal, cost = laplace(counter.target, counter.frame, z)
        counter.num_gradients += cost
        if normal is None:
            continue
        centre = normal.centre
        known = [climbs.z[0], *(o.centre for o in optima)]
        if min(np.linalg.norm(centre - other) for other in known) > _SAME:
            moved = np.linalg.norm(centre - z) > _SAME
            if not moved or _dips(counter, climbs, centre, counter(centre[None])[0][0]):
                optima.append(normal)
    return optima
