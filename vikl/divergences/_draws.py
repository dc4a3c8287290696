"""How draws are made: independent, antithetic, or from a randomly scrambled Sobol sequence.

Also the log ratio of two distributions at draws, which is what every estimator is made of.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from vikl._typing import Array, Float, PRNGKey, UInt32
from vikl.divergences import _numpyro, _quadrature, _scipy
from vikl.divergences._numpyro import Params
from vikl.divergences._pairs import pair


def expand(p: Any, q: Any) -> Any:
    """P with the batch shape of the two together, so that each batch entry has its own draws."""
    shape = jnp.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    return p if tuple(p.batch_shape) == shape else p.expand(shape)


def log_ratio(p: Any, q: Any, x: Array) -> Float[Array, "..."]:
    """`log p(x) - log q(x)`; for normals from differences of parameters, which keeps the digits."""
    try:
        two = pair("The log ratio", p, q)
    except NotImplementedError:
        two = None
    if two is not None and two.family == "normal" and not two.transform:
        return two.total(_quadrature.log_ratio("normal", *_lifted(two.p, two.q, x)))
    log_p, log_q = _numpyro.log_prob(p, x), _numpyro.log_prob(q, x)
    impossible = (log_q == -jnp.inf) | ~_numpyro.in_support(q, x, log_q)
    return jnp.where(impossible, jnp.inf, log_p - jnp.where(impossible, 0, log_q))


def _lifted(p: Params, q: Params, x: Array) -> tuple[Params, Params, Array]:
    """Parameters and draws at one shape, the draw axis first."""
    shape = jnp.broadcast_shapes(x.shape, p["loc"].shape)
    spread = lambda d: {name: jnp.broadcast_to(value, shape) for name, value in d.items()}
    return spread(p), spread(q), jnp.broadcast_to(x, shape)


def event_size(p: Any) -> int:
    """How many numbers one draw has."""
    return int(np.prod(p.event_shape, dtype=int))


def from_uniform(p: Any, u: Float[Array, "num *batch dim"]) -> Array:
    """Draws of p from uniform ones, by the inverse distribution function of every coordinate.

    For a normal with full covariance the coordinates are those of its Cholesky factor.
    """
    form = _numpyro.describe(p, "p")
    if form.family == "multivariate_normal":
        z = ndtri(u)
        noise = jnp.einsum("...ij,...j->...i", form.params["scale_tril"], z)
        return jnp.broadcast_to(form.params["loc"], noise.shape) + noise
    base = _numpyro.coordinates(p)
    if tuple(base.event_shape) == ():
        try:
            with _numpyro.lenient():
                return base.icdf(u.reshape(*u.shape[:-1], *p.event_shape))
        except NotImplementedError:
            pass
    raise NotImplementedError(
        "Antithetic and quasi-Monte Carlo draws need an inverse distribution function; `p` of "
        f"type {_numpyro.type_name(p)} has none. Do use `K1()`."
    )


def antithetic(key: PRNGKey, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Uniform points u, and 1 - u after them."""
    tiny = float(jnp.finfo(dtype).eps)
    u = jax.random.uniform(key, shape, dtype, minval=tiny, maxval=1 - tiny)
    return jnp.concatenate([u, 1 - u])


def _reverse_bits(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        low, size = jnp.uint32(mask), jnp.uint32(shift)
        x = ((x & low) << size) | ((x >> size) & low)
    return (x << jnp.uint32(16)) | (x >> jnp.uint32(16))


def _scramble(x: UInt32[Array, "..."], seed: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Owen's nested uniform scrambling by a hash in which no bit depends on lower ones."""
    x = _reverse_bits(x) + seed
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        x = x ^ (x * jnp.uint32(factor))
    return _reverse_bits(x)


def sobol(
    key: PRNGKey, num: int, batch: tuple[int, ...], dim: int, dtype: Any
) -> Float[Array, "num *batch dim"]:
    """Return `num` Sobol points (a power of two), randomised separately for each batch entry.

    The points are scipy's; the randomisation is Owen's scrambling (hashed, as in Burley 2020)
    after a random digital shift, so every point is uniform.
    """
    integers = jnp.asarray(_scipy.sobol_integers(num, dim))
    integers = integers.reshape(num, *(1,) * len(batch), dim)
    integers = jnp.broadcast_to(integers, (num, *batch, dim))
    shift, seed = jax.random.bits(key, (2, *batch, dim), jnp.uint32)
    shift, seed = (jnp.broadcast_to(a[None], integers.shape) for a in (shift, seed))
    x = _scramble(integers ^ shift, seed)
    bits = 23 if jnp.finfo(dtype).bits <= 32 else 32
    return ((x >> jnp.uint32(32 - bits)).astype(dtype) + 0.5) / 2.0**bits
