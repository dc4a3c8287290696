"""A richer family makes the choice of the divergence matter less: a normal, a mixture, a flow.

python examples/gallery/mixture.py [--quick] [--out FOLDER]

The flow is flowjax's (`pip install 'vikl[flows]'`); without it the script draws the other two.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _gallery import BLUE, GREEN, INK, ORANGE, options, panels, save
from banana import log_density

import vikl
from vikl.estimators import StickingTheLanding, Stratified
from vikl.families import Flow, FullRankNormal, NormalMixture
from vikl.objectives import ReverseKL

LOG_Z = float(np.log(2 * np.pi * 2))  # of the banana


def _normal() -> tuple[Any, ReverseKL, float]:
    return FullRankNormal.init(jnp.zeros(2)), ReverseKL(num_samples=24), 0.03


def _mixture() -> tuple[Any, ReverseKL, float]:
    family = NormalMixture.init(jnp.zeros(2), 2.0, num_components=8, full=True)
    return family, ReverseKL(Stratified(), 24), 0.03


def _flow() -> tuple[Any, ReverseKL, float]:
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    base = Normal(jnp.zeros(2))
    flow = coupling_flow(
        jax.random.key(0), base_dist=base, invert=False, flow_layers=4, nn_width=16, nn_depth=1
    )
    return Flow(flow), ReverseKL(StickingTheLanding(), 24), 0.01


KINDS: dict[str, tuple[Callable, str]] = {
    "one normal": (_normal, BLUE),
    "8 normals": (_mixture, ORANGE),
    "a coupling flow": (_flow, GREEN),
}


def main(argv: list[str] | None = None) -> None:
    """Fit a normal, a mixture and a flow to the banana by reverse KL and draw them."""
    chosen = options(__doc__, argv)
    steps = 200 if chosen.quick else 4000
    target = vikl.Target.from_density(log_density, jnp.zeros(2))
    kinds = dict(KINDS)
    if importlib.util.find_spec("flowjax") is None:
        print("no flow: flowjax is not installed (pip install 'vikl[flows]')")
        del kinds["a coupling flow"]
    side = np.linspace(-8, 8, 161)
    points = jnp.asarray(np.stack(np.meshgrid(side, side), -1).reshape(-1, 2), float)

    def on_grid(density):
        return np.exp(np.asarray(jax.jit(jax.vmap(density))(points))).reshape(161, 161)

    height = on_grid(log_density)
    figure, axes = panels(len(kinds), 4.0 * len(kinds), 4.2, sharex=True, sharey=True)
    for ax, (name, (make, colour)) in zip(axes, kinds.items()):
        # flowjax relies on JAX's own rules of promotion, whatever the settings
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            family, objective, rate = make()
            adam = optax.adam(optax.cosine_decay_schedule(rate, steps))
            fit = vikl.fit(target, family, objective, adam, key=jax.random.key(0), num_steps=steps)
            q = on_grid(fit.family.log_prob)
        gap = LOG_Z - fit.elbo
        print(f"{name}: KL(q‖p) = {gap:.4f} ± {fit.elbo_std_error:.4f} nats, k-hat {fit.khat:.2f}")
        levels = np.array([0.05, 0.3, 0.7])
        ax.contour(side, side, height, levels=levels, colors=INK, linewidths=0.8)
        ax.contour(side, side, q * np.exp(LOG_Z), levels=levels, colors=colour, linestyles="--")
        ax.set(xlabel="x₁", xlim=(-7, 7), ylim=(-5, 8))
        ax.set_title(f"{name}: KL(q‖p) = {gap:.3f} nats")
    axes[0].set_ylabel("x₂")
    figure.suptitle("A richer family follows the bend (solid: p, dashed: q, same levels)")
    save(figure, chosen.out, "mixture")


if __name__ == "__main__":
    main()
