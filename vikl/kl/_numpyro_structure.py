"""NumPyro's structural distributions: independent, transformed, expanded, masked, delta."""

# numpyro types its lazy attributes as unions with shapes:
# pyright: reportArgumentType=false

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.core import Tracer

from .._typing import Array
from ._low_rank import low_rank_normal
from ._normal import multivariate_normal
from ._registry import kl_divergence, register_kl


@register_kl(dist.Independent, dist.Independent)
def _independent(p: Any, q: Any) -> Array:
    """Sum over the event axes both share; a deeper one is an event of the other's base."""
    shared = min(p.reinterpreted_batch_ndims, q.reinterpreted_batch_ndims)
    rest = []
    for d in (p, q):
        extra = d.reinterpreted_batch_ndims - shared
        rest.append(dist.Independent(d.base_dist, extra) if extra else d.base_dist)
    shapes = [d.batch_shape[len(d.batch_shape) - shared :] for d in rest]
    value = kl_divergence(*rest)
    # axes of the event that a base distribution holds by broadcasting count as often as they occur
    event = jnp.broadcast_shapes(*shapes)
    value = jnp.broadcast_to(value, (*value.shape[: value.ndim - shared], *event))
    return value.sum(tuple(range(value.ndim - shared, value.ndim)))


def _diagonal(d: Any, other: Any) -> tuple[Array, Array]:
    base = d.base_dist
    while isinstance(base, dist.ExpandedDistribution | dist.Independent):
        base = base.base_dist
    if not isinstance(base, dist.Normal) or len(d.event_shape) != 1:
        names = f"Independent of {type(base).__qualname__}, {type(other).__qualname__}"
        raise NotImplementedError(
            f"kl_divergence: no closed form is registered for ({names}). Estimate it with "
            f"`vikl.estimate_kl(p, q, key=...)`, or add it with `vikl.register_kl`."
        )
    shape = (*d.batch_shape, *d.event_shape)
    return jnp.broadcast_to(base.loc, shape), jnp.broadcast_to(base.scale, shape)


def _as_tril(scale: Array) -> Array:
    return scale[..., None] * jnp.eye(scale.shape[-1], dtype=scale.dtype)


def _location(d: Any) -> Array:
    return jnp.broadcast_to(d.loc, (*jnp.shape(d.loc)[:-1], *d.event_shape))


@register_kl(dist.Independent, dist.MultivariateNormal)
def _diagonal_from_multivariate(p: Any, q: Any) -> Array:
    loc, scale = _diagonal(p, q)
    return multivariate_normal(loc, _as_tril(scale), _location(q), q.scale_tril)


@register_kl(dist.MultivariateNormal, dist.Independent)
def _multivariate_from_diagonal(p: Any, q: Any) -> Array:
    loc, scale = _diagonal(q, p)
    return multivariate_normal(_location(p), p.scale_tril, loc, _as_tril(scale))


@register_kl(dist.Independent, dist.LowRankMultivariateNormal)
def _diagonal_from_low_rank(p: Any, q: Any) -> Array:
    loc, scale = _diagonal(p, q)
    nothing = jnp.zeros((*scale.shape, 1), scale.dtype)
    return low_rank_normal(loc, nothing, scale * scale, _location(q), q.cov_factor, q.cov_diag)


@register_kl(dist.LowRankMultivariateNormal, dist.Independent)
def _low_rank_from_diagonal(p: Any, q: Any) -> Array:
    loc, scale = _diagonal(q, p)
    nothing = jnp.zeros((*scale.shape, 1), scale.dtype)
    return low_rank_normal(_location(p), p.cov_factor, p.cov_diag, loc, nothing, scale * scale)


def _same_transform(a: Any, b: Any) -> bool:
    """Whether two lists of transforms are equal; traced parameters are equal only if identical."""
    if len(a) != len(b):
        return False
    for s, t in zip(a, b, strict=True):
        if type(s) is not type(t):
            return False
        leaves_s, leaves_t = jax.tree.leaves(s), jax.tree.leaves(t)
        if len(leaves_s) != len(leaves_t):
            return False
        if any(x is not y and _traced(x, y) for x, y in zip(leaves_s, leaves_t, strict=True)):
            return False
        if not any(_traced(x, y) for x, y in zip(leaves_s, leaves_t, strict=True)) and s != t:
            return False
    return True


def _traced(*values: Any) -> bool:
    return any(isinstance(v, Tracer) for v in values)


@register_kl(dist.TransformedDistribution, dist.TransformedDistribution)
def _transformed(p: Any, q: Any) -> Array:
    """KL does not change under a bijection, so the same transform on both sides drops out."""
    if not _same_transform(p.transforms, q.transforms):
        raise NotImplementedError(
            f"kl_divergence: no closed form for {type(p).__qualname__} and {type(q).__qualname__} "
            f"under different transforms ({p.transforms} and {q.transforms}). Estimate it with "
            f"`vikl.estimate_kl(p, q, key=...)`, or add it with `vikl.register_kl`."
        )
    value = kl_divergence(p.base_dist, q.base_dist)
    # a transform may take batch axes of the base into the event
    event = max(len(p.event_shape) - len(p.base_dist.event_shape), 0)
    return value.sum(tuple(range(value.ndim - event, value.ndim))) if event else value


def _spread(value: Array, p: Any, q: Any) -> Array:
    return jnp.broadcast_to(value, jnp.broadcast_shapes(p.batch_shape, q.batch_shape))


@register_kl(dist.ExpandedDistribution, dist.Distribution)
def _expanded_p(p: Any, q: Any) -> Array:
    return _spread(kl_divergence(p.base_dist, q), p, q)


@register_kl(dist.Distribution, dist.ExpandedDistribution)
def _expanded_q(p: Any, q: Any) -> Array:
    return _spread(kl_divergence(p, q.base_dist), p, q)


@register_kl(dist.ExpandedDistribution, dist.ExpandedDistribution)
def _expanded_both(p: Any, q: Any) -> Array:
    return _spread(kl_divergence(p.base_dist, q.base_dist), p, q)


@register_kl(dist.MaskedDistribution, dist.MaskedDistribution)
def _masked(p: Any, q: Any) -> Array:
    """Zero where either is masked out."""
    value = _spread(kl_divergence(p.base_dist, q.base_dist), p, q)
    return jnp.where(jnp.logical_and(p._mask, q._mask), value, 0.0)


@register_kl(dist.Delta, dist.Distribution)
@register_kl(dist.Delta, dist.ExpandedDistribution)
def _delta(p: Any, q: Any) -> Array:
    """Take the log density of a point mass to be its `log_density`, as NumPyro does."""
    return _spread(p.log_density - q.log_prob(p.v), p, q)


@register_kl(tuple, tuple)
def _product(p: Any, q: Any) -> Array:
    """Add up the divergences of the factors: a tuple is a product."""
    if len(p) != len(q) or not p:
        raise ValueError(
            f"kl_divergence: products should have the same factors; got {len(p)} and {len(q)}."
        )
    return sum(kl_divergence(a, b) for a, b in zip(p[1:], q[1:], strict=True)) + kl_divergence(
        p[0], q[0]
    )


@register_kl(dict, dict)
def _named_product(p: Any, q: Any) -> Array:
    """Add up the divergences of factors of the same name: a dict is a product."""
    if p.keys() != q.keys() or not p:
        raise ValueError(
            f"kl_divergence: products should have the same factors; got the names {sorted(p)} for "
            f"`p` and {sorted(q)} for `q`."
        )
    return _product(tuple(p.values()), tuple(q[name] for name in p))
