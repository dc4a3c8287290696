"""Low-rank normals stay low-rank: nothing of dim × dim is ever formed, slopes included."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl

_DIM, _RANK = 61, 2


def _shapes(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """Every shape that a traced program computes, inner programs included."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield tuple(getattr(variable.aval, "shape", ()))
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _shapes(inner)


def _square(fn: Any, *args: Any) -> set[tuple[int, ...]]:
    """The shapes with two axes of the dimension."""
    jaxpr = jax.make_jaxpr(fn)(*args).jaxpr
    return {s for s in _shapes(jaxpr) if sum(n == _DIM for n in s) > 1}


def _arguments() -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    factors = [jnp.asarray(rng.normal(size=(_DIM, _RANK)), float) for _ in range(2)]
    return (*factors, jnp.linspace(0.5, 2.0, _DIM))


def _low_rank(w_p: jax.Array, w_q: jax.Array, d: jax.Array) -> jax.Array:
    import numpyro.distributions as dist

    p = dist.LowRankMultivariateNormal(jnp.zeros(_DIM), w_p, d)
    return vikl.kl_divergence(p, dist.LowRankMultivariateNormal(jnp.ones(_DIM), w_q, d + 1.0))


def _with_diagonal(w_p: jax.Array, w_q: jax.Array, d: jax.Array) -> jax.Array:
    import numpyro.distributions as dist

    p = dist.LowRankMultivariateNormal(jnp.zeros(_DIM), w_p, d)
    q = dist.Independent(dist.Normal(jnp.ones(_DIM), d), 1)
    return vikl.kl_divergence(p, q) + vikl.kl_divergence(q, p) + 0.0 * w_q.sum()


@pytest.mark.parametrize("divergence", [_low_rank, _with_diagonal])
def test_no_square_matrix_is_formed(divergence, standard_promotion):
    arguments = _arguments()
    assert not _square(divergence, *arguments)
    assert not _square(jax.grad(divergence, argnums=(0, 1, 2)), *arguments)


def test_a_square_matrix_would_be_seen():
    found = _square(jax.jit(lambda w: jnp.linalg.slogdet(w @ w.T)[1]), jnp.ones((_DIM, _RANK)))
    assert (_DIM, _DIM) in found
