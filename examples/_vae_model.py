"""A variational autoencoder of the 8x8 digits: data, Equinox networks, losses, training.

Everything is in nats for each image. The split is that of `numpy.random.default_rng(0)`.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
from sklearn.datasets import load_digits

from vikl import estimators, losses

BATCH, HIDDEN, PIXELS = 100, 200, 64


def load_binary_digits() -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Return 1500 training and 297 test images, black and white, and the test labels."""
    digits: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    images = (np.asarray(digits.data)[order] >= 8).astype(np.float32)
    return jnp.asarray(images[:1500]), jnp.asarray(images[1500:]), digits.target[order][1500:]


def glorot(inputs: int, outputs: int, key: jax.Array) -> eqx.nn.Linear:
    """Return a linear layer with Glorot's normal weights and no bias to start with."""
    layer = eqx.filter_eval_shape(eqx.nn.Linear, inputs, outputs, key=key)
    weight = jax.nn.initializers.glorot_normal(1, 0)(key, (outputs, inputs))
    return eqx.tree_at(lambda l: (l.weight, l.bias), layer, (weight, jnp.zeros(outputs)))


class Net(eqx.Module):
    """One hidden layer of tanh units."""

    hidden: eqx.nn.Linear
    out: eqx.nn.Linear

    def __init__(self, inputs: int, outputs: int, key: jax.Array):
        first, second = jax.random.split(key)
        self.hidden, self.out = glorot(inputs, HIDDEN, first), glorot(HIDDEN, outputs, second)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(jnp.tanh(self.hidden(x)))


class VAE(eqx.Module):
    """Encoder 64-200-2Z and decoder Z-200-64; each takes a batch."""

    encoder: Net
    decoder: Net

    def __init__(self, latents: int, key: jax.Array):
        first, second = jax.random.split(key)
        self.encoder, self.decoder = Net(PIXELS, 2 * latents, first), Net(latents, PIXELS, second)

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mean and the standard deviation of q(z|x) for each image of a batch."""
        loc, log_scale = jnp.split(jax.vmap(self.encoder)(x), 2, axis=-1)
        return loc, jnp.exp(log_scale)

    def decode(self, z: jax.Array) -> dist.BernoulliLogits:
        """Return p(x|z) for each latent of a batch."""
        return dist.BernoulliLogits(jax.vmap(self.decoder)(z))


def draw(loc: jax.Array, scale: jax.Array, key: jax.Array) -> jax.Array:
    """Return one draw of q(z|x) for each image."""
    return loc + scale * jax.random.normal(key, loc.shape, loc.dtype)


def batches_and_noise(
    rng: np.random.Generator, num_epochs: int, images: int, tested: int, latents: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each epoch the rows of its batches, normal noise for them, and for the test."""
    steps = images // BATCH
    rows = [
        rng.permutation(images)[: steps * BATCH].reshape(steps, BATCH) for _ in range(num_epochs)
    ]
    noise = rng.standard_normal((num_epochs, steps, BATCH, latents), np.float32)
    return np.stack(rows), noise, rng.standard_normal((num_epochs, tested, latents), np.float32)


RATES = {
    "analytic KL": lambda z, loc, scale: losses.rate(loc, scale),
    "Monte Carlo": losses.sampled_rate,
    "sticking the landing": functools.partial(
        losses.sampled_rate, estimator=estimators.StickingTheLanding()
    ),
}


def distortion_and_rate(
    model: Any, x: jax.Array, noise: jax.Array, estimator: str = "analytic KL"
) -> tuple[jax.Array, jax.Array]:
    """Return D (images,) of the draw that normal `noise` makes, and R (images, latents)."""
    loc, scale = model.encode(x)
    z = loc + scale * noise
    return losses.distortion(x, model.decode(z)), RATES[estimator](z, loc, scale)


class LinearVAE(eqx.Module):
    """x|z ~ N(W z + m, v I), encoder N(A (x - m), diag(s^2)): probabilistic PCA, amortised."""

    W: jax.Array
    m: jax.Array
    log_sd: jax.Array
    A: jax.Array
    log_s: jax.Array

    def __init__(self, latents: int, x: jax.Array, key: jax.Array):
        first, second = jax.random.split(key)
        self.W = 0.1 * jax.random.normal(first, (x.shape[1], latents))
        self.A = 0.1 * jax.random.normal(second, (latents, x.shape[1]))
        self.m, self.log_sd, self.log_s = x.mean(0), jnp.log(x.std()), jnp.zeros(latents)

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mean and the standard deviation of q(z|x) for each row."""
        loc = (x - self.m) @ self.A.T
        return loc, jnp.broadcast_to(jnp.exp(self.log_s), loc.shape)

    def decode(self, z: jax.Array) -> dist.Normal:
        """Return p(x|z) for each latent of a batch."""
        return dist.Normal(z @ self.W.T + self.m, jnp.exp(self.log_sd))


@jax.jit
def exact_elbo(model: LinearVAE, x: jax.Array) -> jax.Array:
    """Return the mean ELBO of a linear VAE: draws at +-sqrt(L) along each axis average exactly."""
    loc, scale = model.encode(x)
    latents = loc.shape[1]
    noise = jnp.sqrt(1.0 * latents) * jnp.concatenate([jnp.eye(latents), -jnp.eye(latents)])
    one = lambda eps: losses.distortion(x, model.decode(loc + scale * eps))
    return losses.elbo(jax.lax.map(one, noise).mean(0), losses.rate(loc, scale)).mean()


def probabilistic_pca(x: np.ndarray, latents: int) -> float:
    """Return the largest mean log likelihood of a row under probabilistic PCA."""
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    values = np.append(values[:latents], np.full(len(values) - latents, values[latents:].mean()))
    return float(-0.5 * (np.log(2 * np.pi * values) + 1).sum())


class Training:
    """Epochs of gradient steps under one compiled scan; a second call like it compiles nothing.

    Args:
        estimator: a key of `RATES`.
        optimizer: an optax optimizer.
    """

    def __init__(self, estimator: str = "analytic KL", optimizer: Any = None):
        self.optimizer = optax.adam(1e-3) if optimizer is None else optimizer

        def loss(model: Any, x: jax.Array, noise: jax.Array, beta: jax.Array, free: jax.Array):
            parts = distortion_and_rate(model, x, noise, estimator)
            return losses.vae_loss(*parts, beta=beta, free_bits=free)

        self._gradient = jax.value_and_grad(loss, has_aux=True)
        self._run = jax.jit(self._epochs)

    def init(self, model: Any) -> tuple[Any, Any, jax.Array]:
        """Return the state: parameters, the optimizer's state, the number of steps taken."""
        return model, self.optimizer.init(model), jnp.zeros((), jnp.int32)

    def __call__(
        self, state: Any, x: jax.Array, test: jax.Array, rng: np.random.Generator, num_epochs: int,
        beta: Any = 1.0, free_bits: Any = 0.0,
    ) -> tuple[Any, dict[str, jax.Array]]:  # fmt: skip
        """Train for so many epochs; return the state and the record, one entry an epoch.

        `beta` and `free_bits` (nats for each latent) are numbers or optax schedules of the step.
        """
        latents = jax.eval_shape(state[0].encode, test)[0].shape[1]
        drawn = batches_and_noise(rng, num_epochs, len(x), len(test), latents)
        steps = state[2] + np.arange(num_epochs * drawn[0].shape[1]).reshape(num_epochs, -1)
        weights = [
            jnp.broadcast_to(jnp.asarray(w(steps) if callable(w) else w, x.dtype), steps.shape)
            for w in (beta, free_bits)
        ]
        return self._run(state, x, test, *drawn, *weights)

    def _epochs(self, state, x, test, rows, noise, check, beta, free_bits):
        def step(state, batch):
            model, moments, count = state
            rows, *rest = batch
            (_, aux), gradient = self._gradient(model, x[rows], *rest)
            updates, moments = self.optimizer.update(gradient, moments)
            return (optax.apply_updates(model, updates), moments, count + 1), aux["elbo"]

        def epoch(state, drawn):
            *batches, check = drawn
            state, elbo = jax.lax.scan(step, state, tuple(batches))
            parts = distortion_and_rate(state[0], test, check)
            return state, {"train": elbo.mean(), "test": losses.elbo(*parts).mean()}

        return jax.lax.scan(epoch, state, (rows, noise, beta, free_bits, check))


@functools.partial(jax.jit, static_argnums=3)
def test_bounds(model: VAE, x: jax.Array, key: jax.Array, num_draws: int) -> dict[str, jax.Array]:
    """Return means over the images: ELBO, rate of each latent, and the bound of so many draws."""
    loc, scale = model.encode(x)

    def one(key):
        z = draw(loc, scale, key)
        return losses.distortion(x, model.decode(z)), losses.sampled_rate(z, loc, scale)

    distortion, sampled = jax.lax.map(one, jax.random.split(key, num_draws), batch_size=10)
    rate = losses.rate(loc, scale)
    return {
        "elbo": losses.elbo(distortion.mean(0), rate).mean(),
        "distortion": distortion.mean(),
        "rate": rate.mean(0),
        "active": losses.active_units(loc).sum(),
        "importance weighted": losses.importance_weighted_bound(distortion, sampled).mean(),
    }
