"""`Raabbvi`: phases of a fixed learning rate, each run until its iterates are stationary."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._compile import compile_once
from .._typing import Array, PRNGKey, PyTree
from ..diagnostics._iterates import Iterates
from ..families import Family, std
from ..fitting._iterates import of_window
from ..fitting._journal import Journal
from ..fitting._status import Ending
from ..fitting._stochastic import GradientState, StochasticGradient
from ..kl._registry import kl_divergence
from ..objectives import Objective
from ..target import Target
from ._checks import check_positive, check_whole
from ._stationarity import best_window, effective_size
from ._watch import Watch

_STRETCH = 50  # steps in one compiled call
_RHAT = 1.1
_REJECTED = 0.5  # share of a stretch's steps that may be rejected


class Raabbvi(eqx.Module):
    """Stop as RAABBVI does: lower a fixed learning rate while the predicted gain is worth its cost.

    With a fixed learning rate the iterates end up wandering about the optimum. A phase ends when
    they are stationary (split R-hat at most 1.1 over the best of five windows) and the mean over
    the window is known well enough (its Monte Carlo standard error, in sds of q, and its effective
    size). Then the rate is multiplied by `factor`. From the symmetric KL between the averages of
    successive phases, fitted as C γ² of the rate γ, and the steps each phase took, the gain of
    another phase and its cost are predicted; when their ratio says it is not worth it, the run is
    over, and the average of the last phase is the answer.

    The steps are Adam's. Defaults are those of the authors' implementation, but for the first
    learning rate (0.3 there), which is for whitened coordinates here.

    Args:
        learning_rate: of the first phase.
        factor: by which the rate is lowered, between 0 and 1.
        accuracy: the square root of the symmetric KL to the optimum that is good enough, in √nats.
        inefficiency: predicted relative cost times relative inaccuracy, above which it stops.
        fewest: the shortest window, and how often it looks, in steps.
        std_error: of the window's mean, in sds of q, that ends the first phase; lowered with the
            rate.
        extra_steps: added to a phase's steps when costs are compared.

    Raises:
        ValueError: a number is not positive, or `factor` is not below 1.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> method = vikl.methods.StochasticVI(stop=Raabbvi())
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=method, key=jax.random.key(0))
        >>> post.status, post.mean.round(2).tolist()
        ('converged', [1.0, 1.0])

    References:
        Welandawe, Andersen, Vehtari & Huggins (2024), A framework for improving the reliability of
        black-box variational inference.
    """

    learning_rate: float = 0.1
    factor: float = 0.5
    accuracy: float = 0.1
    inefficiency: float = 1.0
    fewest: int = 200
    std_error: float = 0.1
    extra_steps: int = 1000

    def __check_init__(self) -> None:
        check_positive(self, "learning_rate", "factor", "accuracy", "inefficiency", "std_error")
        check_whole(self, "fewest", least=20)
        check_whole(self, "extra_steps")
        if self.factor >= 1:
            raise ValueError(
                f"`factor` should be between 0 and 1; got {self.factor!r}. It lowers the rate."
            )


class Phases(NamedTuple):
    """What the phases ended with."""

    family: Family
    ending: Ending | None
    history: dict[str, list[float]]
    steps: int


class RateState(NamedTuple):
    """An optimizer's own state, and the rate that multiplies its updates."""

    inner: PyTree
    rate: Array


def rated(optimizer: Any) -> optax.GradientTransformation:
    """Return an optimizer whose learning rate is in its state, so a new one compiles nothing."""
    inner = optax.with_extra_args_support(optimizer)
    # partials of module-level functions, which `compile_once` compares by what they hold
    return optax.GradientTransformationExtraArgs(
        functools.partial(_init, inner), functools.partial(_update, inner)
    )


def _init(inner: Any, params: PyTree) -> RateState:
    dtype = jax.tree.leaves(params)[0].dtype
    return RateState(inner.init(params), jnp.ones((), dtype))


def _update(inner: Any, updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
    updates, own = inner.update(updates, state.inner, params, **extra)
    updates = jax.tree.map(lambda u: (state.rate * u).astype(u.dtype), updates)
    return updates, RateState(own, state.rate)


@compile_once
def _initial(algorithm: StochasticGradient, family: Family) -> GradientState:
    return algorithm.init(family)


@compile_once
def _stretch(
    algorithm: StochasticGradient, state: GradientState, target: Target, key: PRNGKey
) -> tuple[GradientState, Array, dict[str, Array]]:
    """Take 50 steps; return the state, the parameters (50, p) after each, and the record."""
    dynamic, static = eqx.partition(state, eqx.is_array)

    def body(dynamic: PyTree, _: None) -> tuple[PyTree, tuple[Array, dict[str, Array]]]:
        state = eqx.combine(dynamic, static)
        new, info = algorithm.step(state, target, jax.random.fold_in(key, state.step))
        return eqx.filter(new, eqx.is_array), (_flat(new.family), info)

    dynamic, (iterates, info) = jax.lax.scan(body, dynamic, None, length=_STRETCH)
    return eqx.combine(dynamic, static), iterates, info


def _flat(family: Family) -> Array:
    leaves = jax.tree.leaves(eqx.filter(family, eqx.is_inexact_array))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])


@compile_once
def _units(family: Family) -> Array:
    """Return the size that a parameter's error is judged by: sds for what has the unit of x."""
    sd = std(family)
    params = eqx.filter(family, eqx.is_inexact_array)

    def unit(path: Any, leaf: Array) -> Array:
        name = getattr(path[-1], "name", "")
        if name not in ("loc", "lower"):
            return jnp.ones_like(leaf)
        return jnp.broadcast_to(sd if leaf.ndim == 1 else sd[:, None], leaf.shape)

    leaves = jax.tree.leaves(jax.tree_util.tree_map_with_path(unit, params))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])


@compile_once
def _symmetric_kl(p: Family, q: Family) -> Array:
    return kl_divergence(p, q) + kl_divergence(q, p)


def _unflatten(flat: np.ndarray, like: Family) -> Family:
    params, static = eqx.partition(like, eqx.is_inexact_array)
    leaves, treedef = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = np.split(flat, ends[:-1])
    leaves = [jnp.asarray(v.reshape(w.shape).astype(w.dtype)) for v, w in zip(parts, leaves)]
    return eqx.combine(jax.tree.unflatten(treedef, leaves), static)


class Runner:
    """A run of phases."""

    def __init__(
        self,
        rule: Raabbvi,
        objective: Objective,
        target: Target,
        family: Family,
        key: PRNGKey,
        journal: Journal | None = None,
    ):
        self.rule, self.target, self.key, self.journal = rule, target, key, journal
        self.algorithm = StochasticGradient(objective, rated(optax.adam(1.0)))
        self.state = _initial(self.algorithm, family)
        self.average, self.window = family, np.zeros((0, 0))
        self.history: dict[str, list[float]] = {}
        self.names: list[str] = []  # of what a step records, where there is a journal
        self.steps = 0

    def go(self, num_steps: int, watch: Watch, back: Callable[[Family], Family]) -> Phases:
        """Run phases until the next is not worth it, or `num_steps` are taken."""
        rule, rate, error = self.rule, self.rule.learning_rate, self.rule.std_error
        rates, costs, gains = [], [], []
        ending = None
        while ending is None:
            before, began = self.average, self.steps
            ending = self._phase(rate, error, num_steps, watch, back)
            if ending is not None or watch.ending is not None:
                break
            rates.append(rate)
            costs.append(self.steps - began)
            if len(rates) > 1:
                gains.append(float(_symmetric_kl(before, self.average)))
                ending = self._judge(np.asarray(rates), np.asarray(costs), np.asarray(gains))
            rate, error = rate * rule.factor, error * rule.factor
        return Phases(self.average, watch.ending or ending, self.history, self.steps)

    def _phase(
        self, rate: float, error: float, num_steps: int, watch: Watch, back: Callable
    ) -> Ending | None:
        """Step at a fixed rate until stationary and well known; set the average."""
        own = self.state.optimizer_state
        value = jnp.asarray(np.asarray(rate, own.rate.dtype))
        self.state = self.state._replace(optimizer_state=own._replace(rate=value))
        iterates: list[np.ndarray] = []
        due = self.rule.fewest
        stationary = None  # the step of this phase from which on it is
        while self.steps < num_steps:
            ending = self._advance(iterates)
            if ending is not None:
                return ending
            record = {name: values[-1] for name, values in self.history.items() if name != "step"}
            if watch.stops(lambda: back(self.state.family), record):
                return None
            count = len(iterates) * _STRETCH
            if count < due or count * 0.95 <= self.rule.fewest:
                continue
            run = np.concatenate(iterates)
            if stationary is None:
                window, rhat = best_window(run, self.rule.fewest)
                self._set_average(run[-window:])
                due = count + self.rule.fewest
                if rhat > _RHAT:
                    continue
                stationary = count - window
            window = run[stationary:]
            self._set_average(window)
            size = effective_size(window)
            unit = np.asarray(_units(self.average), np.float64)
            known = float((window.std(axis=0, ddof=1) / unit / np.sqrt(size)).max())
            if known < error and size.min() > self.rule.fewest / 8:
                return None
            due = stationary + int(1.2 * len(window)) + 1
        because = f"all {num_steps} steps were taken, at a learning rate of {rate:.3g}"
        return Ending("budget spent", because)

    def _advance(self, iterates: list[np.ndarray]) -> Ending | None:
        rejected = int(self.state.rejected)
        self.state, flat, info = self._stretch()
        self.steps += _STRETCH
        iterates.append(np.asarray(flat, np.float64))
        if int(self.state.rejected) - rejected > _REJECTED * _STRETCH:
            return Ending("diverged", f"most of the last {_STRETCH} steps were not finite")
        row = {"step": float(self.steps)}
        for name, values in info.items():
            fine = np.asarray(values, np.float64)
            fine = fine[np.isfinite(fine)]
            row |= {name: float(fine.mean()) if len(fine) else np.nan}
            row |= {f"{name}_std_error": float(fine.std() / np.sqrt(max(len(fine), 1)))}
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)
        return None

    def _stretch(self) -> tuple[GradientState, Any, dict[str, Any]]:
        args = (self.algorithm, self.state, self.target, self.key)
        if self.journal is None:
            return _stretch(*args)
        dynamic, static = eqx.partition(self.state, eqx.is_array)
        old, treedef = jax.tree.flatten(dynamic)
        if not self.names:
            shapes = eqx.filter_eval_shape(self.algorithm.step, self.state, self.target, self.key)
            self.names = sorted(shapes[1])

        def program() -> list[Any]:
            state, flat, info = _stretch(*args)
            new = jax.tree.leaves(eqx.filter(state, eqx.is_array))
            return [*new, flat, *(info[name] for name in self.names)]

        answer = self.journal.ask(old, program)
        leaves = [jnp.asarray(v) for v in answer[: len(old)]]
        state = eqx.combine(jax.tree.unflatten(treedef, leaves), static)
        return state, answer[len(old)], dict(zip(self.names, answer[len(old) + 1 :], strict=True))

    def _set_average(self, window: np.ndarray) -> None:
        self.window = window
        self.average = _unflatten(window.mean(axis=0), self.state.family)

    @property
    def iterates(self) -> Iterates | None:
        """What the latest average was taken over."""
        if len(self.window) < self.rule.fewest / 2:
            return None
        return of_window(self.state.family, np.asarray(std(self.average)), self.window)

    def _judge(self, rates: np.ndarray, costs: np.ndarray, gains: np.ndarray) -> Ending | None:
        """Predict what the next phase would gain and cost."""
        rule = self.rule
        if len(gains) < 2:
            return None
        weights = _recent(len(gains))
        # √SKL to the optimum is √C γ, so between successive averages √C γ (1/factor − 1)
        with np.errstate(divide="ignore"):
            logs = np.log(gains) - 2 * np.log(rates[1:]) - 2 * np.log(1 / rule.factor - 1)
        distance = float(np.exp(0.5 * weights @ logs / weights.sum())) * rates[-1]
        inaccuracy = rule.factor + rule.accuracy / max(distance, 1e-300)
        # the first phase includes the way there
        slope, level = np.polyfit(np.log(rates[1:]), np.log(costs[1:]), 1, w=_recent(len(gains)))
        expected = float(np.exp(level + slope * np.log(rule.factor * rates[-1])))
        price = inaccuracy * expected / (costs[-1] + rule.extra_steps)
        if price <= rule.inefficiency:
            return None
        return Ending(
            "converged",
            f"after {len(rates)} phases the predicted distance to the optimum is {distance:.2g} "
            f"√nats, and another of about {expected:.0f} steps is not worth it "
            f"(inefficiency {price:.2g})",
        )


def _recent(count: int) -> np.ndarray:
    """Return weights that favour the latest of `count` phases."""
    return (1 + np.arange(count)[::-1] ** 2 / 9.0) ** -0.25
