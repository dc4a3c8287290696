"""Float32 and float64 kernels against high-precision values, and the shared cases where given."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tests.test_kl_laws import x64
from vikl import kl

ROWS = json.loads(pathlib.Path(__file__).with_name("kl_reference.json").read_text())
CASES = os.environ.get("VIKL_KL_CASES")


def name(row) -> str:
    return row["kernel"]


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_float32(row):
    value = getattr(kl, row["kernel"])(*[jnp.float32(x) for x in row["parameters"]])
    assert float(value) == pytest.approx(float(row["kl"]), rel=1e-6)


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_float64(row):
    with x64():
        value = getattr(kl, row["kernel"])(*[jnp.asarray(x, float) for x in row["parameters"]])
        assert float(value) == pytest.approx(float(row["kl"]), rel=1e-12)


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


def test_jit_equals_eager():
    for row in ROWS[::9]:
        kernel = getattr(kl, row["kernel"])
        arguments = [jnp.float32(x) for x in row["parameters"]]
        assert jax.jit(kernel)(*arguments) == kernel(*arguments)
