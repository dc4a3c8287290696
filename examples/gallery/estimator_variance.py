"""Which gradient is quietest depends on where q is: sticking the landing wins at the end only.

python examples/gallery/estimator_variance.py [--quick] [--out FOLDER]
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _gallery import BLUE, GREEN, ORANGE, PURPLE, options, panels, save

import vikl
from vikl.estimators import Pathwise, ScoreFunction, SobolNoise, StickingTheLanding
from vikl.families import MeanFieldNormal
from vikl.objectives import ReverseKL

DRAWS = 8


@eqx.filter_jit
def spread(objective, q, target, keys):
    """Return the total variance of the gradient over the parameters."""

    def one(key):
        gradient = eqx.filter_grad(lambda q: objective(q, target, key)[0])(q)
        return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(gradient)])

    return jax.vmap(one)(keys).var(axis=0).sum()


def main(argv: list[str] | None = None) -> None:
    """Walk from a wide start to the optimum and measure each estimator on the way."""
    chosen = options(__doc__, argv)
    keys = jax.random.split(jax.random.key(0), 200 if chosen.quick else 4000)
    target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(3))
    start = MeanFieldNormal.init(jnp.full(3, 2.0), 0.1)
    end = MeanFieldNormal.init(jnp.zeros(3), 1.0)
    shares = np.linspace(0.0, 1.0, 5 if chosen.quick else 21)
    kinds = {
        "score function": (ScoreFunction(), PURPLE, ":"),
        "pathwise": (Pathwise(), BLUE, "--"),
        "pathwise, Sobol": (Pathwise(SobolNoise()), GREEN, "-."),
        "sticking the landing": (StickingTheLanding(), ORANGE, "-"),
    }
    figure, ax = panels(1, 7.0, 4.4)
    for name, (estimator, colour, style) in kinds.items():
        values = []
        for share in shares:
            q = jax.tree.map(lambda a, b, t=share: (1 - t) * a + t * b, start, end)
            values.append(max(float(spread(ReverseKL(estimator, DRAWS), q, target, keys)), 1e-14))
        print(f"{name:22s} start {values[0]:.3g}, half way {values[len(values) // 2]:.3g}, "
              f"optimum {values[-1]:.3g}")  # fmt: skip
        ax.semilogy(shares, values, color=colour, ls=style, lw=2, label=name)
    ax.set(xlabel="way from the start to the optimum", ylabel="variance of the gradient (nats²)")
    ax.set(ylim=(1e-6, 1e3))
    ax.set_title("Sticking the landing: loudest of the pathwise far away, silent at the optimum")
    ax.legend()
    save(figure, chosen.out, "estimator_variance")


if __name__ == "__main__":
    main()
