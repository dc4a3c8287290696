"""Makes tests/kl_reference.json: divergences and their slopes by mpmath, at random parameters.

    python -m tests.kl_reference           # the sample that the tests use, again
    python -m tests.kl_reference --check   # the formulas of tests/kl_truth*.py by integration

The sample has a few cases per pair and tag (tests/kl_draws.py); benchmarks/kl_accuracy.py draws
as many as one likes. Vectors have three entries, so that a pair is one compiled program.
"""

import argparse
import json
import pathlib
from typing import Any

import mpmath as mp
import numpy as np

from tests.kl_draws import FAMILIES, PAIRS, TAGS, draw
from tests.kl_truth import P
from tests.kl_truth_densities import QUADRATURE, by_integration
from tests.kl_truth_discrete import gradient, kl

PATH = pathlib.Path(__file__).with_suffix(".json")
SEED, DIM = 20, 3
COUNTS = {"typical": 1, "near_equal": 2, "extreme_scale": 2, "boundary": 1}
FIXED = ("total_count", "low", "high")  # counts and bounds are not differentiated
#: Slopes of these take minutes each (integrals) or leave the simplex.
NO_SLOPES = {"-".join(pair) for pair in QUADRATURE} | {
    "Kumaraswamy-Beta",
    "Categorical-Categorical",
}


def cases(pair: str, tag: str, count: int, seed: int = SEED, dim: int | None = None):
    """Draw (p, q, KL) of finite cost; those whose KL float32 cannot hold are skipped."""
    names = pair.split("-")
    if tag == "near_equal" and names[0] != names[1]:
        return
    rng = np.random.default_rng([seed, PAIRS.index(pair), TAGS.index(tag)])
    while count:
        p, q = draw(pair, tag, rng, dim)
        value = kl(pair, p, q)
        if value < mp.mpf(10) ** -36:  # nothing, but for the digits of mpmath
            value = mp.mpf(0)
        if value == mp.inf or value < mp.mpf(10) ** 37:
            count -= 1
            yield p, q, value


def slopes(pair: str, p: dict, q: dict) -> dict:
    names = [(s, k) for s, d in (("p", p), ("q", q)) for k in d if k not in FIXED]
    return gradient(pair, p, q, names)


def short(value):
    """Write a float32 number in as few digits as tell it apart."""
    if isinstance(value, list):
        return [short(v) for v in value]
    return float(str(np.float32(value)))


def text(value, digits: int):
    if isinstance(value, list):
        return [text(v, digits) for v in value]
    return mp.nstr(value, digits)


def rows() -> list[dict]:
    result = []
    for pair in PAIRS:
        if len(set(pair.split("-"))) == 1:
            p, _, _ = next(cases(pair, "typical", 1, dim=DIM))
            result.append({"pair": pair, "tag": "equal", "p": p, "q": p, "kl": "0"})
        for tag, count in COUNTS.items():
            for p, q, value in cases(pair, tag, count, dim=DIM):
                number: Any = value
                row = {"pair": pair, "tag": tag, "p": p, "q": q, "kl": text(number, 18)}
                sloped = tag != "boundary" and 0 < number < mp.mpf(10) ** 30
                if sloped and pair not in NO_SLOPES:
                    row["slopes"] = {
                        side: {k: text(v, 8) for k, v in d.items()}
                        for side, d in slopes(pair, p, q).items()
                    }
                    said = json.dumps(row["slopes"])
                    if "inf" in said or "nan" in said or not any(row["slopes"].values()):
                        del row["slopes"]  # nothing to differentiate, or a kink: p's support is q's
                result.append(row)
    return result


def check(count: int = 2) -> None:
    """Compare the formulas with the integrals of p log(p/q)."""
    for pair in PAIRS:
        names = pair.split("-")
        if not all(n in P and n in FAMILIES for n in names):
            continue
        for p, q, value in cases(pair, "typical", count, seed=1):
            if value == mp.inf:
                continue
            integral, error = by_integration(pair, p, q)
            off = abs(integral - value)
            print(pair, mp.nstr(value, 12), mp.nstr(off, 3), mp.nstr(error, 3))
            if off > mp.mpf(10) ** -12 * value:
                raise ArithmeticError(f"{pair} {p} {q}: {value} but the integral is {integral}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="integrate the densities instead")
    if parser.parse_args().check:
        check()
        return
    table = rows()
    for row in table:
        for side in "pq":
            row[side] = {k: short(v) for k, v in row[side].items()}
    lines = ",\n".join(json.dumps(row) for row in table)
    PATH.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
