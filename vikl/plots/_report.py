"""The report figure: did the fit settle, can its draws be believed, do its starts agree."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..diagnostics import WeightedDraws
from ._style import (
    FAINT,
    FITTED,
    FITTED_LINE,
    OTHER,
    SMALL,
    columns,
    density,
    new_figure,
    not_finite,
    span,
    tidy,
)

_MAX_POINTS = 300  # more would hide each other


def report_figure(
    named_draws: Mapping[str, Any],
    resampled: Mapping[str, Any] | None,
    history: Mapping[str, Any],
    weighted: WeightedDraws,
    starts: Any = None,
    title: str | None = None,
    *,
    num_parameters: int = 5,
) -> Any:
    """Return the figure of one fit: pairs, ELBO trace, importance weights, starts.

    Args:
        named_draws: name to draws of the fit `(n, ...)`, constrained.
        resampled: the same of importance-resampled draws, or None.
        history: `elbo` (nats), and where there are any `step` and `elbo_std_error`, each (steps,).
        weighted: draws of q with their weights.
        starts: ELBO of each start (k,), nats; or a mapping with `elbo` and `elbo_std_error`.
        title: a sentence above the figure, such as the verdict.
        num_parameters: how many parameters to show, the first ones.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no draws, arrays of different lengths, or other names in `resampled`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(500, 1))
        >>> weighted = WeightedDraws(x, -0.5 * x[:, 0] ** 2, -0.5 * x[:, 0] ** 2)
        >>> figure = report_figure({"mu": x[:, 0]}, None, {"elbo": np.arange(5.0)}, weighted)
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['mu', 'step', 'rank of the draw (1 = heaviest)']
    """
    fitted = columns(named_draws)
    other = columns(resampled) if resampled is not None else None
    if other is not None and list(other) != list(fitted):
        raise ValueError(
            f"`resampled` should have the names of `named_draws`, {list(fitted)}; got "
            f"{list(other)}. Constrain both in the same way."
        )
    names = list(fitted)[:num_parameters]
    figure = new_figure(11.0, 6.6, (title or "") + not_finite(fitted))
    left, right = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    _pairs(left, fitted, other, names)
    panels = right.subplots(3 if starts is not None else 2, 1, squeeze=False)[:, 0]
    _trace(panels[0], history)
    _weights(panels[1], weighted)
    if starts is not None:
        _starts(panels[2], starts)
    return figure


def _pairs(figure: Any, fitted: dict, other: dict | None, names: list[str]) -> None:
    k = len(names)
    grid = figure.subplots(k, k, squeeze=False)
    limits = {n: span(fitted[n], *([other[n]] if other else [])) for n in names}
    for i, j in np.ndindex(k, k):
        axes = grid[i, j]
        if j > i:
            axes.remove()
            continue
        if i == j:
            _marginal(axes, fitted[names[i]], other and other[names[i]], limits[names[i]])
        else:
            _cloud(axes, fitted, other, names[j], names[i])
            axes.set_ylim(*limits[names[i]])
        axes.set_xlim(*limits[names[j]])
        tidy(axes, x=names[j] if i == k - 1 else "", y=names[i] if j == 0 and i > 0 else "")
        if i < k - 1:
            axes.set_xticklabels([])
        if j > 0:
            axes.set_yticklabels([])
    shown = "" if k == len(fitted) else f" (first {k} of {len(fitted)})"
    what = "resampled draws should cover the fitted ones" if other else "fitted draws"
    figure.suptitle(f"Parameters{shown}: {what}", x=0.02, ha="left", fontsize=SMALL + 1)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", fontsize=SMALL, frameon=False)


def _marginal(axes: Any, fitted: np.ndarray, other: Any, limits: tuple[float, float]) -> None:
    grid, height = density(fitted, limits)
    axes.fill_between(grid, height, **FITTED, linewidth=0, label="fitted")
    axes.plot(grid, height, **FITTED_LINE)
    if other is not None:
        axes.plot(*density(other, limits), **OTHER, label="importance-resampled")
    axes.set_yticks([])
    axes.set_ylim(0, None)


def _cloud(axes: Any, fitted: dict, other: dict | None, x: str, y: str) -> None:
    axes.scatter(
        fitted[x][:_MAX_POINTS], fitted[y][:_MAX_POINTS], s=9, linewidth=0, rasterized=True,
        **{**FITTED, "alpha": 0.7},
    )  # fmt: skip
    if other is not None:
        axes.scatter(
            other[x][:_MAX_POINTS], other[y][:_MAX_POINTS], s=12, marker="+",
            color="black", linewidth=0.5, rasterized=True,
        )  # fmt: skip


def _trace(axes: Any, history: Mapping[str, Any]) -> None:
    elbo = np.asarray(history["elbo"], np.float64)
    step = np.asarray(history.get("step", np.arange(1, len(elbo) + 1)), np.float64)
    axes.plot(step, elbo, **FITTED_LINE)
    error = history.get("elbo_std_error")
    if error is not None:
        error = np.asarray(error, np.float64)
        axes.fill_between(step, elbo - error, elbo + error, **FITTED, linewidth=0)
    finite = elbo[np.isfinite(elbo)]
    if finite.size:
        settled = finite[finite.size // 2 :]
        drop = max(8 * float(np.ptp(settled)), 0.05 * float(np.ptp(finite)), 1e-3)
        low = max(float(finite.min()), float(settled.min()) - drop)
        room = 0.08 * (float(finite.max()) - low) or 0.5
        axes.set_ylim(low - room, float(finite.max()) + room)
    lost = elbo.size - finite.size
    note = f", not finite at {lost} steps" if lost else ""
    band = " ± its standard error" if error is not None else ""
    tidy(axes, f"ELBO{band}{note}:\nflat at the end means settled", "step", "ELBO (nats)")


def _weights(axes: Any, weighted: WeightedDraws) -> None:
    n = weighted.num_draws
    rank = np.arange(1, n + 1)
    raw = np.where(weighted.bad, -np.inf, weighted.log_ratios)
    if np.isfinite(raw).any():
        kept = weighted.log_weights > -np.inf
        raw = np.exp(raw - np.median(raw[kept] - weighted.log_weights[kept])) * n
        axes.plot(rank, np.sort(raw)[::-1], ".", color="0.55", markersize=3, label="raw")
        smooth = np.sort(weighted.weights * n)[::-1]
        axes.plot(rank, smooth, color="black", linewidth=1.2, label="Pareto-smoothed")
        axes.axhline(1.0, **FAINT, zorder=0)
        top = max(float(raw.max()), float(smooth.max()), 2.0)
        axes.set_ylim(min(max(float(smooth[int(0.95 * n)]), 1e-4), 0.5) / 1.5, top * 1.5)
        axes.set_yscale("log")
        axes.legend(fontsize=SMALL - 1, frameon=False, loc="upper right")
    axes.set_xscale("log")
    khat = "all alike" if weighted.khat == -np.inf else f"k-hat {weighted.khat:.2f}"
    bad = f", {weighted.num_bad} draws without a finite weight" if weighted.num_bad else ""
    tidy(
        axes,
        f"Importance weights: {khat},\n{100 * weighted.relative_ess:.0f} % of the draws count{bad}",
        "rank of the draw (1 = heaviest)",
        "weight (mean = 1)",
    )


def _starts(axes: Any, starts: Any) -> None:
    is_mapping = isinstance(starts, Mapping)
    elbo = np.atleast_1d(np.asarray(starts["elbo"] if is_mapping else starts, np.float64))
    error = starts.get("elbo_std_error") if is_mapping else None
    number = np.arange(1, len(elbo) + 1)
    known = np.isfinite(elbo)
    if error is not None:
        error = np.atleast_1d(np.asarray(error, np.float64))[known]
    axes.errorbar(
        number[known], elbo[known], yerr=error, fmt="o", markersize=4, color=FITTED_LINE["color"],
        capsize=2, linewidth=1,
    )  # fmt: skip
    if known.any():
        axes.axhline(np.max(elbo[known]), **FAINT, zorder=0)
        low, high = axes.get_ylim()
        room = max(0.0, 0.1 - (high - low)) / 2  # a difference of rounding should look like none
        axes.set_ylim(low - room, high + room)
        axes.ticklabel_format(axis="y", useOffset=False)
    for i in number[~known]:
        axes.text(i, 0.03, "×", ha="center", transform=axes.get_xaxis_transform(), fontsize=SMALL)
    axes.set_xlim(0.4, len(elbo) + 0.6)
    axes.set_xticks(number if len(elbo) <= 16 else number[:: len(elbo) // 8])
    failed = f", {int((~known).sum())} failed (×)" if (~known).any() else ""
    tidy(axes, f"Starts{failed}: level means they agree", "start", "final ELBO (nats)")
