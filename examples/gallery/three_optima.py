"""Reverse KL has three optima on two equal modes: each mode, and a broad one between.

python examples/gallery/three_optima.py [--quick] [--out FOLDER]
"""

import jax
import jax.numpy as jnp
import numpy as np
from _gallery import (
    BLUE,
    FILL,
    GREEN,
    GRID,
    INK,
    ORANGE,
    exact_fit,
    normal_pdf,
    options,
    panels,
    save,
    two_modes,
)

from vikl.objectives import ReverseKL

STARTS = {"left mode": (-1.0, 0.5), "right mode": (1.0, 0.5), "between": (0.0, 3.0)}
LOOKS = [(BLUE, "--"), (GREEN, "-."), (ORANGE, ":")]


def main(argv: list[str] | None = None) -> None:
    """Find the three optima and draw them on the target."""
    chosen = options(__doc__, argv)
    target, x = two_modes(), np.linspace(-6.0, 6.0, 601)
    figure, axes = panels(1, 6.5, 4.0)
    p = np.exp(np.asarray(jax.vmap(target.log_density)(jnp.asarray(x[:, None], float))))
    axes.fill_between(x, p, color=FILL, label="target p")
    axes.plot(x, p, color=INK, lw=1)
    for (name, start), (colour, style) in zip(STARTS.items(), LOOKS):
        mu, sigma, kl = exact_fit(ReverseKL(GRID), target, *start)
        print(f"{name:12s} mean {mu:7.4f}, sd {sigma:.4f}, KL(q‖p) = {kl:.4f} nats")
        label = f"{name}: KL = {kl:.3f} nats"
        axes.plot(x, normal_pdf(x, mu, sigma), color=colour, ls=style, lw=2, label=label)
    axes.set(xlabel="x", ylabel="density", ylim=(0, 1.15))
    axes.set_title("Where reverse KL ends depends on the start: three optima, two worth log 2")
    axes.legend(loc="upper center", ncols=2)
    save(figure, chosen.out, "three_optima")


if __name__ == "__main__":
    main()
