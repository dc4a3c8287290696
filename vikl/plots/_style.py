"""What all figures share: paper, ink, and the way from named arrays to columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._doors import require

FITTED = {"color": "#4c78a8", "alpha": 0.45}  # a filled shape
FITTED_LINE = {"color": "#2f4b6e", "linewidth": 1.2}
OTHER = {"color": "black", "linewidth": 1.3, "linestyle": (0, (4, 2))}  # never filled
FAINT = {"color": "0.6", "linewidth": 0.8}
SMALL = 8


def new_figure(width: float, height: float, title: str | None) -> Any:
    """Return an empty `matplotlib.figure.Figure`, size in inches, that no window knows of."""
    figure = require("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def tidy(axes: Any, title: str = "", x: str = "", y: str = "") -> None:
    """Give axes a small title and labels, and take away the box."""
    axes.set_title(title, loc="left", fontsize=SMALL + 1)
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL - 1)
    axes.spines[["top", "right"]].set_visible(False)


def columns(named: Mapping[str, Any]) -> dict[str, Float[ndarray, " n"]]:
    """Split named draws `(n, ...)` into one column of n for each element.

    Raises:
        ValueError: there are no draws, or arrays of different lengths.

    Example:
        >>> list(columns({"mu": np.zeros(3), "theta": np.zeros((3, 2))}))
        ['mu', 'theta[0]', 'theta[1]']
    """
    found: dict[str, ndarray] = {}
    for name, values in named.items():
        array = np.asarray(values, np.float64)
        if array.ndim == 0 or array.shape[0] == 0:
            raise ValueError(
                f"`named_draws` should hold draws along the first axis of each array; {name!r} has "
                f"shape {array.shape}. Give for example `posterior.sample(key, 1000)`."
            )
        for index in np.ndindex(*array.shape[1:]):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            found[label] = array[(slice(None), *index)]
    lengths = sorted({len(v) for v in found.values()})
    if len(lengths) != 1:
        raise ValueError(
            f"`named_draws` should hold arrays of one length; got {lengths or 'no arrays'}. "
            "Give the draws of all parameters together."
        )
    return found


def span(*samples: ndarray) -> tuple[float, float]:
    """Return limits that hold the central 99 % of every sample, with a margin."""
    finite = [s[np.isfinite(s)] for s in samples]
    finite = [s for s in finite if s.size]
    if not finite:
        return 0.0, 1.0
    low = min(float(np.quantile(s, 0.005)) for s in finite)
    high = max(float(np.quantile(s, 0.995)) for s in finite)
    margin = 0.06 * (high - low) or 0.5 * max(abs(high), 1e-12)
    return low - margin, high + margin


def density(sample: ndarray, limits: tuple[float, float]) -> tuple[ndarray, ndarray]:
    """Return a grid over `limits` and a Gaussian kernel density estimate there (binned).

    The bandwidth is Silverman's rule with the smaller of sd and interquartile range / 1.34.

    References:
        Silverman (1986), Density Estimation for Statistics and Data Analysis, section 3.4.2.
    """
    sample = sample[np.isfinite(sample)]
    edges = np.linspace(*limits, 513)
    grid = 0.5 * (edges[1:] + edges[:-1])
    if sample.size == 0:
        return grid, np.zeros_like(grid)
    step = edges[1] - edges[0]
    low, high = np.quantile(sample, [0.25, 0.75])
    width = min(float(sample.std()), float(high - low) / 1.34) or float(sample.std())
    width = max(0.9 * width * sample.size**-0.2, step)
    counts = np.histogram(sample, edges)[0] / (sample.size * step)
    reach = int(np.ceil(4 * width / step))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    return grid, np.convolve(counts, kernel / kernel.sum(), "full")[reach : reach + len(grid)]


def not_finite(named: Mapping[str, ndarray]) -> str:
    """Return words for how many draws are not finite, or nothing."""
    bad = int((~np.isfinite(np.stack(list(named.values())))).any(0).sum())
    return f" ({bad} draws not finite, left out)" if bad else ""
