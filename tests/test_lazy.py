"""Rooms import their names on demand, and nobody can tell but by the clock."""

import compileall
import importlib
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest
import source_tree

import vikl

_ROOT = pathlib.Path(vikl.__file__).parent
_PUBLIC = source_tree.public_names(source_tree.SourceTree(_ROOT))
_ROOMS = sorted({path.split(".")[0] for path in _PUBLIC if "." in path})

_FIT = """
import json, sys
import vikl
after_import = sorted(sys.modules)
import jax, jax.numpy as jnp
post = vikl.fit(lambda x: -0.5 * jnp.sum(x**2), like=jnp.zeros(2), key=jax.random.key(0))
assert post.status == "converged", post
print(json.dumps([after_import, sorted(sys.modules)]))
"""

#: What an automatic fit of a normal does without.
_IDLE = """
    optax scipy numpyro tqdm matplotlib jax.scipy.linalg vikl.divergences vikl.estimators vikl.info
    vikl.losses vikl.methods vikl.diagnostics._check vikl.diagnostics._report vikl.families._mixture
    vikl.fitting._load vikl.fitting._loop vikl.fitting._many vikl.fitting._stochastic
    vikl.kl._kernel vikl.kl._normal vikl.objectives._base vikl.plots._style
""".split()


def _run(run_python, code):
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _reach(path):
    found = vikl
    for part in path.split("."):
        found = getattr(found, part)
    return found


def test_an_automatic_fit_imports_little_more_than_it_runs(run_python):
    after_import, after_fit = _run(run_python, _FIT)
    assert not {"jax", "equinox", "numpy"} & set(after_import)
    assert [m for m in after_import if m.startswith("vikl")] == ["vikl", "vikl._lazy"]
    assert not set(_IDLE) & set(after_fit)
    assert sum(m.startswith("vikl") for m in after_fit) < 60


def test_what_is_idle_in_an_automatic_fit_is_there():
    houses = [name for name in _IDLE if name.startswith("vikl")]
    assert all(importlib.import_module(name) for name in houses)


def test_a_name_is_the_object_of_its_file_and_is_kept():
    for path, (module, name) in _PUBLIC.items():
        if name:
            found = _reach(path)
            room, _, last = path.rpartition(".")
            assert found is getattr(importlib.import_module(f"vikl.{module}"), name), path
            assert vars(_reach(room) if room else vikl)[last] is found, path


_EACH = """
import json, sys
import vikl.fitting._fit, vikl.kl._numpyro_pairs  # the libraries, which stay
known, bad = set(sys.modules), []
for path in {paths}:
    for module in [m for m in sys.modules if m.split(".")[0] == "vikl"]:
        del sys.modules[module]
    import vikl
    try:
        found = vikl
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        bad.append([path, repr(error)])
print(json.dumps(bad))
"""


def test_every_file_can_be_the_first_that_is_asked_for(run_python):
    paths = {origin[0]: path for path, origin in _PUBLIC.items()}
    assert len(paths) > 80
    assert _run(run_python, _EACH.replace("{paths}", repr(list(paths.values())))) == []


def test_a_lazy_package_lists_what_it_has(run_python):
    code = f"""
import json, vikl
rooms = {{r: sorted(dir(getattr(vikl, r))) for r in {_ROOMS}}}
print(json.dumps([sorted(dir(vikl)), rooms]))
"""
    names, rooms = _run(run_python, code)
    assert {path for path in _PUBLIC if "." not in path} | set(_ROOMS) <= set(names)
    for path in _PUBLIC:
        room, _, name = path.rpartition(".")
        assert not room or name in rooms[room], path


def test_a_star_imports_the_public_names(run_python):
    code = """
import json
from vikl import *
from vikl.families import *
print(json.dumps([n for n in globals() if not n.startswith("__")]))
"""
    names = set(_run(run_python, code))
    assert {"fit", "Target", "kl_divergence", "families", "methods", "FullRankNormal"} <= names
    assert not [name for name in names if name.startswith("_")]


def test_rooms_that_are_not_on_the_sign_are_reached_all_the_same(run_python):
    code = "import vikl; vikl.target, vikl.interop, print(vikl.divergences.K1.__name__)"
    assert run_python(code).stdout == "K1\n"


def test_an_unknown_name_is_refused_as_any_module_would():
    with pytest.raises(AttributeError, match="module 'vikl' has no attribute 'fitt'") as caught:
        vikl.fitt  # type: ignore[attr-defined]  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("fitt", vikl)
    assert not hasattr(vikl.families, "Norml")
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'vikl\.kl'"):
        exec("from vikl.kl import nothing")


def test_a_misspelt_name_is_told_the_right_one(run_python):
    assert "Did you mean: 'estimate_kl'?" in run_python("import vikl; vikl.estimate_k").stderr


def test_threads_may_ask_at_once(run_python):
    code = """
import json, vikl
from concurrent.futures import ThreadPoolExecutor
names = "fit Target kl_divergence entropy fit_many load estimate_kl f_divergence".split()
with ThreadPoolExecutor(8) as pool:
    print(json.dumps([f.__name__ for f in pool.map(lambda n: getattr(vikl, n), names)]))
"""
    assert _run(run_python, code)[:2] == ["fit", "Target"]


# --- what registers itself when its file is imported


def _is_defined(module, name):
    library = module.split(".")[0] in ("vikl", "numpyro")
    return library and hasattr(importlib.import_module(module), name)


def test_the_registered_pairs_are_all_listed_and_found(run_python):
    code = """
import json, jax.numpy as jnp, vikl
pairs = vikl.registered_kl_pairs()
q = vikl.families.MeanFieldNormal.init(jnp.zeros(2))
assert float(vikl.kl_divergence(q, vikl.families.FullRankNormal.init(jnp.zeros(2)))) == 0.0
print(json.dumps([[[c.__module__, c.__qualname__] for c in pair] for pair in pairs]))
"""
    found = [[tuple(c) for c in pair] for pair in _run(run_python, code)]
    here = [[(c.__module__, c.__qualname__) for c in p] for p in vikl.registered_kl_pairs()]
    assert all(pair in here for pair in found)
    missed = [pair for pair in here if pair not in found]
    assert not [p for p in missed if all(_is_defined(*c) for c in p)]  # others are of tests
    assert [("vikl.losses._squashed", "TanhNormal")] * 2 in found
    assert len([p for p in found if p[0][0].startswith("vikl.families.")]) > 10


def test_a_process_that_only_loads_reads_a_fit(run_python, tmp_path):
    target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
    post = vikl.fit(target, vikl.families.MeanFieldNormal, key=jax.random.key(0))
    post.save(tmp_path / "fit.vikl")
    code = f"""
import json, jax.numpy as jnp, vikl
target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
post = vikl.load({str(tmp_path / "fit.vikl")!r}, target)
print(json.dumps([type(post.family).__name__, post.mean.tolist()]))
"""
    assert _run(run_python, code) == ["MeanFieldNormal", post.mean.tolist()]


# --- the helper, on a small package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of a package `small` that is lazy, and forget the package afterwards."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from vikl import _lazy\n\nif not _lazy.deferred(__name__):\n"
        "    from . import _good as good\n    from ._good import value as value\n"
        "    from ._missing import thing as thing\n"
    )
    (folder / "_good.py").write_text("value = [1]\n")
    (folder / "_missing.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "small"]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_a_name_is_imported_once_it_is_asked_for():
    small = importlib.import_module("small")
    assert "small._good" not in sys.modules
    assert {"good", "value", "thing"} <= set(dir(small))
    assert small.value is small.good.value
    assert vars(small)["value"] == [1]
    assert "small._missing" not in sys.modules


@pytest.mark.usefixtures("package")
def test_what_a_file_lacks_is_not_taken_for_an_unknown_name():
    small = importlib.import_module("small")
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        hasattr(small, "thing")


def test_where_there_is_no_source_all_is_imported_at_once(package):
    (package / "_missing.py").write_text("thing = 2\n")
    compileall.compile_dir(package, quiet=1, legacy=True)
    for path in package.glob("*.py"):
        path.unlink()
    small = importlib.import_module("small")
    assert vars(small)["thing"] == 2
    assert not hasattr(small, "other")


def test_vikl_can_do_without_its_source(run_python):
    code = """
import importlib.machinery, json, sys
importlib.machinery.SourceFileLoader.get_source = lambda self, name: None
import vikl
rooms = [getattr(vikl, name) for name in ("kl", "families", "methods")]
print(json.dumps([m for m in sys.modules if m.startswith("vikl")]))
"""
    assert set(_IDLE) & set(_run(run_python, code)) == {n for n in _IDLE if n.startswith("vikl")}
