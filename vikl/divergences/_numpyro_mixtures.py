"""The weights and components of NumPyro's mixtures."""

from typing import Any

import jax
import jax.numpy as jnp

from vikl._doors import require
from vikl._typing import Array


def parts(name: str, d: Any, axis: int) -> tuple[Array, Any]:
    """Log weights of a mixture, and its components with a batch axis put in at `axis`."""
    dist = require("numpyro.distributions")
    if not isinstance(d, dist.MixtureSameFamily):
        raise TypeError(
            f"`{name}` should be a numpyro MixtureSameFamily; got {type(d).__qualname__}. Do wrap "
            f"a single distribution as a mixture of one component."
        )
    mixing = d.mixing_distribution
    probs = getattr(mixing, "probs", None)
    if "logits" in vars(mixing):
        log_weights = jax.nn.log_softmax(mixing.logits)
    else:
        log_weights = jnp.log(jnp.asarray(probs))
    return log_weights, _with_axis(d.component_distribution, axis)


def _with_axis(d: Any, axis: int) -> Any:
    """Return the same distributions with a batch axis of length one at the negative `axis`."""
    dist = require("numpyro.distributions")
    if isinstance(d, dist.Independent):
        inner = d.reinterpreted_batch_ndims
        return dist.Independent(_with_axis(d.base_dist, axis - inner), inner)

    def wider(name: str, event: int) -> Array:
        x = jnp.asarray(getattr(d, name))
        shape = jnp.broadcast_shapes(x.shape[: x.ndim - event], d.batch_shape)
        return jnp.expand_dims(jnp.broadcast_to(x, shape + x.shape[x.ndim - event :]), axis - event)

    if isinstance(d, dist.MultivariateNormal):
        return dist.MultivariateNormal(wider("loc", 1), scale_tril=wider("scale_tril", 2))
    parameters = {k: wider(k, c.event_dim) for k, c in type(d).arg_constraints.items()}
    return type(d)(**parameters)
