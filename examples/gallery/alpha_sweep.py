"""One family, one target, every order: from seeking a mode to covering both.

    python examples/gallery/alpha_sweep.py [--quick] [--out FOLDER]

The order is that of D_α(p‖q): α → 0 is reverse KL(q‖p), α = 1 forward KL(p‖q), α = 2 χ²(p‖q). The
same divergence is D_{1−α}(q‖p): the label turns round with the direction.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _gallery import (
    BLUE,
    FILL,
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

from vikl.objectives import Renyi, ReverseKL


def main(argv: list[str] | None = None) -> None:
    """Follow the optimum from the heavy mode upwards and from the broad one downwards."""
    chosen = options(__doc__, argv)
    orders = (
        [0.0, 0.5, 1.0, 2.0]
        if chosen.quick
        else [-1.0, -0.5, 0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.75, 1.0, 1.5, 2.0]
    )
    target = two_modes((0.7, 0.3), (-2.0, 2.5), (0.8, 0.6))
    x = np.linspace(-6, 6, 601)
    p = np.exp(np.asarray(jax.vmap(target.log_density)(jnp.asarray(x[:, None], float))))
    figure, (left, right) = panels(2, 11.0, 4.0)
    left.fill_between(x, p, color=FILL, label="target p")
    left.plot(x, p, color=INK, lw=1)
    shades, sds = np.linspace(0.65, 0.0, len(orders)), {"mode": [], "broad": []}
    for order, shade in zip(orders, shades):
        objective = ReverseKL(GRID) if order == 0 else Renyi(order, "p||q", GRID)
        ends = {
            "mode": exact_fit(objective, target, -2.2, 0.7),
            "broad": exact_fit(objective, target, -0.8, 2.0),
        }
        for name, (mu, sigma, _) in ends.items():
            sds[name].append(sigma)
            print(f"α = {order:5.2f} from the {name:5s}: mean {mu:7.4f}, sd {sigma:.4f}")
        best = min(ends.values(), key=lambda end: end[2])
        named = f"α = {order:g}" if order in (-1, 0, 0.4, 0.5, 1, 2) else None
        left.plot(x, normal_pdf(x, *best[:2]), color=str(shade), lw=1.8, label=named)
    left.set(xlabel="x", ylabel="density")
    left.set_title("The best q: small α sits on the heavy mode, large α covers both")
    left.legend()
    right.plot(orders, sds["mode"], color=BLUE, marker="o", label="started at the heavy mode")
    right.plot(orders, sds["broad"], color=ORANGE, marker="s", ls="--", label="started broad")
    right.set(xlabel="order α of D_α(p‖q)", ylabel="sd of the fitted q", ylim=(0, None))
    right.set_title("Near α = 0.4 both kinds of optimum exist; elsewhere only one")
    right.legend()
    save(figure, chosen.out, "alpha_sweep")


if __name__ == "__main__":
    main()
