"""A variational autoencoder of 8x8 digits: three gradients of one ELBO, and what is in it.

    python examples/vae.py           # tables here, a figure into figures/
    python examples/vae.py --quick   # seconds, far from trained

The 1797 digits that scikit-learn brings, black and white, 1500 of them for training. Encoder
64-200-16 and decoder 8-200-64 in Equinox, Bernoulli pixels, Adam; the loss and its parts are
`vikl.losses`. Everything is in nats for each test image:

1. the ELBO by the closed-form KL, by Monte Carlo and by sticking the landing, beside references;
2. distortion, rate, active units, and the importance-weighted bound of 500 draws, also for a
   beta that warms up with free bits, and for two latents;
3. a linear VAE, whose ELBO must come to the likelihood of probabilistic PCA from below.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _vae_figure import draw_figure
from _vae_model import (
    RATES,
    VAE,
    LinearVAE,
    Training,
    exact_elbo,
    load_binary_digits,
    probabilistic_pca,
    test_bounds,
)
from sklearn.datasets import load_digits

#: mean test ELBO of a plain JAX implementation of the same network (five seeds), by epochs
REFERENCE = {100: (-19.44, 0.15), 300: (-18.27, 0.30)}
#: for scale, on the same split: independent pixels; mixtures of 10 and of 30 Bernoullis by EM
BASELINES = {"independent pixels": -25.21, "mixture of 10": -19.52, "mixture of 30": -18.25}


def train(training, latents, data, num_epochs, chunk, num_draws, seed=0, **schedules):
    """Train in chunks of epochs; return the model, the test ELBO by epoch, and at each chunk."""
    x, test, _ = data
    state = training.init(VAE(latents, jax.random.key(seed)))
    rng, curve, marks = np.random.default_rng(seed), [], {}
    for done in range(0, num_epochs, chunk):
        state, record = training(state, x, test, rng, chunk, **schedules)
        curve.append(np.asarray(record["test"]))
        marks[done + chunk] = float(
            test_bounds(state[0], test, jax.random.key(2), num_draws)["elbo"]
        )
    return state[0], np.concatenate(curve), marks


def compare_estimators(data, trainings, latents, num_epochs, chunk, num_draws):
    """Train by each estimator; print the test ELBO beside the references."""
    print(f"Test ELBO, {latents} latents (nats for each image)")
    heads = [f"epoch {e}" for e in (chunk, num_epochs)]
    print(f"{'estimator':<24}" + "".join(f"{h:>15}" for h in heads) + f"{'processor s':>14}")
    runs = {}
    for name, training in trainings.items():
        started = time.process_time()
        model, curve, marks = train(training, latents, data, num_epochs, chunk, num_draws)
        runs[name] = (model, curve)
        spent = f"{time.process_time() - started:>14.1f}"  # compilation included
        print(f"{name:<24}" + "".join(f"{marks[e]:>15.2f}" for e in (chunk, num_epochs)) + spent)
    if (chunk, num_epochs) == tuple(REFERENCE):
        shown = "".join(f"{f'{m:.2f} ± {s:.2f}':>15}" for m, s in REFERENCE.values())
        print(f"{'reference':<24}{shown}")
    for name, value in BASELINES.items():
        print(f"{name:<24}{'':>15}{value:>15.2f}")
    return runs


def take_apart(models, data, num_draws):
    """Print the parts of each model's ELBO and its importance-weighted bound."""
    print(f"\nTaken apart on the test images ({num_draws} draws)")
    print(f"{'model':<32}{'distortion':>11}{'rate':>7}{'active':>8}{'ELBO':>9}{'weighted':>10}")
    for name, model in models.items():
        found = test_bounds(model, data[1], jax.random.key(3), num_draws)
        print(
            f"{name:<32}{found['distortion']:>11.2f}{found['rate'].sum():>7.2f}"
            f"{int(found['active']):>8}"
            f"{found['elbo']:>9.2f}{found['importance weighted']:>10.2f}"
        )


def linear_against_pca(latents, num_epochs):
    """Train a linear VAE on grey images; print its ELBO beside probabilistic PCA's likelihood."""
    digits: Any = load_digits()
    grey = np.asarray(digits.data, np.float64) / 16
    best = probabilistic_pca(grey, latents)
    x = jnp.asarray(grey, jnp.float32)
    schedule = optax.cosine_decay_schedule(2e-2, num_epochs * 17)
    training = Training("sticking the landing", optimizer=optax.adam(schedule))
    state = training.init(LinearVAE(latents, x, jax.random.key(0)))
    start = float(exact_elbo(state[0], x))
    state, _ = training(state, x, x[:100], np.random.default_rng(1), num_epochs)
    elbo = float(exact_elbo(state[0], x))
    print(
        f"\nLinear VAE, {latents} latents, grey images: ELBO {start:.3f} to {elbo:.3f}; "
        f"probabilistic PCA {best:.3f}, gap {best - elbo:.3f}"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs, one estimator")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figure")
    args = parser.parse_args(argv)
    started, processor = time.perf_counter(), time.process_time()
    data = load_binary_digits()
    quick = args.quick
    num_epochs, chunk, latents, num_draws = (20, 10, 2, 50) if quick else (300, 100, 8, 500)
    trainings = {name: Training(name) for name in list(RATES)[: 1 if quick else 3]}
    runs = compare_estimators(data, trainings, latents, num_epochs, chunk, num_draws)
    models = {f"{latents} latents, {name}": model for name, (model, _) in runs.items()}
    if not quick:
        steps = 15 * num_epochs
        schedules: dict[str, Any] = {
            "beta": optax.linear_schedule(0.0, 1.0, steps // 10),
            "free_bits": optax.linear_schedule(0.5, 0.0, steps // 2),
        }
        plain = trainings["analytic KL"]  # compiled already for 8 latents
        models["8 latents, warm-up and free bits"], _, _ = train(
            plain, 8, data, num_epochs, chunk, num_draws, **schedules
        )
        models["2 latents"], _, _ = train(plain, 2, data, num_epochs, chunk, num_draws)
    take_apart(models, data, num_draws)
    linear_against_pca(2, 5 if quick else 200)
    if not quick:
        linear_against_pca(10, 200)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "vae.png"
    curves = {name: curve for name, (_, curve) in runs.items()}
    first = next(iter(runs.values()))[0]
    draw_figure(curves, first, list(models.values())[-1], data, BASELINES, path)
    spent = time.process_time() - processor, time.perf_counter() - started
    print(f"\n{spent[0]:.0f} processor seconds, {spent[1]:.0f} by the clock")
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
