"""The verdict: right on fits whose error is known, and never "good" by k-hat alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vikl.diagnostics import VERDICTS, MomentShifts, WeightedDraws, check, moment_shifts
from vikl.diagnostics import draw_weighted as draw
from vikl.diagnostics._probe import ModeProbe
from vikl.diagnostics._verdict import Evidence, judge, parameters_off
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.target import Target

KEY = jax.random.key(11)
DIM = 5
COVARIANCE = 0.6 * np.ones((DIM, DIM)) + 0.4 * np.eye(DIM)
ROOT = np.linalg.cholesky(COVARIANCE)


def precision_normal(x, precision):
    return -0.5 * x @ (precision @ x)


def target():
    precision = jnp.asarray(np.linalg.inv(COVARIANCE))
    return Target.from_density(precision_normal, like=jnp.zeros(DIM), data=precision)


def full_rank(mean, root):
    as_jax = (jnp.asarray(np.asarray(v, float)) for v in (mean, root))
    return FullRankNormal.from_moments(*as_jax)


UNIT = np.eye(DIM)[2]
SHRINK = np.ones(DIM)
SHRINK[3] = 0.7
# mean, Cholesky factor, and whether q is right (0.2 sd in every mean, 20 % in every sd)
FITS = {
    "exact": (np.zeros(DIM), ROOT, True),
    "near": (0.05 * np.ones(DIM), 1.05 * ROOT, True),
    "10 % narrow": (np.zeros(DIM), 0.9 * ROOT, True),
    "one mean off by 0.3 sd": (0.3 * UNIT, ROOT, False),
    "all means off by 1 sd": (np.ones(DIM), ROOT, False),
    "far away and narrow": (5 * UNIT, 0.2 * ROOT, False),
    "30 % narrow": (np.zeros(DIM), 0.7 * ROOT, False),
    "ten times too narrow": (np.zeros(DIM), 0.1 * ROOT, False),
    "40 % wide": (np.zeros(DIM), 1.4 * ROOT, False),
    "one sd 30 % narrow": (np.zeros(DIM), SHRINK[:, None] * ROOT, False),
    "mean-field": (np.zeros(DIM), np.diag(np.diag(np.linalg.inv(COVARIANCE)) ** -0.5), False),
}


@pytest.mark.parametrize("name", FITS)
def test_verdicts_on_known_errors(name):
    mean, root, right = FITS[name]
    report = check(target(), full_rank(mean, root), KEY)
    assert report.word in VERDICTS
    assert report.word == "good" if right else report.word not in ("good", "not converged")
    if "one" in name:
        assert report.off[0] == ("x[2]" if "mean" in name else "x[3]")


def test_the_report_shows_its_evidence():
    report = check(target(), full_rank(0.4 * UNIT, ROOT), KEY, num_draws=1000)
    assert report.verdict.startswith("usable after resampling: q is off in x[2]")
    text = repr(report)
    for word in ("Next: use `posterior.resample", "ELBO", "k-hat", "gradients", "mass outside"):
        assert word in text
    assert len(text.splitlines()) < 12
    assert report.gap == pytest.approx(report.log_evidence - report.elbo)
    kl = 0.5 * 0.4**2 * np.linalg.inv(COVARIANCE)[2, 2]
    assert abs(report.gap - kl) < 5 * (report.elbo_std_error + report.log_evidence_std_error)
    assert report.num_evaluations == 1500
    again = check(target(), full_rank(0.4 * UNIT, ROOT), KEY, num_draws=1000)
    assert repr(again) == text


def test_not_converged_is_said_unless_the_fit_is_good_anyway():
    off, right = full_rank(2 * np.ones(DIM), ROOT), full_rank(np.zeros(DIM), ROOT)
    report = check(target(), off, KEY, converged=False)
    assert report.verdict.startswith("not converged: the fit stopped before it had settled")
    report = check(target(), right, KEY, converged=False)
    assert report.word == "good"
    assert report.notes[0].startswith("The optimiser had not settled")
    report = check(target(), right, KEY, starts_disagree=True)
    assert report.verdict.startswith("not converged: starts of about equal ELBO ended in different")


def two_modes(x):
    return jnp.logaddexp(-2 * jnp.sum((x + 2) ** 2), -2 * jnp.sum((x - 2) ** 2))


def test_a_collapsed_mode_with_perfect_weights_is_wrong():
    q = MeanFieldNormal.init(jnp.full(1, -2.0), 0.5)
    report = check(Target.from_density(two_modes, like=jnp.zeros(1)), q, KEY)
    assert report.relative_ess > 0.99  # the weights see nothing
    assert report.verdict.startswith("wrong: missed mass, about 50 %")
    assert "report.probe.optima" in report.advice


def undefined_on_the_right(x, edge):
    return jnp.where(x[0] > edge, jnp.nan, -0.5 * x @ x)


def test_a_target_that_is_undefined_is_wrong():
    q = MeanFieldNormal.init(jnp.zeros(2))
    for edge, words in ((1.0, "not finite at "), (-50.0, "not finite at every one of 500 draws")):
        hurt = Target.from_density(undefined_on_the_right, like=jnp.zeros(2), data=jnp.array(edge))
        report = check(hurt, q, KEY, num_draws=500)
        assert report.verdict.startswith("wrong: the log density is")
        assert words in report.verdict
        assert report.elbo == -np.inf
        assert np.isinf(report.gap)
        assert "nan" not in repr(report).lower().replace("(nan or +inf)", "")


def heavy_tails(x):
    return -4.0 * jnp.log1p(x @ x / 3)  # Student-t, 3 degrees of freedom, 5 dimensions


def test_tails_that_draws_of_q_cannot_show_count_in_the_moments():
    student = Target.from_density(heavy_tails, like=jnp.zeros(DIM))
    q = MeanFieldNormal.init(jnp.zeros(DIM), 1.12)  # where reverse KL ends; the sd is 1.73
    weighted = draw(student, q, KEY)
    own = np.sqrt(weighted.weights @ weighted.x**2)
    shifts = moment_shifts(student, q, KEY, weighted)
    assert (own / 1.12 < 1.25).all()  # the weights of q's own draws: almost nothing
    assert (np.exp(shifts.log_sd_shift) > 1.3).all()
    assert check(student, q, KEY).word != "good"


def test_moment_shifts_are_within_their_errors():
    mean, root = np.array([0.3, -0.2, 0, 0, 0]), np.diag([1.0, 1, 1.2, 0.8, 1]) @ ROOT
    z_mean, z_sd = [], []
    for seed in range(4):
        q, key = full_rank(mean, root), jax.random.key(seed)
        shifts = moment_shifts(target(), q, key, draw(target(), q, key))
        z_mean.append((shifts.mean_shift + mean) / shifts.mean_error)
        z_sd.append((shifts.log_sd_shift + np.log([1, 1, 1.2, 0.8, 1])) / shifts.log_sd_error)
    assert np.abs(z_mean).max() < 5
    assert np.abs(z_sd).max() < 5
    assert np.std(z_mean) > 0.3  # the errors are not merely large


def evidence(log_ratios, share=0.0, shift=0.0, home=0.0, **flags):
    n = len(log_ratios)
    weighted = WeightedDraws(np.zeros((n, 1)), np.asarray(log_ratios), np.zeros(n))
    one = np.ones(1)
    shifts = MomentShifts(("x",), shift * one, 0.01 * one, 0 * one, 0.01 * one, one, one)
    optima = np.ones((int(share > 0), 1))
    probe = ModeProbe(
        share, 0.01, optima, optima[:, 0], 0.0, 9 * optima[:, 0], 25, 460, 0, {}, 0, home
    )
    return Evidence(weighted, shifts, probe, **flags)


RNG = np.random.default_rng(0)
FLAT = 0.1 * RNG.normal(size=2000)
LOW = 0.85 * RNG.exponential(size=2000)  # a Pareto tail, k-hat about 0.85
SEVEN = np.random.default_rng(7)
TAIL = 0.05 * SEVEN.normal(size=2000)
TAIL[:134] += 0.45 * SEVEN.exponential(size=134)
TAIL[np.argmax(TAIL)] += 1.5  # k-hat 0.9; 66 ± 15 % of the draws count, 91 % without this one
BOUNDED = -16 * RNG.uniform(size=2000)  # light tail, few effective draws
JUDGED = {
    "good": evidence(FLAT),
    "good, but for one draw of 2,000": evidence(TAIL),
    "good, though not settled": evidence(FLAT, converged=False),
    "usable after resampling": evidence(FLAT, shift=0.25),
    "usable after resampling, though few count": evidence(BOUNDED),
    "usable after resampling, some zero": evidence(np.r_[FLAT, np.full(50, -np.inf)]),
    "biased": evidence(LOW, shift=0.5),
    "not converged": evidence(LOW, converged=False),
    "not converged, starts disagree": evidence(FLAT, starts_disagree=True),
    "wrong": evidence(FLAT, share=0.3),
    "wrong, in place": evidence(LOW, shift=2.0),
    "wrong, far from home": evidence(np.r_[LOW, 50.0], home=5.0),
    "wrong, undefined": evidence(np.r_[FLAT, np.full(50, np.nan)]),
    "wrong, undefined everywhere": evidence(np.full(10, np.nan)),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_table_of_verdicts(name):
    verdict, advice = judge(JUDGED[name])
    assert verdict.split(":")[0] == name.split(",")[0]
    assert advice.endswith(".")


def test_the_error_of_the_share_of_draws_that_count_is_what_it_scatters_by():
    rng = np.random.default_rng(1)
    samples = [WeightedDraws(np.zeros((2000, 1)), v, np.zeros(2000)) for v in
               0.6 * rng.normal(size=(200, 2000))]  # fmt: skip
    scatter = np.std([one.relative_ess for one in samples])
    claimed = np.median([one.relative_ess_std_error for one in samples])
    assert 0.8 < claimed / scatter < 1.25
    flat = WeightedDraws(np.zeros((9, 1)), np.zeros(9), np.zeros(9))
    assert flat.relative_ess_std_error < 1e-6
    assert (
        WeightedDraws(np.zeros((9, 1)), np.full(9, np.nan), np.zeros(9)).relative_ess_std_error
        == np.inf
    )


def test_khat_alone_never_says_good():
    seen = JUDGED["good"]
    khat = seen.weighted.khat
    assert khat < 0.5
    assert judge(evidence(FLAT, share=0.06))[0].startswith("wrong")
    few = JUDGED["usable after resampling, though few count"].weighted
    assert few.khat < 0.5
    assert few.relative_ess < 0.2
    unknown = dataclasses.replace(seen.shifts, mean_shift=np.full(1, np.nan))
    spoiled = dataclasses.replace(seen, shifts=unknown)
    assert parameters_off(unknown) == ("x",)
    assert not judge(spoiled)[0].startswith("good")
