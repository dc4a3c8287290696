"""Rooms whose names are imported when they are first asked for.

Floor 0. A fit runs a tenth of vikl's files, and to execute the others too would be most of what
`import vikl` costs. So the sign of a room, its `__init__.py`, says

    if not _lazy.deferred(__name__):
        from ._file import name as name

which people, type checkers and the tests of the house read as the plain import that it is.
`deferred` reads it too, from the source, instead of letting it run, and has the module import each
name on demand (PEP 562). Where there is no source to read, as in a frozen program, it lets it run.
"""

import ast
import functools
import importlib
import sys
from types import ModuleType
from typing import Any

_SOURCES: dict[str, str] = {}  # of the packages that are lazy


def deferred(package: str) -> bool:
    """Return whether the names of the package that asks will be imported on demand."""
    module = sys.modules[package]
    read = getattr(module.__spec__ and module.__spec__.loader, "get_source", None)
    source = read and read(package)
    if source is None:
        return False
    _SOURCES[package] = source
    vars(module).update(
        __getattr__=functools.partial(_get, module), __dir__=functools.partial(_names, module)
    )
    return True


def load_everything(package: str) -> None:
    """Import every name of a package, and of the lazy packages inside it."""
    module = importlib.import_module(package)
    for name in _names(module):
        inside = getattr(getattr(module, name), "__name__", "")
        if inside in _SOURCES and inside.startswith(f"{package}."):
            load_everything(inside)


def _get(module: ModuleType, name: str) -> Any:
    """Import the attribute `name` of a lazy package, and keep it there."""
    package = module.__name__
    if name == "__all__":  # what a star imports
        return [name for name in _names(module) if not name.startswith("_")]
    home, name_there = _homes(package).get(name, (f".{name}", None))
    try:
        value = importlib.import_module(home, package)
    except ModuleNotFoundError as error:
        if error.name != f"{package}.{name}":
            raise
        message = f"module {package!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=module) from None
    if name_there is not None:
        value = getattr(value, name_there)
    setattr(module, name, value)
    return value


def _names(module: ModuleType) -> list[str]:
    return sorted({*vars(module), *_homes(module.__name__)})


@functools.cache
def _homes(package: str) -> dict[str, tuple[str, str | None]]:
    """Return where each name of a package comes from: a module, and a name in it or None."""
    found: dict[str, tuple[str, str | None]] = {}
    for node in ast.walk(ast.parse(_SOURCES.get(package, ""))):
        if isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            for alias in node.names:
                inside = (f"{dots}{node.module}", alias.name)
                if alias.asname:
                    found[alias.asname] = inside if node.module else (dots + alias.name, None)
    return found
