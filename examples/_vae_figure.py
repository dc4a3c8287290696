"""The figure of `vae.py`: learning curves, reconstructions, samples, and a map of two latents."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle

mpl.use("Agg")
STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))
COLORS = ("#0B3C6F", "#C8561B", "#4D4D4D")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}


def tiles(images: np.ndarray, columns: int, gap: float = 0.5) -> np.ndarray:
    """Put images (n, 64) side by side, row after row, with grey lines between them."""
    rows = len(images) // columns
    page = np.full((rows * 9 + 1, columns * 9 + 1), gap)
    for i, image in enumerate(images[: rows * columns].reshape(-1, 8, 8)):
        top, left = i // columns * 9 + 1, i % columns * 9 + 1
        page[top : top + 8, left : left + 8] = image
    return page


def show(ax: Any, page: np.ndarray, title: str) -> None:
    """Show a page of digits, ink black."""
    ax.imshow(page, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)


def pixels(model: Any, z: Any) -> np.ndarray:
    """Return the decoder's probabilities of ink."""
    return np.asarray(jax.nn.sigmoid(model.decode(jnp.asarray(z)).logits))


def draw_curves(ax: Any, curves: dict[str, np.ndarray], baselines: dict[str, float]) -> None:
    """Draw the test ELBO by epoch for each estimator, with baselines for scale."""
    longest = max(map(len, curves.values()))
    for (name, value), curve in zip(curves.items(), zip(STYLES, COLORS)):
        smooth = np.convolve(value, np.ones(5) / 5, "valid") if len(value) > 20 else value
        epochs = np.arange(len(smooth)) + 1 + (len(value) - len(smooth)) // 2
        ax.plot(epochs, smooth, ls=curve[0], color=curve[1], lw=1.4, label=name)
    for name, value in baselines.items():
        ax.axhline(value, color="0.6", lw=0.7, zorder=0)
        at = {"x": 0.99, "ha": "right"} if value < -24 else {"x": 0.01, "ha": "left"}
        ax.text(y=value + 0.07, s=name, transform=ax.get_yaxis_transform(), va="bottom",
                fontsize=7.5, color="0.35", **at)  # fmt: skip
    low = min(-25.8, max(float(curve[len(curve) // 4 :].min()) for curve in curves.values()) - 0.5)
    ax.set(xscale="log", ylim=(low, -17.4), xlim=(5 if longest > 50 else 1, longest))
    ax.set(xlabel="epoch", ylabel="test ELBO (nats for each image)")
    ax.set_title("Three gradients of one ELBO learn alike")
    ax.legend(frameon=False, loc="lower right", fontsize=8, bbox_to_anchor=(1.0, 0.1))


def draw_map(ax: Any, model: Any, test: Any, labels: np.ndarray) -> None:
    """Write each test image's label at its mean in the plane of two latents."""
    loc = np.asarray(model.encode(test)[0])
    shades = ("#0B3C6F", "#C8561B", "#4D4D4D", "#1B7F5C", "#7A3E9D")
    for label in range(10):
        for x, y in loc[labels == label]:
            ax.text(
                x, y, str(label), fontsize=6.5, color=shades[label % 5], ha="center", va="center"
            )
    reach = float(np.abs(loc).max()) * 1.05
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    way = np.stack([np.cos(turn), np.sin(turn)], 1)
    for radius in (1, 2):
        ax.add_patch(Circle((0, 0), radius, fill=False, color="0.7", lw=0.7, zorder=0))
        apart = (radius * way[:, None] - loc) / (0.55, 0.1)  # words are wide and low
        x, y = radius * way[(apart**2).sum(-1).min(1).argmax()]
        words = f"{radius} sd of the prior"
        ax.text(x, y, words, fontsize=6.5, color="0.35", ha="center", va="center",
                bbox={"color": "white", "pad": 0.5})  # fmt: skip
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel="latent 1 (prior sd 1)", ylabel="latent 2 (prior sd 1)")
    ax.set_title("Two latents: encoder means of the test digits,\neach written as its label")


def draw_figure(
    curves: dict[str, np.ndarray],
    model: Any,
    flat: Any,
    data: Any,
    baselines: dict[str, float],
    path: Path,
) -> None:
    """Draw all into a PNG: `model` for reconstructions and samples, `flat` has two latents."""
    _, test, labels = data
    loc, _ = model.encode(test)
    noise = jax.random.normal(jax.random.key(4), (60, loc.shape[1]))
    pairs = np.concatenate([np.asarray(test[:12]), pixels(model, loc[:12]),
                            np.asarray(test[12:24]), pixels(model, loc[12:24])])  # fmt: skip
    axis = np.asarray(jax.scipy.stats.norm.ppf(jnp.linspace(0.03, 0.97, 12)))
    grid = np.stack(np.meshgrid(axis, axis[::-1]), -1).reshape(-1, 2).astype(np.float32)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplot_mosaic(
            [["curves", "pairs", "map"], ["manifold", "samples", "map"]],
            figsize=(13, 6.6),
            width_ratios=(1, 1, 1.2),
            layout="constrained",
        )
        draw_curves(axes["curves"], curves, baselines)
        show(
            axes["pairs"],
            tiles(pairs, 12),
            "Test digits (rows 1, 3), each above its reconstruction",
        )
        show(axes["samples"], tiles(pixels(model, noise), 10), "Decoded draws of the prior")
        show(
            axes["manifold"],
            tiles(pixels(flat, grid), 12),
            "Two latents: decoded prior quantiles",
        )
        draw_map(axes["map"], flat, test, labels)
        figure.savefig(path, dpi=110, facecolor="white")
        plt.close(figure)
