"""Mode-covering versus mode-seeking: what each direction of the KL does to a Gaussian q.

    python examples/mode_covering_vs_seeking.py           # figure and animation into figures/
    python examples/mode_covering_vs_seeking.py --quick   # the same in seconds, roughly

Three targets p: two equal modes, two unequal ones, and a banana. Forward KL, KL(p‖q), makes q
cover p: the optimum has the mean and the covariance of p. Reverse KL, KL(q‖p), which the ELBO
minimises, makes q avoid what p avoids: each mode is an optimum of its own, and where a fit ends
depends on where it starts. The parameters found are printed beside the true ones.
"""

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _mode_figure import draw_figure, save_animation

import vikl
from vikl.estimators import StickingTheLanding
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.objectives import ForwardKL, ReverseKL


@dataclasses.dataclass(frozen=True)
class Optimum:
    """A true local optimum: closed form where there is one, else 1-d quadrature to 1e-8."""

    name: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    kl: float


@dataclasses.dataclass(frozen=True)
class Case:
    """One fit: a target, a direction, the start's mean and sd, and the optima there are."""

    target: str
    direction: str
    start: tuple[float, float]
    optima: tuple[Optimum, ...]
    snis: bool = False

    def nearest(self, mean: np.ndarray, sd: np.ndarray) -> Optimum:
        """Return the optimum closest to what was found."""
        found = np.concatenate([mean, sd])
        return min(self.optima, key=lambda o: float(np.max(np.abs(found - (*o.mean, *o.sd)))))


@dataclasses.dataclass(frozen=True)
class Found:
    """A fit, its own divergence with a standard error, and the optimum it is at."""

    case: Case
    mean: np.ndarray
    sd: np.ndarray
    cov: np.ndarray
    kl: float
    kl_std_error: float
    optimum: Optimum
    posterior: Any


@dataclasses.dataclass(frozen=True)
class Effort:
    """Steps of a fit, draws of q in each, and draws of p to fit to and behind divergences."""

    num_steps: int = 2000
    num_samples: int = 2048
    num_draws: int = 500_000


FULL, QUICK = Effort(), Effort(400, 512, 50_000)
MIXTURES = {
    "equal modes": {"weight": [0.5, 0.5], "mean": [-2.0, 2.0], "sd": [0.5, 0.5]},
    "unequal modes": {"weight": [0.7, 0.3], "mean": [-2.0, 2.5], "sd": [0.8, 0.6]},
}
COVER_EQUAL = (Optimum("covers both", (0.0,), (2.0615528128,), 0.7235530265),)
SEEK_EQUAL = (
    Optimum("left mode", (-1.9998008691,), (0.500398145,), 0.6930529417),
    Optimum("right mode", (1.9998008691,), (0.500398145,), 0.6930529417),
    Optimum("broad optimum", (0.0,), (1.7363624648,), 1.8711965122),
)
COVER_UNEQUAL = (Optimum("covers both", (-0.65,), (2.1928292227,), 0.4856048532),)
SEEK_UNEQUAL = (
    Optimum("heavy mode", (-1.9953932404,), (0.8076771687,), 0.3551455595),
    Optimum("light mode", (2.493659208,), (0.6095999553,), 1.2009571987),
)
COVER_BANANA = (Optimum("spills over", (0.0, 0.0), (2.0, 3.0**0.5), 0.5493061443),)
SEEK_BANANA = (Optimum("hugs the bend", (0.0, -0.6096117968), (1.2496210676, 1.0), 0.3179038719),)
CASES = (
    Case("equal modes", "forward", (1.0, 0.5), COVER_EQUAL),
    Case("equal modes", "forward", (1.0, 3.0), COVER_EQUAL, snis=True),
    Case("equal modes", "reverse", (-3.0, 0.5), SEEK_EQUAL),
    Case("equal modes", "reverse", (3.0, 0.5), SEEK_EQUAL),
    Case("equal modes", "reverse", (0.3, 3.0), SEEK_EQUAL),
    Case("unequal modes", "forward", (1.0, 0.5), COVER_UNEQUAL),
    Case("unequal modes", "reverse", (-3.0, 0.5), SEEK_UNEQUAL),
    Case("unequal modes", "reverse", (3.5, 0.5), SEEK_UNEQUAL),
    Case("banana", "forward", (0.5, 0.5), COVER_BANANA),
    Case("banana", "reverse", (0.5, 0.5), SEEK_BANANA),
)


def mixture(x, parts):
    """Return the log density of a 1-d mixture of normals."""
    each = jax.scipy.stats.norm.logpdf(x, parts["mean"], parts["sd"])
    return jax.scipy.special.logsumexp(each + jnp.log(parts["weight"]))


def banana(x):
    """Return the log density of x1 ~ N(0, 2²), x2 | x1 ~ N((x1² − 4) / 4, 1)."""
    normal = jax.scipy.stats.norm.logpdf
    return normal(x[0], 0.0, 2.0) + normal(x[1], 0.25 * (x[0] ** 2 - 4.0), 1.0)


def make_target(name):
    """Return a target; the two mixtures differ in their data only, and compile once."""
    if name == "banana":
        return vikl.Target.from_density(banana, like=jnp.zeros(2))
    return vikl.Target.from_density(mixture, like=0.0, data=_arrays(MIXTURES[name]))


def _arrays(parts):
    return {name: jnp.asarray(value) for name, value in parts.items()}


def draw_target(name, rng, num):
    """Return independent draws of p, `(num, 1)` or `(num, 2)`."""
    noise = rng.standard_normal((num, 2))
    if name == "banana":
        x = 2.0 * noise[:, 0]
        return np.stack([x, 0.25 * (x**2 - 4.0) + noise[:, 1]], axis=1)
    weight, mean, sd = (np.array(MIXTURES[name][k]) for k in ("weight", "mean", "sd"))
    which = (rng.random(num) > weight[0]).astype(int)
    return (mean[which] + sd[which] * noise[:, 0])[:, None]


def fit_case(case, effort, seed, callback=None):
    """Fit one case from its start and compare it with the truth."""
    target, rng = make_target(case.target), np.random.default_rng(seed)
    family = FullRankNormal if case.target == "banana" else MeanFieldNormal
    start = family.init(jnp.full(target.dim, case.start[0]), case.start[1])
    if case.direction == "reverse":
        objective = ReverseKL(StickingTheLanding(), num_samples=effort.num_samples // target.dim**2)
    elif case.snis:
        wide = MeanFieldNormal.init(jnp.zeros(1), 4.0)
        objective = ForwardKL(proposal=wide, num_samples=effort.num_samples // 4)
    else:
        samples = jnp.asarray(draw_target(case.target, rng, effort.num_draws), float)
        objective = ForwardKL(samples=samples, batch_size=effort.num_samples // 2 // target.dim)
    num_steps = effort.num_steps
    schedule = optax.cosine_decay_schedule(40.0 / num_steps, num_steps, exponent=2.0)
    posterior = vikl.fit(
        target, start, objective, optax.adam(schedule, b2=0.99),
        key=jax.random.key(seed), num_steps=num_steps, callback=callback, progress=False,
    )  # fmt: skip
    kl, error = _own_divergence(case, posterior, rng, effort.num_draws)
    mean, sd = np.asarray(posterior.mean), np.asarray(posterior.std)
    cov = np.asarray(posterior.cov)
    return Found(case, mean, sd, cov, kl, error, case.nearest(mean, sd), posterior)


@eqx.filter_jit
def _log_ratio(family, target, x):
    return jax.vmap(lambda row: family.log_prob(row) - target.log_density(row))(x)


def _own_divergence(case, posterior, rng, num):
    """Return KL(q‖p) or KL(p‖q), whichever was minimised, and its standard error (p is known)."""
    reverse = case.direction == "reverse"
    if reverse:
        noise = rng.standard_normal((num, posterior.target.dim))
        x = np.asarray(posterior.mean) + noise @ np.linalg.cholesky(posterior.cov).T
    else:
        x = draw_target(case.target, rng, num)
    gap = np.asarray(_log_ratio(posterior.family, posterior.target, jnp.asarray(x, float)))
    gap = gap.astype(float) if reverse else -gap.astype(float)
    return float(gap.mean()), float(gap.std() / np.sqrt(num))


@functools.cache
def fit_all(quick=False, seed=0):
    """Fit every case."""
    effort = QUICK if quick else FULL
    return [fit_case(case, effort, 100 * seed + i) for i, case in enumerate(CASES)]


def fit_movie(quick=False, seed=1):
    """Fit the equal modes in both directions from one narrow start; return the ways they took."""
    ways = {}
    for direction, optima in (("forward", COVER_EQUAL), ("reverse", SEEK_EQUAL)):
        start = (-0.5, 0.45)
        way = [(0, *start)]

        def watch(snapshot, way=way):
            q = snapshot.family
            way.append((snapshot.step, float(q.loc[0]), float(jnp.exp(q.log_scale[0]))))

        case = Case("equal modes", direction, start, optima)
        fit_case(case, QUICK if quick else FULL, 100 * seed, watch)
        ways[direction] = way[:8] if quick else way
    return ways


def print_table(fits):
    """Print what was found beside the truth, a row for each coordinate."""
    head = f"{'target':<14}{'minimised':<11}{'start':<7}{'mean':>7}{'true':>8}{'sd':>7}{'true':>7}"
    print(f"{head}  {'KL ± se':<13}  {'true':<6}optimum")
    for f in fits:
        c = f.case
        way = "KL(q‖p)" if c.direction == "reverse" else "KL(p‖q)" + (" IS" if c.snis else "")
        left = f"{c.target:<14}{way:<11}{c.start[0]:g}±{c.start[1]:g}"
        right = f"  {f.kl:.3f} ± {f.kl_std_error:.3f}  {f.optimum.kl:<6.3f}{f.optimum.name}"
        for i in range(len(f.mean)):
            numbers = (
                f"{f.mean[i]:7.3f}{f.optimum.mean[i]:8.3f}{f.sd[i]:7.3f}{f.optimum.sd[i]:7.3f}"
            )
            print(f"{left:<32}{numbers}{right}")
            left = right = ""
    print("KL(p‖q) from samples of p, IS: by self-normalised importance sampling; nats")


def parse_args(text, argv=None):
    """Return the options that the examples share."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds, less exact")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for figures")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(__doc__ or "", argv)
    args.out.mkdir(parents=True, exist_ok=True)
    fits = fit_all(args.quick)
    print_table(fits)
    still = args.out / "mode_covering_vs_seeking.png"
    draw_figure(fits, still)
    movie = args.out / "mode_covering_vs_seeking.gif"
    save_animation(fit_movie(args.quick), movie)
    print(f"figure: {still}\nanimation: {movie}")


if __name__ == "__main__":
    main()
