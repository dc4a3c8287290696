"""`vikl.fit`: the verb."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import numpy as np

from .. import objectives
from .._compile import compile_lightly, record_compiles
from .._typing import PRNGKey, PyTree
from ..diagnostics._iterates import settle
from ..families import mean
from ..target import Target
from ._arguments import (
    Options,
    as_target,
    automatic_family,
    check_counts,
    check_key,
    check_run,
    has_natural_gradient,
    is_plain_reverse_kl,
)
from ._automatic import Automatic, NoGradientError
from ._journal import Journal
from ._judge import Judge, judge_support
from ._method import Method, Request, check_method
from ._posterior import Posterior
from ._special import special_method
from ._status import UNFINISHED, Ending

if TYPE_CHECKING:  # an automatic fit does without optax, and does not wait for it
    import optax


def fit(
    target: Target | Callable,
    family: Any = None,
    objective: "objectives.Objective | None" = None,
    optimizer: "optax.GradientTransformation | None" = None,
    *,
    key: PRNGKey,
    method: Method | None = None,
    like: PyTree = None,
    support: Any = None,
    data: PyTree = None,
    num_steps: int | None = None,
    num_starts: int | None = None,
    progress: bool | None = None,
    callback: Callable | None = None,
    checkpoint: str | Path | None = None,
    max_seconds: float | None = None,
) -> Posterior:
    """Fit an approximation q to a target and say how it went.

    With no optimizer and no objective (or `ReverseKL()`), the automatic method: modes from several
    starts, curvature, then natural-gradient steps on the ELBO until the predicted gain is below
    its noise. It needs no learning rate, step count or family. Otherwise stochastic gradients of
    `objective` (default `ReverseKL()`) by `optimizer` (default Adam with cosine decay).

    Args:
        target: a `Target`, or a plain log density, which the next three complete.
        like: with a plain log density: an example of its parameters.
        support: with a plain log density: where they live.
        data: with a plain log density: what it takes as its second argument; traced. See
            `Target.from_density` for these three.
        family: a class, initialised for the target (standard normal about its start), or an
            instance to start from, or any pytree with `sample_and_log_prob` (see
            `vikl.families.Custom`). None is full-rank normal up to 1,000 parameters and low-rank
            plus diagonal beyond.
        objective: an instance of `vikl.objectives`; minimised.
        optimizer: any optax gradient transformation.
        key: a JAX PRNG key. The same key gives the same bits.
        method: an instance of `vikl.methods`, run in place of the automatic method.
        num_steps: with an optimizer, how many steps; None runs until the loss stands still (at
            most 100,000). Without, the most rounds of natural-gradient steps.
        num_starts: starts of the automatic method (8).
        progress: draw a bar; None draws one in a terminal or a notebook.
        callback: called with a `Snapshot` between chunks; returning True stops the fit, and an
            exception stops it without losing what was fitted.
        checkpoint: a file to write the state to every few seconds; the same call again goes on
            from it and ends bit-identical. Without an optimizer, or with a named method, the file
            holds what the target answered so far (all gradients), from which the same run repeats
            itself at once up to where it was killed or stopped, without calling `callback` again.
        max_seconds: wall-clock budget.

    Returns:
        The posterior. It comes back whatever happened on the way (a NaN, Ctrl-C, a budget), with
        the best state so far and a `status` that says so.

    Raises:
        TypeError: an argument of the wrong kind; the message names it.
        ValueError: an argument that does not fit the others, or a log density that is NaN at the
            start.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> def log_density(v):
        ...     return -0.5 * (v["mu"] - 1.0) ** 2 - 2.0 * jnp.log(v["tau"]) - 1.0 / v["tau"]
        >>> post = vikl.fit(log_density, like={"mu": 0.0, "tau": 1.0}, support={"tau": "positive"},
        ...                 key=jax.random.key(0))
        >>> post.status
        'converged'
    """
    began = time.monotonic()
    key = check_key(key)
    with record_compiles() as compiles:
        target = as_target(target, like, support, data)
        check_counts(num_steps=num_steps, num_starts=num_starts)
        check_run(max_seconds, checkpoint, progress, callback)
        automatic = optimizer is None and (objective is None or is_plain_reverse_kl(objective))
        automatic = automatic and has_natural_gradient(family)
        if method is not None:
            family = check_method(method, target, family, objective, optimizer)
            automatic = True  # in how a checkpoint is kept
        elif automatic:
            method = special_method(target, family)
        journal = None
        if automatic and checkpoint is not None:
            from ._load import load_finished

            done = load_finished(checkpoint, target, key, _name(method))
            if done is not None:
                return done
            journal = Journal.open(checkpoint, _header(target, key, method))
        options = Options(
            num_steps,
            num_starts,
            progress,
            callback,
            checkpoint,
            max_seconds,
            journal,
            *((key, key) if automatic and method is None else _two_keys(key)),
        )
        posterior = None
        if method is not None:
            posterior = _fit_by_method(target, family, method, options)
        elif automatic:
            posterior = _fit_automatically(target, family, options)
            objective = None if posterior is None else objective  # pathwise would see no gradient
            if posterior is None:
                options = options._replace(**dict(zip(("key", "judge_key"), _two_keys(key))))
            if posterior is None and journal is not None:
                options = options._replace(checkpoint=journal.steps)
        if posterior is None:
            from ._fit_stochastic import fit_stochastically

            posterior = fit_stochastically(target, family, objective, optimizer, options)
    seconds = time.monotonic() - began - compiles.seconds
    posterior = dataclasses.replace(
        posterior, compile_seconds=compiles.seconds, run_seconds=seconds
    )
    return posterior if journal is None else _keep(posterior, journal)


def _name(method: Method | None) -> str:
    return "automatic" if method is None else type(method).__name__


def _header(target: Target, key: PRNGKey, method: Method | None) -> dict[str, Any]:
    """Return what tells a run from others."""
    return {
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "method": _name(method),
        "names": list(target.names),
    }


def _keep(posterior: Posterior, journal: Journal) -> Posterior:
    """Leave the result at the checkpoint, or what the same call goes on from."""
    if posterior.ending.status in UNFINISHED:
        journal.save()
    else:
        try:
            posterior.save(journal.path, {k: journal.header[k] for k in ("key", "method")})
            journal.forget_steps()
        except OSError as error:
            if not journal.trouble:
                journal.trouble = f"the checkpoint could not be written ({error})"
                warnings.warn(journal.trouble, stacklevel=3)
    if not journal.trouble:
        return posterior
    return dataclasses.replace(posterior, ending=posterior.ending.with_note(journal.trouble))


@compile_lightly
def _two_keys(key: PRNGKey) -> tuple[PRNGKey, PRNGKey]:
    first, second = jax.random.split(key)
    return first, second


def _fit_automatically(target: Target, family: Any, options: Options) -> Posterior | None:
    """Run the automatic method; None where the log density has no usable gradient."""
    judge = Judge(target, options.judge_key)
    kind, instance = automatic_family(target, family)
    if instance is not None:
        start = mean(instance).astype(target.dtype)
        target = eqx.tree_at(lambda t: t.start, target, start)
    try:
        found = Automatic(
            target, kind, options.key, judge,
            num_starts=options.num_starts, max_rounds=options.num_steps,
            progress=options.progress, callback=options.callback, max_seconds=options.max_seconds,
            journal=options.journal,
        ).go()  # fmt: skip
    except NoGradientError:
        return None
    weighted = judge(found.family)
    ending = judge_support(found.ending, weighted)
    return Posterior(
        target, found.family, ending, found.history, weighted, found.num_gradients, 0.0, 0.0,
        tuple(found.starts),
    )  # fmt: skip


def _fit_by_method(target: Target, family: Any, method: Method, options: Options) -> Posterior:
    request = Request(
        options.key, family, options.num_steps, options.num_starts, options.progress,
        options.callback, options.max_seconds, options.journal,
    )  # fmt: skip
    # a method looks for what is not finite and counts it, so NumPy need not warn of it
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = method.run(target, request)
    weighted = Judge(target, options.judge_key)(found.family)
    history = dict(found.history) or {"step": np.asarray([found.num_gradients], float)}
    if "elbo" not in history:  # of a method that looks at it at the end only
        before = np.full(len(history["step"]) - 1, np.nan)
        history["elbo"] = np.append(before, weighted.elbo)
        history["elbo_std_error"] = np.append(before, weighted.elbo_std_error)
    ending = judge_support(found.ending, weighted)
    if ending.status == "diverged" and weighted.num_bad:
        ending = ending.with_note(judge_support(Ending("converged", ""), weighted).because)
    return Posterior(
        target, found.family, ending, history, weighted, found.num_gradients, 0.0, 0.0,
        found.starts, dict(found.details), settle(found.iterates),
    )  # fmt: skip
