"""Climbing the ELBO by natural gradients: steps within a trust region, then all draws together."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ._ascent import Evaluate
from ._leap import Leap
from ._natural import (
    FULL,
    LARGEST_CHANGE,
    Ascent,
    Moments,
    Round,
    Row,
    Shape,
    Step,
    draw_directions,
    draw_noise,
    summarize,
)
from ._pool import Pool

_FULL_STEPS = 24  # unit steps first: a normal target is exact after one
_FAR_NATS = 1.0  # where the gain is more, they go on
_WILD = 2.0  # growth of the gain over a step that was too long, whatever the ELBO says
_FULL_STEPS_AT_LEAST = 2
_SLOWEST, _FASTEST = 0.5, 2.5  # shorter steps where noisy, longer while they keep their way
_CALMEST = 0.1  # where steps overshoot
_ALL, _LITTLE = 0.7, 0.25  # shares of what the slope promised: more would do, or was too much
_SHORTEST = 0.1  # nats of trust, however little steps bring
_BOLDEST_CHANGE = 64.0  # of a precision, in one step after others that brought what they promised
_WIDEST = 1e16  # as far as a flat target is followed
_FLAT = 0.05  # whitened curvature of a direction that has no end: leaps would only hasten there
_STRAIGHT = 2  # rounds that kept their way, before a leap
_FEWEST, _GROWTH = 4, 1.25  # rounds in a pool when it is first solved, and its growth between
_SOLVED = 0.01  # of the tolerance: how far a pool is solved, which costs no gradients
_GROUP = 8  # rounds whose draws are matched together in the pool
FRAMED = 32  # dimensions from which on a round may be a single frame of directions
_SURELY = 3  # rounds in a row that say the same
_STALE = 3  # rounds without a better ELBO, after which frames are too noisy
_AGREE = 8  # rounds that have a say in whether the pool is right
_FAILURES = 10  # shorter and shorter steps in a row that did not improve the ELBO

_SETTLED = "the predicted gain is below its noise"
SPENT = "the budget is spent"
WIDENED = "q widened without end"
Watch = Callable[[Moments, int, Round], bool]


@dataclasses.dataclass(frozen=True)
class Goal:
    """When to stop: at `fine` nats of noise, or with `coarse` when `max_rounds` are spent."""

    fine: float
    coarse: float
    max_rounds: int


class _Noise:
    """Standard normal rows, a round at a time, whose moments are matched as far as is unbiased.

    On the way, each round is matched by itself, so that a step on a normal is exact. In the pool
    that would be a bias for heavy tails (matched rows have light ones), so there the rows of
    several rounds are matched together.
    """

    def __init__(self, rng: np.random.Generator, num: int, dim: int) -> None:
        self.rng, self.num, self.dim = rng, num, dim
        self.pool: list[np.ndarray] = []

    def draw(self, pooled: bool, framed: bool) -> np.ndarray:
        if framed:
            return draw_directions(self.rng, self.dim)
        if not pooled:
            return draw_noise(self.rng, self.num, self.dim, matched=True)
        if not self.pool:
            rows = draw_noise(self.rng, _GROUP * self.num, self.dim, matched=True)
            half = rows[: len(rows) // 2].reshape(_GROUP, -1, self.dim)
            self.pool = [np.concatenate([h, -h]) for h in half]
        return self.pool.pop()


def ascend(
    evaluate: Evaluate,
    q: Moments,
    rng: np.random.Generator,
    goal: Goal,
    *,
    num_draws: int,
    shape: Shape = FULL,
    framed: bool = True,
    pool: Pool | None = None,
    first_count: int = 0,
    watch: Watch | None = None,
) -> Ascent:
    """Climb the ELBO by natural gradients until the predicted gain is below its own noise.

    Unit steps with matched draws first, each within a trust region of the KL, which widens while
    steps bring what the slope promised; longer while they keep their direction. A step whose ELBO
    is worse than the best by more than its error is taken back and a quarter of it tried. When the
    gain is no longer clear of its noise, all further draws are pooled, and q is where the natural
    gradient over the pool vanishes, until sampling noise costs it less than `goal.fine` nats. Where
    rounds keep their direction, or the pool's solution lies beyond its draws, q leaps along the
    line that it came. `framed` lets a round far from the end be a single frame of 2·dim directions:
    not where values are noisy. `watch`, called after each round with q, the gradients used so far
    and what was seen, stops the run by returning True. `pool` goes on from an earlier run's.
    """
    run = _Run(evaluate, q, rng, goal, num_draws, shape, first_count, watch)
    run.framed = run.framed and framed
    run.pool = Pool(shape) if pool is None else pool
    return run.go()


class _Run:
    """The state of one call of `ascend`."""

    def __init__(self, evaluate, q, rng, goal, num_draws, shape, first_count, watch):
        dim = len(q.mean)
        self.evaluate, self.q, self.goal, self.shape = evaluate, q, goal, shape
        self.num_draws, self.used, self.watch = num_draws, first_count, watch
        self.noise = _Noise(rng, num_draws, dim)
        self.trust, self.widest = dim / 4 + 1.0, 1.0 * dim + 2.0
        self.framed = dim >= FRAMED and num_draws >= 4 * dim  # on the way, half the draws do
        # a sum of n squared noises is within this factor of its mean
        self.doubt = 1 + 6 * float(np.sqrt(2 / shape.count(dim)))
        self.pool = Pool(shape)
        self.pooled: Round | None = None  # what the pool says of its own q
        self.next_solve = 0.0
        self.fresh: list[float] = []  # gains of the pool's rounds, beyond twice their noise
        self.best: Moments | None = None
        self.best_round: Round | None = None
        self.failures, self.speed, self.change = 0, 1.0, LARGEST_CHANGE
        self.made: Step | None = None  # the last one, unless it was a leap
        self.stale, self.afar = 0, 0  # rounds since the best, and rounds in a row that are afar
        self.before: Round | None = None
        self.trail: list[Moments] = []  # where the steps that kept their way came from
        self.leap: Leap | None = None
        self.launch, self.reach = 0.0, 1.0  # the slope where it began; ways so far that it is long
        self.lost = False  # whether the pool's solution lies beyond what its draws can vouch for
        self.history: list[Row] = []
        self.marks: list[Moments] = []  # q at the last two rounds that are powers of two

    def go(self) -> Ascent:
        """Run to an ending."""
        last = self.used + self.goal.max_rounds * self.num_draws
        while self.used < last and np.abs(self.q.scale).max() < _WIDEST:
            noise = self.noise.draw(len(self.pool) > 0, self.framed)
            values, gradients = self.evaluate(self.q.mean + noise @ self.q.scale.T)
            seen = summarize(values, gradients, self.q, noise, self.shape)
            self.used += len(noise)
            self.history.append(Row(self.used, seen.elbo, seen.elbo_std_error, self.q.entropy))
            if len(self.history).bit_count() == 1:
                self.marks = [*self.marks[-1:], self.q]
            if self.watch is not None and self.watch(self.q, self.used, seen):
                return self._result(False, "stopped by the caller")
            if self.leap is not None and self._landed(seen):
                continue
            if self.best_round is not None and _worse(seen, self.best_round):
                if not self._retreat():
                    return self._result(False, "no step improved the ELBO")
            elif not self._advance(seen):
                self.pool.add(self.q, noise, values, gradients)
                self.fresh.append(seen.gain - 2 * seen.noise)
                if self._solve():
                    return self._result(True, _SETTLED)
        if self.used < last:
            return self._result(False, WIDENED)
        if len(self.pool):
            self._solve(last=True)
        pooled, coarse = self.pooled, self.goal.coarse
        settled = pooled is not None and pooled.noise < coarse and pooled.gain < coarse
        if settled and not self.lost and self._agrees():
            return self._result(True, _SETTLED)
        return self._result(False, SPENT)

    def _retreat(self) -> bool:
        """Take a shorter step from the best round, or look there again; False: give up."""
        assert self.best is not None
        assert self.best_round is not None
        self.failures += 1
        made, self.made = self.made, None
        self.trust = (self.trust if made is None else min(self.trust, made.length)) / 4
        self.pool, self.pooled = Pool(self.shape), None
        if self.failures > _FAILURES:
            return False
        lucky = self.best_round.elbo - self.best_round.elbo_std_error
        self.best_round = dataclasses.replace(self.best_round, elbo=lucky)
        if self.failures % 3 == 0:
            self.q, self.best_round = self.best, None  # a fresh look
        else:
            self.q = self.shape.update(self.best, self.best_round, 1.0, self.trust)
        return True

    def _advance(self, seen: Round) -> bool:
        """Step on from a round that is not worse, where it says clearly where to."""
        self.stale += 1
        if self.best_round is None or seen.elbo > self.best_round.elbo:
            self.best, self.best_round, self.failures, self.stale = self.q, seen, 0, 0
        rounds, before, self.before = len(self.history) - 1, self.before, seen
        made, self.made = self.made, None
        bold = made is not None and made.brought(_ALL, seen)
        self.change = min(4 * self.change, _BOLDEST_CHANGE) if bold else LARGEST_CHANGE
        if made is not None and not made.brought(_LITTLE, seen):
            self.trust = max(min(self.trust, made.length) / 2, _SHORTEST)
        elif bold or before is None or seen.gain < before.gain:
            self.trust = min(2 * self.trust, self.widest)
        elif seen.gain > _WILD * before.gain:  # a higher ELBO, but a worse place to go on from
            self.trust = max(self.trust / 2, 1.0)
            self.speed = max(self.speed / 2, _CALMEST)
        overlap = seen.overlap(before) if before is not None else 0.0
        # matched draws have less noise than their halves say, so at first it is ignored
        ignored = rounds < _FULL_STEPS_AT_LEAST or self.framed
        noise = 0.0 if ignored else seen.noise
        clear = seen.gain > max(self.goal.fine, self.doubt * noise)
        long = rounds >= _FULL_STEPS and seen.gain < _FAR_NATS
        spent = rounds >= 2 * _FULL_STEPS or self.stale >= _STALE
        if self.framed and (spent or seen.gain < _FAR_NATS):
            self.framed = False
            return True  # look again, with draws that know their noise
        # not one round with a wild draw, but all of the last ones: further than a pool reaches
        beyond = seen.gain > _FAR_NATS * (1 + len(self.q.mean) / 8)
        self.afar = self.afar + 1 if beyond else 0
        far = self.afar >= _SURELY
        if far and len(self.pool):
            self.pool, self.pooled, self.next_solve = Pool(self.shape), None, 0.0
        if (long or not clear or len(self.pool)) and not far:
            return False
        same = before is not None and overlap > 0.6 * np.sqrt(seen.gain * before.gain)
        self.speed = min(1.3 * self.speed, _FASTEST if same else 1.0)
        rate = self.speed * max(1 - noise / seen.gain, _SLOWEST)
        self.trail = [*self.trail, self.q] if same else [self.q]
        new = self.shape.update(self.q, seen, rate, self.trust, self.change)
        if len(self.trail) > _STRAIGHT and not _flat(seen):
            self._leap_from(self.trail[-1 - _STRAIGHT], self.q, seen)
        else:
            self.made = Step.between(self.q, new, seen)
            self.q = new
        return True

    def _leap_from(self, old: Moments, new: Moments, seen: Round) -> None:
        """Go on along the line from `old` to `new`, at which `seen` was seen."""
        leap = Leap(old, new, self.reach)
        self.launch = leap.slope(new, seen)
        self.trail = []
        if self.launch <= 0 or not np.isfinite(self.launch):
            self.q = new
            return
        self.leap, self.q = leap, leap.end

    def _landed(self, seen: Round) -> bool:
        """Judge a leap by the slope at its end; True: it went too far, and q is put back."""
        assert self.leap is not None
        leap, self.leap = self.leap, None
        slope = leap.slope(self.q, seen)
        worse = self.best_round is not None and _worse(seen, self.best_round)
        if slope > 0 and not worse:
            self.reach = 2 * leap.reach
            return False
        self.reach = 1.0
        self.q = leap.new if worse or not np.isfinite(slope) else leap.turn(self.launch, slope)
        self.before = None
        return True

    def _solve(self, last: bool = False) -> bool:
        """Move q to where the pool's gradient vanishes, if it is large enough; True: settled."""
        rounds = len(self.pool) / self.num_draws
        if not rounds:
            return False
        quiet = self.before is not None and rounds <= 1 and self.before.noise < self.goal.fine
        if not (quiet or last) and rounds < max(self.next_solve, _FEWEST - 0.5):
            return False
        self.next_solve = _GROWTH * rounds
        came = self.pool.makers[0]
        self.q, self.pooled, limited = self.pool.solve(
            self.q, _SOLVED * self.goal.fine, self.widest
        )
        # where the draws that there are do not reach, in a direction that they are sure of
        self.lost = limited and self.pooled.gain > max(0.1 * self.goal.coarse, self.pooled.noise)
        if self.lost and not last and not _flat(self.pooled):
            seen, self.pool, self.pooled = self.pooled, Pool(self.shape), None
            self.next_solve, self.fresh, self.before = 0.0, [], None
            self._leap_from(came, self.q, seen)
            return False
        settled = self.pooled.noise < self.goal.fine and self.pooled.gain < self.goal.fine
        return settled and self._agrees()

    def _agrees(self) -> bool:
        """Whether fresh draws see no more gain than the pool: it cannot see beyond its draws."""
        return not self.fresh or float(np.median(self.fresh[-_AGREE:])) < self.goal.coarse

    def _result(self, converged: bool, reason: str) -> Ascent:
        moments = self.q if self.pooled is not None else self.best or self.q
        elbo, error, noise = -np.inf, np.inf, np.inf
        if self.pooled is not None:
            noise, elbo = self.pooled.noise, self.pooled.elbo
            error = self.pooled.elbo_std_error
        elif self.best_round is not None:
            elbo, error = self.best_round.elbo, self.best_round.elbo_std_error
        elif self.history:
            elbo, error = self.history[-1].elbo, self.history[-1].elbo_std_error
        before = self.marks[0] if self.marks else None
        return Ascent(
            moments, self.history, converged, reason, elbo, error, noise, self.pool, before
        )  # fmt: skip


def _flat(seen: Round) -> bool:
    return bool(np.linalg.eigvalsh(seen.curve)[-1] > 1 - _FLAT)


def _worse(seen: Round, best: Round) -> bool:
    # an ELBO with a wild error is no excuse for the error
    error = min(seen.elbo_std_error, 5 * best.elbo_std_error + 1.0)
    margin = 3 * np.hypot(error, best.elbo_std_error) + 1.0
    return not seen.elbo > best.elbo - margin
