"""The figure of `first_fit.py`: fitted marginals on their references."""

import matplotlib.pyplot as plt
import numpy as np
from _mode_figure import EDGE, FORWARD, INK, QUIET, STYLE
from scipy.stats import gaussian_kde


def draw_marginals(examples, path):
    """Draw a column for each example and a row for each parameter, in units of the reference."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(10.4, 6.4), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
        for ax, example in zip(axes, examples):
            _draw_column(ax, example)
        _explain(axes[0], examples[0])
        figure.savefig(path, dpi=130, facecolor="white")
        plt.close(figure)


def _draw_column(ax, example):
    names = [name for name in example.reference.rows if not name.startswith("theta_trans")]
    grid = np.linspace(-4, 4.6, 400)
    for row, name in enumerate(reversed(names)):
        mean, sd, low, high = example.reference.rows[name]
        scaled = (example.draws[name][:5000] - mean) / sd
        seen = (grid >= scaled.min()) & (grid <= scaled.max())
        height = np.where(seen, gaussian_kde(scaled)(grid), 0.0)
        ax.fill_between(grid[seen], row, row + 1.5 * height[seen], color=FORWARD, alpha=0.30, lw=0)
        ax.plot(grid[seen], row + 1.5 * height[seen], color=FORWARD, lw=1.3)
        ax.plot([(low - mean) / sd, (high - mean) / sd], [row, row], color=INK, lw=1.0)
        ax.plot([-1, 1], [row, row], color=INK, lw=3.2, solid_capstyle="butt")
        ax.plot(0, row, "o", color="white", mec=INK, mew=1.2, ms=5, zorder=3)
        ax.text(4.55, row + 0.16, f"{mean:.3g} ± {sd:.2g}", color=QUIET, ha="right", fontsize=8)
    ax.set_yticks(range(len(names)), reversed(names))
    ax.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(-4, 4.6), ylim=(-0.4, len(names) - 0.05))
    ax.set_xlabel("reference standard deviations from the reference mean")
    ax.set_title(example.title, fontweight="bold", fontsize=11, pad=10)
    ax.axvline(0, color=EDGE, lw=0.6, zorder=0)


def _explain(ax, example):
    """Name the marks once, beside the first row."""
    ax.set_title(ax.get_title(loc="left"), fontweight="bold", fontsize=11, pad=10)
