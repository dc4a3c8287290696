"""Reading fits back from files."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._files import CheckpointError, load_header, load_tree
from .._typing import PRNGKey
from ..diagnostics import WeightedDraws
from ..diagnostics._iterates import Settling
from ..families import (
    Beta,
    Blocks,
    Dirichlet,
    Family,
    FullRankNormal,
    Gamma,
    LowRankNormal,
    MeanFieldNormal,
    NormalMixture,
    StudentT,
    VonMises,
)
from ..target import Target
from ._arguments import check_path
from ._automatic import Start
from ._journal import RUNNING
from ._posterior import Posterior
from ._status import Ending

_NORMALS = (FullRankNormal, LowRankNormal, MeanFieldNormal, NormalMixture)
#: Families that a file may name. A name is looked up here, never imported.
_FAMILIES: dict[str, type[Family]] = {
    kind.__name__: kind for kind in (*_NORMALS, Beta, Dirichlet, Gamma, StudentT, VonMises)
}
_DEEPEST = 4  # blocks within blocks


def load(path: str | Path, target: Target, family: Family | None = None) -> Posterior:
    """Read a posterior that `Posterior.save` wrote.

    Nothing in the file is executed: its arrays fill the structure that `target` and `family`
    describe.

    Args:
        path: the file.
        target: the target it was fitted to (its log density is not in the file).
        family: an instance of the same structure, for a family that is not vikl's own.

    Raises:
        CheckpointError: the file is damaged, of another family, or of another target.

    Example:
        >>> import jax, jax.numpy as jnp, tempfile, pathlib, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> post = vikl.fit(target, key=jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     post.save(pathlib.Path(folder) / "fit.vikl")
        ...     again = load(pathlib.Path(folder) / "fit.vikl", target)
        >>> bool((again.mean == post.mean).all()), again.status
        (True, 'converged')
    """
    check_path(path, "path")
    if not isinstance(target, Target):
        raise TypeError(
            f"`target` should be the Target that the fit was of; got {type(target).__name__}. Make "
            "it by `vikl.Target.from_density(log_density, like=...)`."
        )
    header = load_header(Path(path))
    _compare(path, header, target)
    if family is None:
        family = _blank_family(Path(path), header, target)
    num, dim = header["num_draws"], target.dim
    draws = tuple(np.zeros(shape, target.dtype) for shape in ((num, dim), (num,), (num,)))
    template: Any = (family, draws)
    (fitted, weighted), header = load_tree(Path(path), template)
    return Posterior(
        target=target,
        family=fitted,
        ending=Ending(header["status"], header["because"], tuple(header["notes"])),
        history={k: np.asarray(v) for k, v in header["history"].items()},
        weighted=WeightedDraws(*weighted),
        num_gradients=header["num_gradients"],
        compile_seconds=header["compile_seconds"],
        run_seconds=header["run_seconds"],
        starts=tuple(Start(**start) for start in header["starts"]),
        settling=Settling(**header["settling"]) if header.get("settling") else None,
        details={k: np.asarray(v) for k, v in header.get("details", {}).items()},
    )


def _blank_family(path: Path, header: dict, target: Target) -> Family:
    """Return a family of vikl's own with the fields and shapes that the file declares."""
    name, shapes = header.get("family"), header.get("family_shapes")
    size = _size(name, shapes)
    if size is None or size > path.stat().st_size:
        raise CheckpointError(
            f"`path` {path} holds a fit of the family {name}, whose structure vikl does not know. "
            "Give an instance of the same structure as `family`."
        )
    return _blank(name, shapes, target)


def _blank(name: Any, shapes: Any, target: Target) -> Family:
    if name == Blocks.__name__:
        return Blocks(tuple(_blank(kind, inner, target) for kind, inner in shapes["parts"]))
    fields = {k: v if v is None else jnp.zeros(v, target.dtype) for k, v in shapes.items()}
    kind: Any = _FAMILIES[name]
    return kind(**fields)


def _size(name: Any, shapes: Any, depth: int = 0) -> int | None:
    """Return the numbers in a family of a header's name and shapes; None where they are not so."""
    if name == Blocks.__name__:
        parts = shapes.get("parts") if isinstance(shapes, dict) and len(shapes) == 1 else None
        if depth > _DEEPEST or not isinstance(parts, list) or not parts:
            return None
        if not all(isinstance(part, list) and len(part) == 2 for part in parts):
            return None
        sizes = [_size(kind, inner, depth + 1) for kind, inner in parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    kind = _FAMILIES.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(shapes, dict):
        return None
    if set(shapes) != {field.name for field in dataclasses.fields(kind)}:
        return None
    given = [shape for shape in shapes.values() if shape is not None]
    if not all(isinstance(shape, list) and len(shape) <= 3 for shape in given):
        return None
    if not all(type(n) is int and n >= 0 for shape in given for n in shape):
        return None
    return sum(math.prod(shape) for shape in given)


def load_finished(path: str | Path, target: Target, key: PRNGKey, method: str) -> Posterior | None:
    """Return the result that the same call wrote before, or None where there is none yet.

    Raises:
        CheckpointError: the file belongs to another fit.
    """
    try:
        header = load_header(Path(path))
    except FileNotFoundError:
        return None
    mine = np.asarray(jax.random.key_data(key)).tolist()
    if header.get("key") != mine:
        raise CheckpointError(
            f"`checkpoint` {path} belongs to another fit: its key is {header.get('key')}, this "
            f"fit's is {mine}. Give another path, or remove the file to start anew."
        )
    if header.get("method", method) != method:
        raise CheckpointError(
            f"`checkpoint` {path} belongs to another fit: its method is {header['method']}, this "
            f"fit's is {method}. Give another path, or remove the file to start anew."
        )
    if header.get("what") == RUNNING:
        return None
    return load(path, target)


def _compare(path: str | Path, header: dict, target: Target) -> None:
    if header.get("what") != "vikl posterior":
        raise CheckpointError(
            f"`path` {path} should hold a posterior; it holds {header.get('what')!r}. "
            "A checkpoint of a running fit is read by the same `vikl.fit(..., checkpoint=path)`."
        )
    if header.get("names") != list(target.names):
        raise CheckpointError(
            f"`path` {path} holds a fit of {header.get('names')}; `target` has "
            f"{list(target.names)}. Load it with the target it was fitted to."
        )
