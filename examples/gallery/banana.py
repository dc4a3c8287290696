"""A normal on a banana: reverse KL hugs the bend, forward KL spills over both sides.

python examples/gallery/banana.py [--quick] [--out FOLDER]
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _gallery import BLUE, INK, ORANGE, options, panels, save
from factorised import ellipse

import vikl
from vikl.families import FullRankNormal, cov
from vikl.objectives import ForwardKL


def log_density(x):
    """Return log p of x₁ ~ N(0, 2²), x₂ | x₁ ~ N(¼ (x₁² − 4), 1), up to a constant."""
    return -0.5 * (x[0] / 2) ** 2 - 0.5 * (x[1] - 0.25 * (x[0] ** 2 - 4)) ** 2


def exact_draws(key, num: int):
    """Return draws of the banana itself."""
    a, b = jax.random.normal(key, (2, num))
    return jnp.stack([2 * a, 0.25 * (4 * a**2 - 4) + b], axis=1)


def main(argv: list[str] | None = None) -> None:
    """Fit both ways and draw."""
    chosen = options(__doc__, argv)
    target = vikl.Target.from_density(log_density, jnp.zeros(2))
    key, draw_key = jax.random.split(jax.random.key(0))
    reverse = vikl.fit(target, FullRankNormal, key=key)
    objective = ForwardKL(samples=exact_draws(draw_key, 20_000), batch_size=500)
    steps = 300 if chosen.quick else 2000
    adam = optax.adam(optax.cosine_decay_schedule(0.05, steps))
    forward = vikl.fit(target, FullRankNormal, objective, adam, key=key, num_steps=steps)
    side = np.linspace(-8, 8, 241)
    grid = np.stack(np.meshgrid(side, side), -1).astype(np.float32)
    height = np.exp(np.asarray(jax.vmap(jax.vmap(log_density))(grid)))
    figure, ax = panels(1, 6.5, 5.0)
    ax.contour(side, side, height, levels=[0.05, 0.3, 0.7], colors=INK, linewidths=0.9)
    ax.plot([], [], color=INK, lw=0.9, label="target p (levels)")
    for posterior, colour, style, name in (
        (reverse, BLUE, "--", "reverse KL(q‖p)"), (forward, ORANGE, ":", "forward KL(p‖q)"),
    ):  # fmt: skip
        mean, spread = np.asarray(posterior.mean), np.asarray(cov(posterior.family))
        print(f"{name}: mean {mean.round(3)}, variances {np.diag(spread).round(3)}")
        for times in (1, 2):
            points = ellipse(spread, times) + mean[:, None]
            ax.plot(*points, color=colour, ls=style, lw=2, label=name if times == 1 else None)
    ax.set(xlabel="x₁", ylabel="x₂", xlim=(-7, 7), ylim=(-5, 8))
    ax.set_title("Reverse KL hugs the bend; forward KL covers arms and hollow (1 and 2 sd)")
    ax.legend()
    save(figure, chosen.out, "banana")


if __name__ == "__main__":
    main()
