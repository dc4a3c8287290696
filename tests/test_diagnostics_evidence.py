"""The evidence beside the verdict: right on known answers, and raised by a deliberately bad q."""

import sys
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl
from vikl.diagnostics import (
    WeightedDraws,
    check,
    draw_weighted,
    error_bounds,
    first_look,
    mcmc_probe,
    parameter_khats,
    score_checks,
    stationarity,
    symmetric_kl,
)
from vikl.diagnostics._agreement import disagree
from vikl.diagnostics._iterates import Iterates, settle
from vikl.diagnostics._linear_response import linear_response_cov
from vikl.diagnostics._verdict import still_moving
from vikl.families import FullRankNormal, MeanFieldNormal

KEY = jax.random.key(4)
DIM = 2
ROOT = np.array([[1.0, 0.0], [0.6, 0.8]])


def precision_normal(x, precision):
    return -0.5 * x @ (precision @ x)


@pytest.fixture(scope="module")
def target():
    precision = jnp.asarray(np.linalg.inv(ROOT @ ROOT.T), jnp.float32)
    return vikl.Target.from_density(precision_normal, np.zeros(DIM, np.float32), data=precision)


def normal(mean, root):
    return FullRankNormal.from_moments(
        *(jnp.asarray(np.asarray(v, np.float32)) for v in (mean, root))
    )


# -- bounds


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (0.2, 1.0), (0.1, 1.1), (0.0, 1.3)])
def test_bounds_hold_and_are_those_of_the_formula(target, mean, scale):
    q = normal(np.full(DIM, mean), scale * ROOT)
    bounds = error_bounds(draw_weighted(target, q, KEY))
    assert (bounds.mean >= mean / scale - 1e-3).all()
    assert (bounds.sd >= abs(1 / scale - 1) - 1e-3).all()
    # D2 of two normals in closed form, with log Z in place of the ELBO
    s2 = scale**2
    z2 = np.sum(np.linalg.solve(ROOT, np.full(DIM, mean)) ** 2)
    exact = DIM * np.log(s2) - 0.5 * DIM * np.log(2 * s2 - 1) + z2 / (2 * s2 - 1)
    kl = DIM * (0.5 * (s2 - 1) - np.log(scale)) + 0.5 * z2
    assert bounds.log_divergence == pytest.approx(exact + 2 * kl, abs=0.02 + 0.1 * exact)


def test_no_bound_where_the_weights_cannot_give_one(target):
    for scale in (0.3, 0.6):
        bounds = error_bounds(draw_weighted(target, normal(np.zeros(DIM), scale * ROOT), KEY))
        assert np.isinf(bounds.mean).all()
        assert "none" in repr(bounds)


# -- Stein and Fisher


class Mine(vikl.families.Family):
    """A family that no rule knows."""

    inner: FullRankNormal
    reparameterized: ClassVar[bool] = True

    @property
    def dim(self):
        return self.inner.dim

    def sample_and_log_prob(self, key):
        return self.inner.sample_and_log_prob(key)

    def log_prob(self, x):
        return self.inner.log_prob(x)


def test_score_checks_of_a_right_fit_are_zero(target):
    q = normal(np.zeros(DIM), ROOT)
    found = score_checks(target, q, KEY, draw_weighted(target, q, KEY))
    assert np.abs(found.mean).max() < 1e-3
    assert np.abs(found.spread).max() < 1e-3
    assert found.fisher < 1e-6
    assert found.num_gradients == 100


def test_score_checks_find_what_is_off(target):
    # in whitened coordinates z the target is N(−m/s, 1/s²): its score is −s²(z + m/s)
    shift, scale = np.array([0.5, -0.3]), 0.7
    q = normal(ROOT @ shift, scale * ROOT)
    found = score_checks(target, q, KEY, draw_weighted(target, q, KEY))
    np.testing.assert_allclose(found.mean, -scale * shift, atol=1e-4)
    np.testing.assert_allclose(found.spread, 1 - scale**2, atol=0.2)
    exact = (1 - scale**2) ** 2 + np.mean((scale * shift) ** 2)
    assert abs(found.fisher - exact) < 5 * found.fisher_error + 1e-3
    assert np.abs(found.spread[0]) > 3 * found.spread_error[0]


def test_score_checks_of_another_family_agree_with_the_normals(target):
    q = normal([0.3, 0.0], ROOT)
    weighted = draw_weighted(target, q, KEY)
    a, b = (score_checks(target, f, KEY, weighted) for f in (q, Mine(q)))
    assert abs(a.fisher - b.fisher) < 5 * np.hypot(a.fisher_error, b.fisher_error) + 0.05
    assert b.fisher > 0.01


# -- agreement and the record


def test_symmetric_kl_is_the_formula():
    fits = [MeanFieldNormal.init(jnp.zeros(2)), MeanFieldNormal.init(jnp.ones(2), 2.0)]
    kl = lambda m, s, v: np.log(v / s) + (s**2 + m**2) / (2 * v**2) - 0.5
    exact = 2 * (kl(1, 1, 2) + kl(1, 2, 1))
    np.testing.assert_allclose(symmetric_kl(fits), [[0, exact], [exact, 0]], rtol=1e-5)


def test_rivals_that_are_elsewhere_disagree():
    apart = np.array([9.0])
    assert disagree([-1.0, -1.2], [0.1, 0.1], apart)
    assert not disagree([-1.0, -1.2], [0.1, 0.1], 0.01 * apart)
    assert not disagree([-1.0, -5.0], [0.1, 0.1], apart)  # it lost: no rival
    assert disagree([-1.0, -1.2], [0.1, 0.1], np.nan * apart)  # unknown is not agreement


def record(drift, cells=40, steps=100):
    cell = np.random.default_rng(0).normal(size=(cells, steps))
    cell += drift * np.linspace(0, 1, cells)[:, None]
    return {
        "step": steps * np.arange(1.0, cells + 1), "elbo": cell.mean(1),
        "elbo_std_error": cell.std(1) / steps**0.5,
    }  # fmt: skip


def test_a_record_that_rises_is_not_stationary():
    still, rising = stationarity(record(0.0)), stationarity(record(4.0))
    assert still.rhat < 1.01 < rising.rhat
    assert abs(still.drift) < 3 * still.drift_error
    assert rising.drift > 5 * rising.drift_error
    assert still.monte_carlo_error == pytest.approx(0.1 / 20**0.5, rel=0.5)
    for short in ({}, {"step": np.ones(1), "elbo": np.ones(1)}, record(0.0, cells=4)):
        assert "unknown" in repr(stationarity(short))


def test_khat_of_a_parameter_sees_its_tail():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 2))
    x[:, 1] = np.sinh(3 * x[:, 1])
    khats = parameter_khats(WeightedDraws(x, np.zeros(2000), np.zeros(2000)))
    assert khats[0] < 0.3 < 0.7 < khats[1]


# -- MCMC


def test_mcmc_leaves_a_bad_fit_and_stays_with_a_good_one(target):
    pytest.importorskip("blackjax")
    good = normal(np.zeros(DIM), ROOT)
    report = check(target, good, KEY, num_draws=1000, mcmc_steps=100)
    assert report.word == "good"
    moved = report.mcmc
    assert moved is not None
    assert (np.abs(moved.mean_shift) < 5 * moved.mean_error).all()
    assert moved.acceptance > 0.6
    assert "NUTS" in repr(report)
    bad = normal([1.0, 0.0], 0.5 * ROOT)
    moved = mcmc_probe(target, bad, KEY, draw_weighted(target, bad, KEY, 1000), num_steps=100)
    assert moved.mean_shift[0] < -3 * moved.mean_error[0]
    assert (moved.log_sd_shift > 0.3).all()


def test_mcmc_without_blackjax_says_what_to_install(target, monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    q = MeanFieldNormal.init(jnp.full(DIM, 0.5))
    with pytest.raises(ImportError, match=r"vikl\[mcmc\]"):
        check(target, q, KEY, num_draws=1000, mcmc_steps=3)
    assert check(target, q, KEY, num_draws=1000).mcmc is None


# -- where the verdict shows


def test_the_verdict_shows_in_repr_status_and_figure(target):
    post = vikl.fit(target, key=KEY)
    assert post.report is None
    assert post.status == "converged"
    assert "not checked yet" in repr(post)
    assert not post.verdict.startswith("good")
    report = post.check(KEY, others=[vikl.fit(target, key=jax.random.key(9))])
    assert report.start_divergences.max() < 0.05
    assert post.report is report
    assert post.status == "converged; good"
    assert post.verdict == report.verdict
    assert f"verdict: {report.verdict}. Next: {report.advice}" in repr(post)
    pytest.importorskip("matplotlib")
    words = [t.get_text() for t in post.plot().findobj(lambda a: hasattr(a, "get_text"))]
    assert "Verdict: good" in " ".join(words)


def test_other_fits_must_be_fits_of_the_target(target):
    post: Any = vikl.fit(target, key=KEY)
    with pytest.raises(ValueError, match=r"`others` should be posteriors .*got int"):
        post.check(KEY, others=[3])


def test_a_first_look_never_says_good():
    for log_ratios in (np.zeros(500), 5 * np.random.default_rng(0).normal(size=500)):
        words = first_look(WeightedDraws(np.zeros((500, 1)), log_ratios, np.zeros(500)))
        assert not words.startswith("good")
    bad = first_look(WeightedDraws(np.zeros((5, 1)), np.full(5, np.nan), np.zeros(5)))
    assert bad.startswith("the log density is not finite at 5 of 5")


# -- linear response


def test_linear_response_is_exact_for_a_correlated_normal(target):
    covariance = ROOT @ ROOT.T
    sd = np.diag(np.linalg.inv(covariance)) ** -0.5  # what mean-field finds
    q = MeanFieldNormal.init(jnp.zeros(DIM), np.asarray(sd, np.float32))
    np.testing.assert_allclose(linear_response_cov(target, q, KEY), covariance, rtol=1e-3)
    with pytest.raises(Exception, match=r"family"):  # by the checker or by the function itself
        linear_response_cov(target, cast(Any, normal(np.zeros(DIM), ROOT)), KEY)
    post = vikl.fit(target, MeanFieldNormal, key=KEY)
    row = post.summary()["x[0]"]
    assert row["sd"] == pytest.approx(0.8, rel=0.03)  # 1/sqrt(precision): too narrow
    assert row["sd (linear response)"] == pytest.approx(1.0, rel=0.03)
    assert row["sd (resampled)"] == pytest.approx(1.0, rel=0.15)
    assert "sd (linear response)" in repr(post.summary())


def test_linear_response_away_from_an_optimum_is_nan():
    upwards = vikl.Target.from_density(lambda x: 0.5 * jnp.sum(x**2), np.zeros(2, np.float32))
    assert np.isnan(linear_response_cov(upwards, MeanFieldNormal.init(jnp.zeros(2)), KEY)).all()


# -- what no verdict can be given on


def test_too_few_draws_are_refused(target):
    with pytest.raises(ValueError, match=r"`num_draws` should be at least 100; got 3"):
        check(target, normal(np.zeros(DIM), ROOT), KEY, num_draws=3)


def test_a_log_density_lost_in_rounding_is_not_good():
    far = vikl.Target.from_density(lambda x: 1e9 - 0.5 * jnp.sum(x**2), np.zeros(2, np.float32))
    report = check(far, MeanFieldNormal.init(jnp.zeros(2)), KEY, num_draws=500)
    assert report.verdict.startswith("wrong: log densities this large are rounded to 1.2e+02 nats")
    assert "subtract a constant" in report.advice


@pytest.mark.parametrize("df", [1.5, 0.9])
def test_a_family_without_moments_is_checked_too(target, df):
    q = vikl.families.StudentT.init(jnp.zeros(DIM), df=df)
    assert check(target, q, KEY, num_draws=500).word in vikl.diagnostics.VERDICTS


def iterates(drift, count=64, cells=8):
    """Return draws (cells, count, 2) of a walk of which the second parameter drifts, and sums."""
    draws = np.random.default_rng(3).normal(size=(cells, count, 2))
    draws[..., 1] += drift * np.linspace(-0.5, 0.5, cells * count).reshape(cells, count)
    step = cells + 1.0 + np.arange(cells)
    sums = (np.full(cells, float(count)), draws.mean(1), draws.var(1))
    return draws, Iterates(("loc[0]", "loc[1]"), step, *sums)


@pytest.mark.parametrize("drift", [0.0, 3.0])
def test_iterates_are_judged_as_if_all_of_them_were_kept(drift):
    draws, sums = iterates(drift)
    found = settle(sums)
    assert found is not None
    old, new = np.split(draws.reshape(-1, 2), 2)
    n = len(old)
    within = (old.var(0, ddof=1) + new.var(0, ddof=1)) / 2
    between = (new.mean(0) - old.mean(0)) ** 2 / 2
    rhat = np.sqrt((n - 1) / n + between / within)
    assert found.rhat == pytest.approx(rhat.max())
    assert found.drift == pytest.approx(np.abs(new.mean(0) - old.mean(0)).max())
    assert found.num_iterates == draws[..., 0].size
    assert still_moving(found) == (drift > 0)
    if drift:
        assert found.moving == "loc[1]"
    else:
        assert 0.5 < found.monte_carlo_error * np.sqrt(draws[..., 0].size) < 2.0


def test_few_iterates_say_nothing():
    _, sums = iterates(0.0, count=1)
    assert settle(sums) is None
    assert settle(None) is None
    assert not still_moving(None)


def test_a_fit_whose_iterates_move_has_not_converged(target):
    key, (_, sums) = jax.random.key(0), iterates(3.0)
    off = normal(np.array([4.0, 4.0]), ROOT)
    for settling, word in ((settle(sums), "not converged"), (settle(iterates(0.0)[1]), "wrong")):
        report = check(target, off, key, settling=settling)
        assert report.word == word
        assert "iterates     R-hat" in repr(report)
    right = check(target, normal(np.zeros(2), ROOT), key, settling=settle(sums))
    assert right.word == "good"  # evidence outweighs it
