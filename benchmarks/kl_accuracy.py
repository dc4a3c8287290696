"""Score the closed forms on random cases against mpmath: typical, near-equal, extreme, boundary.

    python -m benchmarks.kl_accuracy --count 60                   # minutes per slow pair
    python -m benchmarks.kl_accuracy --only Gamma-Gamma --seed 3
    python -m benchmarks.kl_accuracy --x64

Truth and draws are those of tests/kl_truth*.py and tests/kl_draws.py; a pair is one compiled
program per shape. A case passes within a relative 1e-6 (float64: 1e-12); NaN, a negative value or
a wrong infinity never does. Needs the extra `test`.
"""

import argparse
import collections
import functools
import json

import jax
import numpy as np

from tests.kl_adapter import divergence
from tests.kl_draws import PAIRS, TAGS
from tests.kl_reference import cases


def collect(pair: str, count: int, seed: int) -> dict[tuple, list]:
    """Cases by the shapes of their parameters."""
    groups = collections.defaultdict(list)
    for tag in TAGS:
        for p, q, value in cases(pair, tag, count, seed=seed):
            shapes = tuple(np.shape(v) for d in (p, q) for v in d.values())
            groups[shapes].append((tag, p, q, float(value)))
    return groups


def score(pair: str, rows: list, tolerance: float) -> list[tuple]:
    """Return (tag, passed, error, got, row) per case."""
    dtype = "f8" if jax.config.read("jax_enable_x64") else "f4"
    sides = [{k: np.array([row[i][k] for row in rows], dtype) for k in rows[0][i]} for i in (1, 2)]
    values = np.asarray(jax.jit(jax.vmap(functools.partial(divergence, pair)))(*sides), float)
    result = []
    for row, got in zip(rows, values, strict=True):
        want = row[3]
        error = 0.0 if got == want else abs(got - want) / want if want else abs(got) / 1e-6
        fine = got >= 0 and (got == want or np.isfinite(got)) and error <= tolerance
        result.append((row[0], bool(fine), error, got, row))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=20, help="cases per pair and tag")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="pairs, separated by commas")
    parser.add_argument("--x64", action="store_true", help="float64 and 1e-12")
    asked = parser.parse_args()
    jax.config.update("jax_enable_x64", asked.x64)
    total = collections.Counter()
    for pair in asked.only.split(",") if asked.only else PAIRS:
        found = []
        for rows in collect(pair, asked.count, asked.seed).values():
            found += score(pair, rows, 1e-12 if asked.x64 else 1e-6)
        total += collections.Counter((tag, fine) for tag, fine, *_ in found)
        failed = sorted((f for f in found if not f[1]), key=lambda f: -f[2])
        print(f"{pair}: {len(found) - len(failed)} of {len(found)}", flush=True)
        for tag, _, error, got, (_, p, q, want) in failed[:3]:
            print(f"    {tag}: error {error:.1e}, want {want}, got {got}: {json.dumps([p, q])}")
    for tag in TAGS:
        passed, missed = total[tag, True], total[tag, False]
        print(f"{tag}: {passed} of {passed + missed}")


if __name__ == "__main__":
    main()
