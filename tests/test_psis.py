"""Pareto smoothing against known tails and other people's code, and importance-weighted draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vikl._compile import record_compiles
from vikl.diagnostics import (
    WeightedDraws,
    draw_weighted,
    pareto_smooth,
    resample,
)
from vikl.diagnostics._psis import fit_generalized_pareto
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.target import Target

KEY = jax.random.key(3)
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def tails():
    rng = np.random.default_rng(7)
    n = 2500  # 3 sqrt(n) is whole: all three implementations take the same tail
    return {
        "pareto 0.3": 0.3 * rng.exponential(size=n),
        "pareto 0.7": 0.7 * rng.exponential(size=n),
        "pareto 1.2": 1.2 * rng.exponential(size=n),
        "normal": rng.normal(size=n),
        "bounded": np.log(rng.uniform(size=n)),
        "narrow q": 0.5 * rng.normal(size=n) ** 2 * (1 - 0.6**2),
        "offset 1e4": 1e4 + 0.5 * rng.exponential(size=n),
        "few": 0.5 * rng.exponential(size=100),
    }


@pytest.mark.parametrize("name", tails())
def test_matches_arviz_stats(name):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    log_weights = tails()[name]
    smoothed, khat = pareto_smooth(log_weights)
    theirs, their_khat = array_stats.psislw(-log_weights)  # it flips the sign of its input
    assert khat == pytest.approx(float(their_khat), abs=1e-2)
    if khat >= 1 / 3:  # below, theirs smooths and ours (as the paper) does not
        np.testing.assert_allclose(smoothed, theirs, atol=1e-2)


@pytest.mark.parametrize("name", tails())
def test_matches_blackjax(name):
    psis_weights = pytest.importorskip("blackjax.diagnostics").psis_weights
    log_weights = tails()[name]
    smoothed, khat = pareto_smooth(log_weights)
    with jax.numpy_dtype_promotion("standard"):
        theirs, their_khat = psis_weights(jnp.asarray(log_weights - log_weights.max()))
    assert khat == pytest.approx(float(their_khat), abs=1e-2)
    np.testing.assert_allclose(smoothed, np.asarray(theirs), atol=1e-2)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.3, 0.7, 1.5])
def test_generalized_pareto_recovers_the_shape(shape):
    m = 4000
    uniform = np.sort(np.random.default_rng(1).uniform(size=m))
    excess = -np.log1p(-uniform) if shape == 0 else np.expm1(-shape * np.log1p(-uniform)) / shape
    k, sigma = fit_generalized_pareto(2.5 * excess)
    assert abs(k - shape) < 5 * (1 + abs(shape)) / np.sqrt(m)  # sd of the MLE is (1 + k)/sqrt(m)
    assert sigma == pytest.approx(2.5, rel=5 * np.sqrt(2 * (1 + abs(shape)) / m))


def test_normal_in_a_narrow_normal_has_the_textbook_shape():
    # p = N(0, 1), q = N(0, s): the weights' tail has k = 1 - s^2
    z = np.random.default_rng(2).normal(size=100_000)
    assert pareto_smooth(0.5 * z**2 * (1 - 0.6**2))[1] == pytest.approx(0.64, abs=0.15)
    assert pareto_smooth(0.5 * z**2 * (1 - 1.5**2))[1] < 0.2


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_constant_weights_have_no_tail(offset):
    noise = 1e-12 * np.random.default_rng(0).normal(size=1000)
    log_weights, khat = pareto_smooth(offset + noise)
    assert khat == -np.inf
    np.testing.assert_allclose(np.exp(log_weights), 1e-3)


def test_what_is_not_finite_is_counted_never_dropped():
    log_weights = 0.4 * np.random.default_rng(5).exponential(size=1000)
    log_weights[:100] = -np.inf
    smoothed, khat = pareto_smooth(log_weights)
    assert khat < 1  # a target that is zero somewhere is no fault
    assert (smoothed[:100] == -np.inf).all()
    assert np.exp(smoothed).sum() == pytest.approx(1)
    for bad in (np.nan, np.inf):
        log_weights[200] = bad
        smoothed, khat = pareto_smooth(log_weights)
        assert khat == np.inf
        assert smoothed[200] == -np.inf
        assert np.exp(smoothed).sum() == pytest.approx(1)
    smoothed, khat = pareto_smooth(np.full(50, np.nan))
    assert khat == np.inf
    assert (smoothed == -np.inf).all()


def test_one_draw_that_outweighs_all_is_not_a_tail():
    assert pareto_smooth(np.r_[np.zeros(999), 2000.0])[1] == np.inf
    assert pareto_smooth(np.zeros(1))[1] == -np.inf
    assert pareto_smooth(np.arange(4.0))[1] == np.inf


def test_input_is_not_changed_and_shape_is_checked():
    log_weights = 0.8 * np.random.default_rng(5).exponential(size=1000)
    before = log_weights.copy()
    pareto_smooth(log_weights)
    np.testing.assert_array_equal(log_weights, before)
    with pytest.raises(
        ValueError, match=r"`log_weights` should have shape \(n,\).*got shape \(0,\)"
    ):
        pareto_smooth(np.zeros(0))


def normal_density(x, scale):
    return jnp.sum(-0.5 * (x / scale) ** 2 - jnp.log(scale) - HALF_LOG_2PI)


def normal_target(scale):
    return Target.from_density(normal_density, like=jnp.zeros(2), data=jnp.asarray(scale))


def test_draw_weighted_against_the_closed_forms():
    target, q = normal_target([1.0, 1.4]), MeanFieldNormal.init(jnp.array([0.3, 0.0]))
    weighted = draw_weighted(target, q, KEY, 4000)
    kl = 0.5 * 0.3**2 + 0.5 * (1.4**-2 - 1) + np.log(1.4)
    assert abs(weighted.elbo + kl) < 5 * weighted.elbo_std_error < 0.1
    assert abs(weighted.log_evidence) < 6 * weighted.log_evidence_std_error
    assert weighted.num_bad == 0
    assert weighted.x.shape == (4000, 2)
    assert 0.2 < weighted.relative_ess < 0.9
    np.testing.assert_allclose(
        weighted.log_p[0], target.log_density(jnp.asarray(weighted.x[0])), rtol=1e-5
    )


def test_exact_fit_in_float32_has_no_khat():
    scale_tril = jnp.array([[1.0, 0.0], [0.9, 0.1]])
    q = FullRankNormal.from_moments(jnp.array([100.0, -30.0]), scale_tril)
    target = Target.from_density(lambda x, q: q.log_prob(x) + 1234.5, like=jnp.zeros(2), data=q)
    weighted = draw_weighted(target, q, KEY, 1000)
    assert weighted.khat == -np.inf
    assert weighted.relative_ess == pytest.approx(1)
    assert weighted.elbo == pytest.approx(1234.5, abs=1e-2)


def test_draws_do_not_depend_on_their_number_and_compile_once():
    target, q = normal_target([1.0, 1.0]), MeanFieldNormal.init(jnp.zeros(2))
    many, few = draw_weighted(target, q, KEY, 300), draw_weighted(target, q, KEY, 70)
    np.testing.assert_array_equal(many.x[:70], few.x)
    with record_compiles() as record:
        draw_weighted(normal_target([3.0, 1.0]), MeanFieldNormal.init(jnp.ones(2)), KEY, 300)
    assert record.count == 0


@pytest.mark.parametrize("bad", [jnp.nan, -jnp.inf])
def test_a_density_that_fails_somewhere_is_flagged(bad):
    target = Target.from_density(lambda x: jnp.where(x > 1.5, bad, -0.5 * x**2), like=0.0)
    weighted = draw_weighted(target, MeanFieldNormal.init(jnp.zeros(1)), KEY, 1000)
    assert 30 < weighted.num_bad < 110  # P(z > 1.5) = 0.067
    assert weighted.num_nan == (weighted.num_bad if np.isnan(bad) else 0)
    assert weighted.elbo == -np.inf
    assert weighted.elbo_std_error == np.inf
    assert np.isfinite(weighted.log_evidence)
    assert weighted.khat == np.inf or not np.isnan(bad)
    assert (weighted.x[resample(weighted, KEY, 500)] <= 1.5).all()


def test_a_density_that_fails_everywhere_is_flagged():
    target = Target.from_density(lambda x: jnp.nan * x, like=0.0)
    weighted = draw_weighted(target, MeanFieldNormal.init(jnp.zeros(1)), KEY, 100)
    assert (weighted.num_bad, weighted.ess, weighted.elbo) == (100, 0.0, -np.inf)
    assert (weighted.log_evidence, weighted.khat) == (-np.inf, np.inf)
    with pytest.raises(ValueError, match="all 100 are NaN or infinite"):
        resample(weighted, KEY, 5)


def test_resampling_corrects_the_moments():
    target, q = normal_target([1.0, 1.0]), MeanFieldNormal.init(jnp.array([0.4, 0.0]), 1.2)
    weighted = draw_weighted(target, q, KEY, 4000)
    picked = weighted.x[resample(weighted, KEY, 4000)]
    error = 5 / np.sqrt(weighted.ess)
    assert abs(picked.mean(0)).max() < error < 0.12
    assert abs(picked.std(0) - 1).max() < error
    assert abs(weighted.x.mean(0)[0]) > 0.3  # what had to be corrected


def test_resampling_is_systematic():
    weights = np.array([0.05, 0.6, 0.3, 0.05])
    weighted = WeightedDraws(np.zeros((4, 1)), np.log(weights), np.zeros(4))
    counts = np.bincount(resample(weighted, KEY, 1000), minlength=4)
    assert abs(counts - 1000 * weights).max() <= 1
    assert not (np.diff(resample(weighted, KEY, 1000)) >= 0).all()  # shuffled


@pytest.mark.parametrize("num_draws", [0, -1, True])
def test_counts_are_checked(num_draws):
    target, q = normal_target([1.0, 1.0]), MeanFieldNormal.init(jnp.zeros(2))
    with pytest.raises(ValueError, match="`num_draws` should be a whole number, at least 1; got"):
        draw_weighted(target, q, KEY, num_draws)


def test_dimensions_are_checked():
    with pytest.raises(ValueError, match="`family` should have the target's dimension, 2; got 3"):
        draw_weighted(normal_target([1.0, 1.0]), MeanFieldNormal.init(jnp.zeros(3)), KEY)
