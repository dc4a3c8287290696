"""How guests are let in: optional or slow libraries, imported by the call that needs them.

Floor 0. `require("numpyro.distributions")` imports on first use; a library that is not installed
raises an `ImportError` that says which extra brings it.
"""

import importlib
from types import ModuleType

_EXTRAS = {
    "arviz_base": "arviz",
    "arviz_stats": "arviz",
    "blackjax": "mcmc",
    "flowjax": "flows",
    "matplotlib": "plot",
    "paramax": "flows",
    "PIL": "plot",
    "sklearn": "examples",
}


def require(name: str) -> ModuleType:
    """Import and return the module `name`; if it is missing, say which extra to install."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        root = name.split(".")[0]
        if error.name is None or error.name.split(".")[0] != root:
            raise  # the library is there, but something it needs is not: its own message is better
        extra = _EXTRAS.get(root)
        what = f"vikl[{extra}]" if extra else root
        raise ImportError(
            f"This needs the package `{root}`, which is not installed. "
            f"Install it with `pip install '{what}'`."
        ) from error
