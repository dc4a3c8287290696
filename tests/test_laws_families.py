"""The laws of a family, for every row of `FAMILIES`, in float32 and float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FAMILIES
from monte_carlo import assert_mean

from vikl import kl_divergence
from vikl.families import cov, entropy, from_noise, mean, std

DIM = 2
NUM = 40_000
FEW = 8
family = pytest.mark.parametrize("case", FAMILIES.values(), ids=list(FAMILIES))


@eqx.filter_jit
def _drawn(q, keys):
    return jax.vmap(q.sample_and_log_prob)(keys)


def _draw(q, seed, num):
    return _drawn(q, jax.random.split(jax.random.key(seed), num))


@eqx.filter_jit
def _log_prob(q, x):
    return jax.vmap(q.log_prob)(x)


@eqx.filter_jit
def _draw_one(q, key):
    return q.sample_and_log_prob(key)


@eqx.filter_jit
def _scores(q, x):
    def score(x):
        gradient = eqx.filter_grad(lambda q: q.log_prob(x))(q)
        return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(gradient)])

    return jax.vmap(score)(x)


def _tolerance(dtype):
    return 5e-5 if dtype == np.float32 else 1e-12


@family
def test_log_prob_agrees_with_sample_and_log_prob(case, dtype):
    x, log_q = _draw(case.lopsided(DIM), 0, NUM)
    assert x.dtype == log_q.dtype == dtype
    again = _log_prob(case.lopsided(DIM), x)
    np.testing.assert_allclose(again, log_q, rtol=_tolerance(dtype), atol=_tolerance(dtype))


@family
def test_the_mean_score_is_zero(case, dtype):
    q = case.lopsided(DIM)
    assert_mean(_scores(q, _draw(q, 1, NUM)[0]), 0.0, detects=0.1)


@family
def test_moments_and_entropy_agree_with_draws(case, dtype):
    q = case.lopsided(DIM)
    x, log_q = (np.asarray(v, np.float64) for v in _draw(q, 2, NUM))
    assert_mean(x, mean(q), detects=0.06)
    centred = x - np.asarray(mean(q), np.float64)
    assert_mean(centred[:, :, None] * centred[:, None, :], cov(q), detects=0.15)
    assert_mean(centred**2, np.square(std(q)), detects=0.15)
    if "entropy" not in case.lacks:
        assert_mean(-log_q, entropy(q), detects=0.05)


@family
def test_draws_are_differentiated_as_the_exact_moments_are(case, dtype):
    q, matrix = case.lopsided(DIM), jnp.array([[1.0, 0.3], [0.3, -0.5]])
    assert q.reparameterized

    def exact(q):
        return mean(q)[0] + jnp.sum(matrix * cov(q)) + mean(q) @ (matrix @ mean(q))

    gradients = _slopes(q, matrix, jax.random.split(jax.random.key(6), NUM // 2))
    expected = eqx.filter_grad(exact)(q)
    assert_mean(gradients, _flat(expected), detects=0.25)


def _flat(tree):
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(tree)])


@eqx.filter_jit
def _slopes(q, matrix, keys):
    def value(q, key):
        x = q.sample_and_log_prob(key)[0]
        return x[0] + x @ (matrix @ x)

    return jax.vmap(lambda key: _flat(eqx.filter_grad(value)(q, key)))(keys)


@family
def test_it_integrates_to_one(case, dtype):
    q = case.lopsided(1)
    grid = jnp.linspace(-12.0, 12.0, 4001)
    density = np.exp(np.asarray(_log_prob(q, grid[:, None]), np.float64))
    assert np.trapezoid(density, np.asarray(grid, np.float64)) == pytest.approx(1.0, abs=1e-5)


@family
def test_every_leaf_is_an_unconstrained_parameter(case, dtype):
    q = case.lopsided(DIM)
    assert all(eqx.is_inexact_array(v) and v.dtype == dtype for v in jax.tree.leaves(q))
    for size in (-3.0, 3.0, 30.0):  # steps of any length and direction
        moved = jax.tree.map(lambda v: v + size, q)  # noqa: B023
        x, log_q = _draw(moved, 3, FEW)
        assert np.isfinite(x).all()
        assert np.isfinite(log_q).all()
        assert "entropy" in case.lacks or np.isfinite(entropy(moved))


@family
def test_vmap_is_a_loop(case, dtype):
    q = case.lopsided(DIM)
    x, log_q = _draw(q, 4, FEW)
    for i, key in enumerate(jax.random.split(jax.random.key(4), FEW)):
        one, log_one = _draw_one(q, key)
        np.testing.assert_allclose(x[i], one, rtol=_tolerance(dtype))
        np.testing.assert_allclose(log_q[i], log_one, rtol=_tolerance(dtype))


@family
def test_another_of_the_same_shape_is_not_traced_again(case, dtype):
    traces = []

    @eqx.filter_jit
    def draw(q, key):
        traces.append(1)
        return q.sample_and_log_prob(key)

    draw(case.standard(DIM), jax.random.key(0))
    draw(case.lopsided(DIM), jax.random.key(1))
    assert len(traces) == 1


@family
def test_noise_is_the_pathwise_map(case, dtype):
    q = case.lopsided(DIM)
    if "from_noise" in case.lacks:
        with pytest.raises(NotImplementedError, match="`from_noise` has no closed form for"):
            from_noise(q, jnp.zeros(DIM))
        return
    np.testing.assert_allclose(from_noise(q, jnp.zeros(DIM)), mean(q), rtol=1e-6)
    jacobian = jax.jacfwd(lambda e: from_noise(q, e))(jnp.zeros(DIM))
    np.testing.assert_allclose(jacobian @ jacobian.T, cov(q), rtol=1e-5)


@family
def test_init_takes_the_mean_and_the_scale(case, dtype):
    kind = type(case.standard(DIM))
    q = kind.init(jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0]))
    assert q.dim == DIM
    np.testing.assert_allclose(mean(q), [1.0, -2.0], rtol=2e-6)
    ratio = np.asarray(std(q)) / [0.5, 3.0]
    np.testing.assert_allclose(ratio, ratio[0] if "sd" in case.lacks else 1.0, rtol=1e-6)


@family
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), [1.0, -1.0]])
def test_init_refuses_a_scale_that_is_not_positive(case, bad):
    kind = type(case.standard(DIM))
    with pytest.raises(
        ValueError, match=r"`scale` should be positive and finite; got .*standard deviation"
    ):
        kind.init(jnp.zeros(DIM), jnp.asarray(bad))


@family
def test_init_refuses_a_scale_of_another_shape(case):
    kind = type(case.standard(DIM))
    with pytest.raises(ValueError, match=r"`scale` should be a scalar or have shape \(2,\); got"):
        kind.init(jnp.zeros(DIM), jnp.ones(3))


_WITH_KL = [name for name, case in FAMILIES.items() if "kl" not in case.lacks]
PAIRS = [(p, q) for p in _WITH_KL for q in _WITH_KL]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_the_kl_between_families_is_the_monte_carlo_one(p, q, dtype):
    one, other = FAMILIES[p].lopsided(DIM), FAMILIES[q].standard(DIM)
    x, log_p = _draw(one, 5, NUM)
    difference = np.asarray(log_p - _log_prob(other, x), np.float64)
    assert_mean(difference, float(kl_divergence(one, other)), detects=0.1)


@family
def test_the_kl_to_itself_is_zero(case, dtype):
    q = case.lopsided(DIM)
    if "kl" in case.lacks:
        with pytest.raises(NotImplementedError):
            kl_divergence(q, q)
        return
    assert float(kl_divergence(q, q)) == pytest.approx(0.0, abs=1e-12)
    if set(FAMILIES) >= {"MeanFieldNormal", "FullRankNormal"}:
        pair = [FAMILIES[n].standard(DIM) for n in ("MeanFieldNormal", "FullRankNormal")]
        assert float(kl_divergence(*pair)) == float(kl_divergence(*pair[::-1])) == 0.0
