"""Variational autoencoders: distortion, the ELBO, the importance-weighted bound, the loss.

Functions of arrays, so that the networks may come from any library. Everything is in nats for each
data point: sums over pixels and latents, means over data points only.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Float, Scalar
from ..info._checks import ArrayInput
from ._rate import floored, not_negative

#: A number, or a schedule: a function of the step, such as optax's.
Scheduled = Any


def distortion(x: ArrayInput, likelihood: Any, *, event_axes: int = 1) -> Float[Array, "*batch"]:
    """Return −log p(x|z), summed over the axes of a data point.

    Args:
        x: data, with `event_axes` trailing axes for each data point.
        likelihood: p(x|z), anything with `log_prob`: `numpyro.distributions.Bernoulli(logits=...)`
            or `Normal(loc, scale)` of the decoder's output. If its `event_shape` has axes,
            `log_prob` has summed those already.
        event_axes: how many axes make one data point: 1 for vectors, 3 for images (h, w, c).

    Returns:
        Nats for each data point; negative values are possible for densities.

    Raises:
        ValueError: `event_axes` does not fit the shapes.
        TypeError: `likelihood` has no `log_prob`.

    Examples:
        >>> import jax.numpy as jnp
        >>> import numpyro.distributions as dist
        >>> import vikl
        >>> x = jnp.array([[0.0, 1.0, 1.0]])
        >>> d = vikl.losses.distortion(x, dist.Bernoulli(logits=jnp.zeros((1, 3))))
        >>> print(f"{d[0]:.4f}")  # 3 log 2
        2.0794

    References:
        Alemi et al. (2018), Fixing a broken ELBO.
    """
    if not callable(getattr(likelihood, "log_prob", None)):
        raise TypeError(
            f"`likelihood` should have a method `log_prob`; got {type(likelihood).__name__}. "
            "Wrap the decoder's output, for example in `numpyro.distributions.Bernoulli(logits=)`."
        )
    summed = len(getattr(likelihood, "event_shape", ()))
    log_prob = jnp.asarray(likelihood.log_prob(x))
    left = event_axes - summed
    if isinstance(event_axes, bool) or left < 0 or left > log_prob.ndim:
        raise ValueError(
            f"`event_axes` should be a number of axes of a data point, at least {summed} (which "
            f"`log_prob` sums) and at most {summed + log_prob.ndim}; got {event_axes} for `x` of "
            f"shape {np.shape(x)}. Count the trailing axes that make one data point."
        )
    return -jnp.sum(log_prob, axis=tuple(range(log_prob.ndim - left, log_prob.ndim)))


def elbo(distortion: ArrayInput, rate: ArrayInput) -> Float[Array, "*batch"]:
    """Evidence lower bound of each data point, −distortion − Σ_j rate_j ≤ log p(x).

    With one draw z ~ q(z|x) behind the distortion this is an unbiased estimate of the bound:
    its mean over draws is not above log p(x), a single value may be. There is no β here, since
    with β < 1 the result bounds nothing; `vae_loss` has it.

    Args:
        distortion: −log p(x|z); average several draws first.
        rate: from `rate` or `sampled_rate`, not yet summed over latents.

    Returns:
        Nats for each data point.

    Raises:
        ValueError: `rate` is not of the shape of `distortion` with one more axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> import vikl
        >>> print(vikl.losses.elbo(jnp.array([3.0]), jnp.array([[0.5, 1.0]])))
        [-4.5]

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, equation 3.
    """
    distortion, rate = _fitting(distortion, rate)
    return -distortion - jnp.sum(rate, axis=-1)


def importance_weighted_bound(distortion: ArrayInput, rate: ArrayInput) -> Float[Array, "*batch"]:
    """Importance-weighted lower bound, log (1/K) Σ_k p(x, z_k)/q(z_k|x), in mean over draws.

    With K = 1 it is the ELBO; it grows with K, in mean, to log p(x).

    Args:
        distortion: −log p(x|z_k), the K draws on the first axis.
        rate: `sampled_rate` of the same draws. The closed form, which is a mean over draws, would
            not give a bound; it lacks the axis of draws and is refused.

    Returns:
        Nats for each data point.

    Raises:
        ValueError: `rate` is not of the shape of `distortion` with one more axis, or there is no
            axis of draws.

    Examples:
        >>> import jax.numpy as jnp
        >>> import vikl
        >>> bound = vikl.losses.importance_weighted_bound(jnp.array([1.0, 3.0]), jnp.zeros((2, 1)))
        >>> print(f"{bound:.4f}")  # log((e⁻¹ + e⁻³) / 2)
        -1.5662

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """
    log_weight = elbo(distortion, rate)
    if log_weight.ndim == 0 or log_weight.shape[0] == 0:
        raise ValueError(
            "`distortion` should have the draws on its first axis; got shape "
            f"{log_weight.shape}. Draw several z for each data point."
        )
    return jax.nn.logsumexp(log_weight, axis=0) - float(np.log(log_weight.shape[0]))


def vae_loss(
    distortion: ArrayInput,
    rate: ArrayInput,
    *,
    beta: Scheduled = 1.0,
    free_bits: Scheduled = 0.0,
    step: Any = None,
) -> tuple[Scalar, dict[str, Scalar]]:
    """Loss of a β-VAE with free bits, mean_i D_i + β Σ_j max(λ, mean_i R_ij), to be minimised.

    β = 1 and λ = 0 make it the negative ELBO. β below 1 buys a lower distortion with a higher
    rate, above 1 the reverse; −loss is a lower bound on the evidence only for β ≥ 1. A β that
    rises from 0, or free bits, keep latents from collapsing on to the prior early in training.

    Args:
        distortion: −log p(x|z) for each data point.
        rate: R_ij for each data point and latent, without free bits.
        beta: β, a number or a schedule (a function of the step, such as
            `optax.linear_schedule(0.0, 1.0, 1000)`).
        free_bits: λ in nats for each latent, a number or a schedule.
        step: where the schedules are read.

    Returns:
        The loss and, in nats for each data point, `elbo` (a lower bound whatever β and λ are),
        `distortion` and `rate`; with them the `beta` and `free_bits` that were used.

    Raises:
        ValueError: shapes that do not fit, a negative β or λ outside jit, or a schedule without a
            `step`.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import vikl
        >>> warm_up = optax.linear_schedule(0.0, 1.0, 10)
        >>> d, r = jnp.array([3.0, 5.0]), jnp.array([[1.0], [3.0]])
        >>> loss, aux = vikl.losses.vae_loss(d, r, beta=warm_up, step=5)
        >>> print(loss, aux["elbo"])
        5.0 -6.0

    References:
        Higgins et al. (2017), beta-VAE; Bowman et al. (2016), Generating sentences from a
        continuous space (annealing); Kingma et al. (2016), Improved variational inference with
        inverse autoregressive flow (free bits).
    """
    bound = jnp.mean(elbo(distortion, rate))
    distortion, rate = _fitting(distortion, rate)
    weight = not_negative("beta", _at("beta", beta, step))
    least = not_negative("free_bits", _at("free_bits", free_bits, step))
    whole = jnp.mean(jnp.sum(floored(rate, least), axis=-1))
    mean = jnp.mean(distortion)
    loss = mean + jnp.asarray(weight, whole.dtype) * whole
    return loss, {
        "elbo": bound,
        "distortion": mean,
        "rate": jnp.mean(jnp.sum(rate, axis=-1)),
        "beta": jnp.asarray(weight, loss.dtype),
        "free_bits": jnp.asarray(least, loss.dtype),
    }


def _fitting(distortion: Any, rate: Any) -> tuple[Array, Array]:
    distortion, rate = jnp.asarray(distortion), jnp.asarray(rate)
    if rate.ndim == 0 or rate.shape[:-1] != distortion.shape:
        raise ValueError(
            f"`rate` should have the shape of `distortion`, {distortion.shape}, and one more axis, "
            f"the latents; got {rate.shape}. Do not sum the rate over latents; average draws of "
            "the distortion, or draw a rate for each of them."
        )
    return distortion, rate


def _at(name: str, value: Scheduled, step: Any) -> Any:
    """Return `value`, read at `step` where it is a schedule."""
    if not callable(value):
        return value
    if step is None:
        raise ValueError(
            f"`step` should be the number of the step, since `{name}` is a schedule; got None. "
            "Pass the optimizer's count."
        )
    return value(step)
