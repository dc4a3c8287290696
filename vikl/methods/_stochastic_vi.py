"""`StochasticVI`: stochastic gradients at their best, each choice an object of its own."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import optax

from ..diagnostics._iterates import Iterates
from ..estimators import StickingTheLanding
from ..families import Family, FullRankNormal, std
from ..fitting._arguments import initial_family
from ..fitting._callback import Snapshot
from ..fitting._loop import Loop
from ..fitting._method import Found, Method, Request
from ..fitting._status import Ending
from ..fitting._stochastic import StochasticGradient
from ..objectives import Objective, ReverseKL
from ..target import Target
from ._average import PolyakAverage, averaged_family
from ._checks import check_whole
from ._hops import begin
from ._laplace import Laplace
from ._normals import moments_of
from ._raabbvi import Phases, Raabbvi, Runner
from ._watch import Watch
from ._whiten import Coordinates

_RATE = 0.03


class StandsStill(eqx.Module):
    """Stop where the loss stands still: the last quarter of the steps gained under 0.05 nats.

    Even by an optimistic reading, with two standard errors. Not for schedules that decay over a
    fixed number of steps, which would never see their end.

    Example:
        >>> StandsStill()
        StandsStill()
    """


class StochasticVI(Method):
    """Stochastic gradients of any objective, with the choices that make them work.

    By default: sticking-the-landing gradients of the reverse KL, Adam with cosine decay, in
    coordinates whitened by a Laplace fit, the iterates averaged. Whitening is what ill-scaled and
    correlated posteriors need; q is mapped back, a full-rank normal by the whole covariance, other
    families by a diagonal one.

    Args:
        objective: what is minimised; None is `ReverseKL(StickingTheLanding())`.
        optimizer: any optax transformation, `optax.contrib.dowg()` or `prodigy()` included; None is
            Adam at 0.03 with cosine decay over `num_steps`, or Adam at 0.03 where `stop` ends it.
        whiten: the method whose normal whitens the coordinates, or None for those of the target.
        average: how iterates are averaged, or None for the last.
        stop: `StandsStill()`, `Raabbvi()` (which has its own optimizer and average), or None for
            `num_steps` steps.
        num_steps: how many steps, or the most where `stop` ends the run.

    Raises:
        TypeError: one of these is something else. ValueError: an optimizer beside `Raabbvi`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vikl
        >>> method = StochasticVI(optimizer=optax.contrib.dowg(), whiten=None, num_steps=500)
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=method, key=jax.random.key(0))
        >>> post.mean.round(1).tolist()
        [1.0, 1.0]

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference.
        Roeder, Wu & Duvenaud (2017), Sticking the landing.
        Agrawal, Sheldon & Domke (2020), Advances in black-box VI: normalizing flows, importance
        weighting, and optimization.
    """

    objective: Objective | None = None
    optimizer: optax.GradientTransformation | None = None
    whiten: Method | None = Laplace()
    average: PolyakAverage | None = PolyakAverage()
    stop: StandsStill | Raabbvi | None = None
    num_steps: int = 2000

    families: ClassVar[tuple[type[Family], ...]] = ()

    def __check_init__(self) -> None:
        check_whole(self, "num_steps")
        kinds: dict[str, tuple] = {
            "objective": (Objective,), "whiten": (Method,), "average": (PolyakAverage,),
            "stop": (StandsStill, Raabbvi),
        }  # fmt: skip
        for name, kind in kinds.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"`{name}` should be an instance of {' or '.join(k.__name__ for k in kind)}, "
                    f"or None; got {value!r}. Call a class to make an instance."
                )
        StochasticGradient(ReverseKL(), self.optimizer or optax.sgd(0.0))  # raises its message
        if isinstance(self.stop, Raabbvi) and self.optimizer is not None:
            raise ValueError(
                "`optimizer` should be left out with `stop=Raabbvi()`, which sets learning rates "
                "itself. Leave one of the two out."
            )

    def run(self, target: Target, request: Request) -> Found:
        """Whiten, take the steps, average, and map back."""
        objective = (self.objective or ReverseKL(StickingTheLanding())).prepare(target)
        given = FullRankNormal if request.family is None else request.family
        kind = given if isinstance(given, type) else type(given)
        begun, back = None, _same
        if self.whiten is not None:
            objective = self._check_whitened(objective, target, given)
            begun = begin(target, request, self.whiten)
            if begun.ending.status != "converged":
                return begun
            coordinates = Coordinates.of(moments_of(begun.family), kind, target.dtype)
            target, given, back = coordinates.target(target), kind, coordinates.back
            objective = objective.prepare(target)
        family = initial_family(target, given)
        if isinstance(self.stop, Raabbvi):
            took = self._phases(target, objective, family, request, back)
        else:
            took = self._loop(target, objective, family, request, back)
        steps, family, ending, history, iterates = took
        used = steps * objective.gradients_per_step()
        starts = ()
        if begun is not None:
            used, starts = used + begun.num_gradients, begun.starts
            for note in begun.ending.notes:
                ending = ending.with_note(note)
        return Found(back(family), ending, history, used, starts, iterates=iterates)

    def _check_whitened(self, objective: Objective, target: Target, given: Any) -> Objective:
        if jax.tree.leaves(eqx.filter(objective, eqx.is_array)):
            raise ValueError(
                f"`objective` {type(objective).__name__} holds arrays in the coordinates of the "
                "target, such as samples or a proposal: give `whiten=None` with it."
            )
        if isinstance(given, Family):
            moments_of(given)  # only a normal can be where whitening starts
        try:
            ident = np.ones(target.dim, target.dtype)
            plain = Coordinates(target.start, jax.numpy.asarray(ident)).target(target)
            objective.prepare(plain)
        except ValueError as error:
            raise ValueError(
                f"`whiten` should be None with this objective, which needs more of the target "
                f"than its log density ({error})"
            ) from error
        return objective

    def _loop(
        self, target: Target, objective: Objective, family: Family, request: Request, back: Callable
    ) -> tuple[int, Family, Ending, dict, Iterates | None]:
        num_steps = request.num_steps or self.num_steps
        optimizer = self.optimizer
        if optimizer is None:
            rate = _RATE if self.stop else optax.cosine_decay_schedule(_RATE, num_steps)
            optimizer = optax.adam(rate)
        if self.average is not None:
            optimizer = self.average.wrap(optimizer)
        loop = Loop(
            StochasticGradient(objective, optimizer), target, family, request.key,
            num_steps=num_steps, stop_on_plateau=self.stop is not None, progress=request.progress,
            callback=_mapped(request.callback, back), max_seconds=request.max_seconds,
            checkpoint=None if request.journal is None else request.journal.steps,
        )  # fmt: skip
        state, ending, history = loop.go()
        q = averaged_family(state)
        return loop.steps_taken, q, ending, history, loop.iterates(np.asarray(std(q)))

    def _phases(
        self, target: Target, objective: Objective, family: Family, request: Request, back: Callable
    ) -> tuple[int, Family, Ending, dict, Iterates | None]:
        assert isinstance(self.stop, Raabbvi)
        num_steps = request.num_steps or max(self.num_steps, 20_000)
        runner = Runner(self.stop, objective, target, family, request.key, request.journal)
        found: Phases | None = None
        with Watch(request, num_steps // 50) as watch:
            found = runner.go(num_steps, watch, back)
        ending = watch.ending or (found.ending if found else None)
        assert ending is not None
        rejected = int(runner.state.rejected)
        if rejected:
            ending = ending.with_note(f"{rejected} steps were not finite and were rejected")
        history = {name: np.asarray(values) for name, values in runner.history.items()}
        return runner.steps, runner.average, ending, history, runner.iterates


def _same(family: Family) -> Family:
    return family


def _mapped(callback: Callable | None, back: Callable) -> Callable | None:
    """Return the callback that sees families in the target's own coordinates."""
    if callback is None:
        return None

    def mapped(snapshot: Snapshot) -> Any:
        return callback(dataclasses.replace(snapshot, family=back(snapshot.family)))

    return mapped
