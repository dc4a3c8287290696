"""Every example runs, writes its figures, and prints numbers that agree with its references."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))
FIGURES = {
    "first_fit": ["marginals.png", "mode_covering_vs_seeking.png"],
    "mode_covering_vs_seeking": ["mode_covering_vs_seeking.png", "mode_covering_vs_seeking.gif"],
}
NUMBER = r"-?\d+\.?\d*"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run an example once, in quick mode, and remember how it went."""
    done = {}

    def run(script):
        if script not in done:
            folder = tmp_path_factory.mktemp(script.stem)
            environment = os.environ | {
                "PYTHONPATH": str(EXAMPLES.parent),
                "JAX_NUMPY_DTYPE_PROMOTION": "standard",  # as users have it
                "JAX_NUMPY_RANK_PROMOTION": "allow",
            }
            ended = subprocess.run(
                [sys.executable, str(script), "--quick", "--out", str(folder)],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            done[script] = (ended, folder)
        return done[script]

    return run


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_runs_and_draws(runs, script):
    ended, folder = runs(script)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr
    wide = [line for line in ended.stdout.splitlines() if len(line) > 100]
    assert all(str(folder) in line for line in wide)  # a path is as long as it is
    assert sorted(path.name for path in folder.iterdir()) == sorted(FIGURES[script.stem])
    for name in FIGURES[script.stem]:
        with Image.open(folder / name) as image:
            assert min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 5.0  # not a blank page
            assert getattr(image, "n_frames", 1) > 3 or name.endswith(".png")
        assert name in ended.stdout.splitlines()[-1] + ended.stdout.splitlines()[-2]


def test_every_example_names_its_figures():
    assert {script.stem for script in SCRIPTS} == set(FIGURES)


def table(text, reference):
    """Return `{parameter: (mean, sd, 5 %, 95 %, reference mean, reference sd)}` from the output."""
    rows = {}
    for name in json.loads((EXAMPLES / "reference" / f"{reference}.json").read_text())[
        "parameters"
    ]:
        found = re.search(rf"^{re.escape(name)}((?:\s+{NUMBER}){{6,8}})$", text, re.MULTILINE)
        assert found, name
        rows[name] = [float(v) for v in found.group(1).split()][:6]
    return rows


# A normal cannot have tau's tail: the errors that its best fit has, with room for other seeds.
@pytest.mark.parametrize(
    ("reference", "title", "mean_off", "sd_off"),
    [
        ("eight_schools", "Eight schools", 0.3, 0.3),
        ("diabetes_nuts", "Diabetes progression", 0.05, 0.05),
    ],
)
def test_first_fit_agrees_with_its_references(runs, reference, title, mean_off, sd_off):
    ended, _ = runs(EXAMPLES / "first_fit.py")
    text = ended.stdout[ended.stdout.index(title) :]
    truth = json.loads((EXAMPLES / "reference" / f"{reference}.json").read_text())["parameters"]
    for name, (mean, sd, low, high, shown_mean, shown_sd) in table(text, reference).items():
        row = truth[name]
        assert abs(shown_mean - row["mean"]) < 0.01 * row["sd"] + 1e-3
        assert abs(shown_sd - row["sd"]) < 0.01 * row["sd"] + 1e-3
        assert abs(mean - row["mean"]) < mean_off * row["sd"], name
        assert abs(sd / row["sd"] - 1) < sd_off, name
        assert abs(low - row["5%"]) < 2 * mean_off * row["sd"], name
        assert abs(high - row["95%"]) < 2 * mean_off * row["sd"], name


def test_first_fit_says_how_it_went(runs):
    text = runs(EXAMPLES / "first_fit.py")[0].stdout
    for word in ("ELBO", "k-hat", "status", "cost", "verdict", "next"):
        assert len(re.findall(rf"^  {word} ", text, re.MULTILINE)) == 2
    assert len(re.findall(r"^  status +converged", text, re.MULTILINE)) == 2
    schools, diabetes = re.findall(r"^  verdict +(.+)", text, re.MULTILINE)
    assert schools.startswith(("usable after resampling", "good"))
    assert diabetes.startswith("good")


def test_modes_are_found_in_quick_mode_too(runs):
    text = runs(EXAMPLES / "mode_covering_vs_seeking.py")[0].stdout
    rows = re.findall(
        rf"^.{{32}}\s*({NUMBER})\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\b", text, re.M
    )
    assert len(rows) == 12
    for mean, true_mean, sd, true_sd in np.array(rows, float):
        assert abs(mean - true_mean) < 0.1
        assert abs(sd - true_sd) < 0.1
    for name in ("left mode", "right mode", "broad optimum", "heavy mode", "light mode"):
        assert text.count(name) == 1


def test_references_agree_with_the_closed_form():
    rows = json.loads((EXAMPLES / "reference" / "diabetes_nuts.json").read_text())["parameters"]
    for row in rows.values():
        error = row["sd"] / np.sqrt(row["ess"])
        assert abs(row["mean"] - row["exact_mean"]) < 5 * error
        assert abs(row["sd"] / row["exact_sd"] - 1) < 5 / np.sqrt(2 * row["ess_sd"])
        assert row["rhat"] < 1.01


@pytest.mark.parametrize("name", FIGURES["mode_covering_vs_seeking"])
def test_the_figures_of_the_readme_are_small(name):
    limit = 200e3 if name.endswith(".png") else 1.5e6
    assert 10e3 < (EXAMPLES / "figures" / name).stat().st_size < limit
