"""The verdict of `posterior.check`, judged on fits whose error is known: a confusion table.

    python benchmarks/verdict.py [--posteriors FOLDER] [--seed N] [--only PART] [--kinds PARTS]

A fit is bad if a mean is off by more than 0.2 sd, an sd by more than 20 %, or a mode of more than
5 % of the mass is missed; it is good otherwise. The targets are made anew from `--seed` (thresholds
were looked at with seed 0), with those of FOLDER, a `posteriors.py` with `REAL`, `SYNTH`, `get`.
"""

import argparse
import dataclasses
import importlib
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _clock import table, versions
from _zoo import Animal, zoo

import vikl
from vikl.diagnostics import VERDICTS, Report
from vikl.families import Family, FullRankNormal, MeanFieldNormal

MEAN_LIMIT, SD_LIMIT, MODE_SHARE = 0.2, 0.2, 0.05


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A fit, how wrong it is, and what the check said."""

    target: str
    kind: str
    fit: str
    mean_error: float
    sd_error: float
    missed: float
    verdict: str
    report: Report

    @property
    def bad(self) -> bool:
        """Whether a mean, an sd or a mode is wrong by more than the limits."""
        return self.mean_error > MEAN_LIMIT or self.sd_error > SD_LIMIT or self.missed > MODE_SHARE

    @property
    def clear(self) -> bool:
        """Whether the label would survive an error of a quarter of the limits."""
        worst = max(self.mean_error / MEAN_LIMIT, self.sd_error / SD_LIMIT)
        return self.missed > MODE_SHARE or not 0.75 < worst < 1.25

    def as_json(self) -> dict[str, Any]:
        """Return the label and the evidence as plain numbers."""
        report = self.report
        numbers = dict(
            khat=report.khat, relative_ess=report.relative_ess, share=report.share_outside,
            relative_ess_error=report.weighted.relative_ess_std_error, word=report.verdict[:60],
            shift=float(np.abs(report.shifts.mean_shift).max()),
            shift_error=float(report.shifts.mean_error.max()),
            sd_shift=float(np.abs(report.shifts.log_sd_shift).max()),
            sd_shift_error=float(report.shifts.log_sd_error.max()),
            home=report.probe.home_distance, gap=report.gap, off=len(report.off),
            share_error=report.probe.share_std_error, gradients=report.num_gradients,
        )  # fmt: skip
        mine = {k: getattr(self, k) for k in ("target", "kind", "fit", "mean_error", "sd_error")}
        return mine | {"missed": self.missed, "bad": self.bad, "said": self.verdict} | numbers


# -- the fits of a target


def fits(animal: Animal, target: Any, seed: int) -> Iterator[tuple[str, Any, bool]]:
    """Yield names, families, and whether the optimiser said that it had converged."""
    rng = np.random.default_rng([seed, zlib.crc32(animal.name.encode())])
    dim, key = animal.dim, jax.random.key(int(rng.integers(2**31)))
    mean, sd = animal.draws.mean(0), animal.draws.std(0)
    root = np.linalg.cholesky(np.cov(animal.draws.T).reshape(dim, dim))
    settings = {"key": key, "progress": False}
    for name, kind in (("full rank", FullRankNormal), ("mean-field", MeanFieldNormal)):
        post = vikl.fit(target, kind, **settings)
        yield f"{name}, automatic", post.family, post.status == "converged"
        if name == "full rank":
            best = np.asarray(post.mean), np.linalg.cholesky(np.asarray(post.cov, np.float64))
    for kind, rate, steps in (
        (MeanFieldNormal, 0.1, 20), (FullRankNormal, 0.05, 100), (MeanFieldNormal, 0.1, 1000)
    ):  # fmt: skip
        adam = optax.adam(rate)
        post = vikl.fit(target, kind, optimizer=adam, num_steps=steps, **settings)
        yield f"{kind.__name__}, {steps} steps", post.family, post.status == "converged"
    yield "true moments", _normal(mean, root), True
    yield "true marginals", MeanFieldNormal.init(jnp.asarray(mean), sd), True
    for name, centre, factor in (("best", *best), ("moments", mean, root)):
        spread = np.linalg.norm(factor, axis=1)
        for size in (0.1, 0.3, 1.0, 4.0):
            way = rng.normal(size=dim)
            way *= size / np.abs(way).max()
            if name == "best" or size < 1:
                yield f"{name}, shifted {size}", _normal(centre + way * spread, factor), True
        for scale in (0.2, 0.7, 0.9, 1.1, 1.4, 3.0):
            if name == "best" or scale > 0.5:
                yield f"{name}, times {scale}", _normal(centre, scale * factor), True
        one = np.ones(dim)
        one[rng.integers(dim)] = rng.choice([0.6, 0.72, 1.35])
        yield f"{name}, one sd off", _normal(centre, one[:, None] * factor), True
        shift = np.zeros(dim)
        shift[rng.integers(dim)] = rng.choice([0.27, 0.4]) * rng.choice([-1, 1])
        yield f"{name}, one mean off", _normal(centre + shift * spread, factor), True
    for i, (_, centre, factor) in enumerate(animal.modes[:4]):
        yield f"mode {i}", _normal(centre, factor), True
        yield f"mode {i}, times 1.15", _normal(centre, 1.15 * factor), True


def _normal(mean: np.ndarray, root: np.ndarray) -> Family:
    return FullRankNormal.from_moments(jnp.asarray(mean, float), jnp.asarray(root, float))


def missed(animal: Animal, family: Family) -> float:
    """Return the share of the mass in modes that q gives less than a twentieth of their due."""
    if not animal.modes:
        return 0.0
    keys = jax.random.split(jax.random.key(0), 4000)
    x = np.asarray(jax.vmap(lambda key: family.sample_and_log_prob(key)[0])(keys))
    heights = []
    for weight, mean, root in animal.modes:
        z = np.linalg.solve(root, (x - mean).T)
        heights.append(np.log(weight) - 0.5 * (z**2).sum(0) - np.linalg.slogdet(root)[1])
    mine = np.bincount(np.argmax(heights, axis=0), minlength=len(animal.modes)) / len(x)
    weights = np.array([weight for weight, _, _ in animal.modes])
    return float(weights[mine < weights / 20].sum() / weights.sum())


def judge(animal: Animal, seed: int, some: list[str]) -> Iterator[Labelled]:
    """Make, label and check all fits of a target."""
    dtype = jnp.zeros(()).dtype
    data = jax.tree.map(lambda v: jnp.asarray(v, dtype), animal.data)
    target = vikl.Target.from_density(animal.log_density, like=jnp.zeros(animal.dim), data=data)
    mean, sd = animal.draws.mean(0), animal.draws.std(0)
    for index, (name, family, converged) in enumerate(fits(animal, target, seed)):
        if not any(part in name for part in some):
            continue
        q_mean, q_sd = (
            np.asarray(f(family), np.float64) for f in (vikl.families.mean, vikl.families.std)
        )
        key = jax.random.key(1000 * seed + index)
        report = vikl.diagnostics.check(target, family, key, converged=converged)
        yield Labelled(
            animal.name, animal.kind, name, float(np.abs((q_mean - mean) / sd).max()),
            float(np.abs(q_sd / sd - 1).max()), missed(animal, family), report.word, report,
        )  # fmt: skip


def animals(folder: str | None, seed: int, only: str) -> Iterator[Animal]:
    """Yield the zoo's targets, then a folder's."""
    wanted = [""] if only == "reference" else only.split(",")
    if folder:
        sys.path.insert(0, folder)
        found = importlib.import_module("posteriors", package=None)
        for name in (*found.REAL, *found.SYNTH):
            t = found.get(name)
            if t.ref_x is not None and t.d <= 200 and any(part in name for part in wanted):
                density = lambda x, data, t=t: t.logdensity(x) + 0 * data
                yield Animal(name.split("-")[-1], "reference", density, 0.0, np.asarray(t.ref_x))
    if only != "reference":
        yield from (a for a in zoo(seed) if any(part in a.name + a.kind for part in wanted))


# -- the tables


def confusion(rows: list[Labelled]) -> str:
    """Return how many good and bad fits got each verdict, and the two rates that count."""
    lines = []
    for label, bad, clear in (
        ("bad", True, False), ("good", False, False),
        ("bad, clearly", True, True), ("good, clearly", False, True),
    ):  # fmt: skip
        mine = [r for r in rows if r.bad == bad and (r.clear or not clear)]
        said = {word: sum(r.verdict == word for r in mine) for word in VERDICTS}
        wrongly = said["good" if bad else "wrong"]
        share = f"{100 * wrongly / max(len(mine), 1):.1f} % called {'good' if bad else 'wrong'}"
        lines.append({"fits": label, "number": len(mine), **said, "so": share})
    return table(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    folder = os.environ.get("VIKL_POSTERIORS")
    parser.add_argument("--posteriors", default=folder, help="a folder with posteriors.py")
    parser.add_argument("--seed", type=int, default=1, help="of the zoo and of the fits")
    parser.add_argument("--only", default="", help="parts of targets' names or kinds, commas")
    parser.add_argument("--fits", default="", help="parts of the fits' names, commas between")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--quick", action="store_true", help="targets of one to three dimensions")
    parser.add_argument("--json", type=Path, help="where to write one line for each fit")
    args = parser.parse_args()
    if args.quick:
        args.only = args.only or " 1-d, 2-d, 3-d"
    os.environ["VB_X64"] = "0" if args.float32 else "1"  # what a folder's posteriors.py reads
    jax.config.update("jax_enable_x64", not args.float32)
    print(versions("jax"), f"seed {args.seed}, float{32 if args.float32 else 64}\n", flush=True)
    rows: list[Labelled] = []
    for animal in animals(args.posteriors, args.seed, args.only):
        started, first = time.perf_counter(), len(rows)
        rows += judge(animal, args.seed, args.fits.split(","))
        seconds = time.perf_counter() - started
        print(f"{animal.name}: {len(rows) - first} fits, {seconds:.0f} s", flush=True)
        for row in rows[first:]:
            if row.verdict == ("good" if row.bad else "wrong"):
                errors = (
                    f"mean {row.mean_error:.2f}, sd {row.sd_error:.2f}, missed {row.missed:.2f}"
                )
                print(f"    {row.fit}: {errors}: {row.report.verdict[:110]}", flush=True)
        if args.json:
            args.json.write_text("\n".join(json.dumps(row.as_json()) for row in rows))
    print("\n" + confusion(rows))
    for kind in dict.fromkeys(row.kind for row in rows):
        print(f"\n{kind}\n\n" + confusion([row for row in rows if row.kind == kind]))


if __name__ == "__main__":
    main()
