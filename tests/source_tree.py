"""Reads a source tree without importing it, and says where it breaks the rules of the house.

Each rule is a function from a `SourceTree` to a list of sentences, empty when the rule is kept.
"""

import ast
import dataclasses
import fnmatch
import graphlib
import pathlib
import sys

#: A module may import from strictly lower floors, and from its own room.
FLOORS = {
    "_typing": 0, "_doors": 0, "_compile": 0, "_files": 0, "_lazy": 0, "_memory": 0,
    "info": 1, "kl": 1, "target": 1,
    "families": 2, "divergences": 2,
    "estimators": 3,
    "objectives": 4,
    "diagnostics": 5, "losses": 5,
    "plots": 6, "interop": 6,
    "fitting": 7,
    "methods": 8,
    "": 9, "__main__": 9,  # vikl/__init__.py itself
}  # fmt: skip

EVERYWHERE = {"jax", "jaxlib", "numpy", "equinox", "jaxtyping", *sys.stdlib_module_names}
#: Which files may import what else, by patterns of their paths below the package.
GUESTS = {
    "optax": ["fitting/*.py", "methods/*.py"],
    "scipy": ["divergences/_scipy.py"],
    "numpyro": [
        "target/_supports.py",
        "target/_numpyro.py",
        "kl/_numpyro*.py",
        "divergences/_numpyro*.py",
    ],
    "flowjax": ["families/_flow.py"],
    "paramax": ["families/_flow.py"],
    "matplotlib": ["plots/*.py"],
    "PIL": ["plots/*.py"],
    "arviz_base": ["interop/_arviz.py"],
    "arviz_stats": ["interop/_arviz.py"],
    "tqdm": ["fitting/_progress.py"],
    "blackjax": ["diagnostics/_blackjax.py"],
}

#: The late imports that close a circle: rules that need numpyro register when first needed.
CIRCULAR = {"kl/_registry.py": {"kl._numpyro_pairs", "kl._numpyro_structure"}}
#: Those, and files (with optax behind most of them) that an automatic fit of a normal would import
#: in vain. What another room has needs no late import: rooms are lazy (`vikl/_lazy.py`), so say
#: `from .. import room` and, where it is used, `room.name`.
LATE = CIRCULAR | {
    "fitting/_fit.py": {"fitting._fit_stochastic", "fitting._load"},
    "fitting/_special.py": {"fitting._low_rank", "fitting._minibatch", "fitting._mixture"},
}


@dataclasses.dataclass(frozen=True)
class Import:
    """One imported name: where, from which module, which name of it, and bound to what."""

    line: int
    module: str
    name: str | None
    bound: str | None
    late: bool
    opaque: bool = False  # a name that only running the code would tell


@dataclasses.dataclass(frozen=True)
class Module:
    """One file: its dotted name ("" is the package itself), its path, its syntax, its imports."""

    name: str
    path: str
    tree: ast.Module
    imports: list[Import]

    @property
    def room(self) -> str:
        """The first part of the name: the key of `FLOORS`."""
        return self.name.split(".")[0]


class SourceTree:
    """Every module of the package `package` that lies in the folder `root`."""

    def __init__(self, root: pathlib.Path, package: str = "vikl") -> None:
        self.package = package
        self.modules: dict[str, Module] = {}
        for path in sorted(root.rglob("*.py")):
            relative = path.relative_to(root)
            parts = [p for p in relative.with_suffix("").parts if p != "__init__"]
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            # The package that relative imports of this file start from.
            base = parts if path.name == "__init__.py" else parts[:-1]
            imports = list(self._imports(tree, base))
            name = ".".join(parts)
            self.modules[name] = Module(name, relative.as_posix(), tree, imports)

    def _imports(self, tree: ast.Module, base: list[str]):
        late = {
            id(inner)
            for outer in ast.walk(tree)
            if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for inner in ast.walk(outer)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(node.lineno, alias.name, None, alias.asname, id(node) in late)
            elif isinstance(node, ast.ImportFrom):
                above = [self.package, *base[: len(base) - node.level + 1]] if node.level else []
                module = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    yield Import(node.lineno, module, alias.name, alias.asname, id(node) in late)
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func).split(".")[-1]
                if called in ("require", "import_module", "__import__"):
                    for name in _literals(node.args[0] if node.args else None) or [""]:
                        yield Import(node.lineno, name, None, None, id(node) in late, not name)

    def within(self, imported: Import) -> str | None:
        """Return the module of this tree that `imported` reads, or None if it is foreign."""
        parts = imported.module.split(".")
        if parts[0] != self.package:
            return None
        inner = ".".join(parts[1:])
        longer = f"{inner}.{imported.name}".strip(".")
        return longer if imported.name and longer in self.modules else inner


def _literals(node: ast.expr | None) -> list[str]:
    """Return the text that an expression can be, where that can be read off: [] where not."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        either = [_literals(node.body), _literals(node.orelse)]
        return [*either[0], *either[1]] if all(either) else []
    return []


def floor_violations(source: SourceTree) -> list[str]:
    """Every import goes strictly downstairs, or stays in its room."""
    found = []
    for module in source.modules.values():
        if module.room not in FLOORS:
            found.append(f"{module.path}: the room `{module.room}` has no floor; give it one.")
            continue
        for imported in module.imports:
            inner = source.within(imported)
            if inner is None:
                continue
            room = inner.split(".")[0]
            down = FLOORS.get(room, 99) < FLOORS[module.room]
            if room != module.room and not down:
                found.append(
                    f"{module.path}:{imported.line}: `{module.room or source.package}` "
                    f"(floor {FLOORS[module.room]}) may not import `{room or source.package}` "
                    f"(floor {FLOORS.get(room, '?')})."
                )
    return found


def late_import_violations(source: SourceTree) -> list[str]:
    """Modules of the house are imported at the top of a file, where cycles would show."""
    return [
        f"{module.path}:{imported.line}: `{imported.module}` is imported inside a function."
        for module in source.modules.values()
        for imported in module.imports
        if imported.late and (inner := source.within(imported)) is not None
        if inner not in LATE.get(module.path, ())
    ]


def cycle_violations(source: SourceTree) -> list[str]:
    """No module imports itself by way of others."""
    graph = {
        module.name: {
            inner
            for i in module.imports
            if (inner := source.within(i)) is not None
            if inner not in CIRCULAR.get(module.path, ())
        }
        for module in source.modules.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return ["A cycle of imports: " + " <- ".join(f"`{name}`" for name in error.args[1])]
    return []


def guest_violations(source: SourceTree) -> list[str]:
    """Foreign libraries come in by the files that `GUESTS` lists."""
    found = []
    for module in source.modules.values():
        if module.name in ("_doors", "_lazy"):
            continue  # the doors themselves
        for imported in module.imports:
            where = f"{module.path}:{imported.line}"
            root = imported.module.split(".")[0]
            if imported.opaque:
                found.append(f"{where}: an import whose name cannot be read; write it out.")
            elif source.within(imported) is None and root not in EVERYWHERE:
                if not any(fnmatch.fnmatch(module.path, p) for p in GUESTS.get(root, [])):
                    found.append(f"{where}: `{root}` may not be imported here; see GUESTS.")
    return found


def star_violations(source: SourceTree) -> list[str]:
    """Nothing is imported by star: who reads a file sees where each name comes from."""
    return [
        f"{module.path}:{imported.line}: `from {imported.module} import *`."
        for module in source.modules.values()
        for imported in module.imports
        if imported.name == "*"
    ]


def private_file_violations(source: SourceTree) -> list[str]:
    """Files inside rooms are `_x.py`, so that a name's one public path is its room's sign."""
    return [
        f"{module.path}: should be named `_{module.name.split('.')[-1]}.py`."
        for module in source.modules.values()
        if "." in module.name and not module.name.split(".")[-1].startswith("_")
    ]


def resolve(source: SourceTree, module: str, name: str) -> tuple[str, str]:
    """Follow re-exports from `module.name` to the module and name where it is defined."""
    for imported in source.modules[module].imports if module in source.modules else []:
        if imported.name and (imported.bound or imported.name) == name and not imported.late:
            target = source.within(imported)
            if target is None:
                return imported.module, imported.name
            if f"{source.package}.{target}" == f"{imported.module}.{imported.name}":
                return target, ""  # a module
            return resolve(source, target, imported.name)
    return module, name


def public_names(source: SourceTree) -> dict[str, tuple[str, str]]:
    """Return every public path, such as `families.mean`, and where its object is defined.

    Public are the names that `__init__.py` re-exports as `X as X`, and, if such a name is a room,
    what the room re-exports, or, if it is one file, defines without an underscore.
    """
    found = {}
    for name in _exports(source, ""):
        if name not in source.modules:
            found[name] = resolve(source, "", name)
            continue
        for inner in _exports(source, name):
            found[f"{name}.{inner}"] = resolve(source, name, inner)
    return found


def _exports(source: SourceTree, name: str) -> list[str]:
    module = source.modules[name]
    names = [i.name for i in module.imports if i.name and i.bound == i.name and not i.late]
    if not module.path.endswith("__init__.py"):
        defined = (ast.FunctionDef, ast.ClassDef)
        names += [node.name for node in module.tree.body if isinstance(node, defined)]
    return [n for n in names if not n.startswith("_")]


def double_path_violations(source: SourceTree) -> list[str]:
    """An object has one public path."""
    paths: dict[tuple[str, str], list[str]] = {}
    for path, origin in public_names(source).items():
        paths.setdefault(origin, []).append(path)
    return [
        f"`{origin[0]}.{origin[1]}` is public as {' and '.join(f'`{p}`' for p in many)}."
        for origin, many in paths.items()
        if len(many) > 1
    ]


def docstring_violations(source: SourceTree) -> list[str]:
    """Public functions and classes have a docstring with an example that runs (`>>>`)."""
    found = []
    for path, (module, name) in public_names(source).items():
        node = _definition(source, module, name)
        if node is None:
            continue  # a constant, or an object of another library
        if not ast.get_docstring(node):
            found.append(f"`{path}` ({module}) has no docstring.")
            continue
        inside = node.body if isinstance(node, ast.ClassDef) else []
        methods = [n for n in inside if isinstance(n, ast.FunctionDef)]
        if not any(">>>" in (ast.get_docstring(n) or "") for n in [node, *methods]):
            found.append(f"`{path}` ({module}) has no example (`>>>`) in its docstring.")
    return found


def _definition(
    source: SourceTree, module: str, name: str
) -> ast.FunctionDef | ast.ClassDef | None:
    if module not in source.modules:
        return None
    for node in source.modules[module].tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
    return None
