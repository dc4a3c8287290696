"""The figure of `first_fit.py`: fitted marginals on their references."""

import matplotlib.pyplot as plt
import numpy as np
from _mode_figure import EDGE, FORWARD, INK, QUIET, STYLE
from scipy.stats import gaussian_kde

LEFT, RIGHT = -4.0, 5.3


def draw_marginals(examples, path):
    """Draw a column for each example and a row for each parameter, in units of the reference."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(10.6, 6.6), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.14, h_pad=0.10)
        for ax, example in zip(axes, examples, strict=True):
            _draw_column(ax, example)
        figure.savefig(path, dpi=130, facecolor="white")
        plt.close(figure)


def _draw_column(ax, example):
    names = [name for name in example.reference.rows if not name.startswith("theta_trans")]
    for row, name in enumerate(reversed(names)):
        mean, sd, *_ = truth = example.reference.rows[name]
        _draw_density(ax, row, (example.draws[name][:8000] - mean) / sd)
        for y, color, numbers in (
            (row - 0.06, FORWARD, example.fitted.rows[name]),
            (row - 0.22, INK, truth),
        ):
            middle, low, high = ((numbers[i] - mean) / sd for i in (0, 2, 3))
            _draw_interval(ax, y, (middle, numbers[1] / sd, low, high), color)
        words = f"{mean:.3g} ± {sd:.2g}".replace("-", "−")
        ax.text(RIGHT, row + 0.08, words, color=QUIET, ha="right", fontsize=8)
    ax.set_yticks(range(len(names)), reversed(names))
    ax.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(LEFT, RIGHT), ylim=(-0.55, len(names) + 0.55), xticks=range(-4, 6, 2))
    ax.set_xlabel("distance from the reference mean, in reference standard deviations")
    (_, worst_mean), (_, worst_sd) = example.fitted.worst(example.reference)
    words = f"means within {abs(worst_mean):.2f} sd, sds within {abs(100 * worst_sd):.0f} %"
    ax.set_title(f"{example.title}: {words}", fontsize=11, pad=8)
    ax.axvline(0, color=EDGE, lw=0.6, zorder=0, ymax=(len(names) + 0.1) / (len(names) + 1.1))
    top = len(names) + 0.15
    ax.text(LEFT, top, "fit: density, mean ± sd, 5–95 %", color=FORWARD, va="bottom")
    ax.text(RIGHT, top, "reference: mean ± sd, 5–95 %", color=INK, va="bottom", ha="right")


def _draw_density(ax, row, draws):
    grid = np.linspace(LEFT, RIGHT - 1.5, 400)
    grid = grid[(grid >= draws.min()) & (grid <= draws.max())]
    height = gaussian_kde(draws)(grid)
    height = row + 0.68 * height / height.max()
    ax.fill_between(grid, row, height, color=FORWARD, alpha=0.28, lw=0)
    ax.plot(grid, height, color=FORWARD, lw=1.2)


def _draw_interval(ax, y, numbers, color):
    mean, sd, low, high = numbers
    ax.plot([low, high], [y, y], color=color, lw=1.0)
    ax.plot([mean - sd, mean + sd], [y, y], color=color, lw=3.0, solid_capstyle="butt")
    ax.plot(mean, y, "o", color="white", mec=color, mew=1.2, ms=4.5, zorder=3)
