"""Reading fits back from files."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._files import CheckpointError, load_header, load_tree
from .._typing import PRNGKey
from ..diagnostics import WeightedDraws
from ..families import Family, FullRankNormal, MeanFieldNormal, NormalMixture
from ..target import Target
from ._arguments import check_path
from ._automatic import Start
from ._posterior import Posterior
from ._status import Ending

_FAMILIES = {"FullRankNormal": FullRankNormal, "MeanFieldNormal": MeanFieldNormal}


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
        name = header["family"]
        if name == "NormalMixture" and "shapes" in header:
            arrays = [jnp.zeros(shape, target.dtype) for shape in header["shapes"]]
            family = NormalMixture(*arrays, *[None] * (4 - len(arrays)))
        elif name not in _FAMILIES:
            raise CheckpointError(
                f"`path` {path} holds a fit of the family {name}, unknown to vikl by name. "
                "Give an instance of the same structure as `family`."
            )
        else:
            family = _FAMILIES[name].init(jnp.zeros(target.dim, target.dtype))
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
        details={k: np.asarray(v) for k, v in header.get("details", {}).items()},
    )


def load_finished(path: str | Path, target: Target, key: PRNGKey) -> Posterior | None:
    """Return the result that the same call wrote before, or None where there is no file.

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
