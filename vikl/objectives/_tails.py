"""Whether E_q[(p/q)^a] exists at all, from how the integrand falls along rays far out."""

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ..families import Family, mean, std
from ..target import Target

_RADII = (30.0, 300.0)  # standard deviations of q from its mean
_MOST_AXES = 32


def diverges(order: float, family: Family, target: Target) -> str | None:
    """Return where ∫ p^a q^(1−a) diverges, in words, or None where nothing says so.

    Along rays from q's mean (each coordinate both ways, and a few random directions) the integrand
    must fall faster than r^(−dim). Draws cannot see this: the rare ones that would carry the
    moment are never drawn, so that k-hat looks fine at the very q that the draws preferred.
    """
    try:
        center, scale = mean(family), std(family)
    except NotImplementedError:
        return None
    if not bool(jnp.isfinite(center).all() & jnp.isfinite(scale).all()):
        return None
    rays = _directions(target.dim)
    with jax.numpy_dtype_promotion("standard"):
        found = _slopes(order, family, target, center, scale, jnp.asarray(rays, center.dtype))
    slopes = np.asarray(found)
    # a log density of −inf is no mass; NaN and overflow say nothing
    bad = np.isfinite(slopes) & (slopes > -target.dim)
    if not bad.any():
        return None
    worst = int(np.argmax(np.where(bad, slopes, -np.inf)))
    axis = int(np.argmax(np.abs(rays[worst])))
    side = "above" if rays[worst, axis] > 0 else "below"
    return f"far {side} the mean in {target.names[axis]}"


def _directions(dim: int) -> np.ndarray:
    axes = np.eye(dim)[:_MOST_AXES]
    others = np.random.default_rng(0).standard_normal((8 if dim > 1 else 0, dim))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    return np.concatenate([axes, -axes, others])


def _slopes(
    order: float, family: Family, target: Target, center: Array, scale: Array, rays: Array
) -> Array:
    """Return d log integrand / d log r between the two radii, for each ray."""

    def height(ray: Array, radius: float) -> Array:
        x = center + radius * scale * ray
        return order * target.log_density(x) + (1 - order) * family.log_prob(x)

    near, far = (jax.vmap(lambda ray, r=r: height(ray, r))(rays) for r in _RADII)
    return (far - near) / float(np.log(_RADII[1] / _RADII[0]))
