"""The fit that needs no tuning: modes first, then natural gradients, then a second opinion.

Several starts climb by L-BFGS in lockstep; the distinct ends get their curvature by Newton steps
in whitened coordinates; the one with the most evidence is continued by natural-gradient steps.
Where importance weights say that the result is poor, broad normals are tried as well, one that
never looked at a mode and one about the highest climb (a mode is a bad guide to a funnel, and in
its neck the density may have no bound), and the better ELBO wins.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from .._typing import PRNGKey
from ..diagnostics import WeightedDraws
from ..families import Family, FullRankNormal, MeanFieldNormal
from ..target import Target
from ._arguments import check_start
from ._ascend import FRAMED, SPENT, Goal, Watch, ascend
from ._ascent import Climb, Mode, climb, newton
from ._callback import Snapshot, call_back
from ._evaluate import Evaluator
from ._journal import Journal
from ._natural import DIAGONAL, FULL, Ascent, Moments, Round, Row, draw_noise
from ._pool import Pool
from ._progress import Bar, wants_bar
from ._rivals import apart, behind, clearly_better, symmetric_kl
from ._status import Ending
from ._unsettled import unsettled
from ._weigh import seed_of

_STARTS = 8
_SPREAD = 2.0  # starts are uniform within this of the first, in unconstrained units (as in Stan)
_FINE, _COARSE = 0.0008, 0.04  # nats of remaining bias and noise: aimed at, and settled for
_NEARLY = 0.1  # nats of noise, of a fit that the budget stopped just before it settled
_GRADIENTS = 4800  # spent where the fine tolerance asks for them
_ROUNDS_AT_LEAST = 40
_WIDEST = 1e15  # a mode wider than this is flat: there is no curvature to trust
_FEWEST_ROUNDS = 8  # of another opinion
_NO_PEAK = 1.5  # times that, where no climb reached a mode: a broad start comes from far away
_STRETCHES = 3  # times the budget, at most, while the fit still gets better
_ADRIFT = 5.0  # nats that each of the higher climbs' next steps promises: up a neck without end
_DOUBTFUL_ROUNDS = 4  # for a mode that no climb has reached
_BROAD = (1.0, 0.3)  # sds of a second opinion's starts, unconstrained; the next if one is no better
_RESERVE = 0.25  # of what is left, for the other opinion where one stays behind
_NEWTON_ROUNDS = (12, 5)  # for the first mode, and for each other
_NEWTON_GRADIENTS = (600, 300)  # and no more than these, except for two rounds
_NO_VALLEY = 0.5  # nats
_GLANCE = 400  # gradients of a look at a start
_MOST_MODES = 3  # distinct modes that are looked at closely
_RIVAL_NATS = 3.0  # below the best, a mode deserves one part in twenty of q
_CLOSE_NATS = 10.0  # modes whose evidence is this close are compared by their ELBO
_POOR_EFFICIENCY = 0.2  # relative effective sample size: see the study of fits in the tests


@dataclasses.dataclass(frozen=True)
class Start:
    """Where one start ended: log density and Laplace evidence there, and what came of it.

    Where a normal was fitted from this start alone: its ELBO, and its symmetric KL from the answer.
    """

    kind: str
    log_density: float
    log_evidence: float
    note: str
    elbo: float = np.nan
    elbo_std_error: float = np.nan
    divergence: float = np.nan


@dataclasses.dataclass
class AutomaticFit:
    """What the automatic method found."""

    family: Family
    ending: Ending
    history: dict[str, np.ndarray]
    num_gradients: int
    starts: list[Start]


class NoGradientError(Exception):
    """The gradient is zero at every start, though the values differ."""


class Automatic:
    """One run of the automatic method on one target."""

    def __init__(
        self,
        target: Target,
        family: type[Family],
        key: PRNGKey,
        judge: Callable[[Family], WeightedDraws] | None,
        *,
        num_starts: int | None = None,
        max_rounds: int | None = None,
        progress: bool | None = None,
        callback: Callable | None = None,
        max_seconds: float | None = None,
        journal: Journal | None = None,
        fine: bool = True,
        spread: float = _SPREAD,
        most_modes: int = _MOST_MODES,
    ):
        self.target, self.family, self.judge = target, family, judge
        dim = target.dim
        self.num_starts = num_starts or _STARTS
        self.num_draws = max(64, 4 * dim)
        self.given_rounds, self.fine = max_rounds, fine
        self.spread, self.most_modes = spread, most_modes
        self.shape = FULL if family is FullRankNormal else DIAGONAL
        self.journal = journal
        framed = 2 * dim if dim >= FRAMED else self.num_draws
        self.evaluate = Evaluator(target, (self.num_starts, framed), journal)
        self.rng = np.random.default_rng(seed_of(key, 0))
        self.progress, self.callback = progress, callback
        self.deadline = np.inf if max_seconds is None else time.monotonic() + max_seconds
        self.began = time.monotonic()
        self.stopped = self.because = ""
        self.bar: Bar | None = None
        self.rounds, self.stretch = 0, 1
        self.missed = False  # a mode that deserves as much of q as the one that it covers
        self.mass = -np.inf  # the log of what distinct modes hold together, at least
        self.peaked = True  # whether some climb reached a mode
        self.highest: np.ndarray | None = None  # where the best one ended
        self.adrift = False  # whether climbs were far from any mode when they ended
        self.starts: list[Start] = []
        self.led: dict[int, Start] = {}  # the start that led to a mode, by the mode's id
        self.fits: list[tuple[Start, Ascent]] = []  # of starts that had one of their own
        self.notes: list[str] = []
        self.precision = float(np.finfo(target.dtype).eps)

    # what is not finite is looked for and counted, so NumPy need not warn of it
    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def go(self) -> AutomaticFit:
        """Run to an ending."""
        best: Ascent | None = None
        with Bar(self.budget, wants_bar(self.progress), unit="gradient") as bar:
            self.bar = bar
            try:
                climbs = self._climb()
                if self.adrift:
                    best = self._broad_first(climbs)
                else:
                    best = self._second_opinion(self._from_modes(climbs))
                best = self._finish(best)
                while self._worth_more(best):
                    self.stretch += 1
                    best = self._finish(best)
            except KeyboardInterrupt:
                self.stopped = "interrupted"
        best = best or self._whatever_there_is()
        return self._result(best)

    # -- the stages

    def _climb(self) -> list[Climb]:
        climbs = climb(self.evaluate, self.start_points(), self.precision)
        self.peaked = any(one.done == "converged" for one in climbs)
        ends = [one for one in climbs if np.isfinite(one.value) and one.done != "unbounded"]
        if ends:
            ends.sort(key=lambda one: -one.value)
            promised = min(one.promise for one in ends[: -(-len(ends) // 2)])
            self.highest, self.adrift = ends[0].x, not self.peaked and promised > _ADRIFT
        self._tell("climbing")
        return climbs

    def _from_modes(self, climbs: list[Climb]) -> Ascent | None:
        modes = self.modes(climbs)
        if not modes:
            return None
        top = modes[0].log_evidence
        rivals = [m for m in modes if m.log_evidence > top - _CLOSE_NATS]
        self.current = self._moments(modes[0])
        if len(rivals) <= 1:
            return self._ascend(self.current, self._most_of_it(), _COARSE)
        shorts = [self._ascend(self._moments(m), self._glance(4)) for m in rivals]
        best = max(shorts, key=lambda a: a.elbo)
        self.fits += [(self.led[id(m)], a) for m, a in zip(rivals, shorts, strict=True)]
        others = [a for a in shorts if a is not best and np.isfinite(a.elbo)]
        distinct = [best, *(a for a in others if apart(a.moments, best.moments))]
        self.missed = any(a is not best and a.elbo > best.elbo - _RIVAL_NATS for a in distinct)
        self.mass = float(np.logaddexp.reduce([a.elbo for a in distinct]))
        if len(distinct) > 1:
            self.notes.append(
                f"{len(distinct)} distinct modes of similar evidence were found (ELBO "
                f"{', '.join(f'{a.elbo:.2f} ± {a.elbo_std_error:.2f}' for a in distinct)}); "
                "the fit covers one of them (a NormalMixture would cover them all)"
            )
        return self._ascend(best.moments, self._most_of_it(), _COARSE)

    def _broad_first(self, climbs: list[Climb]) -> Ascent:
        """Try a broad start before what climbs lead to, where that is far from any mode."""
        broad = self._broad(_BROAD[0], max(int((1 - _RESERVE) * self._rounds_left()), 1))
        enough = broad.converged or self.stopped or self._rounds_left() < _FEWEST_ROUNDS
        other = None if enough else self._from_modes(climbs)
        return broad if self._better(broad, other) or other is None else other

    def _second_opinion(self, best: Ascent | None) -> Ascent:
        """Try broad starts where there is no fit yet or where the weights say it is poor."""
        if best is not None and (self.stopped or self._efficiency(best) >= _POOR_EFFICIENCY):
            return best
        # where a climb reached a mode, and the first opinion (nearly) settled, it is likely right
        sound = best is not None and self.peaked and (best.converged or best.noise < _NEARLY)
        for width in _BROAD[:1] if sound else _BROAD:
            rounds = self._usual_left() // 2 if sound else self._rounds_left()
            if sound and rounds < _DOUBTFUL_ROUNDS:
                break  # a glance could not overtake
            watch = None if best is None else self._hopeless(best, rounds)
            broad = self._broad(width, rounds, watch)
            if self._better(broad, best) or best is None:
                return broad
            if self.stopped or self._rounds_left() < _FEWEST_ROUNDS:
                break
        assert best is not None
        return best

    def _broad(self, width: float, rounds: int, watch: Watch | None = None) -> Ascent:
        """Climb from a broad normal about the given start, or a narrower one about the summit."""
        centre = np.asarray(self.target.start, np.float64)
        if width != 1 and self.highest is not None:
            centre = self.highest
        start = Moments(centre, width * np.eye(len(centre)))
        return self._ascend(start, rounds, _COARSE, watch=watch)

    def _better(self, broad: Ascent, best: Ascent | None) -> bool:
        """Return whether a second opinion is kept, and take down what came of it."""
        if best is None or not np.isfinite(best.elbo):
            kept = best is None or bool(np.isfinite(broad.elbo))
        elif not np.isfinite(broad.elbo):
            kept = False
        elif self.judge is None:
            kept = broad.elbo > best.elbo
        else:
            kept = clearly_better(self._judged(broad), self._judged(best))
        if kept:
            # it may cover more than one of them, and is still short of what they hold together
            self.missed = self.mass > broad.elbo + np.log1p(np.exp(-_RIVAL_NATS))
            dropped = "no note" if self.missed else "distinct modes"
            self.notes = [note for note in self.notes if dropped not in note]
        note = "kept: higher ELBO" if kept else "not kept: lower ELBO"
        self.starts.append(Start("broad normal", np.nan, np.nan, note))
        self.fits.append((self.starts[-1], broad))
        return kept

    def _hopeless(self, best: Ascent, left: int) -> Watch:
        """Return what stops a second opinion that cannot overtake the first any more."""
        began = self.evaluate.num_gradients
        late = behind(best.elbo, began, began + (1 - _RESERVE) * left * self.num_draws)
        return lambda q, used, seen: self.watch(q, used, seen) or late(used, seen.elbo)

    def _finish(self, best: Ascent) -> Ascent:
        """Spend what is left of the budget on what noise the fit still has."""
        rounds = self._rounds_left()
        if best.converged:
            rounds = self._usual_left()
        done = (not self.fine and best.converged) or best.noise < _FINE
        if done or self.stopped or rounds < 2:
            return best
        fine = _FINE if self.stretch == 1 else _COARSE
        more = self._ascend(best.moments, rounds, fine, pool=best.pool)
        if more.converged or self.stopped:
            more.history = [*best.history, *more.history]
            return more
        if best.converged and not more.level > best.level + _COARSE:
            return best
        history = [*best.history, *more.history]
        if self.judge is not None and clearly_better(self._judged(best), self._judged(more)):
            return dataclasses.replace(best, history=history, converged=False, reason=more.reason)
        more.history = history
        return more

    def _worth_more(self, fit: Ascent) -> bool:
        """Return whether a fit that the budget stopped was still on its way, or nearly there."""
        if fit.converged or self.stopped or self.given_rounds is not None or not self.fine:
            return False
        if fit.reason != SPENT or self.stretch >= _STRETCHES:
            return False
        return fit.rising or fit.noise < _STRETCHES * _COARSE

    def start_points(self) -> np.ndarray:
        """Return the given start and others spread about it; raise where none can be used."""
        first = np.asarray(self.target.start, np.float64)
        spread = self.rng.uniform(-self.spread, self.spread, size=(self.num_starts, len(first)))
        spread[0] = 0.0
        points = first + spread
        values, gradients = self.evaluate(points)
        check_start(self.target, first, values[0], gradients[0])
        if not gradients.any() and len(set(values.tolist())) > 1:
            raise NoGradientError
        usable = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        if not usable.any():
            raise ValueError(
                f"`log_density` is {values[0]} at the start and not finite at {len(points) - 1} "
                f"points within {self.spread:g} of it (unconstrained). Give `like` values where "
                "the density is positive, or a `support`."
            )
        if not usable.all():
            self.notes.append(f"{int((~usable).sum())} of {len(points)} starts were not finite")
        return points

    def modes(self, climbs: list[Climb]) -> list[Mode]:
        """Return the distinct modes, best evidence first, each with its curvature."""
        modes: list[Mode] = []
        looked = 0
        order = sorted(climbs, key=lambda c: -c.value)
        for one in order:
            if one.done == "unbounded" or not np.isfinite(one.value):
                self.starts.append(Start("climb", one.value, np.nan, one.done))
                continue
            seen = next((m for m in modes if self.same(m, one)), None)
            if seen is None and modes and looked < self.most_modes:
                seen = self._beside(modes, one)
            if seen is not None or looked >= self.most_modes:
                note, evidence = "not looked at", np.nan
                if seen is not None:
                    note, evidence = "the same mode", seen.log_evidence
                self.starts.append(Start("climb", one.value, evidence, note))
                continue
            looked += 1
            rank = min(looked, 2) - 1
            afford = _NEWTON_GRADIENTS[rank] // (2 * len(one.x))
            rounds = min(_NEWTON_ROUNDS[rank], max(afford, 2))
            x, scale, value = newton(self.evaluate, one.x, one.scale(), rounds)
            mode = Mode(x, scale, value)
            if not (np.abs(scale).max() < _WIDEST and np.isfinite(mode.log_evidence)):
                self.starts.append(Start("climb", one.value, np.nan, "no curvature"))
                continue
            self.starts.append(Start("climb", value, mode.log_evidence, one.done))
            if not any(self.same(m, Climb(x, value, np.zeros_like(x))) for m in modes):
                modes.append(mode)
                self.led[id(mode)] = self.starts[-1]
            self.current = self._moments(modes[0])
        return sorted(modes, key=lambda m: -m.log_evidence)

    @staticmethod
    def same(mode: Mode, one: Climb) -> bool:
        """Whether a climb ended in the bowl of `mode`: as low as a bowl is at its distance."""
        distance = float(np.linalg.norm(np.linalg.solve(mode.scale, one.x - mode.x)))
        drop = mode.log_density - one.value
        return distance < 3.0 or 0.5 * distance**2 < 2.0 * drop + 2.0

    def _beside(self, modes: list[Mode], one: Climb) -> Mode | None:
        """Return the nearest mode if no valley lies between it and where a climb ended."""
        nearest = min(modes, key=lambda m: float(np.linalg.norm(m.x - one.x)))
        shares = np.linspace(0, 1, 10)[1:-1, None]
        values, _ = self.evaluate(one.x + shares * (nearest.x - one.x))
        lowest = min(one.value, nearest.log_density) - _NO_VALLEY
        return nearest if bool((values > lowest).all()) else None

    @property
    def budget(self) -> int:
        """The gradients that may be spent, more or less."""
        if self.given_rounds is not None:
            return self.given_rounds * self.num_draws
        usual = max(_GRADIENTS, _ROUNDS_AT_LEAST * self.num_draws)
        return int(self.stretch * (1 if self.peaked else _NO_PEAK) * usual)

    def _rounds_left(self) -> int:
        if self.given_rounds is not None:
            return self.given_rounds - self.rounds
        return (self.budget - self.evaluate.num_gradients) // self.num_draws

    def _usual_left(self) -> int:
        """Return the rounds left of what a fit may cost without what more dimensions may cost."""
        left = self._rounds_left()
        if self.given_rounds is not None:
            return left
        return min(left, max(_GRADIENTS - self.evaluate.num_gradients, 0) // self.num_draws)

    def _glance(self, rounds: int) -> int:
        """Return the rounds of a look at a start, fewer where each costs a lot."""
        return min(max(_GLANCE // self.num_draws, 1), rounds)

    def _most_of_it(self) -> int:
        """Return the rounds of a first fit: something is kept for a second opinion."""
        left = self._rounds_left()
        return max(2 * left // 3 if self.peaked else min(left, _DOUBTFUL_ROUNDS), 1)

    def _ascend(
        self,
        start: Moments,
        max_rounds: int | None = None,
        fine: float = _FINE,
        pool: Pool | None = None,
        watch: Watch | None = None,
    ) -> Ascent:
        left = max(self._rounds_left(), 1)
        ascent = ascend(
            self.evaluate,
            start,
            self.rng,
            Goal(fine, _COARSE, left if max_rounds is None else min(max_rounds, left)),
            num_draws=self.num_draws,
            shape=self.shape,
            pool=pool,
            first_count=self.evaluate.num_gradients,
            watch=watch or self.watch,
        )
        self.rounds += len(ascent.history)
        return ascent

    # -- small helpers

    def _moments(self, mode: Mode) -> Moments:
        if self.family is FullRankNormal:
            return Moments(mode.x, mode.scale)
        precision = np.sum(np.linalg.inv(mode.scale) ** 2, axis=0)  # diagonal of (scale scaleᵀ)⁻¹
        return Moments(mode.x, np.diag(1 / np.sqrt(precision)))

    def _efficiency(self, fit: Ascent) -> float:
        return 1.0 if self.judge is None else self._judged(fit).relative_ess

    def _judged(self, fit: Ascent) -> WeightedDraws:
        """Return fresh draws of a fit, weighed; the same noise for each."""
        assert self.judge is not None
        return self.judge(self._family(fit.moments))

    def watch(self, q: Moments, used: int, seen: Round) -> bool:
        self.current = q
        self._tell(f"elbo {seen.elbo:.4g}")
        if self.journal is not None and self.journal.replaying:
            return False  # this was seen before the run was stopped
        if self.callback is not None:
            record = {"elbo": seen.elbo, "elbo_std_error": seen.elbo_std_error}
            seconds = time.monotonic() - self.began
            self.because = call_back(
                self.callback, Snapshot(used, self.budget, seconds, record, self._family(q))
            )
            if self.because:
                self.stopped = "stopped by callback"
        if time.monotonic() > self.deadline:
            self.stopped = "time spent"
        return bool(self.stopped)

    def _tell(self, text: str) -> None:
        new = self.evaluate.num_gradients - getattr(self, "_told", 0)
        self._told = self.evaluate.num_gradients
        if self.bar is not None:
            self.bar.advance(new, text)

    def _whatever_there_is(self) -> Ascent:
        """Return the best state known when a stop came early."""
        start = np.asarray(self.target.start, np.float64)
        moments = getattr(self, "current", Moments(start, np.eye(len(start))))
        return Ascent(moments, [], False, "", -np.inf, np.inf, np.inf)

    def _family(self, q: Moments) -> Family:
        # in NumPy: each eager operation of JAX is a program to compile in a cold process
        scale = q.scale if self.family is not FullRankNormal else np.linalg.qr(q.scale.T)[1].T
        diagonal = np.diagonal(scale)
        loc, log_diagonal, lower = (
            jax.device_put(np.asarray(v, self.target.dtype))
            for v in (q.mean, np.log(np.abs(diagonal)), np.tril(scale * np.sign(diagonal), -1))
        )
        if self.family is not FullRankNormal:
            return MeanFieldNormal(loc, log_diagonal)
        return FullRankNormal(loc, log_diagonal, lower)

    def _result(self, best: Ascent) -> AutomaticFit:
        columns = zip(*best.history) if best.history else [()] * len(Row._fields)
        history = {n: np.asarray(v, float) for n, v in zip(Row._fields, columns)}
        family, ending = self._family(best.moments), self._ending(best)
        starts = self._compared_with(best.moments)
        return AutomaticFit(family, ending, history, self.evaluate.num_gradients, starts)

    def _compared_with(self, answer: Moments) -> list[Start]:
        """Return the starts, with how far the fits of their own lie from the answer.

        A look of a few rounds that has not settled says nothing, unless it is elsewhere.
        """
        own = {}
        for start, fit in self.fits:
            divergence = symmetric_kl(fit.moments, answer)
            if np.isfinite(divergence) and (fit.converged or apart(fit.moments, answer)):
                own[id(start)] = dataclasses.replace(
                    start,
                    elbo=float(fit.elbo),
                    elbo_std_error=float(fit.elbo_std_error),
                    divergence=divergence,
                )
        return [own.get(id(start), start) for start in self.starts]

    def _ending(self, best: Ascent) -> Ending:
        used = self.evaluate.num_gradients
        notes = tuple(self.notes)
        if self.stopped == "interrupted":
            return Ending("interrupted", f"Ctrl-C after {used} gradients", notes)
        if self.stopped:
            because = f"{self.because}, after" if self.because else "after"
            return Ending(self.stopped, f"{because} {used} gradients", notes)
        if best.converged:
            status = "modes missed" if self.missed else "converged"
            return Ending(status, f"{best.reason}, after {used} gradients", notes)
        noise = draw_noise(self.rng, self.num_draws, self.target.dim, matched=True)
        wild = unsettled(best, self.evaluate, noise, self.target.names)
        if wild is not None:
            return dataclasses.replace(wild, notes=notes)
        return Ending("budget spent", f"{best.reason}, after {used} gradients", notes)
