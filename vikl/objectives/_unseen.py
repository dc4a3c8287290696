"""Whether draws of q alone missed mass of the target that a wider look finds."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from .._typing import Array
from ..families import Family, StudentT, mean, std
from ..target import Target
from ._weighted import effective_sample_size

_DRAWS = 2000
_TIMES = 5.0  # how much wider than q the look is
_FEWEST = 20.0  # effective draws behind a claim
_SHARE = 0.1  # of the mass, below which nothing is said


def unseen_share(family: Family, target: Target) -> float:
    """Return the share of the target's mass that q's draws do not account for, 0 if none is found.

    The normaliser is estimated twice, from draws of q and from draws of a Student-t five times as
    wide; where the second is larger by more than both errors allow, the difference is mass where
    q does not go. A look that finds nothing proves nothing: in many dimensions it rarely can.
    """
    try:
        center, scale = mean(family), std(family)
    except NotImplementedError:
        return 0.0
    if not bool(jnp.isfinite(center).all() & jnp.isfinite(scale).all()):
        return 0.0
    wide = StudentT.init(center, _TIMES * scale)
    own, wider = (_weights(q, target) for q in (family, wide))
    if not (np.isfinite(own.max()) and np.isfinite(wider.max())):
        return 0.0
    sizes = [float(effective_sample_size(jnp.asarray(v))) for v in (own, wider)]
    gap = float(logsumexp(jnp.asarray(wider)) - logsumexp(jnp.asarray(own)))
    error = float(np.sqrt(sum(1 / size for size in sizes)))
    share = 1.0 - np.exp(-gap)
    return float(share) if min(sizes) > _FEWEST and share > _SHARE and gap > 4 * error else 0.0


def _weights(family: Family, target: Target) -> np.ndarray:
    def one(key: Array) -> Array:
        x, log_q = family.sample_and_log_prob(key)
        return target.log_density(x) - log_q

    keys = jax.random.split(jax.random.key(0), _DRAWS)
    return np.asarray(jax.jit(jax.vmap(one))(keys))
