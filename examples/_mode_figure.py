"""The pictures of `mode_covering_vs_seeking.py`: one still figure and one animation.

Colours are Okabe and Ito's, told apart by people with any colour vision; line styles differ too,
so that the figure survives a greyscale printer. Curves carry their names instead of a legend.
"""

import io
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

INK, QUIET, FILL, EDGE = "#222222", "#666666", "#DCDCDC", "#A0A0A0"
FORWARD, REVERSE = "#0072B2", "#C44E00"
LAYOUT = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
MIXTURES = {
    "equal modes": ((0.5, -2.0, 0.5), (0.5, 2.0, 0.5)),
    "unequal modes": ((0.7, -2.0, 0.8), (0.3, 2.5, 0.6)),
}
NAMES = {
    "forward": "Forward KL(p ‖ q): mode-covering",
    "reverse": "Reverse KL(q ‖ p): mode-seeking",
}
COLUMNS = ("equal modes", "unequal modes", "banana")
TITLES = {
    ("equal modes", "forward"): "One bell over both, highest where p is lowest",
    ("unequal modes", "forward"): "Same mean and variance as p",
    ("banana", "forward"): "Spills over the bend",
    ("equal modes", "reverse"): "One mode, or a broad local optimum",
    ("unequal modes", "reverse"): "Either mode holds; the heavy one is better",
    ("banana", "reverse"): "Hugs the bend",
}
# where the words go: (target, optimum) -> text position and its side
LABELS = {
    ("equal modes", "covers both"): ((3.5, 0.24), "left"),
    ("equal modes", "left mode"): ((-2.8, 0.72), "right"),
    ("equal modes", "right mode"): ((2.8, 0.72), "left"),
    ("equal modes", "broad optimum"): ((3.5, 0.24), "left"),
    ("unequal modes", "covers both"): ((3.7, 0.24), "left"),
    ("unequal modes", "heavy mode"): ((-3.1, 0.44), "right"),
    ("unequal modes", "light mode"): ((3.4, 0.6), "left"),
}
STYLES = {
    "left mode": "-",
    "right mode": (0, (5, 1.5)),
    "broad optimum": (0, (1.2, 1.2)),
    "heavy mode": "-",
    "light mode": (0, (5, 1.5)),
}
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": EDGE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def normal(x, mean, sd):
    """Return the density of a normal."""
    return np.exp(-0.5 * ((x - mean) / sd) ** 2) / (sd * np.sqrt(2 * np.pi))


def mixture(x, name):
    """Return the density of a 1-d target."""
    return sum(w * normal(x, m, s) for w, m, s in MIXTURES[name])


def minus(value):
    """Return a number with two decimals, a true minus sign and no minus zero."""
    return f"{round(float(value), 2) + 0.0:.2f}".replace("-", "−")


def draw_figure(fits, path):
    """Draw the fits, a row for each direction and a column for each target, into a PNG."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, 3, figsize=(11.6, 6.1), width_ratios=(1.28, 1.28, 1), layout=LAYOUT
        )
        for row, direction in enumerate(("forward", "reverse")):
            for column, target in enumerate(COLUMNS):
                some = [
                    f
                    for f in fits
                    if (f.case.target, f.case.direction) == (target, direction) and not f.case.snis
                ]
                ax = axes[row, column]
                (draw_banana if target == "banana" else draw_line)(ax, some, target, direction)
                ax.set_title(TITLES[target, direction], pad=8)
            _name_row(axes[row, 0], direction)
        figure.savefig(path, dpi=130, facecolor="white")
        plt.close(figure)


def _name_row(ax, direction):
    color = FORWARD if direction == "forward" else REVERSE
    ax.set_ylabel("density", labelpad=6)
    ax.annotate(
        NAMES[direction], (0, 1), xytext=(0, 28), xycoords="axes fraction",
        textcoords="offset points", fontsize=13, fontweight="bold", color=color, va="bottom",
    )  # fmt: skip


def draw_line(ax, fits, target, direction):
    """Draw a 1-d target and the fits of one direction."""
    x = np.linspace(-6.5, 6.5, 800)
    p = mixture(x, target)
    ax.fill_between(x, p, color=FILL, lw=0)
    ax.plot(x, p, color=EDGE, lw=0.8)
    weight, mean, sd = MIXTURES[target][0]
    ax.text(mean, 0.27 * weight / sd, "p", color=QUIET, ha="center", va="center", fontsize=11)
    color = FORWARD if direction == "forward" else REVERSE
    for f in fits:
        q = normal(x, f.mean[0], f.sd[0])
        seen = q > 2e-3  # a curve that lies on the axis says nothing
        style = STYLES.get(f.optimum.name, "-")
        ax.plot(x[seen], q[seen], color=color, lw=2.1, ls=style)
        where, side = LABELS[target, f.optimum.name]
        name = f.optimum.name.replace("broad ", "broad local\n")
        if direction == "forward":
            name = f"mean {minus(f.mean[0])}\nsd {minus(f.sd[0])}"
        ax.text(*where, f"{name}\nKL {f.kl:.2f}", color=color, ha=side, va="center")
    ax.set(xlim=(-6.5, 6.5), ylim=(0, 0.86), xlabel="x", yticks=[0, 0.2, 0.4, 0.6, 0.8])


def draw_banana(ax, fits, target, direction):
    """Draw the banana's contours and the fitted ellipses at one and two standard deviations."""
    x, y = np.meshgrid(np.linspace(-7, 7, 400), np.linspace(-5, 6.5, 400))
    log_p = -0.5 * (x / 2) ** 2 - 0.5 * (y - 0.25 * (x**2 - 4)) ** 2
    levels = -0.5 * np.array([3.0, 2.0, 1.0]) ** 2
    ax.contourf(x, y, log_p, [*levels, 0], colors=["#F0F0F0", FILL, "#BEBEBE"])
    ax.text(-4.6, 4.6, "p", color=QUIET, ha="center", va="center", fontsize=11)
    color = FORWARD if direction == "forward" else REVERSE
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for f in fits:
        scale = np.linalg.cholesky(f.cov)
        for radius, style in ((1, "-"), (2, (0, (5, 1.5)))):
            ring = f.mean[:, None] + radius * scale @ circle
            ax.plot(*ring, color=color, lw=2.1, ls=style)
            top = f.mean[1] + radius * f.sd[1] + 0.12
            if direction == "forward":
                ax.text(f.mean[0], top, f"{radius} sd", color=color, ha="center", va="bottom")
        ax.plot(*f.mean, "o", color=color, ms=4)
        ax.text(4.3, -3.3, f"KL {f.kl:.2f}", color=color, ha="left", va="center")
    ax.set(xlim=(-7, 7), ylim=(-4.6, 6.4), xlabel="x₁", ylabel="x₂", xticks=[-6, -3, 0, 3, 6])
    ax.set_yticks([-3, 0, 3, 6])
    ax.set_aspect("equal")


def save_animation(ways, path, width=860):
    """Draw the two fits on their way into a looping GIF.

    `ways[direction]` is a list of (step, mean, sd) with the start first.
    """
    frames = []
    style: dict[Any, Any] = {**STYLE, "axes.titlesize": 11}
    with plt.rc_context(style):
        for i in range(max(map(len, ways.values()))):
            figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.9), sharey=True, layout=LAYOUT)
            for ax, (direction, way) in zip(axes, ways.items(), strict=True):
                _draw_frame(ax, direction, way[: i + 1])
            axes[0].set_ylabel("density")
            buffer = io.BytesIO()
            figure.savefig(buffer, dpi=width / 7.2, facecolor="white")
            plt.close(figure)
            frames.append(Image.open(buffer).convert("RGB"))
    palette = frames[-1].quantize(48)
    colors = np.asarray(palette.getpalette()).reshape(-1, 3)
    colors[colors.min(axis=1) > 246] = 255  # paper stays white
    palette.putpalette(colors.ravel().tolist())
    still = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [900] + [90] * (len(still) - 2) + [2600]
    still[0].save(path, save_all=True, append_images=still[1:], duration=times, loop=0)


def _draw_frame(ax, direction, way):
    x = np.linspace(-6.5, 6.5, 800)
    p = mixture(x, "equal modes")
    ax.fill_between(x, p, color=FILL, lw=0)
    ax.plot(x, p, color=EDGE, lw=0.8)
    ax.text(2, 0.27, "p", color=QUIET, ha="center", va="center", fontsize=11)
    color = FORWARD if direction == "forward" else REVERSE
    for _, mean, sd in way[:-1][::4]:
        ax.plot(x, normal(x, mean, sd), color=color, lw=0.6, alpha=0.25)
    step, mean, sd = way[-1]
    ax.plot(x, normal(x, mean, sd), color=color, lw=2.4)
    ax.text(6.4, 0.98, f"mean {minus(mean)}\nsd {minus(sd)}", color=color, ha="right", va="top")
    ax.text(-6.2, 0.98, f"step {step}", color=QUIET, ha="left", va="top")
    ax.set(xlim=(-6.5, 6.5), ylim=(0, 1.0), xlabel="x", yticks=[0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.set_title(NAMES[direction], pad=8, color=color, fontweight="bold")
