"""Finitely many outcomes: any f-divergence is an exact sum."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import gammaln

from vikl._typing import Array, Float
from vikl.divergences._pairs import Pair
from vikl.info import _logits as logits

Rows = tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]


def _log(p: Array) -> Array:
    positive = p > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, p, 1)), -jnp.inf)


def _rows_of_probs(p: Array, q: Array) -> Rows:
    """`log p`, `log q` and their difference, by log1p where that is small."""
    both = (p > 0) & (q > 0)
    near = both & (jnp.abs(p - q) < q / 2)
    d = jnp.where(near, p - q, 0) / jnp.where(near, q, 1)
    plain = jnp.where(both, _log(jnp.where(both, p, 1)) - _log(jnp.where(both, q, 1)), 0)
    apart = jnp.where(p > q, jnp.inf, jnp.where(p < q, -jnp.inf, 0))
    return _log(p), _log(q), jnp.where(both, jnp.where(near, jnp.log1p(d), plain), apart)


def rows(pair: Pair) -> Rows | None:
    """Log probabilities of all outcomes (last axis) and their difference; None if not finite."""
    if pair.family == "binomial":
        return _binomial_rows(pair)
    if pair.family not in ("bernoulli", "categorical"):
        return None
    if "probs" in pair.p:
        return _rows_of_probs(pair.p["probs"], pair.q["probs"])
    return logits.log_ratio(pair.p["logits"], pair.q["logits"])


def _binomial_rows(pair: Pair) -> Rows | None:
    """Return the outcomes, if the number of trials can be looked at and is one number."""
    count = pair.total_count
    if isinstance(count, Tracer) or np.unique(np.asarray(count)).size != 1:
        return None
    n = int(np.ravel(np.asarray(count))[0])
    k = jnp.arange(n + 1, dtype=next(iter(pair.p.values())).dtype)
    choose = gammaln(jnp.full_like(k, n + 1)) - gammaln(k + 1) - gammaln(n - k + 1)
    single = rows(pair.as_bernoulli())
    if single is None:
        return None

    def spread(x: Array) -> Array:
        no, yes = x[..., :1], x[..., 1:]
        shape = (*x.shape[:-1], n + 1)
        times = jnp.broadcast_to(k, shape)
        no, yes = jnp.broadcast_to(no, shape), jnp.broadcast_to(yes, shape)
        first = jnp.where(times > 0, times * jnp.where(times > 0, yes, 0), 0)
        return first + jnp.where(times < n, (n - times) * jnp.where(times < n, no, 0), 0)

    log_p, log_q, w = (spread(x) for x in single)
    extra = jnp.broadcast_to(choose, log_p.shape)
    both = (log_p > -jnp.inf) & (log_q > -jnp.inf)
    apart = jnp.where(log_p > log_q, jnp.inf, jnp.where(log_p < log_q, -jnp.inf, 0))
    return log_p + extra, log_q + extra, jnp.where(both, w, apart)
