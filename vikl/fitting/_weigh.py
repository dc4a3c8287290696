"""Weighted draws of a fitted normal, by NumPy: in a cold process each program costs a while."""

from typing import Any

import jax
import numpy as np

from .._compile import compile_lightly
from .._typing import Array, PRNGKey
from ..diagnostics import WeightedDraws, draw_weighted
from ..families import FullRankNormal, MeanFieldNormal
from ..target import Target

_BATCH = 64
_LOG_2PI = float(np.log(2 * np.pi))


@compile_lightly
def _values(target: Target, x: Array) -> Array:
    return jax.lax.map(target.log_density, x, batch_size=_BATCH)


def seed_of(key: PRNGKey, purpose: int) -> list[int]:
    """Return a seed for NumPy from a key, another one for each purpose."""
    return [*np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist(), purpose]


@np.errstate(over="ignore", invalid="ignore")  # a runaway q has infinite draws, which count as bad
def weigh(target: Target, family: Any, key: PRNGKey, num_draws: int) -> WeightedDraws:
    """Draw from a normal and weigh each draw by p(x)/q(x); other families go through JAX."""
    if type(family) not in (FullRankNormal, MeanFieldNormal):
        return draw_weighted(target, family, key, num_draws)
    dtype = target.dtype
    loc = np.asarray(family.loc, np.float64)
    noise = np.random.default_rng(seed_of(key, 1)).normal(size=(num_draws, len(loc)))
    if isinstance(family, FullRankNormal):
        log_diagonal = np.asarray(family.log_diagonal, np.float64)
        scale = np.tril(np.asarray(family.lower, np.float64), -1) + np.diag(np.exp(log_diagonal))
        x = loc + noise @ scale.T
    else:
        log_diagonal = np.asarray(family.log_scale, np.float64)
        x = loc + noise * np.exp(log_diagonal)
    log_q = -0.5 * np.sum(noise**2, axis=1) - log_diagonal.sum() - 0.5 * len(loc) * _LOG_2PI
    x = x.astype(dtype)
    rows = np.concatenate([x, x[: -num_draws % _BATCH]])  # whole batches: one program, not two
    return WeightedDraws(x, np.asarray(_values(target, rows))[:num_draws], log_q.astype(dtype))
