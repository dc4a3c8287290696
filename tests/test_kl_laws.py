"""The laws of every registered pair, from the rows of tests/kl_cases.py, in float64.

Pairs that tests/test_kl_reference.py holds to many digits, value and slopes and p = q, are not
held to Monte Carlo and finite differences again: compiling is what these tests cost.
"""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from tests.kl_cases import KL_PAIRS, Pair, identifier, missing_rows, referenced
from vikl.kl._registry import kl_divergence

# numpyro's own code is not strict
pytestmark = pytest.mark.usefixtures("standard_promotion")

REFERENCED = referenced()
FINITE = [pair for pair, row in KL_PAIRS.items() if not row.infinite and pair not in REFERENCED]
INFINITE = [pair for pair, row in KL_PAIRS.items() if row.infinite]
NUM_SAMPLES = 4000
TRUNCATED = (
    dist.LeftTruncatedDistribution,
    dist.RightTruncatedDistribution,
    dist.TwoSidedTruncatedDistribution,
)


def x64():
    """Float64 inside a `with`, whatever the JAX version calls it."""
    place = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    return place.enable_x64(True)


def total(p, q):
    return jnp.sum(kl_divergence(p, q))


compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1), allow_int=True))


def float_leaves(tree):
    """The parameters of a distribution, without bounds, masks and counts."""
    leaves, structure = jax.tree.flatten(tree)
    return (
        leaves,
        structure,
        [i for i, x in enumerate(leaves) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)],
    )


@pytest.mark.parametrize("pair", FINITE, ids=identifier)
def test_value_and_slope(pair):
    """Never negative; Monte Carlo; the slope along a direction is that of finite differences."""
    row = KL_PAIRS[pair]
    with x64():
        p, q = row.p(), row.q()
        value, slopes = compiled(p, q)
        assert np.isfinite(value)
        assert value >= -1e-12 or pair[0] is dist.Delta
        if row.sampled:
            check_monte_carlo(p, q, value)
        check_slope(p, q, slopes)


def check_monte_carlo(p, q, value):
    p = p.expand(jnp.broadcast_shapes(p.batch_shape, q.batch_shape))
    draws = p.sample(jax.random.key(7), (NUM_SAMPLES,))
    ratio = (p.log_prob(draws) - q.log_prob(draws)).reshape(NUM_SAMPLES, -1).sum(-1)
    error = float(ratio.std()) / math.sqrt(NUM_SAMPLES)
    assert abs(float(ratio.mean()) - float(value)) < 5 * error + 1e-12


def check_slope(p, q, slopes):
    rng = np.random.default_rng(3)
    leaves, structure, floats = float_leaves((p, q))
    moves = jax.tree.leaves(slopes)
    step = 1e-5
    if any(isinstance(d, dist.GammaPoisson) for d in (p, q)):
        floats = [i for i in floats if float(leaves[i]) < 1.0]  # not the counts: they must agree
    if any(type(d) in TRUNCATED for d in (p, q)):  # nor bounds, which are not differentiated
        floats = [i for i in floats if float(leaves[i]) not in (0.0, -0.5, 1.5, 2.0)]
    direction = {i: rng.uniform(0.5, 1.0, np.shape(leaves[i])) for i in floats}
    for i in floats:  # a triangular factor moves inside its triangle
        if np.ndim(leaves[i]) == 2 and np.allclose(np.triu(leaves[i], 1), 0):
            direction[i] = np.tril(direction[i])
    if any(isinstance(d, dist.CategoricalProbs) for d in (p, q)):
        direction = {i: d - d.mean() for i, d in direction.items()}
    expected = sum(float((np.asarray(moves[i]) * d).sum()) for i, d in direction.items())
    ends = []
    for sign in (1, -1):
        moved = [
            jnp.asarray(x) + sign * step * direction[i] if i in direction else x
            for i, x in enumerate(leaves)
        ]
        ends.append(float(compiled(*jax.tree.unflatten(structure, moved))[0]))
    slope = (ends[0] - ends[1]) / (2 * step)
    assert abs(slope - expected) < 2e-5 * (1 + abs(slope))


#: Where the support moves with a parameter KL has a kink at p = q, with infinity on one side.
KINKED = (dist.Pareto, dist.Uniform)
SAME = [pair for pair in FINITE if pair[0] is pair[1] and pair not in REFERENCED]


@pytest.mark.parametrize("pair", SAME, ids=identifier)
def test_zero_at_equality(pair):
    with x64():
        value, slopes = compiled(KL_PAIRS[pair].p(), KL_PAIRS[pair].p())
        assert abs(float(value)) <= 1e-12
        for slope in jax.tree.leaves(slopes if pair[0] not in KINKED else ()):
            if slope.dtype != jax.dtypes.float0:
                np.testing.assert_allclose(slope, 0.0, atol=1e-12)


def test_infinite_where_p_exceeds_q():
    for pair in INFINITE:
        value = kl_divergence(KL_PAIRS[pair].p(), KL_PAIRS[pair].q())
        assert np.all(np.isposinf(value)), identifier(pair)


def test_every_pair_has_a_row():
    assert missing_rows(KL_PAIRS) == set()
    assert 40 < len(REFERENCED) < len(KL_PAIRS)
    assert REFERENCED <= set(KL_PAIRS) | {(dist.Chi2, dist.Chi2), (dist.Chi2, dist.Gamma)} | {
        (dist.Gamma, dist.Chi2)
    }


def test_completeness_check_can_fail():
    rows = dict(KL_PAIRS)
    del rows[dist.Normal, dist.Normal]
    assert missing_rows(rows) == {(dist.Normal, dist.Normal)}
    rows[dist.Normal, dist.Normal] = rows[int, int] = Pair(lambda: None, lambda: None)  # type: ignore[index]
    assert missing_rows(rows) == {(int, int)}


@pytest.mark.parametrize("cls", [dist.Normal, dist.Gamma, dist.Laplace, dist.Beta])
def test_vmap_is_a_loop_and_jit_does_not_retrace(cls):
    traces = 0

    @jax.jit
    def many(p, q):
        nonlocal traces
        traces += 1
        return jax.vmap(lambda a, b: kl_divergence(cls(*a), cls(*b)))(p, q)

    grid = jnp.linspace(0.5, 2.0, 5)
    p, q = (grid, grid + 0.1), (grid[::-1], grid * 1.1)
    batched = many(p, q)
    many(q, p)
    assert traces == 1
    loop = [kl_divergence(cls(p[0][i], p[1][i]), cls(q[0][i], q[1][i])) for i in range(5)]
    np.testing.assert_allclose(batched, jnp.stack(loop), rtol=1e-6)
    eager = kl_divergence(cls(*p), cls(*q))
    np.testing.assert_allclose(batched, eager, rtol=1e-6)


def test_independent_of_different_depth():
    loc = jnp.arange(6.0).reshape(2, 3)
    p = dist.Normal(loc, 1.0).to_event(2)
    q = dist.Normal(jnp.zeros((2, 3)), 2.0).to_event(1).to_event(1)
    expected = kl_divergence(dist.Normal(loc, 1.0), dist.Normal(0.0, 2.0)).sum()
    np.testing.assert_allclose(kl_divergence(p, q), expected, rtol=1e-6)


def test_masked_and_expanded_batches():
    p = dist.Normal(jnp.zeros(3), 1.0).mask(jnp.array([True, False, True]))
    q = dist.MaskedDistribution(dist.Normal(1.0, 1.0).expand((3,)), jnp.array(True))
    np.testing.assert_allclose(kl_divergence(p, q), [0.5, 0.0, 0.5])
    wide = kl_divergence(dist.Normal(0.0, 1.0).expand((2, 1)), dist.Normal(jnp.ones(4), 1.0))
    assert wide.shape == (2, 4)
