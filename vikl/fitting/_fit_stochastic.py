"""`vikl.fit` by stochastic gradients of an objective."""

from typing import Any

import numpy as np
import optax

from ..diagnostics._iterates import settle
from ..estimators import ScoreFunction
from ..objectives import Objective, ReverseKL, verdict
from ..target import Target
from ._arguments import Options, check_start, has_natural_gradient, initial_family
from ._evaluate import Evaluator
from ._judge import Judge, judge_support
from ._loop import Loop
from ._posterior import Posterior
from ._status import Ending
from ._stochastic import StochasticGradient

_DEFAULT_STEPS = 10_000
_DEFAULT_BUDGET = 100_000  # steps, where standing still ends the run
_LEARNING_RATE = 0.02
_SCORE_DRAWS = 64


def fit_stochastically(
    target: Target,
    family: Any,
    objective: Objective | None,
    optimizer: optax.GradientTransformation | None,
    options: Options,
) -> Posterior:
    """Minimise `objective` (default `ReverseKL()`) by `optimizer` (default Adam)."""
    if options.num_starts not in (None, 1):
        raise ValueError(
            f"`num_starts` should be None with an optimizer; got {options.num_starts}. Start "
            "from several family instances yourself, or leave `optimizer` and `objective` out: the "
            "automatic method has several."
        )
    if objective is not None and not isinstance(objective, Objective):
        StochasticGradient(objective, optax.sgd(0.0))  # raises the message
    note = ""
    if objective is None and optimizer is None and has_natural_gradient(family):
        objective = ReverseKL(ScoreFunction(), num_samples=_SCORE_DRAWS)
        note = (
            "the log density's gradient is zero everywhere it was looked at, though its values "
            "differ: score-function gradients were used instead of the automatic method"
        )
    objective = (ReverseKL() if objective is None else objective).prepare(target)
    stop_on_plateau = options.num_steps is None and optimizer is not None
    steps = options.num_steps or (_DEFAULT_BUDGET if optimizer is not None else _DEFAULT_STEPS)
    if optimizer is None:
        optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
    algorithm = StochasticGradient(objective, optimizer)
    family = initial_family(target, family)
    if objective.gradients_per_step():
        start = np.asarray(target.start, np.float64)
        value, gradient = Evaluator(target, (1,))(start[None])
        check_start(target, start, value[0], gradient[0])
    loop = Loop(
        algorithm, target, family, options.key, num_steps=steps, stop_on_plateau=stop_on_plateau,
        progress=options.progress, callback=options.callback, checkpoint=options.checkpoint,
        max_seconds=options.max_seconds,
    )  # fmt: skip
    state, ending, history = loop.go()
    weighted = Judge(target, options.judge_key)(state.family)
    ending = _judge_record(ending, verdict(objective, state.family, target, history))
    if isinstance(objective, ReverseKL):
        ending = judge_support(ending, weighted)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = weighted.x.std(axis=0)
    if not np.isfinite(spread).all() and ending.status in ("converged", "budget spent"):
        because = f"q has widened beyond all numbers ({ending.because})"
        ending = Ending("diverged", because, ending.notes)
    if note:
        ending = ending.with_note(note)
    per_step = objective.gradients_per_step()
    gradients = loop.steps_taken * per_step + (1 if per_step else 0)  # and the look at the start
    return Posterior(
        target, state.family, ending, history, weighted, gradients, 0.0, 0.0,
        settling=settle(loop.iterates(spread)),
    )  # fmt: skip


def _judge_record(ending: Ending, found: tuple[str, str] | None) -> Ending:
    """Say what the objective sees in its record, such as weights that lived on a few draws."""
    if found is None:
        return ending
    status, because = found
    if ending.status == "diverged":
        return ending.with_note(because)
    return Ending(status, f"{because} ({ending.because})", ending.notes)
