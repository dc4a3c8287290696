"""Marginals of a fit beside reference means and sds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._style import FITTED, FITTED_LINE, SMALL, columns, density, new_figure, not_finite, span, tidy


def marginals_figure(
    named_draws: Mapping[str, Any],
    reference: Mapping[str, Any] | None = None,
    *,
    title: str | None = None,
    units: Mapping[str, str] | None = None,
    num_columns: int = 4,
) -> Any:
    """Return a figure of each parameter's fitted marginal, with its reference where there is one.

    The filled curve is the density of the draws; the tick under it is their mean and the bar one
    sd to each side. The black diamond and its bar are the reference mean and sd.

    Args:
        named_draws: name to draws `(n, ...)`, constrained; arrays become one panel per element.
        reference: name (of the element, such as `theta[0]`) to (mean, sd).
        title: a sentence above the figure.
        units: name to unit, shown with the axis.
        num_columns: panels in a row.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no draws, arrays of different lengths, or a reference for an unknown name.

    Example:
        >>> draws = {"mu": np.random.default_rng(0).normal(size=1000)}
        >>> figure = marginals_figure(draws, {"mu": (0.0, 1.0)}, title="A standard normal")
        >>> len(figure.axes)
        1
    """
    named = columns(named_draws)
    reference = dict(reference or {})
    unknown = sorted(set(reference) - set(named))
    if unknown:
        raise ValueError(
            f"`reference` should use names of the draws, {list(named)}; got {unknown}. Name "
            "elements of an array like `theta[0]`."
        )
    num_columns = min(num_columns, len(named))
    rows = -(-len(named) // num_columns)
    figure = new_figure(2.4 * num_columns, 1.75 * rows + 0.7, (title or "") + not_finite(named))
    panels = figure.subplots(rows, num_columns, squeeze=False).ravel()
    for axes, (name, draws) in zip(panels, named.items(), strict=False):
        unit = (units or {}).get(name, (units or {}).get(name.split("[")[0], ""))
        _panel(axes, name + (f" ({unit})" if unit else ""), draws, reference.get(name))
    for axes in panels[len(named) :]:
        axes.set_axis_off()
    _legend(figure, panels[0], bool(reference))
    return figure


def _panel(axes: Any, label: str, draws: np.ndarray, reference: tuple[float, float] | None) -> None:
    limits = span(draws)
    if reference is not None:
        mean, sd = reference
        limits = min(limits[0], mean - 1.5 * sd), max(limits[1], mean + 1.5 * sd)
    grid, height = density(draws, limits)
    top = float(height.max()) or 1.0
    axes.fill_between(grid, height / top, **FITTED, linewidth=0, label="fitted density")
    axes.plot(grid, height / top, **FITTED_LINE)
    finite = draws[np.isfinite(draws)]
    axes.errorbar(
        finite.mean(), -0.12, xerr=finite.std(), fmt="|", markersize=7, label="fitted mean ± sd",
        color=FITTED_LINE["color"], linewidth=2.5,
    )  # fmt: skip
    if reference is not None:
        axes.errorbar(
            mean, -0.28, xerr=sd, fmt="D", color="black", markerfacecolor="white", markersize=4,
            linewidth=1.2, capsize=2, label="reference mean ± sd",
        )  # fmt: skip
    axes.set_ylim(-0.42 if reference is not None else -0.25, 1.08)
    axes.set_xlim(*limits)
    axes.set_yticks([])
    tidy(axes, x=label)
    axes.spines["left"].set_visible(False)


def _legend(figure: Any, axes: Any, with_reference: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=len(labels), fontsize=SMALL, frameon=False
    )
