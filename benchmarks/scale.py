"""Large and many: a thousand dimensions, a hundred thousand rows, a thousand posteriors at once.

    python benchmarks/scale.py [--quick]

1. A normal of 1,000 dimensions, condition number 10,000: the largest error of an sd, and the memory
   of a fresh process.
2. A logistic regression of 100,000 rows and 50 predictors by minibatches of 256, beside the fit to
   all rows, which a posterior that is so nearly normal makes exact.
3. 1,000 logistic regressions of 30 rows by one `fit_many`, beside warm calls of `fit`.
4. A warm fit with new data of the same shape: seconds, and programs compiled.

Each part runs in a process of its own. Everything is made from fixed seeds, in float32.
"""

import argparse
import os
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from _clock import child, spread, versions
from _problems import SEED, correlated_normal, diabetes_rows, regression, spectrum
from jax.nn import log_sigmoid

import vikl
from vikl._compile import record_compiles


def log_likelihood(beta, rows):
    """Return the log likelihood of a logistic regression."""
    design, sign = rows
    return jnp.sum(log_sigmoid(sign * (design @ beta)))


def log_prior(beta):
    """Return a standard normal's log density, unnormalised."""
    return -0.5 * jnp.sum(beta**2)


def posterior(beta, rows):
    """Return the log density of a regression's coefficients."""
    return log_likelihood(beta, rows) + log_prior(beta)


def regressions(num: int, rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Make designs (num, rows, dim), an intercept first, and signs (num, rows)."""
    rng = np.random.default_rng(0)
    design = rng.normal(size=(num, rows, dim))
    design[..., 0] = 1.0
    beta = rng.normal(size=(num, dim)) / np.sqrt(dim)
    chance = 1 / (1 + np.exp(-np.einsum("nrd,nd->nr", design, beta)))
    sign = np.where(rng.uniform(size=chance.shape) < chance, 1.0, -1.0)
    return design.astype(np.float32), sign.astype(np.float32)


def thousand(quick: bool) -> list[dict[str, object]]:
    """Fit the large normal."""
    dim = 200 if quick else 1000
    problem = correlated_normal(dim, 1e4)
    began = time.process_time()
    post = vikl.fit(problem.log_density, like=jnp.zeros(dim), key=jax.random.key(0), progress=False)
    seconds = time.process_time() - began
    basis, variances = spectrum(np.random.default_rng(SEED), dim, 1e4)
    sd = np.sqrt(basis**2 @ variances)
    return [{
        "normal": f"{dim}-d, {type(post.family).__name__}",
        "sd error": f"{np.abs(np.asarray(post.std) / sd - 1).max():.1e}",
        "gradients": post.num_gradients,
        "CPU s": f"{seconds:.1f}",
        "memory, GB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f}",
        "status": post.status,
    }]  # fmt: skip


def minibatch(quick: bool) -> list[dict[str, object]]:
    """Fit the logistic regression by minibatches and by all rows."""
    rows, dim = (10_000, 10) if quick else (100_000, 50)
    design, sign = (v[0] for v in regressions(1, rows, dim))
    like, key = jnp.zeros(dim), jax.random.key(0)
    full = vikl.fit(posterior, like=like, data=(design, sign), key=key, progress=False)
    target = vikl.Target.from_density(
        log_likelihood, like, data=(design, sign), batch_size=256, log_prior=log_prior
    )
    found = []
    for seed in range(1 if quick else 3):
        began = time.process_time()
        post = vikl.fit(target, key=jax.random.key(seed), progress=False)
        found.append({
            "rows, parameters": f"{rows:,}, {dim}; seed {seed}",
            "mean error, sds": f"{np.abs((post.mean - full.mean) / full.std).max():.3f}",
            "sd error": f"{np.abs(post.std / full.std - 1).max():.4f}",
            "minibatch gradients": post.num_gradients,
            "as passes over the data": f"{post.num_gradients * 256 / rows:.0f}",
            "all rows: gradients": full.num_gradients,
            "CPU s": f"{time.process_time() - began:.1f}",
            "status": post.status,
        })  # fmt: skip
    return found


def many(quick: bool) -> list[dict[str, object]]:
    """Fit many small regressions at once and one by one."""
    num, loops = (100, 5) if quick else (1000, 30)
    design, sign = regressions(num, 30, 3)
    like, key = jnp.zeros(3), jax.random.key(0)
    target = vikl.Target.from_density(posterior, like, data=(design[0], sign[0]))
    together, each, gaps = [], [], []
    fits = vikl.fit_many(target, (design, sign), key=key)  # compiles
    for _ in range(3):
        began = time.perf_counter()
        fits = jax.block_until_ready(vikl.fit_many(target, (design, sign), key=key))
        together.append(time.perf_counter() - began)
    for i in range(loops):
        began = time.perf_counter()
        data = design[i], sign[i]
        post = vikl.fit(posterior, like=like, data=data, key=key, progress=False)
        each.append(time.perf_counter() - began)
        gaps.append(float(post.elbo - fits.elbo[i]))
    warm = np.asarray(each[1:])
    return [{
        "posteriors": num,
        "converged": int(np.sum(np.asarray(fits.converged))),
        "together, s": spread(np.asarray(together), 3),
        "one warm fit, s": spread(warm, 4),
        "a loop takes, times as long": f"{np.median(warm) * num / np.median(together):.0f}",
        "ELBO of the loop's, higher by": spread(np.asarray(gaps), 3),
    }]  # fmt: skip


def repeat(quick: bool) -> list[dict[str, object]]:
    """Fit the diabetes regression to resampled rows, again and again."""
    design, outcome = diabetes_rows()
    rng, found, programs = np.random.default_rng(0), [], 0
    for seed in range(4 if quick else 11):
        rows = rng.integers(len(outcome), size=len(outcome))
        began = time.perf_counter()
        with record_compiles() as compiles:
            vikl.fit(
                regression, like=jnp.zeros(12), data=(design[rows], outcome[rows]),
                key=jax.random.key(seed), progress=False,
            )  # fmt: skip
        found.append(time.perf_counter() - began)
        programs += compiles.count if seed else 0
    return [{
        "first fit, s": f"{found[0]:.2f}",
        "with new data, s": spread(np.asarray(found[1:]), 3),
        "programs compiled then": programs,
    }]  # fmt: skip


_PART = """
import sys
sys.path.insert(0, sys.argv[1])
import scale
from _clock import table
print(table(scale.PARTS[sys.argv[2]](bool(sys.argv[3]))))
"""
PARTS = {f.__name__: f for f in (thousand, minibatch, many, repeat)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help=f"of {', '.join(PARTS)}, commas between")
    parser.add_argument("--quick", action="store_true", help="smaller problems")
    args = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    print(versions("jax", "numpy"), "\n", flush=True)
    for name in args.only.split(",") if args.only else PARTS:
        print(child(_PART, here, name, "quick" if args.quick else "")[2], flush=True)


if __name__ == "__main__":
    main()
