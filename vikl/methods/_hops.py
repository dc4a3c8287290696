"""The loop of methods that hop from normal to normal by the scores at a batch of draws."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ..families import Family
from ..fitting._evaluate import Evaluator
from ..fitting._method import Found, Method, Request
from ..fitting._natural import Moments
from ..fitting._status import Ending
from ..target import Target
from ._normals import full_rank, moments_of
from ._track import Track
from ._watch import Watch, generator

#: (step number, normal, whitened draws (b, dim), draws (b, dim), scores (b, dim)) -> normal
Update = Callable[[int, Moments, np.ndarray, np.ndarray, np.ndarray], Moments]

_FEWEST = 8  # steps before standing still counts as evidence
_FAR = 1e8  # whitened norm of a mean's move, beyond which a step is refused
_REFUSALS = 20


@dataclasses.dataclass
class Hops:
    """A run: its normal, its record, and how it ended."""

    q: Moments
    history: dict[str, list[float]]
    ending: Ending | None = None
    refused: int = 0


def hop(
    target: Target,
    request: Request,
    start: Method,
    update: Update,
    *,
    batch_size: int,
    num_steps: int,
    tolerance: float,
) -> Found:
    """Start, then update by fresh batches until the average of the iterates stands still.

    It stops when the averages over the third and the fourth quarter of the run are within
    `tolerance` nats of symmetric KL, which bounds both what still drifts and what is noise, and
    returns the average over the second half.
    """
    begun = begin(target, request, start)
    if begun.ending.status != "converged":
        return begun
    evaluate = Evaluator(target, (batch_size,), request.journal)
    num_steps = request.num_steps or num_steps
    track = Track()
    run = Hops(moments_of(begun.family), {})
    rng = generator(request.key)
    with Watch(request, num_steps) as watch:
        for t in range(num_steps):
            _step(run, evaluate, update, t, rng.normal(size=(batch_size, target.dim)))
            if run.ending is not None:
                break
            track.add(run.q)
            run.history.setdefault("step", []).append(begun.num_gradients + evaluate.num_gradients)
            record = {name: values[-1] for name, values in run.history.items() if name != "step"}
            if watch.stops(lambda: full_rank(run.q, target.dtype), record):
                break
            if _due(t + 1):
                restless = track.restlessness()
                if restless < tolerance:
                    run.ending = Ending(
                        "converged",
                        f"the last two quarters of {t + 1} steps differ by {restless:.2g} nats "
                        "of symmetric KL",
                    )
                    break
    q = track.average() if track.count else run.q
    ending = watch.ending or run.ending
    if ending is None:
        because = f"all {num_steps} steps were taken, and the last two quarters differ by "
        ending = Ending("budget spent", f"{because}{track.restlessness():.2g} nats")
    if run.refused:
        ending = ending.with_note(f"{run.refused} steps were not finite and were left out")
    for note in begun.ending.notes:
        ending = ending.with_note(note)
    history = {name: np.asarray(values, float) for name, values in run.history.items()}
    used = begun.num_gradients + evaluate.num_gradients
    return Found(full_rank(q, target.dtype), ending, history, used, begun.starts)


def begin(target: Target, request: Request, start: Method) -> Found:
    """Return the instance to start from where `family` was one, else what `start` found."""
    if isinstance(request.family, Family):
        return Found(request.family, Ending("converged", "given"), {}, 0)
    return start.run(target, request._replace(num_steps=None, callback=None, family=None))


def _step(run: Hops, evaluate: Evaluator, update: Update, t: int, noise: np.ndarray) -> None:
    """Take one step, or leave it out where it is not finite."""
    q = run.q
    x = q.mean + noise @ q.scale.T
    values, scores = evaluate(x)
    fine = np.isfinite(values) & np.isfinite(scores).all(axis=1)
    row = {"elbo": -np.inf, "elbo_std_error": np.inf, "entropy": q.entropy}
    if fine.any():
        # of log p − log q, whose noise vanishes where q is the target
        ratio = values[fine] + 0.5 * np.sum(noise[fine] ** 2, axis=1)
        row["elbo"] = float(ratio.mean()) + q.entropy - 0.5 * len(q.mean)
        if fine.sum() > 1:
            row["elbo_std_error"] = float(ratio.std(ddof=1) / np.sqrt(fine.sum()))
        if not fine.all():
            row["elbo"] = -np.inf  # q reaches where the density is zero or undefined
    for name, value in row.items():
        run.history.setdefault(name, []).append(value)
    new = None
    if fine.any():
        try:
            with np.errstate(all="ignore"):
                new = update(t, q, noise[fine], x[fine], scores[fine])
        except np.linalg.LinAlgError:
            new = None
    if new is not None and np.isfinite(new.scale).all() and np.isfinite(new.mean).all():
        sizes = np.abs(np.diagonal(np.linalg.qr(new.scale.T)[1]))
        if sizes.min() > 0 and np.isfinite(new.entropy):
            run.q = new
            return
    run.refused += 1
    if run.refused > _REFUSALS:
        because = f"{run.refused} steps were not finite: the scores are too wild for this method"
        run.ending = Ending("diverged", because)


def _due(t: int) -> bool:
    """Whether to look after step `t`: at 8, 9, ... 16, 18, ... 32, 36, ..."""
    return t >= _FEWEST and t % max(1, 2 ** int(np.log2(t)) // 8) == 0
