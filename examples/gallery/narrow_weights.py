"""Forward KL by importance sampling from a narrow q is mode-seeking, and its weights look fine.

python examples/gallery/narrow_weights.py [--quick] [--out FOLDER]
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _gallery import (
    BLUE,
    FILL,
    GREEN,
    INK,
    ORANGE,
    normal_of,
    normal_pdf,
    options,
    panels,
    save,
    two_modes,
)

import vikl
from vikl.objectives import ForwardKL, MarkovianScoreClimbing


def main(argv: list[str] | None = None) -> None:
    """Fit three ways from one narrow start and draw q and the record of the weights."""
    chosen = options(__doc__, argv)
    steps = 300 if chosen.quick else 3000
    target, wide = two_modes((0.7, 0.3), (-2.0, 2.5), (0.8, 0.6)), normal_of(0.0, 4.0)
    ways = {
        "draws of q alone": (ForwardKL(num_samples=128), BLUE, "--"),
        "half from a wide proposal": (ForwardKL(None, wide, 128), ORANGE, ":"),
        "Markov chains": (MarkovianScoreClimbing(wide, 16, 8), GREEN, "-."),
    }
    x = np.linspace(-6, 6, 601)
    p = np.exp(np.asarray(jax.vmap(target.log_density)(jnp.asarray(x[:, None], float))))
    figure, (left, right) = panels(2, 11.0, 4.0)
    left.fill_between(x, p, color=FILL, label="target p")
    left.plot(x, p, color=INK, lw=1)
    for layer, (name, (objective, colour, style)) in enumerate(ways.items()):
        adam = optax.adam(optax.cosine_decay_schedule(0.02, steps))
        fit = vikl.fit(
            target, normal_of(-2.0, 0.5), objective, adam, key=jax.random.key(0), num_steps=steps
        )
        mu, sigma = float(fit.mean[0]), float(fit.std[0])
        print(f"{name}: mean {mu:.3f}, sd {sigma:.3f}; {fit.status}: {fit.stopped_because}")
        pdf = normal_pdf(x, mu, sigma)
        left.plot(x, pdf, color=colour, ls=style, lw=2 + layer % 2, zorder=9 - layer, label=name)
        if isinstance(objective, ForwardKL):
            share = fit.history["ess"] / objective.num_samples
            right.plot(fit.history["step"], share, color=colour, ls=style, lw=2, label=name)
    left.set(xlabel="x", ylabel="density")
    left.set_title("The same objective, the same start: a narrow q never sees the other mode")
    left.legend()
    right.set(xlabel="step", ylabel="effective sample size / draws", ylim=(0, 1.05))
    right.set_title("The weights of the wrong fit look better, so they cannot warn")
    right.legend()
    save(figure, chosen.out, "narrow_weights")


if __name__ == "__main__":
    main()
