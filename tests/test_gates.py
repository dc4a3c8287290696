"""Every gate of the project can fail: each is shown something bad, and says so."""

import importlib
import importlib.util
import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import warnings

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from rows import thinned
from source_tree import GUESTS

from vikl import _doors
from vikl.families import MeanFieldNormal

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# --- what conftest.py and pyproject.toml switch on is on ---


def test_dtypes_do_not_mix_silently():
    with pytest.raises(Exception, match="dtype promotion"):
        _ = jnp.ones(2) + jnp.ones(2, jnp.int32)


def test_ranks_do_not_mix_silently():
    with pytest.raises(ValueError, match="rank_promotion"):
        _ = jnp.ones((2, 2)) + jnp.ones(2)


def test_numpyro_code_may_mix(standard_promotion):
    assert (jnp.ones((2, 2)) + jnp.ones(2, jnp.int32)).dtype == jnp.float32


def test_a_test_of_both_worlds_sees_both(dtype, request):
    assert jnp.ones(1).dtype == dtype
    assert dtype.name in request.node.name


def test_the_64_bit_world_is_left_again(float64, world):
    assert jnp.ones(1).dtype == jnp.float64
    with world(32):
        assert jnp.ones(1).dtype == jnp.float32
    assert jnp.ones(1).dtype == jnp.float64


def test_warnings_are_errors():
    with pytest.raises(DeprecationWarning):
        warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_shapes_are_checked_at_run_time():
    with pytest.raises(jaxtyping.TypeCheckError):
        MeanFieldNormal(jnp.ones((2, 2)), jnp.ones(2))


def test_random_numbers_are_the_same_in_every_test():
    assert np.random.random() == pytest.approx(0.5488135)  # noqa: NPY002 (the one that is fixed)


def test_programs_are_compiled_as_asked_for(run_python):
    quick = os.environ.get("VIKL_CODEGEN", "quick") == "quick"
    assert jax.config.read("jax_disable_most_optimizations") == quick
    code = "import sys; sys.path.insert(0, 'tests'); import conftest"
    done = run_python(code, VIKL_CODEGEN="fast")
    assert done.returncode
    assert "`VIKL_CODEGEN` should be quick or full; got 'fast'" in done.stderr


def test_a_second_look_leaves_no_law_out():
    rows = [("a", i) for i in range(7)] + [("b", 0)] + [("c", i) for i in range(2)]
    kept, left = thinned(rows, lambda row: row[0], 3)
    assert kept == [("a", 0), ("a", 3), ("a", 6), ("b", 0), ("c", 0)]
    assert sorted(kept + left) == rows
    assert thinned(rows, lambda row: row[0], 1) == (rows, [])


def test_the_platform_is_the_cpu():
    assert {device.platform for device in jax.devices()} == {os.environ["JAX_PLATFORMS"]}


# --- importing vikl is light ---

_HEAVY = ("numpyro", "matplotlib", "sklearn", "arviz", "arviz_base", "arviz_stats", "tqdm", "PIL")
_LIGHT = f"""
import sys, jax
{{code}}
heavy = sorted(set({_HEAVY}) & set(sys.modules))
assert not heavy, f"imported {{{{heavy}}}}"
assert not jax.live_arrays(), f"allocated {{{{len(jax.live_arrays())}}}} arrays"
"""


def test_importing_vikl_is_light(run_python):
    done = run_python(_LIGHT.format(code="import vikl"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import vikl, numpyro", "imported ['numpyro'"),
        ("import vikl; constant = jax.numpy.zeros(3)", "allocated 1 arrays"),
    ],
)
def test_a_heavy_import_is_seen(run_python, code, says):
    done = run_python(_LIGHT.format(code=code))
    assert done.returncode != 0
    assert says in done.stderr


# --- lint and types (run by .ci/run on everything; here on something bad) ---


def _tool(name: str) -> str:
    """Return the command `name` of this environment: it comes with the extra `dev` only."""
    found = shutil.which(name, path=str(pathlib.Path(sys.executable).parent))
    if found is None:
        assert not os.environ.get("VIKL_REQUIRE_DEV"), f"`{name}` should be installed here"
        pytest.skip(f"`{name}` comes with `pip install -e '.[dev]'`; .ci/run runs this test")
    return found


def _run(*command: str, stdin: str = "", **environment: str):
    return subprocess.run(
        command,
        cwd=_ROOT,
        input=stdin,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


BAD_LINT = {
    "F401": "import os\n",
    "B006": "def f(x=[]):\n    return x\n",
    "D103": "def public():\n    return 1\n",
    "NPY002": "import numpy as np\n\nnp.random.seed(0)\n",
    "E501": f"x = '{'long ' * 30}'\n",
}


@pytest.mark.parametrize(("rule", "text"), BAD_LINT.items())
def test_ruff_sees_a_bad_file(rule, text):
    options = ["--no-cache", "--stdin-filename", "vikl/bad.py"]
    done = _run(_tool("ruff"), "check", *options, "-", stdin=text)
    assert done.returncode == 1
    assert rule in done.stdout


def test_ruff_sees_a_badly_formatted_file(tmp_path):
    (tmp_path / "bad.py").write_text("x = {  'a':1 }\n")
    done = _run(_tool("ruff"), "format", "--check", "--no-cache", str(tmp_path / "bad.py"))
    assert done.returncode == 1


def test_pyright_sees_a_wrong_type(tmp_path):
    (tmp_path / "bad.py").write_text("x: int = 'text'\n")
    done = _run(_tool("pyright"), str(tmp_path / "bad.py"))
    assert done.returncode == 1
    assert "reportAssignmentType" in done.stdout


def test_the_folders_that_the_tools_are_told_to_read_exist():
    folders = [*_PROJECT["tool"]["pyright"]["include"], *_pytest_options()["testpaths"]]
    missing = [name for name in folders if not list((_ROOT / name).glob("*.py"))]
    assert not missing, f"pyproject.toml names folders without Python files: {missing}"


def _pytest_options() -> dict:
    return _PROJECT["tool"]["pytest"]["ini_options"]


# --- .ci/run ---

_CI = _ROOT / ".ci" / "run"


@pytest.fixture
def small_project(tmp_path):
    """A project of nothing but .ci/run and a README, on a machine whose Python does nothing."""
    (tmp_path / "project" / ".ci").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.11"
    python.write_text("#!/bin/sh\necho python-stand-in\n")
    python.chmod(0o755)
    shutil.copy(_CI, tmp_path / "project" / ".ci" / "run")

    def run(readme: str, *arguments: str):
        (tmp_path / "project" / "README.md").write_text(readme)
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return _run(str(tmp_path / "project" / ".ci" / "run"), *arguments, PATH=path)

    return run


def _readme(command: str, marker: str = "<!-- test -->") -> str:
    return f"```bash\necho first\n```\n\n{marker}\n```bash\n{command}\n```\n\n```bash\nmore\n```\n"


def test_ci_ends_with_the_closing_line_of_pytest(small_project):
    done = small_project(_readme("true pytest\necho '== 3 passed in 1.0s =='"), "readme")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "== 3 passed in 1.0s =="


@pytest.mark.parametrize(
    "command",
    [
        "echo pytest; echo '== 1 failed, 3 passed in 1s =='; exit 1",
        "echo pytest; echo '== no tests ran in 0.01s =='; exit 5",
        "echo pytest; echo '== no tests ran in 0.01s =='",
        "echo pytest; echo '== 0 passed in 0.01s =='",
        "false pytest\necho '== 3 passed in 1.0s =='",
    ],
)
def test_ci_fails_when_the_tests_do(small_project, command):
    assert small_project(_readme(command), "readme").returncode != 0


def test_ci_fails_without_a_test_command_or_with_an_unknown_stage(small_project):
    done = small_project(_readme("pytest", marker=""), "test-command")
    assert done.returncode != 0
    assert "README.md should have a pytest command after <!-- test -->" in done.stderr
    done = small_project(_readme("pytest"), "tests")
    assert done.returncode != 0
    assert "`tests` should be one of: lint readme types gates others" in done.stderr


def test_ci_runs_every_gate_and_the_command_of_the_readme():
    text = _CI.read_text(encoding="utf-8")
    assert os.access(_CI, os.X_OK)
    assert "set -euo pipefail" in text
    for gate in ('ruff" check', 'ruff" format --check', "bin/pyright", "test_gates.py"):
        assert gate in text
    # the stage `gates` runs by name what is skipped in README's environment
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    needing = {name for name, test in tests.items() if '_tool("' in inspect.getsource(test)}
    needing.discard("test_ci_runs_every_gate_and_the_command_of_the_readme")  # which says so here
    assert len(needing) == 3
    assert all(re.search("ruff|pyright", name) for name in needing)
    assert "-k 'ruff or pyright'" in text
    examples = (_ROOT / "tests" / "test_examples.py").read_text(encoding="utf-8")
    assert '"--quick"' in examples
    done = _run(str(_CI), "test-command")
    assert done.returncode == 0, done.stderr
    block = (_ROOT / "README.md").read_text(encoding="utf-8").split("<!-- test -->")[1]
    assert done.stdout == re.split(r"^```.*\n", block, flags=re.MULTILINE)[1]


# --- the files of the project agree with each other ---


def _project_files():
    """Yield what belongs to the project: not environments, caches, builds or figures."""
    skipped = ("__pycache__", "build", "dist", "figures")
    for folder, folders, names in os.walk(_ROOT):
        folders[:] = [
            name for name in folders
            if name == ".ci" or (not name.startswith(".") and name not in skipped)
        ]  # fmt: skip
        yield from (pathlib.Path(folder) / name for name in names)


# Brackets, so that these lines are not what they look for.
_MACHINE = re.compile(
    r"(?<![\w.~}])/(?:wor[k]|op[t]|roo[t]|hom[e]|User[s]|mn[t])/\w"
    r"|[A-Z]:\\User[s]|file:/[/]/|pythonhoste[d]\.|pypi[.]or[g]"
)  # fmt: skip


def _machine_paths(files) -> list[str]:
    found = []
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # an image
        found += [f"{path}:{n}: {s}" for n, s in enumerate(lines, 1) if _MACHINE.search(s)]
    return found


def test_no_file_names_a_place_on_some_machine():
    files = list(_project_files())
    assert {_CI, _ROOT / "pyproject.toml", pathlib.Path(__file__)} <= set(files)
    assert not _machine_paths(files)


@pytest.mark.parametrize("place", ["wor" + "k", "op" + "t", "roo" + "t", "hom" + "e"])
def test_a_place_on_some_machine_is_seen(tmp_path, place):
    (tmp_path / "a.md").write_text(f"fine: a/{place}/b, ~/{place}/b\nsee `/{place}/me/file`\n")
    found = _machine_paths([tmp_path / "a.md"])
    assert len(found) == 1
    assert ":2:" in found[0]


def _missing_in(text: str) -> list[str]:
    """Return the files of the project that `text` names and that are not there."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    named = re.findall(
        r"(?<![\w/.-])((?:examples|benchmarks|tests|vikl|notebooks)/[\w/.-]+\.\w+)", text
    )
    return [name for name in [*links, *named] if not (_ROOT / name).exists()]


def test_the_readme_names_what_is_there():
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert not _missing_in(text)
    assert _missing_in("python examples/nothing.py and [a](b.md)") == [
        "b.md",
        "examples/nothing.py",
    ]


def test_the_files_of_packaging_agree():
    project = _PROJECT["project"]
    citation = (_ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == project["version"]  # type: ignore
    assert f"license: {project['license']}" in citation
    assert "TERMS AND CONDITIONS" in (_ROOT / "LICENSE").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert (_ROOT / "vikl" / "py.typed").exists()


def test_every_guest_is_declared():
    project = _PROJECT["project"]
    extras = project["optional-dependencies"]
    required = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    declared = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in required}  # type: ignore
    names = {"PIL": "pillow", "sklearn": "scikit_learn"}
    assert {names.get(guest, guest) for guest in GUESTS} <= declared
    for guest, extra in _doors._EXTRAS.items():
        assert any(names.get(guest, guest).replace("_", "-") in line for line in extras[extra])


def test_a_missing_guest_is_named_with_its_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"Install it with `pip install 'vikl\[plot\]'`"):
        _doors.require("matplotlib.pyplot")
