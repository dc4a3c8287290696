"""A richer family makes the choice of the divergence matter less: one normal, and mixtures of them.

python examples/gallery/mixture.py [--quick] [--out FOLDER]
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _gallery import BLUE, GREEN, INK, ORANGE, options, panels, save
from banana import log_density

import vikl
from vikl.estimators import Stratified
from vikl.families import FullRankNormal, NormalMixture
from vikl.objectives import ReverseKL

LOG_Z = float(np.log(2 * np.pi * 2))  # of the banana


def main(argv: list[str] | None = None) -> None:
    """Fit a normal and two mixtures to the banana by reverse KL and draw them."""
    chosen = options(__doc__, argv)
    steps = 300 if chosen.quick else 4000
    target = vikl.Target.from_density(log_density, jnp.zeros(2))
    kinds = {
        "one normal": (FullRankNormal.init(jnp.zeros(2)), ReverseKL(num_samples=24), BLUE),
        "3 normals": (_mixture(3), ReverseKL(Stratified(), 24), ORANGE),
        "8 normals": (_mixture(8), ReverseKL(Stratified(), 24), GREEN),
    }
    side = np.linspace(-8, 8, 161)
    grid = jnp.asarray(np.stack(np.meshgrid(side, side), -1), float)
    height = np.exp(np.asarray(jax.vmap(jax.vmap(log_density))(grid)))
    figure, axes = panels(3, 12.0, 4.2, sharex=True, sharey=True)
    for ax, (name, (family, objective, colour)) in zip(axes, kinds.items()):
        adam = optax.adam(optax.cosine_decay_schedule(0.03, steps))
        fit = vikl.fit(target, family, objective, adam, key=jax.random.key(0), num_steps=steps)
        gap = LOG_Z - fit.elbo
        print(f"{name}: KL(q‖p) = {gap:.4f} ± {fit.elbo_std_error:.4f} nats, k-hat {fit.khat:.2f}")
        q = np.exp(np.asarray(jax.vmap(jax.vmap(fit.family.log_prob))(grid)))
        levels = np.array([0.05, 0.3, 0.7])
        ax.contour(side, side, height, levels=levels, colors=INK, linewidths=0.8)
        ax.contour(side, side, q * np.exp(LOG_Z), levels=levels, colors=colour, linestyles="--")
        ax.set(xlabel="x₁", xlim=(-7, 7), ylim=(-5, 8))
        ax.set_title(f"{name}: KL(q‖p) = {gap:.3f} nats")
    axes[0].set_ylabel("x₂")
    figure.suptitle("More normals follow the bend (solid: p, dashed: q, same levels)")
    save(figure, chosen.out, "mixture")


def _mixture(count: int) -> NormalMixture:
    return NormalMixture.init(jnp.zeros(2), 2.0, num_components=count, full=True)


if __name__ == "__main__":
    main()
