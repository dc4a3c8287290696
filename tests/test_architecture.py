"""The house keeps its rules, and each rule is shown a tree that breaks it."""

import ast
import doctest
import importlib
import pathlib
import textwrap

import pytest
import source_tree
from source_tree import SourceTree

import vikl

_ROOT = pathlib.Path(vikl.__file__).parent
RULES = {
    name: rule for name, rule in vars(source_tree).items() if name.endswith("_violations")
}  # fmt: skip

_SOUND = {
    "__init__.py": "from . import kl as kl\nfrom .target import Target as Target\n",
    "_doors.py": "import importlib\ndef require(name): return importlib.import_module(name)\n",
    "_typing.py": "from jaxtyping import Array\n",
    "kl/__init__.py": "from ._normal import normal as normal\n",
    "kl/_normal.py": "import jax\nfrom .._typing import Array\n"
    "def normal(x):\n    '''Return x.\n\n    >>> normal(1)\n    1\n    '''\n    return x\n",
    "target/__init__.py": "from ._target import Target as Target\n",
    "target/_target.py": "class Target:\n    '''A target.'''\n    def go(self):\n"
    "        '''Go.\n\n        >>> 1\n        1\n        '''\n",
}

#: For each rule: a file that breaks it, and what the sentence about it must say.
BROKEN = [
    ("floor", "kl/_x.py", "from ..target import Target", "`kl` (floor 1) may not import `target`"),
    ("floor", "kl/_x.py", "from .. import target", "may not import `target`"),
    ("floor", "kl/_x.py", "import vikl.target._target", "may not import `target`"),
    ("floor", "kl/_x.py", "from .. import Target", "`kl` (floor 1) may not import `vikl`"),
    ("floor", "kl/_x.py", "import vikl", "may not import `vikl`"),
    ("floor", "kl/_x.py", "from ..fitting import fit", "may not import `fitting`"),
    ("floor", "_typing.py", "from ._doors import require", "(floor 0) may not import `_doors`"),
    ("floor", "_typing.py", "def f():\n    import vikl.kl", "may not import `kl`"),
    ("floor", "attic/__init__.py", "x = 1", "the room `attic` has no floor"),
    ("late_import", "kl/_x.py", "def f():\n    from .._typing import A", "inside a function"),
    ("late_import", "kl/_x.py", "g = lambda: require('vikl._typing')", "inside a function"),
    ("cycle", "kl/_x.py", "from . import normal", None),
    ("cycle", "_typing.py", "from .kl._normal import normal", "`_typing`"),
    ("guest", "kl/_x.py", "import optax", "`optax` may not be imported here"),
    ("guest", "kl/_x.py", "from scipy.special import gamma", "`scipy`"),
    ("guest", "kl/_x.py", "def f():\n    return require('numpyro.infer')", "`numpyro`"),
    ("guest", "kl/_x.py", "require('jax' if x else 'tqdm')", "`tqdm`"),
    ("guest", "kl/_x.py", "require(name)", "cannot be read"),
    ("guest", "kl/_x.py", "import importlib\nimportlib.import_module(x)", "cannot be read"),
    ("star", "kl/_x.py", "from .._typing import *", "import *"),
    ("private_file", "kl/extra.py", "x = 1", "should be named `_extra.py`"),
    (
        "double_path",
        "__init__.py",
        "from . import kl as kl\nfrom .kl._normal import normal as normal",
        "public as `kl.normal` and `normal`",
    ),
    ("docstring", "kl/_normal.py", "def normal(x): return x", "has no docstring"),
    ("docstring", "kl/_normal.py", "def normal(x):\n    'Return x.'", "no example"),
    ("docstring", "target/_target.py", "class Target:\n    'T.'", "`Target` (target._target)"),
]


def _tree(folder: pathlib.Path, files: dict[str, str]) -> SourceTree:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return SourceTree(folder)


@pytest.fixture(scope="module")
def house() -> SourceTree:
    return SourceTree(_ROOT)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_house_keeps_the_rule(rule, house):
    broken = rule(house)
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_sound_tree_passes(rule, tmp_path):
    assert rule(_tree(tmp_path, _SOUND)) == []


@pytest.mark.parametrize(("rule", "file", "text", "says"), BROKEN)
def test_a_broken_tree_is_seen(rule, file, text, says, tmp_path):
    files = {**_SOUND, file: text}
    if says is None:  # a cycle needs both its ends
        files["kl/__init__.py"] += "from ._x import normal as other\n"
    sentences = RULES[f"{rule}_violations"](_tree(tmp_path, files))
    assert sentences
    assert (says or "`kl` <- `kl._x`") in " ".join(sentences)


def test_every_rule_is_shown_to_fail():
    assert {f"{row[0]}_violations" for row in BROKEN} == set(RULES)


def test_the_tree_that_is_read_is_the_package(house):
    on_disk = [p for p in _ROOT.rglob("*.py") if "__pycache__" not in p.parts]
    assert len(house.modules) == len(on_disk) > 20
    assert {"", "kl", "target._target", "_files._read"} <= set(house.modules)
    public = source_tree.public_names(house)
    assert public["Target"] == ("target._target", "Target")
    for path in public:  # what the syntax says is public can be reached by that path
        found = vikl
        for part in path.split("."):
            found = getattr(found, part)


# --- the examples in docstrings run ---


def _examples(source: SourceTree, name: str) -> list[doctest.DocTest]:
    """Return the docstring examples of a module, read from its syntax.

    Python's own finder passes over functions that a decorator replaced, which is every function
    once the runtime shape checks are on.
    """
    module = source.modules[name]
    dotted = f"{source.package}.{name}".rstrip(".")
    scope = {**vars(importlib.import_module(dotted))}
    scope.update({n: importlib.import_module(m) for n, m in _ALWAYS.items() if n not in scope})
    parser, tests = doctest.DocTestParser(), []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(module.tree):
        text = ast.get_docstring(node) if isinstance(node, documented) else None
        if text and ">>>" in text:
            title = f"{dotted}.{getattr(node, 'name', '')}"
            line = node.body[0].lineno  # type: ignore[union-attr]
            tests.append(parser.get_doctest(text, dict(scope), title, module.path, line))
    return tests


_ALWAYS = {"jax": "jax", "jnp": "jax.numpy", "np": "numpy", "vikl": "vikl"}
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_WITH_EXAMPLES = [
    name for name, module in SourceTree(_ROOT).modules.items()
    if ">>>" in (_ROOT / module.path).read_text(encoding="utf-8")
]  # fmt: skip


def _run(test: doctest.DocTest) -> tuple[doctest.TestResults, str]:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=_FLAGS, verbose=False)
    return runner.run(test, out=said.append), "".join(said)


@pytest.mark.usefixtures("standard_promotion")  # an example runs as a user would run it
@pytest.mark.parametrize("name", _WITH_EXAMPLES)
def test_docstring_examples_run(name, house, tmp_path, monkeypatch):
    tests = _examples(house, name)
    monkeypatch.chdir(tmp_path)
    assert tests, "`>>>` stands in the file, but in no docstring"
    for test in tests:
        result, said = _run(test)
        assert result.attempted > 0
        assert result.failed == 0, said


def test_a_wrong_example_is_seen():
    text = textwrap.dedent(
        """
        >>> 1 + 1
        3
        """
    )
    test = doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0)
    result, said = _run(test)
    assert result.failed == 1
    assert "Expected:\n    3\nGot:\n    2" in said
