"""Draws of a fit as ArviZ sees them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._doors import require


def to_arviz(draws: Mapping[str, Any], log_p: Any, log_q: Any, **attributes: Any) -> Any:
    """Return an ArviZ `DataTree` of independent draws of a fit.

    One chain. Group `posterior` holds the draws; group `sample_stats` holds `lp`, the target's
    unnormalised log density, and `log_q`, the family's, both on the unconstrained scale, so that
    lp − log_q are the log importance weights.

    Args:
        draws: name to draws, shape (n, ...), constrained.
        log_p: log p at the same draws, shape (n,), nats.
        log_q: log q at the same draws, shape (n,), nats.
        **attributes: kept in the group `posterior`, beside `inference_library`.

    Raises:
        ImportError: arviz_base is not installed.
        ValueError: nothing to convert, or lengths that differ.

    Example:
        >>> tree = to_arviz({"theta": np.zeros((100, 8))}, np.zeros(100), np.ones(100))
        >>> dict(tree["posterior"].sizes)
        {'chain': 1, 'draw': 100, 'theta_dim_0': 8}
    """
    arrays = {str(name): np.asarray(value) for name, value in draws.items()}
    stats = {"lp": np.asarray(log_p), "log_q": np.asarray(log_q)}
    lengths = {name: np.shape(v)[:1] for name, v in {**arrays, **stats}.items()}
    if not arrays or len(set(lengths.values())) != 1 or () in lengths.values():
        shapes = {name: np.shape(v) for name, v in {**arrays, **stats}.items()}
        raise ValueError(
            f"`draws`, `log_p` and `log_q` should share their first axis, the draws; got the "
            f"shapes {shapes}. Give log densities of the very draws that are handed over."
        )
    groups = {
        "posterior": {name: value[None] for name, value in arrays.items()},
        "sample_stats": {name: value[None] for name, value in stats.items()},
    }
    library = {"inference_library": "vikl"}
    attrs = {"posterior": {**library, **attributes}, "sample_stats": library, "/": library}
    return require("arviz_base").from_dict(groups, attrs=attrs)
