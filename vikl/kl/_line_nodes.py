"""Nodes on the line for two distributions of a location-scale kind."""

from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array
from ._quadrature import geometric_breaks, panel_nodes
from ._stable import is_wide


def light_reach(like: Array, narrow: float, wide: float) -> Array:
    """Return a standardised distance, by the precision."""
    return jnp.full_like(like, wide if is_wide(like) else narrow)


class LineNodes:
    """Nodes for p and q of a location-scale kind, as standardised points zp and zq = zp − e.

    Panels grow geometrically from both centers, from `base` scales up, so that the bend of either
    log density is resolved wherever it lies. `close`: the nodes cover q too, in digits that allow
    the divergence of the node weights; else they cover p alone.
    """

    def __init__(self, p, q, reach, base_q: Any = None, end: Any = None, overlap: Any = True):
        (mu_p, s_p), (mu_q, s_q) = p, q
        fixed_mu, fixed_s, other_mu, other_s = map(jax.lax.stop_gradient, (*p, *q))
        offset, r = (other_mu - fixed_mu) / fixed_s, other_s / fixed_s
        apart = jnp.abs(offset) / jnp.maximum(1.0, r)
        self.close = (apart < 4.0) & (r < 8.0) & (r > 0.125) & overlap
        r_p, r_q = reach
        low, high = -r_p, r_p
        low = jnp.where(self.close, jnp.minimum(low, offset - r_q * r), low)
        high = jnp.where(self.close, jnp.maximum(high, offset + r_q * r), high)
        if end is not None:
            low, high = -end, end
        wide, heavy = is_wide(mu_p), end is not None
        near_p, near_q = jnp.ones_like(r), r if base_q is None else r * base_q
        if heavy and base_q is not None:
            near_p = jnp.minimum(near_p, base_q)
        span = jnp.maximum(jnp.abs(low), high)
        count = (26 if wide else 20) if heavy else (9 if wide else 7)
        around_p = geometric_breaks(jnp.zeros_like(r), near_p, span, count)
        around_q = geometric_breaks(offset, near_q, span + jnp.abs(offset), 14 if wide else 10)
        breaks = jnp.concatenate([around_p, around_q], -1)
        breaks = jnp.clip(breaks, low[..., None], high[..., None])
        ends = jnp.stack([low, high], -1)
        breaks = jax.lax.stop_gradient(jnp.sort(jnp.concatenate([breaks, ends], -1)))
        points, self.log_weight = panel_nodes(breaks, 10, 20)
        self.zp = points * (fixed_s / s_p)[..., None] + ((fixed_mu - mu_p) / s_p)[..., None]
        # zp − zq from differences of the parameters, so that it is exact when they nearly agree
        e = self.zp * ((s_q - s_p) / s_q)[..., None] + ((mu_q - mu_p) / s_q)[..., None]
        far = (self.zp - ((mu_q - mu_p) / s_p)[..., None]) * (s_p / s_q)[..., None]
        inside = self.close[..., None]
        self.e = jnp.where(inside, e, 0.0)
        self.zq = jnp.where(inside, self.zp - e, far)
