"""The named methods on real and synthetic posteriors, scored as in `posteriors.py`.

    python benchmarks/methods.py [--posteriors FOLDER] [--only NAME] [--methods NAMES] [--seeds N]

FOLDER (or the variable VIKL_POSTERIORS) holds a `posteriors.py` with `REAL`, `SYNTH` and `get`;
without it the project's own targets are used. Every method runs with its defaults. Errors are the
largest over parameters, in reference sds, unconstrained; for a mean-field method the sd error is
given twice, as fitted and by linear response. The ELBO gap is to the best normal.
"""

import argparse
import importlib.util
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _clock import table, versions
from _problems import Problem, own
from posteriors import Fit, best_normal, reference, weigh

import vikl
from vikl import methods
from vikl.fitting._natural import Moments, draw_noise

_NOISE = 4000  # draws behind the ELBO gap, the same for every fit of a target

_NAMED = [
    kind
    for kind in vars(methods).values()
    if isinstance(kind, type) and issubclass(kind, methods.Method) and kind is not methods.Method
]
METHODS: dict[str, Callable[[], methods.Method | None]] = {
    "automatic": lambda: None,
    **{kind.__name__: kind for kind in _NAMED},
    "StochasticVI, Raabbvi": lambda: methods.StochasticVI(stop=methods.Raabbvi()),
    "StochasticVI, DoWG": lambda: methods.StochasticVI(optimizer=optax.contrib.dowg()),
    "StochasticVI, raw": lambda: methods.StochasticVI(whiten=None, num_steps=10_000),
}


def problems(folder: str | None) -> list[Problem]:
    """Return the targets of a folder, or the project's own."""
    if not folder:
        return own()
    spec: Any = importlib.util.spec_from_file_location("targets", Path(folder) / "posteriors.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules["targets"] = found
    spec.loader.exec_module(found)
    targets = (found.get(name) for name in (*found.REAL, *found.SYNTH))
    return [Problem(t.name, t.d, t.logdensity, t.ref_x) for t in targets]


def score(problem: Problem, post: Any, best: Any, noise: np.ndarray) -> dict[str, float]:
    """Return gradients, errors in reference sds, and the ELBO gap."""
    mean, sd = reference(problem, best)
    cov = np.asarray(post.cov, np.float64)
    fitted = np.sqrt(np.diagonal(cov))
    try:
        root = np.linalg.cholesky(cov / np.outer(fitted, fitted)) * fitted[:, None]
        log_ratios = weigh(problem, Moments(np.asarray(post.mean, float), root), noise).log_ratios
        gap = float(np.mean(best.log_ratios) - np.mean(log_ratios))
    except np.linalg.LinAlgError:
        gap = np.inf
    if not isinstance(post.family, (vikl.families.FullRankNormal, vikl.families.MeanFieldNormal)):
        gap = float(np.mean(best.log_ratios)) - post.elbo
    response = post.details.get("linear_response_sd")
    return {
        "gradients": float(post.num_gradients),
        "mean error": float(np.abs((np.asarray(post.mean) - mean) / sd).max()),
        "sd error": float(np.abs(fitted / sd - 1).max()),
        "sd error, response": np.nan
        if response is None
        else float(np.abs(response / sd - 1).max()),
        "ELBO gap": gap,
        "k-hat": post.khat,
    }


def rows_of(problem: Problem, args: argparse.Namespace, cache: dict) -> list[dict[str, object]]:
    """Fit a target by every method and every seed; one row for each method."""
    target = vikl.Target.from_density(problem.log_density, like=jnp.zeros(problem.dim))
    first = vikl.fit(target, key=jax.random.key(0), progress=False)
    start = Fit(np.asarray(first.mean), np.asarray(first.cov), first.num_gradients)
    rng = np.random.default_rng(zlib.crc32(problem.name.encode()))
    noise = draw_noise(rng, _NOISE, problem.dim, matched=True)
    best = weigh(problem, best_normal(problem, start, cache), noise)
    rows = []
    for name in args.methods:
        method, scores, statuses, seconds = METHODS[name](), [], [], []
        for seed in range(args.seeds):
            try:
                post = vikl.fit(target, method=method, key=jax.random.key(seed), progress=False)
            except ValueError as error:
                statuses.append(f"{type(error).__name__}: {error}"[:60])
                continue
            seconds.append(post.run_seconds)
            scores.append(score(problem, post, best, noise))
            statuses.append(post.status)
        rows.append(_row(problem, name, scores, statuses, seconds))
    return rows


def _row(problem: Problem, name: str, scores: list, statuses: list, seconds: list) -> dict:
    middle = {k: float(np.median([s[k] for s in scores])) for k in (scores[0] if scores else ())}
    if "gradients" in middle:
        middle["gradients"] = int(middle["gradients"])
    gaps = np.asarray([s["ELBO gap"] for s in scores])
    return {
        "target (d)": f"{problem.name.split('-')[-1]} ({problem.dim})",
        "method": name,
        "gap < 0.1": f"{int((gaps < 0.1).sum())}/{len(statuses)}",
        **{k: v if isinstance(v, int) else f"{v:.3g}" for k, v in middle.items()},
        "run s": f"{np.median(seconds) if seconds else np.nan:.2f}",
        "status": "; ".join(sorted(set(statuses))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    folder = os.environ.get("VIKL_POSTERIORS")
    parser.add_argument("--posteriors", default=folder, help="a folder with posteriors.py")
    parser.add_argument("--only", default="", help="parts of targets' names, commas between")
    parser.add_argument("--methods", default=";".join(METHODS), help="semicolons between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="an .npz file for the best normals")
    parser.add_argument("--float32", action="store_true", help="fit in float32 (needs --cache)")
    parser.add_argument("--quick", action="store_true", help="one seed")
    args = parser.parse_args()
    args.seeds = 1 if args.quick else args.seeds
    args.methods = args.methods.split(";")
    os.environ["VB_X64"] = "0" if args.float32 else "1"  # what a folder's posteriors.py reads
    jax.config.update("jax_enable_x64", not args.float32)
    print(versions("jax", "optax"), "\n", flush=True)
    cache: dict[str, np.ndarray] = {}
    if args.cache is not None and args.cache.exists():
        cache = dict(np.load(args.cache))
    wanted, rows = args.only.split(","), []
    for problem in problems(args.posteriors):
        if any(part in problem.name for part in wanted):
            rows += rows_of(problem, args, cache)
            print(table(rows[-len(args.methods) :]).split("\n", 2)[2], flush=True)
            if args.cache is not None:
                np.savez(args.cache, **cache)  # pyright: ignore[reportArgumentType]
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
