"""Seconds for an epoch of the digits' VAE, beside the same network in NumPyro's SVI.

    python benchmarks/vae.py [--quick] [--repeats N] [--clock cpu]

Both scan over epochs of 15 batches of 100 with the same parameters (`examples/_vae_model.py`), the
same Adam and the closed-form KL (`TraceMeanField_ELBO`) or its Monte Carlo estimate
(`Trace_ELBO`); neither evaluates test images. Run time only: each repeat runs compiled programs of
the same number of epochs, interleaved. Compile seconds stand beside it. `--clock cpu` adds up all
threads, and is the steadier clock on a machine with others on it.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from _clock import CLOCKS, interleave, seconds, spread, table, versions
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))
from _vae_model import BATCH, VAE, distortion_and_rate, draw, load_binary_digits

from vikl import losses

LATENTS = 8


def batches(key: jax.Array, count: int) -> jax.Array:
    """Return shuffled rows, (batches, 100)."""
    return jax.random.permutation(key, count)[: count // BATCH * BATCH].reshape(-1, BATCH)


def scanned(step: Callable, x: jax.Array, num_epochs: int) -> Callable:
    """Return a jitted run of so many epochs of `step(state, (rows, key))`."""

    def epoch(state, key):
        first, second = jax.random.split(key)
        rows = batches(first, len(x))
        return jax.lax.scan(step, state, (rows, jax.random.split(second, len(rows))))

    return jax.jit(lambda state, key: jax.lax.scan(epoch, state, jax.random.split(key, num_epochs)))


def vikl_run(x: jax.Array, estimator: str, num_epochs: int) -> tuple[Callable, Any, Callable]:
    """Return the run, its first state, and the way from a state to the model."""
    adam = optax.adam(1e-3)

    def loss(model, rows, key):
        noise = jax.random.normal(key, (len(rows), LATENTS))
        return losses.vae_loss(*distortion_and_rate(model, rows, noise, estimator))[0]

    def step(state, batch):
        model, moments = state
        rows, key = batch
        value, gradient = jax.value_and_grad(loss)(model, x[rows], key)
        updates, moments = adam.update(gradient, moments)
        return (optax.apply_updates(model, updates), moments), value

    model = VAE(LATENTS, jax.random.key(0))
    return scanned(step, x, num_epochs), (model, adam.init(model)), lambda state: state[0]


def numpyro_run(x: jax.Array, estimator: str, num_epochs: int) -> tuple[Callable, Any, Callable]:
    """Return the same, from the same parameters."""
    start = VAE(LATENTS, jax.random.key(0))

    def trained(name):  # NumPyro calls a parameter that can be called, such as a network
        leaves, shape = jax.tree.flatten(getattr(start, name))
        start_value: Any = dict(enumerate(leaves))
        found: Any = numpyro.param(name, start_value)
        return jax.tree.unflatten(shape, list(found.values()))

    def model(rows):
        net = trained("decoder")
        with numpyro.plate("images", len(rows)):
            normal = dist.Normal(jnp.zeros((len(rows), LATENTS)), 1.0).to_event(1)
            z = numpyro.sample("z", normal)
            pixels = dist.Bernoulli(logits=jax.vmap(net)(z)).to_event(1)
            numpyro.sample("x", pixels, obs=rows)

    def guide(rows):
        net = trained("encoder")
        loc, log_scale = jnp.split(jax.vmap(net)(rows), 2, axis=-1)
        with numpyro.plate("images", len(rows)):
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    elbo = TraceMeanField_ELBO() if estimator == "analytic KL" else Trace_ELBO()
    # the sum over a batch, where ours is a mean: Adam does not see the difference
    svi = SVI(model, guide, optax.adam(1e-3), elbo)

    def step(state, batch):
        return svi.update(state, x[batch[0]])

    def trained_model(state):
        params = svi.get_params(state)
        leaves = [*params["encoder"].values(), *params["decoder"].values()]
        return jax.tree.unflatten(jax.tree.structure(start), leaves)

    state = svi.init(jax.random.key(0), x[:BATCH])
    return scanned(step, x, num_epochs), state, trained_model


def final_elbo(model: VAE, x: jax.Array) -> float:
    """Return the test ELBO of a trained model, by the mean of 50 draws."""
    loc, scale = model.encode(x)
    keys = jax.random.split(jax.random.key(9), 50)
    one = lambda key: losses.distortion(x, model.decode(draw(loc, scale, key)))
    return float(losses.elbo(jax.lax.map(one, keys).mean(0), losses.rate(loc, scale)).mean())


def compare(
    estimator: str, data: Any, num_epochs: int, repeats: int, clock: str
) -> list[dict[str, object]]:
    """Measure both libraries with one way to take the KL."""
    x, test = data
    key = jax.random.key(1)
    timed: dict[str, Callable[[], float]] = {}
    compiling, elbos = {}, {}
    for name, make in (("vikl", vikl_run), ("numpyro", numpyro_run)):
        run, state, model_of = make(x, estimator, num_epochs)
        lowered, box = run.lower(state, key), []
        compiling[name] = seconds(lambda n=lowered, b=box: b.append(n.compile()), clock)
        go = partial(box[0], state, key)
        elbos[name] = final_elbo(model_of(go()[0]), test)
        timed[name] = lambda go=go: seconds(lambda: jax.block_until_ready(go()), clock)
    found = interleave(timed, repeats)
    return [
        {
            "KL": estimator,
            "library": name,
            "ms/epoch": spread(1e3 * values / num_epochs),
            "speed / vikl": spread(np.asarray(found["vikl"]) / values),
            "compile s": f"{compiling[name]:.1f}",
            f"test ELBO, epoch {num_epochs}": f"{elbos[name]:.2f}",
        }
        for name, values in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few epochs, few repeats")
    parser.add_argument("--repeats", type=int, default=None, help="interleaved repeats")
    parser.add_argument("--clock", default="cpu", choices=sorted(CLOCKS), help="what is read")
    args = parser.parse_args()
    num_epochs, repeats = (10, 3) if args.quick else (100, args.repeats or 9)
    x, test, _ = load_binary_digits()
    print(versions("jax", "optax", "equinox", "numpyro"), "\n")
    rows = []
    for estimator in ("analytic KL", "Monte Carlo"):
        rows += compare(estimator, (x, test), num_epochs, repeats, args.clock)
    print(table(rows))
    print(
        f"\n{args.clock} clock, {repeats} interleaved repeats of {num_epochs} epochs; quartiles in"
    )
    print("brackets; speed below 1: slower than vikl")


if __name__ == "__main__":
    main()
