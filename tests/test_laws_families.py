"""The laws of a family, for every row of `FAMILIES`, in float32 and float64.

Compiling is what these laws cost: a family and a float size share one program of all that is
random, one of the exact things and one of a lone draw.
"""

import collections
import functools

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
SIDE = 200
NUM = SIDE**2
FEW = 8
MATRIX = ((1.0, 0.3), (0.3, -0.5))
family = pytest.mark.parametrize("case", FAMILIES.values(), ids=list(FAMILIES))
TRACES = collections.Counter()


def _flat(tree):
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(tree)])


def _name(case):
    return next(name for name, row in FAMILIES.items() if row is case)


def _grid():
    """The points of a square grid that holds all the mass of the lopsided ones."""
    line = np.linspace(-12.0, 12.0, SIDE)
    return line, jnp.asarray(np.stack(np.meshgrid(line, line), -1).reshape(-1, DIM), float)


@eqx.filter_jit
def _random_things(q, grid, key):
    """Of `NUM` draws: x, log q twice, the scores, and slopes of a quadratic; log q on a grid."""

    def draw(q, key):
        x, log_q = q.sample_and_log_prob(key)
        return _quadratic(x), (x, log_q)

    def one(key, point):
        slope, (x, log_q) = eqx.filter_grad(draw, has_aux=True)(q, key)
        again, score = eqx.filter_value_and_grad(lambda q: q.log_prob(x))(q)
        return x, log_q, again, _flat(score), _flat(slope), q.log_prob(point)

    return jax.vmap(one)(jax.random.split(key, NUM), grid)


def _quadratic(x):
    return x[0] + x @ (jnp.asarray(MATRIX, x.dtype) @ x)


@functools.cache
def _drawn(name, dtype):
    """Return what `_random_things` gives of the lopsided family, as float64."""
    things = _random_things(FAMILIES[name].lopsided(DIM), _grid()[1], jax.random.key(0))
    assert all(v.dtype == dtype for v in things)
    return [np.asarray(v, np.float64) for v in things]


@eqx.filter_jit
def _exact_things(q, with_entropy):
    def mean_quadratic(q):
        centre, matrix = mean(q), cov(q)
        whole = _quadratic(centre) + jnp.sum(jnp.asarray(MATRIX, centre.dtype) * matrix)
        return whole, (centre, matrix)

    slopes, (centre, matrix) = eqx.filter_grad(mean_quadratic, has_aux=True)(q)
    own = entropy(q) if with_entropy else None
    return centre, matrix, std(q), own, _flat(slopes)


def _exact(q, case):
    """Return mean, cov, std, entropy (or None), and the slopes of the mean quadratic."""
    return _exact_things(q, "entropy" not in case.lacks)


@eqx.filter_jit
def _draw_one(name, q, key):
    TRACES[name] += 1
    return q.sample_and_log_prob(key)


def _traced(case, dtype):
    return f"{_name(case)}-{dtype}"


def _tolerance(dtype):
    return 5e-5 if dtype == np.float32 else 1e-12


@family
def test_log_prob_agrees_with_sample_and_log_prob(case, dtype):
    _, log_q, again, *_ = _drawn(_name(case), dtype)
    np.testing.assert_allclose(again, log_q, rtol=_tolerance(dtype), atol=_tolerance(dtype))


@family
def test_the_mean_score_is_zero(case, dtype):
    assert_mean(_drawn(_name(case), dtype)[3], 0.0, detects=0.1)


@family
def test_moments_and_entropy_agree_with_draws(case, dtype):
    x, log_q, *_ = _drawn(_name(case), dtype)
    centre, matrix, sd, own, _ = _exact(case.lopsided(DIM), case)
    assert_mean(x, centre, detects=0.06)
    centred = x - np.asarray(centre, np.float64)
    assert_mean(centred[:, :, None] * centred[:, None, :], matrix, detects=0.15)
    assert_mean(centred**2, np.square(sd), detects=0.15)
    if own is not None:
        assert_mean(-log_q, own, detects=0.05)


@family
def test_draws_are_differentiated_as_the_exact_moments_are(case, dtype):
    assert case.lopsided(DIM).reparameterized
    slopes = _drawn(_name(case), dtype)[4][: NUM // 2]
    assert_mean(slopes, _exact(case.lopsided(DIM), case)[4], detects=0.25)


@family
def test_it_integrates_to_one(case, dtype):
    line, _ = _grid()
    density = np.exp(_drawn(_name(case), dtype)[5]).reshape(SIDE, SIDE)
    total = np.trapezoid(np.trapezoid(density, line), line)
    assert total == pytest.approx(1.0, abs=1e-5)


@family
def test_every_leaf_is_an_unconstrained_parameter(case, dtype):
    q = case.lopsided(DIM)
    assert all(eqx.is_inexact_array(v) and v.dtype == dtype for v in jax.tree.leaves(q))

    keys = jax.random.split(jax.random.key(3), 3 * FEW).reshape(3, FEW)
    for size, row in zip((-3.0, 3.0, 30.0), keys, strict=True):  # steps of any length and direction
        moved = jax.tree.map(lambda v, size=size: v + size, q)
        for key in row:
            assert all(np.isfinite(v).all() for v in _draw_one(_traced(case, dtype), moved, key))
        own = _exact(moved, case)[3]
        assert own is None or np.isfinite(own)


@family
def test_vmap_is_a_loop_and_another_of_the_same_shape_is_not_traced_again(case, dtype):
    x, log_q, *_ = _drawn(_name(case), dtype)
    name = _traced(case, dtype)
    for i, key in enumerate(jax.random.split(jax.random.key(0), NUM)[:FEW]):
        one, log_one = _draw_one(name, case.lopsided(DIM), key)
        np.testing.assert_allclose(x[i], one, rtol=_tolerance(dtype))
        np.testing.assert_allclose(log_q[i], log_one, rtol=_tolerance(dtype))
    _draw_one(name, case.standard(DIM), jax.random.key(1))
    assert TRACES[name] == 1


@family
def test_noise_is_the_pathwise_map(case, dtype):
    q = case.lopsided(DIM)
    if "from_noise" in case.lacks:
        with pytest.raises(NotImplementedError, match="`from_noise` has no closed form for"):
            from_noise(q, jnp.zeros(DIM))
        return
    centre, matrix, *_ = _exact(case.lopsided(DIM), case)
    at_zero, jacobian = jax.jit(
        lambda e: (from_noise(q, e), jax.jacfwd(lambda e: from_noise(q, e))(e))
    )(jnp.zeros(DIM))
    np.testing.assert_allclose(at_zero, centre, rtol=1e-6)
    jacobian = np.asarray(jacobian)
    np.testing.assert_allclose(jacobian @ jacobian.T, matrix, rtol=1e-5)


@family
def test_init_takes_the_mean_and_the_scale(case, dtype):
    kind = type(case.standard(DIM))
    q = kind.init(jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0]))
    assert q.dim == DIM
    centre, sd = eqx.filter_jit(lambda q: (mean(q), std(q)))(q)
    np.testing.assert_allclose(centre, [1.0, -2.0], rtol=2e-6)
    if "sds" in case.lacks:
        assert float(np.sum(np.square(sd))) == pytest.approx(0.5**2 + 3.0**2, rel=2e-6)
        return
    ratio = np.asarray(sd) / [0.5, 3.0]
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
_OWN = [name for name in _WITH_KL if "kl to others" in FAMILIES[name].lacks]
PAIRS = [(p, q) for p in _WITH_KL for q in _WITH_KL if p == q or not {p, q} & set(_OWN)]


@functools.cache
def _divergences(dtype):
    """Return KL(lopsided p‖standard q), log q at draws of p, and KLs between equals.

    One program. The equals are arguments of their own: the compiler must not know that they are.
    """

    @eqx.filter_jit
    def things(lopsided, equal, standard, draws):
        kl = {(p, q): kl_divergence(lopsided[p], standard[q]) for p, q in PAIRS}
        log_q = {(p, q): jax.vmap(standard[q].log_prob)(draws[p]) for p, q in PAIRS}
        zero = {p: kl_divergence(lopsided[p], equal[p]) for p in _WITH_KL}
        one, other = standard["MeanFieldNormal"], standard["FullRankNormal"]
        across = kl_divergence(one, other), kl_divergence(other, one)
        return kl, log_q, zero, across

    return things(
        {name: FAMILIES[name].lopsided(DIM) for name in _WITH_KL},
        {name: FAMILIES[name].lopsided(DIM) for name in _WITH_KL},
        {name: FAMILIES[name].standard(DIM) for name in _WITH_KL},
        {name: jnp.asarray(_drawn(name, dtype)[0], dtype) for name in _WITH_KL},
    )


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_the_kl_between_families_is_the_monte_carlo_one(p, q, dtype):
    kl, log_q, *_ = _divergences(dtype)
    difference = _drawn(p, dtype)[1] - np.asarray(log_q[p, q], np.float64)
    assert_mean(difference, float(kl[p, q]), detects=0.1)


@family
def test_the_kl_to_itself_is_zero(case, dtype):
    q = case.lopsided(DIM)
    if "kl" in case.lacks:
        with pytest.raises(NotImplementedError):
            kl_divergence(q, q)
        return
    *_, zero, across = _divergences(dtype)
    assert float(zero[_name(case)]) == pytest.approx(0.0, abs=1e-12)
    assert [float(v) for v in across] == [0.0, 0.0]
