"""Every pair against high-precision values and slopes, in both precisions.

One compiled program per pair and precision: its rows of tests/kl_reference.json are one batch.
Values within 1e-6 in float32 and 1e-12 in float64, the bar of the room; slopes within 1e-4 (2e-4 at
extreme scales where programs are hardly optimized), nearly all within 1e-5.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.kl_adapter import divergence
from tests.kl_reference import FIXED
from tests.test_kl_laws import KINKED, x64
from vikl import kl
from vikl.kl import student_t

pytestmark = pytest.mark.usefixtures("standard_promotion")  # numpyro's own code is not strict

ROWS = json.loads(pathlib.Path(__file__).with_name("kl_reference.json").read_text())
CASES = os.environ.get("VIKL_KL_CASES")
QUICK = os.environ.get("VIKL_CODEGEN", "quick") == "quick"
PAIRS = list(dict.fromkeys(row["pair"] for row in ROWS))
KINKS = {f"{cls.__name__}-{cls.__name__}" for cls in KINKED}


def batch(pair: str):
    """The rows of a pair, and their parameters as two batches."""
    rows = [row for row in ROWS if row["pair"] == pair]
    sides = [
        {k: jnp.asarray(np.array([row[s][k] for row in rows], "f4"), float) for k in rows[0][s]}
        for s in "pq"
    ]
    return rows, sides


def relative(value, row) -> float:
    """Error of a value: relative, absolute where KL is zero, 0 or infinite where KL is +inf."""
    want = float(row["kl"])
    if np.isnan(value) or value < 0:
        return np.inf
    if np.isinf(want) or np.isinf(value):
        return 0.0 if value == want else np.inf
    return abs(value - want) / (want or 1e-6)


def slope_error(slopes: dict, row: dict, i: int) -> float:
    """Largest error of a slope, relative to its own size or a thousandth of the largest."""
    want, got = [], []
    for side, moves in zip("pq", slopes, strict=True):
        for name, expected in row["slopes"][side].items():
            expected, slope = np.array(expected, float), np.asarray(moves[name][i], float)
            keep = np.tri(len(expected)) > 0 if name == "scale_tril" else ...
            want.append(expected[keep].ravel())
            got.append(slope[keep].ravel())
    want, got = np.concatenate(want), np.concatenate(got)
    return float(np.max(np.abs(got - want) / np.maximum(abs(want), 1e-3 * abs(want).max())))


def compiled(pair: str):
    value_and_slopes = jax.value_and_grad(functools.partial(divergence, pair), argnums=(0, 1))
    return jax.jit(jax.vmap(value_and_slopes))


SLOPE_ERRORS: list[float] = []


@pytest.mark.parametrize("pair", PAIRS)
def test_float32(pair):
    rows, sides = batch(pair)
    values, slopes = compiled(pair)(*sides)
    for i, row in enumerate(rows):
        assert relative(float(values[i]), row) < 1e-6, (row, float(values[i]))
        if row["tag"] == "equal":
            assert values[i] == 0
            moves = [] if pair in KINKS else jax.tree.leaves(slopes)
            assert all(np.all(np.asarray(m[i]) == 0) for m in moves)
        if "slopes" in row:
            error = slope_error(slopes, row, i)
            SLOPE_ERRORS.append(error)
            bar = 2e-4 if QUICK and row["tag"] == "extreme_scale" else 1e-4
            assert error < bar, (row, jax.tree.map(lambda m, i=i: m[i], slopes))


def test_slopes_are_mostly_within_1e_5():
    if len(SLOPE_ERRORS) < 100:
        pytest.skip("the pairs ran in other processes")
    assert np.mean(np.array(SLOPE_ERRORS) < 1e-5) > 0.95


@pytest.mark.parametrize("pair", PAIRS)
def test_float64(pair):
    with x64():
        rows, sides = batch(pair)
        values = jax.jit(jax.vmap(functools.partial(divergence, pair)))(*sides)
        for i, row in enumerate(rows):
            assert relative(float(values[i]), row) < 1e-12, (row, float(values[i]))


#: One of each kind of kernel: series, nodes, double words, matrices. All of them with VIKL_SLOW=1.
CURVED = ("Gamma-Gamma", "Logistic-Logistic", "HalfNormal-Exponential", "MVN-MVN")


def along(pair: str, p: dict, q: dict):
    """Derivative of the slopes as all parameters grow together."""
    ones = [
        {k: jnp.zeros_like(v) if k in FIXED else jnp.ones_like(v) for k, v in side.items()}
        for side in (p, q)
    ]
    for side in ones:
        side.update({k: jnp.tril(v) for k, v in side.items() if k == "scale_tril"})
    slopes = jax.grad(functools.partial(divergence, pair), argnums=(0, 1))
    return jax.jvp(slopes, (p, q), tuple(ones))[1]


def near(row: dict) -> bool:
    """Whether two locations are less than 1e9 scales of p apart."""
    p, q = row["p"], row["q"]
    if not {"loc", "scale"} <= set(p) or "loc" not in q:
        return True
    return bool(np.all(np.abs(np.subtract(p["loc"], q["loc"])) < 1e9 * np.asarray(p["scale"])))


@pytest.mark.parametrize("pair", PAIRS if "VIKL_SLOW" in os.environ else CURVED)
def test_second_derivatives_are_finite(pair):
    """Also at p = q; at the boundary of the parameters some are infinite.

    Beyond 1e9 scales of p the square of a slope may overflow float32 on the way.
    """
    rows, sides = batch(pair)
    curvature = jax.jit(jax.vmap(functools.partial(along, pair)))(*sides)
    inside = np.array(
        [row["tag"] != "boundary" and float(row["kl"]) < np.inf and near(row) for row in rows]
    )
    for side in curvature:
        for name, move in side.items():
            lost = ~np.isfinite(np.asarray(move)).reshape(len(rows), -1).all(-1) & inside
            assert not lost.any(), (name, [row for row, bad in zip(rows, lost) if bad])


#: df, then q's df, location and scale beside those of p, 0 and 1: mpmath's integrals
STUDENTS = (
    (1e6, 1e4, 0.0, 1.0, 1.7141344337326957e-8),
    (30.0, 20.0, 0.5, 0.9, 0.14440273671538515),
    (100.0, 10.0, 0.0, 1.001, 0.0092946697444863187),
    (20.0, 300.0, 3.0, 2.5, 1.1750187017793358),
    (1000.0, 50.0, 1e-3, 0.3, 2.7932289604463024),
    (8.5, 1e4, 0.5, 1.0, 0.15789444060036703),
    (12.0, 9.0, 0.0, 1.0, 0.00090933959595329065),
)


def test_student_ts_of_many_degrees_of_freedom():
    """The tails, whose nodes reach 1e4 scales, once drowned the rest in float32."""
    columns = np.asarray([row[:4] for row in STUDENTS], np.float32).T
    run = jax.jit(lambda df, df_q, loc, scale: student_t(df, 0.0, 1.0, df_q, loc, scale))
    wanted = np.array([row[4] for row in STUDENTS])
    np.testing.assert_allclose(run(*map(jnp.asarray, columns)), wanted, rtol=1e-6)
    with x64():
        found = run(*[jnp.asarray(column, float) for column in columns])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


#: Found on grids, where one parameter is special or large: float32 had lost its digits.
CORNERS = {
    "negative_binomial_logits": [(7.0, 40.0, 7.0, 40.0), (7.0, 35.0, 7.0, 35.003)],
    "geometric_logits": [(-30.0, -29.999), (-29.5, -29.4), (-40.0, -39.0)],
    "gumbel_normal": [(-20.0, 1e-3, -20.0, 1e-3)],
    "uniform_normal": [(-20.0, -19.999, -20.0, 1e-3)],
    "weibull_exponential": [(1.0, 1.0, 1.001)],
    "exponential_weibull": [(1.001, 1.0, 1.0)],
    "kumaraswamy_beta": [(1e4, 1e4, 1e4, 1e4)],
    "binomial_poisson": [(7.0, 0.3, 2.0)],
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name):
    rows = np.asarray(CORNERS[name], np.float32).T
    found = getattr(kl, name)(*map(jnp.asarray, rows))
    with x64():
        wanted = getattr(kl, name)(*[jnp.asarray(row, float) for row in rows])
    np.testing.assert_allclose(found, wanted, rtol=5e-6, atol=1e-12)
    assert (found >= 0).all()


#: A few special and large values of each parameter.
POSITIVE = (1e-3, 0.03, 0.3, 0.9, 1.0, 1.001, 2.0, 8.5, 30.0, 300.0, 1e4)
GRID = dict.fromkeys(
    ("scale", "rate", "concentration", "concentration0", "concentration1", "alpha"), POSITIVE
) | {
    "loc": (0.0, 1e-3, 0.5, 3.0, -20.0),
    "df": (0.3, 1.0, 2.1, 5.0, 8.5, 10.0, 30.0, 100.0, 1000.0, 1e5),
    "probs": (1e-6, 0.01, 0.3, 0.5, 0.5005, 0.9, 0.999),
    "logits": (-40.0, -30.0, -3.0, -0.01, 0.0, 0.4, 8.0, 40.0),
    "low": (0.0, -1.0, 0.2),
    "high": (1.0, 0.5, 3.0),
    "total_count": (7.0,),
}  # fmt: skip
VECTORS = {r["pair"] for r in ROWS if any(isinstance(v, list) for s in "pq" for v in r[s].values())}
SCALARS = [pair for pair in PAIRS if pair not in VECTORS]
#: Share of rows that may be off by more than 1e-5, where it is not one in 200.
ROUGH = {"Beta-Beta": 0.05, "Kumaraswamy-Beta": 0.03, "Weibull-Gamma": 0.02}


@pytest.mark.skipif(
    "VIKL_SLOW" not in os.environ and os.environ.get("VIKL_CODEGEN") != "full",
    reason="set VIKL_SLOW=1 or VIKL_CODEGEN=full: 6,000 rows a pair",
)
@pytest.mark.parametrize("pair", SCALARS)
def test_grid(pair):
    """Random rows of a grid in float32, beside float64: a share may lose a digit, none all."""
    rng = np.random.default_rng(0)
    row = next(row for row in ROWS if row["pair"] == pair)
    sides: list[dict] = [{k: rng.choice(GRID[k], 6000) for k in row[side]} for side in "pq"]
    for k in set(sides[0]) & set(sides[1]):
        same = rng.random(6000) < 0.25
        sides[1][k][same] = sides[0][k][same] * np.where(rng.random(same.sum()) < 0.5, 1, 1.0003)
    sides = [{k: np.asarray(v, np.float32) for k, v in side.items()} for side in sides]

    def run() -> np.ndarray:
        arrays = [{k: jnp.asarray(v, float) for k, v in side.items()} for side in sides]
        return np.asarray(jax.jit(jax.vmap(functools.partial(divergence, pair)))(*arrays), float)

    found = run()
    with x64():
        wanted = run()
    held = (wanted > 1e-30) & (wanted < 1e34)
    off = np.abs(np.where(held, found / np.where(held, wanted, 1.0), 1.0) - 1.0)
    assert not (found < 0).any()
    assert not (np.isnan(found) & ~np.isnan(wanted)).any()
    assert (np.isinf(found) == np.isinf(wanted))[wanted < 1e34].all()
    assert (off > 1e-5).mean() <= ROUGH.get(pair, 0.005)
    assert (off > 1e-2).mean() <= 0.002


def test_the_comparison_can_fail():
    row = next(row for row in ROWS if row["pair"] == "Normal-Normal" and "slopes" in row)
    want = float(row["kl"])
    assert relative(want, row) == 0
    for value in (np.nan, -want, np.inf, want * (1 + 1e-5)):
        assert relative(value, row) > 1e-6
    slopes = [{k: np.array([float(v)]) for k, v in row["slopes"][s].items()} for s in "pq"]
    assert slope_error(slopes, row, 0) == 0  # type: ignore[arg-type]
    slopes[1]["scale"] = slopes[1]["scale"] * 1.001
    assert slope_error(slopes, row, 0) > 1e-4  # type: ignore[arg-type]


def test_eager_equals_jit_and_one_equals_a_batch():
    for pair in ("Normal-Normal", "Gamma-Gamma", "CategoricalLogits-CategoricalLogits"):
        rows, sides = batch(pair)
        together = jax.vmap(functools.partial(divergence, pair))(*sides)
        for i, row in enumerate(rows):
            if row["tag"] == "boundary":  # NumPyro refuses logits of −inf that it can see
                continue
            alone = divergence(pair, *[{k: v[i] for k, v in side.items()} for side in sides])
            np.testing.assert_allclose(alone, together[i], rtol=1e-6)


@pytest.mark.skipif(not CASES, reason="VIKL_KL_CASES does not name the folder of shared cases")
@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [
        ("float32", ["tests.kl_adapter:kl", "--min-pass-frac", ".95", "--max-nanneg", "0"]),
        ("float64", ["tests.kl_adapter:kl", "--min-pass-frac", ".95", "--tol", "1e-12"]),
        ("float32", ["tests.kl_adapter:grad", "--grad", "--min-pass-frac", ".9", "--tol", "1e-4"]),
    ],
)
def test_shared_cases(dtype, arguments):
    scorer = pathlib.Path(str(CASES)) / "score.py"
    root = pathlib.Path(__file__).parent.parent
    environment = os.environ | {"VIKL_KL_DTYPE": dtype, "PYTHONPATH": str(root)}
    run = subprocess.run(
        [sys.executable, str(scorer), *arguments, "--failures", "--by", "tag"],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]
