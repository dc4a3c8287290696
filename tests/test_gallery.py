"""Every script of the gallery runs, draws its figure, and prints the numbers that it must."""

import pathlib
import re

import pytest
from PIL import Image
from script_process import script_process

GALLERY = pathlib.Path(__file__).parents[1] / "examples" / "gallery"
SCRIPTS = sorted(path.stem for path in GALLERY.glob("*.py") if not path.name.startswith("_"))


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Run a script, quickly, or remember what it printed; return its folder and that."""
    folder, done = tmp_path_factory.mktemp("gallery"), {}
    with script_process(GALLERY) as process:

        def run(name):
            if name not in done:
                ended = process.run(name, folder, "--quick")
                assert ended.returncode == 0, ended.stderr[-3000:]
                done[name] = ended.stdout
            return folder, done[name]

        yield run


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_draws_its_figure(printed, name):
    folder, _ = printed(name)
    with Image.open(folder / f"{name}.png") as picture:
        assert min(picture.size) > 300
    with Image.open(GALLERY / "figures" / f"{name}.png") as kept:
        assert min(kept.size) > 300


def numbers(text):
    return [float(v) for v in re.findall(r"-?\d+\.\d+", text)]


def test_the_three_optima_are_the_true_ones(printed):
    left, right, between = printed("three_optima")[1].splitlines()[:3]
    assert numbers(left) == pytest.approx([-1.9998, 0.5004, 0.6931], abs=2e-3)
    assert numbers(right) == pytest.approx([1.9998, 0.5004, 0.6931], abs=2e-3)
    assert numbers(between) == pytest.approx([0.0, 1.7364, 1.8712], abs=2e-3)


def test_a_richer_family_is_nearer(printed):
    lines = printed("mixture")[1].splitlines()[:3]
    assert [line.split(":")[0] for line in lines] == ["one normal", "8 normals", "a coupling flow"]
    normal, mixture, flow = (numbers(line)[0] for line in lines)
    assert mixture < normal
    assert flow < normal


def test_a_narrow_start_is_told(printed):
    alone, wide = printed("narrow_weights")[1].splitlines()[:2]
    assert "not inclusive any more" in alone
    assert "not inclusive any more" not in wide


def test_sticking_the_landing_is_loud_far_away_and_silent_at_the_optimum(printed):
    rows = {}
    for line in printed("estimator_variance")[1].splitlines()[:4]:
        found = re.match(r"(.{22}) start (\S+), half way (\S+), optimum (\S+)", line)
        assert found is not None
        name, start, _, end = found.groups()
        rows[name.strip()] = float(start), float(end)
    assert rows["sticking the landing"][0] > rows["pathwise"][0]
    assert rows["sticking the landing"][1] < 1e-10 < rows["pathwise"][1]
