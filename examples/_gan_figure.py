"""The figure of `gan.py`: what each objective does to one normal, target by target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

mpl.use("Agg")
FILL, EDGE, INK = "#DDDDDD", "#8A8A8A", "#0B3C6F"
STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
}


def normal(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """Return the density of a normal."""
    return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))


def verdict(names: list[str]) -> str:
    """Say what all starts together show."""
    seeks = [name.endswith("mode") for name in names]
    if all(seeks):
        return "seeks a mode"
    if all(name == "covers both" for name in names):
        return "covers both"
    return "it depends on the start"


def draw_figure(
    fits: list[Any], targets: dict[str, Any], name_of: Callable[[Any], str], path: Path
) -> None:
    """Draw a row for each target and a column for each way of fitting, into a PNG."""
    ways = list(dict.fromkeys(fit.how for fit in fits))
    x = np.linspace(-6.5, 6.5, 600)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, len(ways), figsize=(2.55 * len(ways), 5.0), sharex=True, sharey=True,
            layout="constrained", squeeze=False,
        )  # fmt: skip
        for row, (target, modes) in enumerate(targets.items()):
            p = sum(w * normal(x, m, s) for w, m, s in modes)
            for column, how in enumerate(ways):
                ax = axes[row, column]
                ax.fill_between(x, p, color=FILL, lw=0)
                ax.plot(x, p, color=EDGE, lw=0.7)
                some = [f for f in fits if (f.target, f.how) == (target, how)]
                for fit, style in zip(some, STYLES):
                    q = normal(x, fit.mean, fit.sd)
                    label = f"from N({fit.start[0]:g}, {fit.start[1]:g}²)"
                    ax.plot(
                        x, np.where(q > 2e-3, q, np.nan), color=INK, ls=style, lw=1.6, label=label
                    )
                ax.set_title(f"{how}\n{verdict([name_of(f) for f in some])}")
                ax.set(xlim=(-6.5, 6.5), ylim=(0, 0.95))
            axes[row, 0].set_ylabel(f"density, {target}")
        for ax in axes[-1]:
            ax.set_xlabel("x")
        axes[0, 0].legend(frameon=False, fontsize=8, loc="upper left", title="starts of q")
        figure.suptitle(
            "One normal (lines) fitted to two modes (grey): mode-seeking is a matter of the loss, "
            "the target and the start, not of GANs", x=0.01, ha="left",
        )  # fmt: skip
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)
