"""A factorised q for a correlated target: too narrow by reverse KL, too wide by forward KL.

    python examples/gallery/factorised.py [--quick] [--out FOLDER]

After figure 10.2 of Bishop (2006), Pattern Recognition and Machine Learning.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _gallery import BLUE, INK, ORANGE, options, panels, save

import vikl
from vikl.families import FullRankNormal, MeanFieldNormal

RHO = 0.9


def ellipse(cov: np.ndarray, times: float = 1.0) -> np.ndarray:
    """Return points of the curve `times` standard deviations from the origin."""
    angle = np.linspace(0, 2 * np.pi, 200)
    return times * np.linalg.cholesky(cov) @ np.stack([np.cos(angle), np.sin(angle)])


def main(argv: list[str] | None = None) -> None:
    """Draw both optima on the target, with the divergence each way."""
    chosen = options(__doc__, argv)
    tril = np.array([[1.0, 0.0], [RHO, np.sqrt(1 - RHO**2)]])
    p = FullRankNormal.from_moments(jnp.zeros(2), jnp.asarray(tril))
    target = vikl.Target.from_density(lambda x, p: p.log_prob(x), jnp.zeros(2), data=p)
    fitted = vikl.fit(target, MeanFieldNormal, key=jax.random.key(0))
    broad = MeanFieldNormal.init(jnp.zeros(2), 1.0)  # forward KL keeps the marginal sds
    figure, axes = panels(2, 9.0, 4.4, sharex=True, sharey=True)
    for ax, q, colour, name in (
        (axes[0], fitted.family, BLUE, "reverse KL(q‖p): q inside p"),
        (axes[1], broad, ORANGE, "forward KL(p‖q): q around p"),
    ):
        reverse, forward = float(vikl.kl_divergence(q, p)), float(vikl.kl_divergence(p, q))
        sd = np.asarray(vikl.families.std(q))
        print(f"{name:30s} sds {sd.round(4)}, KL(q‖p) {reverse:.4f}, KL(p‖q) {forward:.4f}")
        for times in (1, 2):
            ax.plot(*ellipse(tril @ tril.T, times), color=INK, lw=1)
            ax.plot(*ellipse(np.diag(sd**2), times), color=colour, ls="--", lw=2)
        text = f"KL(q‖p) = {reverse:.3f}\nKL(p‖q) = {forward:.3f} nats"
        ax.text(0.03, 0.97, text, transform=ax.transAxes, va="top")
        ax.set(xlabel="x₁", ylabel="x₂", aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 3.2))
        ax.set_title(f"{name}, sd {sd[0]:.2f}")
    figure.suptitle(
        "Both optima cost the same their own way, and four times as much the other\n"
        "(solid: p, dashed: q; 1 and 2 sd)"
    )
    save(figure, chosen.out, "factorised")


if __name__ == "__main__":
    main()
