"""Fits of real and synthetic posteriors by vikl and its peers, scored against references.

    python benchmarks/posteriors.py [--posteriors FOLDER] [--only NAME] [--seeds N] [--quick]
        [--simulated] [--standardized] [--rates 0.01,0.1]

FOLDER (or the variable VIKL_POSTERIORS) holds a `posteriors.py` with `REAL`, `SYNTH` and `get`;
without it the project's own targets are used, and with `--simulated` those of `_simulated.py`.
Nothing is tuned per target, but NumPyro gets the best of `--rates` for each, by its ELBO.
`--standardized` gives everyone coordinates centred and scaled by the posterior's means and sds.
Errors are the largest over parameters, in reference sds, on the unconstrained scale. The ELBO gap
is to the best normal, found once by a long float64 run and kept in the file of `--cache`.
"""

import argparse
import dataclasses
import importlib
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _clock import table, versions
from _problems import Problem, as_numpyro, own
from _simulated import simulated

import vikl
from vikl.diagnostics import WeightedDraws
from vikl.fitting._ascend import Goal, ascend
from vikl.fitting._evaluate import Evaluator
from vikl.fitting._natural import Moments, draw_noise

_NOISE = 4000  # draws behind ELBO gap and k-hat, the same for every fit of a target


@dataclasses.dataclass
class Fit:
    """A normal and what it cost."""

    mean: np.ndarray
    cov: np.ndarray
    gradients: int
    status: str = ""
    compile_seconds: float | None = None


# -- the adapters, one per library


def fit_vikl(problem: Problem, seed: int, steps: int) -> Fit:
    like = jnp.zeros(problem.dim)
    post = vikl.fit(problem.log_density, like=like, key=jax.random.key(seed), progress=False)
    mean, cov = np.asarray(post.mean), np.asarray(post.cov)
    return Fit(mean, cov, post.num_gradients, post.status, post.compile_seconds)


def fit_numpyro(problem: Problem, seed: int, steps: int, rate: float = 0.01) -> Fit:
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    model = as_numpyro(problem)
    guide = AutoMultivariateNormal(model)
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))
    svi = SVI(model, guide, adam, Trace_ELBO())
    found = svi.run(jax.random.key(seed), steps, progress_bar=False)
    normal: Any = guide.get_posterior(found.params)
    return Fit(np.asarray(normal.mean), np.asarray(normal.covariance_matrix), steps)


def fit_blackjax(problem: Problem, seed: int, steps: int) -> Fit:
    from blackjax.vi import fullrank_vi

    draws = 10
    steps = steps // draws
    adam = optax.adam(optax.cosine_decay_schedule(0.01, steps))
    method = fullrank_vi.as_top_level_api(problem.log_density, adam, draws)
    keys = jax.random.split(jax.random.key(seed), steps)
    start = method.init(jnp.zeros(problem.dim))
    run = jax.jit(lambda state, keys: jax.lax.scan(lambda s, k: method.step(k, s), state, keys)[0])
    x = method.sample(jax.random.key(seed), run(start, keys), 20_000)
    return Fit(np.mean(x, axis=0), np.cov(np.asarray(x).T).reshape(x.shape[1], -1), steps * draws)


ADAPTERS: dict[str, Callable[[Problem, int, int], Fit]] = {
    "vikl": fit_vikl,
    "numpyro": fit_numpyro,
    "blackjax": fit_blackjax,
}


# -- the targets and what is known about them


def standardized(problem: Problem, mean: np.ndarray, sd: np.ndarray) -> Problem:
    """Return the same posterior in coordinates (x − mean) / sd."""
    draws = None if problem.draws is None else (problem.draws - mean) / sd
    loc, scale = jnp.asarray(mean, float), jnp.asarray(sd, float)
    log_density = lambda u: problem.log_density(loc + scale * u)
    return Problem(f"{problem.name}, standardized", problem.dim, log_density, draws)


def problems(folder: str | None, use_simulated: bool = False) -> list[Problem]:
    """Return the targets of a folder, the simulated ones, or the project's own."""
    if use_simulated:
        return simulated()
    if not folder:
        return own()
    sys.path.insert(0, folder)
    found = importlib.import_module("posteriors", package=None)
    targets = (found.get(name) for name in (*found.REAL, *found.SYNTH))
    return [Problem(t.name, t.d, t.logdensity, t.ref_x) for t in targets]


def best_normal(problem: Problem, start: Fit, cache: dict[str, np.ndarray]) -> Moments:
    """Return the normal of highest ELBO: long natural-gradient runs in float64, from two starts."""
    name = problem.name
    if f"{name}/mean" not in cache:
        if not jax.config.read("jax_enable_x64"):
            raise SystemExit(f"--cache does not hold {name}: run once without --float32.")
        target = vikl.Target.from_density(problem.log_density, like=jnp.zeros(problem.dim))
        num = max(2000, 8 * problem.dim)
        starts = [Moments(start.mean, np.linalg.cholesky(start.cov))]
        if problem.draws is not None:
            cov = np.cov(problem.draws.T).reshape(problem.dim, -1)
            starts.append(Moments(problem.draws.mean(0), np.linalg.cholesky(cov)))
        runs = [
            ascend(Evaluator(target, (num,)), q, np.random.default_rng(0),
                   Goal(1e-5, 1e-4, 40), num_draws=num)
            for q in starts
        ]  # fmt: skip
        best = max(runs, key=lambda run: run.elbo).moments
        cache |= {f"{name}/mean": best.mean, f"{name}/scale": best.scale}
    return Moments(cache[f"{name}/mean"], cache[f"{name}/scale"])


def weigh(problem: Problem, q: Moments, noise: np.ndarray) -> WeightedDraws:
    """Return draws of `q` made of `noise`, with both log densities."""
    x = q.mean + noise @ q.scale.T
    log_p = jax.jit(lambda x: jax.lax.map(problem.log_density, x, batch_size=64))(jnp.asarray(x))
    log_det = np.linalg.slogdet(q.scale)[1]
    log_q = -0.5 * (noise**2).sum(1) - log_det - 0.5 * problem.dim * np.log(2 * np.pi)
    return WeightedDraws(x, np.asarray(log_p, np.float64), log_q)


def reference(problem: Problem, best: WeightedDraws) -> tuple[np.ndarray, np.ndarray]:
    """Return means and sds: of exact or reference draws, else of weighted draws of the best q."""
    if problem.draws is not None:
        # not in float32, where NumPy's running sum of 10,000 rows is off by 0.06 sd
        return problem.draws.mean(0, dtype=np.float64), problem.draws.std(0, dtype=np.float64)
    mean = best.weights @ best.x
    return mean, np.sqrt(best.weights @ (best.x - mean) ** 2)


# -- the scores


def score(problem: Problem, fit: Fit, best: WeightedDraws, noise: np.ndarray) -> dict[str, float]:
    """Return errors in reference sds, the ELBO gap in nats, and k-hat."""
    mean, sd = reference(problem, best)
    try:
        root = np.linalg.cholesky(np.asarray(fit.cov, np.float64))
        weighted = weigh(problem, Moments(np.asarray(fit.mean, np.float64), root), noise)
        gap, khat = float(np.mean(best.log_ratios) - np.mean(weighted.log_ratios)), weighted.khat
    except np.linalg.LinAlgError:
        gap, khat = np.inf, np.inf
    return {
        "mean error": float(np.abs((fit.mean - mean) / sd).max()),
        "sd error": float(np.abs(np.sqrt(np.diagonal(fit.cov)) / sd - 1).max()),
        "ELBO gap": gap,
        "k-hat": khat,
    }


def rows_of(problem: Problem, args: argparse.Namespace, cache: dict) -> list[dict[str, object]]:
    """Fit a target by every library and every seed; one row for each library."""
    started = time.perf_counter()
    first = fit_vikl(problem, 0, args.steps)
    first_seconds = {"vikl": time.perf_counter() - started}
    rng = np.random.default_rng(zlib.crc32(problem.name.encode()))
    noise = draw_noise(rng, _NOISE, problem.dim, matched=True)
    best = weigh(problem, best_normal(problem, first, cache), noise)
    if args.standardized:
        problem = standardized(problem, *reference(problem, best))
        moved = best_normal(problem, fit_vikl(problem, 0, args.steps), cache)
        best = weigh(problem, moved, noise)
    rows = []
    for name in args.libraries:
        adapter, again, scores, fits = ADAPTERS[name], [], [], []
        if name == "numpyro":
            adapter = _best_rate(problem, args, best, noise)
        for seed in ([] if name in first_seconds else [0]) + list(range(args.seeds)):
            started = time.perf_counter()
            fit = adapter(problem, seed, args.steps)
            elapsed = time.perf_counter() - started
            if name not in first_seconds:
                first_seconds[name] = elapsed
                continue
            again.append(elapsed)
            fits.append(fit)
            scores.append(score(problem, fit, best, noise))
        rows.append(_row(problem, name, fits, scores, first_seconds[name], again))
    return rows


def _best_rate(
    problem: Problem, args: argparse.Namespace, best: WeightedDraws, noise: np.ndarray
) -> Callable[[Problem, int, int], Fit]:
    """Return NumPyro's adapter with the learning rate whose ELBO is highest for one seed."""
    gaps = {}
    for rate in (float(v) for v in args.rates.split(",")):
        fit = fit_numpyro(problem, 0, args.steps, rate)
        gaps[rate] = score(problem, fit, best, noise)["ELBO gap"]
    rate = min(gaps, key=lambda r: gaps[r] if np.isfinite(gaps[r]) else np.inf)
    print(f"{problem.name}: NumPyro's learning rate is {rate:g}", flush=True)
    return lambda problem, seed, steps: fit_numpyro(problem, seed, steps, rate)


def _row(
    problem: Problem, library: str, fits: list, scores: list, first: float, again: list
) -> dict[str, object]:
    gaps = np.asarray([s["ELBO gap"] for s in scores])
    middle = {k: float(np.median([s[k] for s in scores])) for k in scores[0]}
    statuses = sorted({fit.status for fit in fits if fit.status})
    return {
        "target (d)": f"{problem.name.split('-')[-1]} ({problem.dim})",
        "library": library,
        "gradients": int(np.median([fit.gradients for fit in fits])),
        "first s": f"{first:.2f}",
        "again s": f"{np.median(again):.2f}",
        "gap < 0.1": f"{int((gaps < 0.1).sum())}/{len(gaps)}",
        **{name: f"{value:.3g}" for name, value in middle.items()},
        "status": "; ".join(statuses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    folder = os.environ.get("VIKL_POSTERIORS")
    parser.add_argument("--posteriors", default=folder, help="a folder with posteriors.py")
    parser.add_argument("--only", default="", help="parts of targets' names, commas between")
    parser.add_argument("--libraries", default="vikl,numpyro,blackjax", help="commas between")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10_000, help="gradients of the peers")
    parser.add_argument("--cache", type=Path, help="an .npz file for the best normals")
    parser.add_argument("--float32", action="store_true", help="fit in float32 (needs --cache)")
    parser.add_argument("--simulated", action="store_true", help="the targets of _simulated.py")
    parser.add_argument("--standardized", action="store_true", help="see above")
    parser.add_argument("--rates", default="0.01", help="NumPyro's learning rates, commas between")
    parser.add_argument("--quick", action="store_true", help="one seed, a tenth of the steps")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.steps = 1, args.steps // 10
    args.libraries = args.libraries.split(",")
    os.environ["VB_X64"] = "0" if args.float32 else "1"  # what a folder's posteriors.py reads
    jax.config.update("jax_enable_x64", not args.float32)
    print(versions("jax", "optax", "numpyro", "blackjax"), "\n", flush=True)
    cache: dict[str, np.ndarray] = {}
    if args.cache is not None and args.cache.exists():
        cache = dict(np.load(args.cache))
    wanted, rows = args.only.split(","), []
    for problem in problems(args.posteriors, args.simulated):
        if any(part in problem.name for part in wanted):
            rows += rows_of(problem, args, cache)
            print(table(rows[-len(args.libraries) :]).split("\n", 2)[2], flush=True)
            if args.cache is not None:
                np.savez(args.cache, **cache)  # pyright: ignore[reportArgumentType]
    print("\n" + table(rows))


if __name__ == "__main__":
    main()
