"""The rate of a variational autoencoder: KL of the encoder to the prior, latent by latent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.lax import stop_gradient

from .._typing import Array, Bool, Float
from ..estimators import Estimator, Pathwise, StickingTheLanding
from ..info._checks import ArrayInput
from ..kl import normal


def rate(
    loc: ArrayInput,
    scale: ArrayInput,
    *,
    prior_loc: ArrayInput = 0.0,
    prior_scale: ArrayInput = 1.0,
    free_bits: ArrayInput = 0.0,
) -> Float[Array, "*batch latents"]:
    """KL of a normal encoder to a normal prior, in closed form, for each data point and latent.

    R_ij = KL(N(loc_ij, scale_ij²) ‖ N(prior_loc_j, prior_scale_j²)), by default
    ½(loc² + scale² − 1 − log scale²). With free bits λ the mean over the batch becomes
    max(λ, mean_i R_ij) for each latent j, by adding max(0, λ − mean_i R_ij) to every row: a latent
    whose rate is below λ feels no pull to the prior, and as no row gets smaller than its KL, an
    ELBO of these rates is a lower bound still.

    Args:
        loc: means of q(z|x), latents on the last axis.
        scale: standard deviations (not variances, not their logarithms) of q(z|x), positive.
        prior_loc: mean of the prior, a number or an array that broadcasts; it may be learned.
        prior_scale: standard deviation of the prior, positive.
        free_bits: λ, in nats for each latent, not negative. Apply it where the batch is in sight:
            under `jax.vmap` over data points the mean is over one point.

    Returns:
        Nats, never negative. Sum the last axis (do not average it) for a data point's rate.

    Raises:
        ValueError: outside jit, a scale that is not positive, a negative `free_bits`, shapes that
            do not broadcast. Inside jit an invalid scale gives NaN.
        TypeError: an array that is not of floats.

    Examples:
        >>> import jax.numpy as jnp
        >>> import vikl
        >>> print(vikl.losses.rate(jnp.array([[0.0, 2.0]]), jnp.ones((1, 2))))
        [[0. 2.]]
        >>> print(vikl.losses.rate(jnp.array([[0.0, 2.0]]), jnp.ones((1, 2)), free_bits=0.5))
        [[0.5 2. ]]

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, appendix B;
        Kingma et al. (2016), Improved variational inference with inverse autoregressive flow,
        appendix C.8 (free bits);
        Alemi et al. (2018), Fixing a broken ELBO (rate and distortion).
    """
    loc, scale = (_floating(n, v) for n, v in (("loc", loc), ("scale", scale)))
    if loc.ndim == 0:
        raise ValueError(
            "`loc` should have the latents on its last axis; got a number. Add an axis."
        )
    places = (_like(v, loc) for v in (prior_loc, prior_scale))
    return floored(normal(loc, scale, *places), free_bits)


def sampled_rate(
    z: ArrayInput,
    loc: ArrayInput,
    scale: ArrayInput,
    *,
    prior_loc: ArrayInput = 0.0,
    prior_scale: ArrayInput = 1.0,
    estimator: Estimator | None = None,
) -> Float[Array, "*draws latents"]:
    """Return log q(z|x) − log p(z) at draws of q(z|x), for each latent: its mean is the rate.

    For `importance_weighted_bound`, which must not take the closed form, and for gradients of the
    ELBO without it. `StickingTheLanding()` scores log q with its parameters held: the same
    gradient in mean, zero where q is the posterior.

    Args:
        z: draws, `loc + scale * noise`, latents last; axes of draws come first.
        loc: means of q(z|x); broadcast against z.
        scale: standard deviations of q(z|x), positive.
        prior_loc: mean of the prior.
        prior_scale: standard deviation of the prior.
        estimator: `vikl.estimators.Pathwise()` (the default) or `StickingTheLanding()`.

    Returns:
        Nats, of the shape of z; single entries may be negative.

    Raises:
        TypeError: an array that is not of floats, or another estimator.

    Examples:
        >>> import jax.numpy as jnp
        >>> import vikl
        >>> loc, scale = jnp.array([1.0]), jnp.array([1.0])
        >>> print(vikl.losses.sampled_rate(jnp.array([[1.0], [2.0]]), loc, scale))
        [[0.5]
         [1.5]]

    References:
        Roeder, Wu and Duvenaud (2017), Sticking the landing.
    """
    estimator = Pathwise() if estimator is None else estimator
    if not isinstance(estimator, Pathwise | StickingTheLanding):
        raise TypeError(
            "`estimator` should be `vikl.estimators.Pathwise()` or `StickingTheLanding()`; got "
            f"{estimator!r}. The closed form is `vikl.losses.rate`."
        )
    z, loc, scale = (_floating(n, v) for n, v in (("z", z), ("loc", loc), ("scale", scale)))
    if isinstance(estimator, StickingTheLanding):
        loc, scale = stop_gradient(loc), stop_gradient(scale)
    q_loc, q_scale, p_loc, p_scale = (_like(v, z) for v in (loc, scale, prior_loc, prior_scale))
    near, far = (z - q_loc) / q_scale, (z - p_loc) / p_scale
    return 0.5 * (far - near) * (far + near) + jnp.log(p_scale / q_scale)


def active_units(loc: ArrayInput, *, threshold: float = 1e-2) -> Bool[Array, " latents"]:
    """Whether each latent is used: the variance over data of its mean, Var_x(E_q[z_j|x]) > 1/100.

    A latent whose posterior mean does not move with x carries nothing about x.

    Args:
        loc: means of q(z|x) of many data points, latents last.
        threshold: on the variance, in squared units of the latent (of the prior's sd, if that
            is one). For the other habit, mean rate above 0.1 nat, compare `rate(...)` yourself.

    Returns:
        One truth value for each latent; their sum is the number of active units.

    Raises:
        ValueError: `loc` has no axis of data points, or just one point.
        TypeError: `loc` is not of floats.

    Examples:
        >>> import jax.numpy as jnp
        >>> import vikl
        >>> print(vikl.losses.active_units(jnp.array([[0.0, -1.0], [0.0, 1.0]])))
        [False  True]

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, section 5.2.
    """
    loc = _floating("loc", loc)
    if loc.ndim < 2 or loc[..., 0].size < 2:
        raise ValueError(
            "`loc` should hold the means of at least two data points, latents on the last axis; "
            f"got shape {loc.shape}. Encode many data points."
        )
    return jnp.var(loc.reshape(-1, loc.shape[-1]), axis=0) > threshold


def floored(rate: Float[Array, "*batch latents"], free_bits: Any) -> Float[Array, "*batch latents"]:
    """Raise the mean over the batch of each latent to at least `free_bits`."""
    least = not_negative("free_bits", free_bits)
    if not isinstance(least, Tracer) and np.all(np.asarray(least) == 0):
        return rate
    mean = jnp.mean(rate, axis=tuple(range(rate.ndim - 1)))
    lift = jax.nn.relu(jnp.broadcast_to(jnp.asarray(least, rate.dtype), mean.shape) - mean)
    return rate + jnp.broadcast_to(lift, rate.shape)


def not_negative(name: str, value: Any) -> Any:
    """Return a number or array, which outside jit has to be finite and not negative."""
    if not isinstance(value, Tracer):
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or not np.all((array >= 0) & (array < np.inf)):
            raise ValueError(
                f"`{name}` should be finite and not negative; got {value!r}. "
                "Give a number, or an optax schedule's value at this step."
            )
    return value


def _floating(name: str, value: Any) -> Array:
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` should be an array of floats; got dtype {array.dtype}. "
            "Convert it with `.astype(float)`."
        )
    return array


def _like(value: Any, like: Array) -> Array:
    """`value` with the shape and the dtype of `like`; says so where the shapes do not fit."""
    array = jnp.asarray(value, like.dtype)
    try:
        return jnp.broadcast_to(array, like.shape)
    except ValueError as error:
        raise ValueError(
            f"The arrays should broadcast to shape {like.shape}, latents last; got one of shape "
            f"{array.shape}. Put the axes of draws first."
        ) from error
