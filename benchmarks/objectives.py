"""Figures of the objectives: gradient variances, time of a step, optima found beside the true ones.

    python benchmarks/objectives.py

Gradient variance is the trace over q's parameters of the variance of one gradient from 16 draws,
at three points on the way to the optimum, of the diabetes regression and of two unequal modes.
The time of a step is that of value and gradient beside reverse KL's in the same process, the
median of interleaved repeats; on a busy machine trust the ratios only.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes

import vikl
from vikl.estimators import (
    AntitheticNoise,
    ClosedFormEntropy,
    DefensiveMixture,
    DoublyReparameterized,
    HessianControlVariate,
    Pathwise,
    ScoreFunction,
    SobolNoise,
    StickingTheLanding,
)
from vikl.families import MeanFieldNormal
from vikl.objectives import (
    ChiSquared,
    ForwardKL,
    ImportanceWeighted,
    Jeffreys,
    JensenShannon,
    MarkovianScoreClimbing,
    Renyi,
    ReverseKL,
    ScoreMatching,
    SquaredHellinger,
    TailAdaptive,
)

DRAWS, REPLICATES = 16, 2000


def two_modes(x):
    """Return log p of 0.7 N(−2, 0.8²) + 0.3 N(2.5, 0.6²)."""
    norm = jax.scipy.stats.norm.logpdf
    return jnp.logaddexp(jnp.log(0.7) + norm(x, -2.0, 0.8), jnp.log(0.3) + norm(x, 2.5, 0.6))


def regression(v, data):
    """Return log p of a linear regression with standardised predictors and unknown noise."""
    x, y = data
    noise = jnp.exp(v["log_noise"])
    misfit = (y - x @ v["slopes"]) / noise
    prior = -0.5 * jnp.sum(v["slopes"] ** 2) - 0.5 * v["log_noise"] ** 2
    return -0.5 * jnp.sum(misfit**2) - y.shape[0] * v["log_noise"] + prior


def problems():
    """Return each target with three points on the way to its optimum."""
    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    data = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    like = {"slopes": jnp.zeros(10), "log_noise": 0.0}
    diabetes = vikl.Target.from_density(regression, like, data=data)
    best = vikl.fit(diabetes, MeanFieldNormal, key=jax.random.key(0), progress=False).family
    yield "diabetes", diabetes, MeanFieldNormal.init(jnp.zeros(11), 0.1), best
    modes = vikl.Target.from_density(two_modes, 0.0)
    end = MeanFieldNormal.init(jnp.array([-1.9954]), 0.80768)
    yield "two modes", modes, MeanFieldNormal.init(jnp.zeros(1), 2.0), end


@eqx.filter_jit
def variance(objective, q, target, keys):
    """Return the total variance of the gradient over q's parameters."""

    def one(key):
        gradient = eqx.filter_grad(lambda q: objective(q, target, key)[0])(q)
        return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(gradient)])

    return jax.vmap(one)(keys).var(axis=0).sum()


def variances() -> None:
    """Print the gradient variance of each estimator of the reverse KL at three points."""
    keys = jax.random.split(jax.random.key(1), REPLICATES)
    for name, target, start, end in problems():
        wide = MeanFieldNormal(end.loc, end.log_scale + float(np.log(3.0)))
        estimators = {
            "Pathwise": Pathwise(),
            "Pathwise, antithetic": Pathwise(AntitheticNoise()),
            "Pathwise, Sobol": Pathwise(SobolNoise()),
            "StickingTheLanding": StickingTheLanding(),
            "StickingTheLanding, Sobol": StickingTheLanding(SobolNoise()),
            "ClosedFormEntropy": ClosedFormEntropy(),
            "HessianControlVariate": HessianControlVariate(),
            "ScoreFunction": ScoreFunction(),
            "DefensiveMixture": DefensiveMixture(wide),
        }
        print(f"\n| {name}: gradient variance | start | half way | optimum |\n|---|---|---|---|")
        for label, estimator in estimators.items():
            row = []
            for share in (0.0, 0.5, 1.0):
                q = jax.tree.map(lambda a, b, t=share: (1 - t) * a + t * b, start, end)
                row.append(float(variance(ReverseKL(estimator, DRAWS), q, target, keys)))
            print(f"| {label} | " + " | ".join(f"{v:.3g}" for v in row) + " |")


def steps() -> None:
    """Print the time of value and gradient of each objective beside the reverse KL's."""
    _, target, _, q = next(problems())
    wide = MeanFieldNormal(q.loc, q.log_scale + 1.0)
    objectives = {
        "ReverseKL": ReverseKL(num_samples=DRAWS),
        "ForwardKL": ForwardKL(None, wide, DRAWS),
        "MarkovianScoreClimbing": MarkovianScoreClimbing(wide, DRAWS, 1),
        "ImportanceWeighted": ImportanceWeighted(num_importance=DRAWS),
        "ImportanceWeighted, DReG": ImportanceWeighted(DoublyReparameterized(), DRAWS),
        "Renyi(0.5)": Renyi(0.5, num_samples=DRAWS),
        "ChiSquared": ChiSquared(num_samples=DRAWS),
        "JensenShannon": JensenShannon(num_samples=DRAWS),
        "Jeffreys": Jeffreys(num_samples=DRAWS),
        "SquaredHellinger, DReG": SquaredHellinger(DoublyReparameterized(), DRAWS),
        "TailAdaptive": TailAdaptive(num_samples=DRAWS),
        "ScoreMatching": ScoreMatching(num_samples=DRAWS),
    }
    runs = {
        name: eqx.filter_jit(
            lambda q, key, o=objective: eqx.filter_value_and_grad(lambda q: o(q, target, key)[0])(q)
        )
        for name, objective in objectives.items()
    }
    keys = jax.random.split(jax.random.key(0), 100)
    seconds = {name: [] for name in runs}
    for run in runs.values():
        jax.block_until_ready(run(q, keys[0]))
    for _ in range(15):
        for name, run in runs.items():
            began = time.perf_counter()
            for key in keys:
                result = run(q, key)
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - began) / len(keys))
    base = np.median(seconds["ReverseKL"])
    print(f"\n| objective, {DRAWS} draws, diabetes | time / reverse KL's |\n|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {np.median(taken) / base:.2f} |")
    print(f"\nReverse KL: {1e6 * base:.0f} µs a step, dispatch included.")


if __name__ == "__main__":
    variances()
    steps()
