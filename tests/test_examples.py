"""Every example runs, writes its figures, and prints numbers that agree with its references."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monte_carlo import assert_mean
from PIL import Image
from script_process import as_users_have_it, script_process

import vikl

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))
FIGURES = {
    "gan": ["gan.png"],
    "vae": ["vae.png"],
    "coding": ["coding.png"],
    "distillation": ["distillation.png"],
    "distortion": ["distortion.png"],
    "first_fit": ["marginals.png", "mode_covering_vs_seeking.png"],
    "focal": ["focal.png"],
    "maximum_likelihood": ["maximum_likelihood.png"],
    "mode_covering_vs_seeking": ["mode_covering_vs_seeking.png", "mode_covering_vs_seeking.gif"],
    "policies": ["policies.png"],
}
NUMBER = r"-?\d+\.?\d*"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run an example once, in quick mode, and remember how it went."""
    done = {}
    with script_process(EXAMPLES) as process:

        def run(script):
            if script not in done:
                folder = tmp_path_factory.mktemp(script.stem)
                done[script] = process.run(script.stem, folder, "--quick"), folder
            return done[script]

        yield run


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


def test_a_script_is_a_command(tmp_path):
    """Every script ends by calling its `main`; the cheapest is run as a reader would run it."""
    for script in SCRIPTS:
        assert script.read_text(encoding="utf-8").endswith(
            'if __name__ == "__main__":\n    main()\n'
        )
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "coding.py"), "--quick"],
        cwd=tmp_path, env=as_users_have_it(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert (tmp_path / "figures" / "coding.png").exists()
    assert "figure: figures/coding.png" in ended.stdout


def test_a_script_that_fails_is_seen(tmp_path):
    broken = "def main(argv):\n    print('so far')\n    raise ValueError(argv)\n"
    (tmp_path / "broken.py").write_text(broken)
    (tmp_path / "gone.py").write_text("def main(argv):\n    import os\n    os._exit(0)\n")
    (tmp_path / "slow.py").write_text("def main(argv):\n    import time\n    time.sleep(60)\n")
    with script_process(tmp_path) as process:
        ended = process.run("broken", tmp_path, "--quick")
        assert (ended.returncode, ended.stdout) == (1, "so far\n")
        assert "ValueError: ['--quick', '--out'" in ended.stderr
        with pytest.raises(TimeoutError, match="`gone`: it ended its process"):
            process.run("gone", tmp_path)
        with pytest.raises(TimeoutError, match="`slow`: it took over"):
            process.run("slow", tmp_path, timeout=0.5)
        assert process.run("broken", tmp_path).stdout == "so far\n"


def test_every_example_names_its_figures():
    assert {script.stem for script in SCRIPTS} == set(FIGURES)


COLUMNS = ("mean", "sd", "5%", "95%")


def reference(name):
    return json.loads((EXAMPLES / "reference" / f"{name}.json").read_text())


def tables(runs, title, name):
    """Return `{heading: {parameter: {column: number}}}` of an example's table, as printed."""
    text = runs(EXAMPLES / "first_fit.py")[0].stdout
    text = text[text.index(title) :]
    heads = {"fit": 4, "reference": 2, "resampled": 4}
    found = {heading: {} for heading in heads}
    for row in reference(name)["parameters"]:
        line = re.search(rf"^{re.escape(row)}((?:\s+{NUMBER}){{6,10}})$", text, re.MULTILINE)
        assert line, row
        numbers = [float(v) for v in line.group(1).split()]
        for heading, num in heads.items():
            if numbers:
                found[heading][row] = dict(zip(COLUMNS, numbers[:num]))
            numbers = numbers[num:]
    return found


def assert_near(rows, truth, **off):
    """Assert that each column of each parameter is right to `off` reference sds."""
    assert set(rows) == set(truth)
    for name, row in rows.items():
        for column, bound in off.items():
            error = (row[f"{column}"] - truth[name][column]) / truth[name]["sd"]
            assert abs(error) < bound, (name, column, row)


@pytest.mark.parametrize(
    ("title", "name"), [("Eight schools", "eight_schools"), ("Diabetes", "diabetes_nuts")]
)
def test_first_fit_shows_its_references(runs, title, name):
    truth = reference(name)["parameters"]
    assert_near(tables(runs, title, name)["reference"], truth, mean=0.01, sd=0.01)


def test_diabetes_agrees_with_nuts(runs):
    rows = tables(runs, "Diabetes", "diabetes_nuts")["fit"]
    truth = reference("diabetes_nuts")["parameters"]
    assert_near(rows, truth, **{"mean": 0.05, "sd": 0.05, "5%": 0.1, "95%": 0.1})


def test_resampled_schools_agree_with_the_posterior(runs):
    rows = tables(runs, "Eight schools", "eight_schools")["resampled"]
    truth = reference("eight_schools")["parameters"]
    assert_near(rows, truth, **{"mean": 0.1, "sd": 0.1, "5%": 0.25, "95%": 0.25})


# A normal q that is `gap` nats below the best one is off by at most √(2 gap) of its sds in mean,
# by √gap in its sds (relative), and by the largest of their sum, mean + 1.645 sd, in quantiles.
_GAP = 0.05


def test_plain_schools_agree_with_the_best_normal(runs):
    best = reference("eight_schools_best_normal")
    rows = tables(runs, "Eight schools", "eight_schools")["fit"]
    truth = {name: dict(row) for name, row in best["parameters"].items()}
    # where q is normal: log tau
    sd = best["unconstrained"]["sd"][1]
    for table in (rows, truth):
        tau = table["tau"]
        low, high = np.log(tau["5%"]), np.log(tau["95%"])
        table["tau"] = {"5%": low, "95%": high, "mean": (low + high) / 2, "sd": (high - low) / 3.29}
    assert truth["tau"]["mean"] == pytest.approx(best["unconstrained"]["mean"][1], abs=1e-3)
    assert truth["tau"]["sd"] == pytest.approx(sd, abs=1e-3)
    quantile = np.sqrt(_GAP * (2 + 1.645**2)) + 0.05  # and the draws' own error
    off = {"mean": np.sqrt(2 * _GAP) + 0.05, "sd": np.sqrt(_GAP) + 0.05}
    assert_near(rows, truth, **off, **{"5%": quantile, "95%": quantile})
    text = runs(EXAMPLES / "first_fit.py")[0].stdout
    found = re.search(rf"^  ELBO +({NUMBER}) ± ({NUMBER}) nats", text, re.MULTILINE)
    assert found
    elbo, std_error = (float(v) for v in found.groups())
    assert elbo < best["elbo"] + 4 * std_error  # nothing normal is above the best normal
    assert elbo > best["elbo"] - _GAP - 4 * std_error


def test_the_best_normal_is_what_a_normal_can_be():
    """All but tau's tail: its sd is 20 % short, and its mean and 95 % quantile with it."""
    rows = reference("eight_schools_best_normal")["parameters"]
    truth = reference("eight_schools")["parameters"]
    tau, true_tau = rows.pop("tau"), truth.pop("tau")
    assert_near(rows, truth, **{"mean": 0.1, "sd": 0.1, "5%": 0.3, "95%": 0.45})
    assert 0.75 < tau["sd"] / true_tau["sd"] < 0.85
    assert 0.7 < tau["95%"] / true_tau["95%"] < 0.9


def test_the_best_normal_is_stationary():
    """E ∇log p(x) = 0 and E ∇log p(x) (x − m)ᵀ = −I under q, by draws of a density of our own."""
    best = reference("eight_schools_best_normal")["unconstrained"]
    mean, lower = np.array(best["mean"]), np.array(best["lower"])
    effect = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    std_error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    noise = np.random.default_rng(0).standard_normal((100_000, 10))
    noise = np.concatenate([noise, -noise])
    x = mean + noise @ lower.T
    mu, tau, trans = x[:, :1], np.exp(x[:, 1:2]), x[:, 2:]
    pull = (effect - mu - tau * trans) / std_error**2
    by_log_tau = (pull * trans * tau).sum(axis=1, keepdims=True) + 1 - 2 * tau**2 / (25 + tau**2)
    by_mu = pull.sum(axis=1, keepdims=True) - mu / 25
    gradient = np.concatenate([by_mu, by_log_tau, pull * tau - trans], axis=1) @ lower
    pairs = gradient.reshape(2, -1, 10).mean(axis=0)  # antithetic
    assert_mean(pairs, np.zeros(10), detects=0.1)
    products = (gradient[:, :, None] * noise[:, None, :]).reshape(2, -1, 10, 10).mean(axis=0)
    assert_mean(products, -np.eye(10), detects=0.3)


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


def test_vae_says_what_it_learned(runs):
    text = runs(EXAMPLES / "vae.py")[0].stdout
    numbers = re.search(rf"^analytic KL\s+({NUMBER})\s+({NUMBER})", text, re.M)
    assert numbers
    tenth, last = map(float, numbers.groups())
    assert -27.5 < tenth < last  # two latents: about -25.5 at epoch 10 and -24.7 at epoch 20
    assert -25.7 < last < -23.7
    row = re.search(rf"^2 latents, analytic KL((?:\s+{NUMBER}){{5}})$", text, re.M)
    assert row
    distortion, rate, active, elbo, weighted = map(float, row.group(1).split())
    assert abs(distortion + rate + elbo) < 0.02
    assert 0.5 < rate < 4
    assert active == 2
    assert elbo < weighted < elbo + 2
    ppca = re.search(rf"ELBO ({NUMBER}) to ({NUMBER}); probabilistic PCA ({NUMBER})", text)
    assert ppca
    start, end, best = map(float, ppca.groups())
    assert best == 0.006
    assert start < -10 < best - 1 < end < best


def test_gan_agrees_with_the_optima_it_names(runs):
    text = runs(EXAMPLES / "gan.py")[0].stdout
    bounds = re.findall(rf"^.{{22}}\s*({NUMBER})\s+({NUMBER})\s+({NUMBER})$", text, re.M)
    assert len(bounds) == 4
    for true, tight, loose in np.array(bounds, float):
        assert abs(tight - true) < 0.02
        assert loose < true - 0.01
    assert float(text.split("largest difference")[1].split()[0]) < 1e-5
    lowest = re.findall(rf"^(.{{22}}).+   ([a-z]+) ({NUMBER})$", text, re.M)
    found = [(how.strip(), name, float(value)) for how, name, value in lowest]
    truth = [
        ("forward KL(p||q)", "covers", 0.7236),
        ("reverse KL(q||p)", "left", 0.6931),
        ("Jensen-Shannon", "covers", 0.2010),
        ("non-saturating, exact", "left", 0.2616),
        ("forward KL(p||q)", "covers", 0.4856),
        ("reverse KL(q||p)", "left", 0.3551),
        ("Jensen-Shannon", "left", 0.1167),
        ("non-saturating, exact", "left", 0.1218),
    ]
    assert [row[:2] for row in found] == [row[:2] for row in truth]
    for (_, _, value), (_, _, exact) in zip(found, truth):
        assert abs(value - exact) < 2e-3


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


#: How many numbers each of these prints beside a reference, at least.
BESIDE = {
    "coding": 24, "distillation": 8, "distortion": 5, "focal": 5, "maximum_likelihood": 25,
    "policies": 13,
}  # fmt: skip


def beside(text):
    """Return (words, found, reference, unit of the last digit) of the lines that have them."""
    rows = []
    for line in text.splitlines():
        match = re.fullmatch(r"(.{52}) +(-?\d+\.(\d+)) +(-?\d+\.\d+)", line)
        if match:
            words, found, decimals, reference = match.groups()
            rows.append((words.strip(), float(found), float(reference), 10.0 ** -len(decimals)))
    return rows


def disagreements(rows):
    """Return the rows whose number is not its reference to a part in 1000 and three last digits."""
    return [r for r in rows if not abs(r[1] - r[2]) <= 3 * r[3] + 1e-3 * abs(r[2])]


@pytest.mark.parametrize("name", BESIDE)
def test_printed_numbers_agree_with_the_references_beside_them(runs, name):
    rows = beside(runs(EXAMPLES / f"{name}.py")[0].stdout)
    assert len(rows) >= BESIDE[name]
    assert disagreements(rows) == []


def test_a_number_that_disagrees_is_seen():
    line = f"{'KL':<52}{0.4:>13.6f}{0.5:>13.6f}"
    assert disagreements(beside(line)) == [("KL", 0.4, 0.5, 1e-6)]
    assert disagreements([("KL", float("nan"), 0.5, 1e-6)])


def test_what_the_examples_claim_holds_in_quick_mode_too(runs):
    text = {name: runs(EXAMPLES / f"{name}.py")[0].stdout for name in BESIDE}
    accuracy = re.findall(r"^  (?:teacher|student), .*?(0\.\d{3})", text["distillation"], re.M)
    teacher, by_labels, distilled = (float(a) for a in accuracy)
    assert teacher > 0.95
    assert distilled > by_labels + 0.04
    largest = re.findall(r"^  (exact step|TRPO|PPO).* (\d+\.\d+)$", text["policies"], re.M)
    assert float(dict(largest)["TRPO"]) <= 1.0005
    assert float(dict(largest)["PPO"]) > 1.05  # a penalty is no constraint
    short = dict(re.findall(r"^  (.*?)  +\d\.\d+ at first, (\d\.\d+)", text["policies"], re.M))
    right, _, other, none = sorted(short, key=lambda name: float(short[name]))
    assert "sequence" in right
    assert "k1" in none
    assert float(short[other]) > 3 * float(short[right])
    naive = re.search(r"naive: (-?\+?\d\.\d+)", text["focal"])
    assert naive
    assert float(naive[1]) < 0
    gain = re.findall(r"^  2 .*\+(\d\.\d+) ± (\d\.\d+)$", text["focal"], re.M)
    assert gain
    best = re.findall(
        r"^by (KL\(.‖.\)) the better model is (N\(\d)", text["maximum_likelihood"], re.M
    )
    assert best == [("KL(p‖q)", "N(0"), ("KL(q‖p)", "N(2")]


def points_nowhere(text):
    """Return the files and names in backticks of the tables that do not exist."""
    lost = []
    for word in re.findall(r"`([^`]+)`", text[text.index("## From the textbook") :]):
        name = word.split("(")[0]
        if name.endswith(".py"):
            tests = Path(__file__).parent
            found = (EXAMPLES / name).exists() or (tests / name).exists()
        elif name.startswith(("vikl.", "losses.")):
            found = vikl if name.startswith("vikl.") else vikl.losses
            for part in name.split(".")[1:]:
                found = getattr(found, part, None)
        else:
            continue
        lost += [] if found else [word]
    return lost


def test_every_sentence_points_to_what_exists():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert points_nowhere(text) == []
    assert points_nowhere(text + "`losses.nothing`, `vikl.fit`, `gone.py`") == [
        "losses.nothing", "gone.py",
    ]  # fmt: skip
