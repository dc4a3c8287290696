"""The pictures of `mode_covering_vs_seeking.py`: one still figure and one animation.

Colours are Okabe and Ito's, told apart by people with any colour vision; line styles differ too,
so that the figure survives a greyscale printer. Curves carry their names instead of a legend.
"""

import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

INK, QUIET, FILL, EDGE = "#222222", "#6B6B6B", "#E3E3E3", "#A8A8A8"
FORWARD, REVERSE = "#0072B2", "#C44E00"
MIXTURES = {
    "equal modes": ((0.5, -2.0, 0.5), (0.5, 2.0, 0.5)),
    "unequal modes": ((0.7, -2.0, 0.8), (0.3, 2.5, 0.6)),
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
# where the words go: (target, optimum) -> text position, and whether it is to the right of it
LABELS = {
    ("equal modes", "left mode"): ((-2.75, 0.72), "right"),
    ("equal modes", "right mode"): ((2.75, 0.72), "left"),
    ("equal modes", "broad local optimum"): ((0.0, 0.345), "center"),
    ("unequal modes", "heavy mode"): ((-2.95, 0.42), "right"),
    ("unequal modes", "light mode"): ((3.2, 0.55), "left"),
}
STYLES = {
    "left mode": "-",
    "right mode": (0, (5, 1.5)),
    "broad local optimum": (0, (1.2, 1.2)),
    "heavy mode": "-",
    "light mode": (0, (5, 1.5)),
}
STYLE = {
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


def draw_figure(fits, path):
    """Draw the fits, a row for each direction and a column for each target, into a PNG."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            2, 3, figsize=(11.5, 6.0), width_ratios=(1.15, 1.15, 1), layout="constrained"
        )
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.10)
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
    name = "Forward KL(p‖q)" if direction == "forward" else "Reverse KL(q‖p)"
    what = "mode-covering" if direction == "forward" else "mode-seeking"
    color = FORWARD if direction == "forward" else REVERSE
    ax.set_ylabel("density", labelpad=6)
    ax.annotate(
        f"{name}: {what}", (0, 1), xytext=(0, 30), xycoords="axes fraction",
        textcoords="offset points", fontsize=13, fontweight="bold", color=color, va="bottom",
    )  # fmt: skip


def draw_line(ax, fits, target, direction):
    """Draw a 1-d target and the fits of one direction."""
    x = np.linspace(-6, 6, 600)
    p = mixture(x, target)
    ax.fill_between(x, p, color=FILL, lw=0)
    ax.plot(x, p, color=EDGE, lw=0.8)
    top = 0.95 if (target, direction) == ("equal modes", "reverse") else 0.78
    color = FORWARD if direction == "forward" else REVERSE
    for f in fits:
        q = normal(x, f.mean[0], f.sd[0])
        style = STYLES.get(f.optimum.name, "-")
        ax.plot(x, q, color=color, lw=2.0, ls=style, solid_capstyle="round")
        if direction == "forward":
            words = f"q = N({f.mean[0]:.2f}, {f.sd[0]:.2f}²)\nKL {f.kl:.2f}"
            ax.annotate(words, (3.4, 0.2), color=color, ha="left", va="bottom")
        else:
            where, side = LABELS[target, f.optimum.name]
            name = f.optimum.name.replace(" local", "\nlocal")
            ax.annotate(f"{name}\nKL {f.kl:.2f}", where, color=color, ha=side, va="center")
    ax.set(xlim=(-6, 6), ylim=(0, top), xlabel="x", yticks=[0, 0.2, 0.4, 0.6, 0.8][: 5 if top > 0.8 else 4])


def draw_banana(ax, fits, target, direction):
    """Draw the banana's contours and the fitted ellipses at one and two standard deviations."""
    x, y = np.meshgrid(np.linspace(-6.2, 6.2, 300), np.linspace(-5, 7.5, 300))
    log_p = -0.5 * (x / 2) ** 2 - 0.5 * (y - 0.25 * (x**2 - 4)) ** 2
    levels = -0.5 * np.array([3.0, 2.0, 1.0]) ** 2
    ax.contourf(x, y, log_p, [*levels, 0], colors=["#EFEFEF", "#DDDDDD", "#C6C6C6"])
    color = FORWARD if direction == "forward" else REVERSE
    for f in fits:
        scale = np.linalg.cholesky(f.cov)
        angle = np.linspace(0, 2 * np.pi, 200)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        for radius, style in ((1, "-"), (2, (0, (5, 1.5)))):
            ax.plot(*(f.mean[:, None] + radius * scale @ circle), color=color, lw=2.0, ls=style)
        ax.plot(*f.mean, "o", color=color, ms=4)
        ax.annotate(f"KL {f.kl:.2f}", (f.mean[0], f.mean[1] - 2 * f.sd[1] - 0.25), color=color, ha="center", va="top")
    ax.set(xlim=(-6, 6), ylim=(-4.8, 7), xlabel="x₁", ylabel="x₂")


def save_animation(ways, path):
    open(path,'w').write('x')
