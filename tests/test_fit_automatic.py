"""The automatic method on targets whose answer is known: no tuning, few gradients, right."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import normal_density, numpyro_model
from numpyro.distributions import MultivariateNormal

import vikl
from vikl.diagnostics import WeightedDraws
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.fitting import _automatic
from vikl.fitting._natural import Ascent, Moments, Row, draw_noise
from vikl.fitting._rivals import behind, clearly_better, symmetric_kl
from vikl.fitting._unsettled import unsettled
from vikl.objectives import ReverseKL


def fit(target, **changes):
    post = vikl.fit(target, **{"key": jax.random.key(0), "progress": False} | changes)
    assert post.num_gradients < 5000
    return post


def normal_target(loc, precision, like=None):
    loc, precision = (np.asarray(v, np.float32) for v in (loc, precision))
    return vikl.Target.from_density(
        normal_density,
        np.zeros(len(loc), np.float32) if like is None else like,
        data=(loc, precision),
    )


def assert_moments(post, mean, sd, mean_off=0.05, sd_off=0.02):
    """Assert means within `mean_off` sds, and sds within a share `sd_off`."""
    assert post.status == "converged", post.stopped_because
    np.testing.assert_allclose((np.asarray(post.mean) - mean) / sd, 0.0, atol=mean_off)
    np.testing.assert_allclose(post.std / sd, 1.0, atol=sd_off)


# -- normal targets, in closed form


def _correlated(dim):
    index = np.arange(dim)
    cov = 0.9 ** np.abs(index[:, None] - index)
    return np.sin(index), cov, np.linalg.inv(cov)


@pytest.fixture(scope="module")
def twenty():
    loc, cov, precision = _correlated(20)
    return loc, cov, precision, normal_target(loc, precision)


def test_a_correlated_normal_is_exact(twenty):
    loc, cov, _, target = twenty
    post = fit(target)
    assert_moments(post, loc, np.ones(20), 0.01, 0.01)
    np.testing.assert_allclose(post.cov, cov, atol=0.02)
    assert post.khat < 0.5


def test_mean_field_has_the_conditional_variances(twenty):
    loc, _, precision, target = twenty
    sd, worst = 1 / np.sqrt(np.diag(precision)), []
    for seed in range(5):
        post = fit(target, family=MeanFieldNormal, key=jax.random.key(seed))
        assert isinstance(post.family, MeanFieldNormal)
        # along the ridge of the target the mean is hardly worth anything to the ELBO
        assert_moments(post, loc, sd, 0.4, 0.05)
        off = np.asarray(post.mean) - loc
        assert 0.5 * off @ precision @ off < 0.01
        worst.append(np.abs(off / sd).max())
    assert np.median(worst) < 0.1


def test_the_elbo_of_a_normal_is_its_log_normaliser(twenty):
    _, cov, _, target = twenty
    post = fit(target)
    log_z = 10 * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(cov)[1]
    assert post.elbo == pytest.approx(log_z, abs=0.01)
    assert post.elbo_std_error < 0.01


def test_scales_from_1e8_down_to_1em8():
    sd = 10.0 ** np.linspace(-8, 8, 5)
    post = fit(normal_target(3 * sd, np.diag(1 / sd**2)))
    assert_moments(post, 3 * sd, sd)


def regression(beta, data):
    """Log posterior of a regression of known noise 1, with a wide normal prior."""
    x, y, prior_sd = data
    residual = y - x @ beta
    return -0.5 * jnp.sum(residual**2) - 0.5 * jnp.sum((beta / prior_sd) ** 2)


def test_an_ill_scaled_regression():
    """Predictors of scale 1e-4 to 1e4, 60 rows: the posterior is a normal in closed form."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** np.linspace(-4, 4, 5)
    x = rng.normal(size=(60, 5)) * scale
    x[:, 1] += 0.5 * x[:, 0] / scale[0] * scale[1]
    y = x @ (rng.normal(size=5) / scale) + rng.normal(size=60)
    x, y, prior = (np.asarray(v, np.float32) for v in (x, y, 10 / scale))
    exact = np.linalg.inv(
        x.T.astype(float) @ x.astype(float) + np.diag(1 / prior.astype(float) ** 2)
    )
    target = vikl.Target.from_density(regression, np.zeros(5, np.float32), data=(x, y, prior))
    post = fit(target)
    assert_moments(post, exact @ (x.T.astype(float) @ y), np.sqrt(np.diag(exact)))


# -- real ones

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], np.float32)
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], np.float32)


def eight_schools(v):
    """Non-centred: mu ~ N(0, 5), tau ~ half-Cauchy(5), theta = mu + tau z."""
    theta = v["mu"] + v["tau"] * v["z"]
    likelihood = -0.5 * jnp.sum(((jnp.asarray(EFFECTS) - theta) / jnp.asarray(ERRORS)) ** 2)
    prior = -0.5 * (v["mu"] / 5) ** 2 - jnp.log1p((v["tau"] / 5) ** 2) - 0.5 * jnp.sum(v["z"] ** 2)
    return likelihood + prior


def test_eight_schools():
    """Reference: 10,000 draws of posteriordb, mu 4.41 (3.31)."""
    like = {"mu": 0.0, "tau": 1.0, "z": np.zeros(8, np.float32)}
    target = vikl.Target.from_density(eight_schools, like, {"tau": "positive"})
    post = fit(target)
    assert post.status == "converged"
    table = post.summary()
    assert abs(table["mu"]["mean"] - 4.41) < 0.25 * 3.31
    assert table["mu"]["sd"] == pytest.approx(3.31, rel=0.1)
    assert table["tau"]["mean (resampled)"] == pytest.approx(3.6, abs=0.9)
    draws = post.sample(jax.random.key(1), 50)
    assert {k: v.shape for k, v in draws.items()} == {"mu": (50,), "tau": (50,), "z": (50, 8)}
    assert (draws["tau"] > 0).all()


def test_a_numpyro_model(standard_promotion):
    y = np.array([1.0, 3.0, 2.0, 2.5], np.float32)
    post = fit(vikl.Target.from_numpyro(numpyro_model, y))
    assert post.status == "converged"
    assert post.mean[0] == pytest.approx(y.mean(), abs=0.1)
    draws = post.sample(jax.random.key(1), 20)
    np.testing.assert_allclose(draws["ratio"], draws["mu"] / draws["tau"], rtol=1e-5)
    again = fit(vikl.Target.from_numpyro(numpyro_model, y + 1.0))
    assert again.compile_seconds == 0.0  # the data are traced
    assert again.mean[0] == pytest.approx(y.mean() + 1.0, abs=0.1)


def funnel(x):
    """Neal's funnel in two dimensions, normalised."""
    norm = -np.log(2 * np.pi * 3.0)
    return norm - 0.5 * (x[0] / 3.0) ** 2 - 0.5 * x[1] ** 2 * jnp.exp(-x[0]) - 0.5 * x[0]


def test_a_funnel_does_not_collapse():
    # a key whose draws leave no doubt that the first fit is poor: a second one is tried
    post = fit(vikl.Target.from_density(funnel, np.zeros(2, np.float32)), key=jax.random.key(7))
    assert -5.0 < post.elbo < 0.0
    assert post.std[0] > 0.5
    broad = [start for start in post.starts if start.kind == "broad normal"]
    assert broad
    told = [start for start in broad if np.isfinite(start.divergence)]
    assert told
    assert all(np.isfinite(start.elbo) for start in told)
    assert all(start.divergence < 1.0 for start in told if start.note.startswith("kept"))
    report = post.check(jax.random.key(1), num_draws=500)
    assert report.start_divergences.tolist() == [start.divergence for start in told]


def centred(v, y):
    """Log density of groups' levels about a common one, and of measurements: a funnel's neck."""

    def normal(x, loc, scale):
        return jnp.sum(-0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale))

    levels = normal(v["level"], v["mean"], v["spread"]) + normal(v["mean"], 0.0, 1000.0)
    return levels + normal(y, v["level"][:, None], v["sd"])


def fit_centred(seed):
    rng = np.random.default_rng(3)
    levels = 150.0 + 8.0 * rng.normal(size=20)
    y = (levels[:, None] + 5.0 * rng.normal(size=(20, 4))).astype(np.float32)
    post = vikl.fit(
        centred, like={"level": np.zeros(20, np.float32), "mean": 0.0, "spread": 1.0, "sd": 1.0},
        support={"spread": "positive", "sd": "positive"}, data=y,
        key=jax.random.key(seed), progress=False,
    )  # fmt: skip
    return post, y


@pytest.mark.parametrize("seed", [0, 1])
def test_a_centred_hierarchy_is_not_left_in_its_neck(seed, monkeypatch):
    """The density has no bound where the levels agree: every climb ends there, 40 nats too low.

    Such climbs still promise much, and are left at once; looking closely at them costs more.
    """
    post, y = fit_centred(seed)
    assert post.status == "converged"
    assert post.num_gradients < 5000
    draws = post.sample(jax.random.key(1), 1000)
    within = y.std(axis=1, ddof=1)
    assert float(draws["sd"].mean()) == pytest.approx(np.sqrt(np.mean(within**2)), rel=0.1)
    assert float(draws["spread"].mean()) == pytest.approx(y.mean(axis=1).std(ddof=1), rel=0.15)
    np.testing.assert_allclose(draws["level"].mean(axis=0), y.mean(axis=1), atol=4.0)
    assert post.check(jax.random.key(2)).word in ("good", "usable after resampling")
    monkeypatch.setattr(_automatic, "_ADRIFT", np.inf)
    closely, _ = fit_centred(seed)
    assert closely.num_gradients > post.num_gradients + 400
    assert closely.elbo < post.elbo + 0.1


def test_a_broad_start_that_does_not_settle_is_compared_without_a_judge(monkeypatch):
    """As in the fits that begin a mixture: climbs are in the neck, and the budget is short."""
    tried = []
    from_modes = _automatic.Automatic._from_modes
    keep = lambda self, climbs: tried.append(from_modes(self, climbs)) or tried[-1]
    monkeypatch.setattr(_automatic.Automatic, "_from_modes", keep)
    monkeypatch.setattr(_automatic, "_GRADIENTS", 2000)
    monkeypatch.setattr(_automatic, "_ROUNDS_AT_LEAST", 1)
    monkeypatch.setattr(_automatic, "_STRETCHES", 1)
    monkeypatch.setattr(_automatic, "_RESERVE", 0.6)
    y = (150.0 + np.random.default_rng(3).normal(size=(20, 4)) * 8.0).astype(np.float32)
    target = vikl.Target.from_density(
        centred, {"level": np.zeros(20, np.float32), "mean": 0.0, "spread": 1.0, "sd": 1.0},
        support={"spread": "positive", "sd": "positive"}, data=y,
    )  # fmt: skip
    run = _automatic.Automatic(target, FullRankNormal, jax.random.key(0), None)
    found = run.go()
    assert run.adrift
    assert len(tried) == 1
    assert found.ending.status == "budget spent"
    assert [s.kind for s in found.starts].count("broad normal") == 1


@pytest.mark.parametrize(
    ("pace", "given_up"),
    [
        (lambda n: -1000.0 + 40.0 * n, False),  # there in time
        (lambda n: -1000.0 + 11.0 * n, False),  # it would be, at three times its pace
        (lambda n: -1000.0 * 0.8**n, False),  # the gap shrinks by the same factor
        (lambda n: -1000.0 + n, True),
        (lambda n: -1000.0, True),
    ],
)
def test_a_second_opinion_is_given_up_where_it_cannot_win(pace, given_up):
    late = behind(goal=0.0, began=0, end=6000.0)
    said = [late(100 * n, pace(n)) for n in range(1, 31)]
    assert not any(said[:7])
    assert any(said) == given_up


def test_a_fit_is_better_only_where_that_is_clear():
    def draws(elbo, error):
        log_p = elbo + error * 10 * np.tile([1.0, -1.0], 50)
        return WeightedDraws(np.zeros((100, 1)), log_p, np.zeros(100))

    assert clearly_better(draws(1.0, 0.0), draws(0.0, 0.0))
    assert not clearly_better(draws(0.05, 0.0), draws(0.0, 0.0))
    assert not clearly_better(draws(1.0, 0.0), draws(0.0, 1.0))
    assert clearly_better(draws(1.0, 0.0), draws(-1e6, 1e6))  # wild draws are no excuse
    assert clearly_better(draws(-5.0, 0.0), draws(-np.inf, 0.0))


@pytest.mark.parametrize(
    ("log_density", "status"),
    [
        (lambda x: -0.5 * np.sum((x / 0.1) ** 2, axis=1), None),  # q has only just arrived
        (lambda x: -4.0 * np.log(np.sum(x**2, axis=1)), "unbounded target"),  # a spike
    ],
)
def test_unbounded_is_said_where_the_way_on_is_uphill(log_density, status):
    """A q that kept shrinking while its ELBO kept rising may be near its end, or have none."""
    rows = [Row(64 * n, float(n), 0.1, -float(n)) for n in range(32)]
    narrow, wide = (Moments(np.zeros(2), size * np.eye(2)) for size in (0.1, 1.0))
    best = Ascent(narrow, rows, False, "the budget is spent", 31.0, 0.1, np.inf, None, wide)
    noise = draw_noise(np.random.default_rng(0), 64, 2, matched=True)

    def evaluate(x):
        return log_density(x), -x / 0.1**2

    ending = unsettled(best, evaluate, noise, ("a", "b"))
    assert (None if ending is None else ending.status) == status


def two_modes(x):
    """Two equal normals, ten sds apart."""
    return jnp.logaddexp(-0.5 * jnp.sum((x - 5.0) ** 2), -0.5 * jnp.sum((x + 5.0) ** 2))


def test_a_second_mode_is_named():
    post = fit(vikl.Target.from_density(two_modes, np.zeros(2, np.float32)))
    assert "2 distinct modes of similar evidence were found" in post.stopped_because
    assert "the fit covers one of them" in repr(post)
    assert abs(float(post.mean[0])) == pytest.approx(5.0, abs=0.1)
    found = sorted(s.divergence for s in post.starts if np.isfinite(s.divergence))
    # two unit normals 10 apart in each of two dimensions
    assert found[-1] == pytest.approx(200, rel=0.05)
    assert found[0] < 0.05
    report = post.check(jax.random.key(1), num_draws=500)
    assert report.starts_disagree
    assert "other starts" in repr(report)
    assert report.word == "wrong"


def test_the_divergence_of_two_starts_is_the_formula():
    rng = np.random.default_rng(0)
    a, b = (
        Moments(rng.normal(size=3), np.tril(rng.normal(size=(3, 3))) + 3 * np.eye(3)) for _ in "ab"
    )
    p, q = (MultivariateNormal(m.mean, m.cov) for m in (a, b))
    with jax.numpy_dtype_promotion("standard"):
        exact = vikl.kl_divergence(p, q) + vikl.kl_divergence(q, p)
    assert symmetric_kl(a, b) == pytest.approx(float(exact), rel=1e-4)
    assert symmetric_kl(a, a) < 1e-12
    assert np.isnan(symmetric_kl(a, Moments(b.mean, np.zeros((3, 3)))))


# -- the arguments


@pytest.fixture(scope="module")
def plain():
    return normal_target([1.0, -2.0], [[2.0, 0.5], [0.5, 1.0]])


def test_the_same_key_gives_the_same_bits_and_compiles_nothing(plain):
    first, again = fit(plain), fit(plain)
    assert eqx.tree_equal(first.family, again.family)
    assert first.elbo == again.elbo
    assert first.num_gradients == again.num_gradients
    assert again.compile_seconds == 0.0


@pytest.mark.parametrize("family", [None, FullRankNormal, MeanFieldNormal])
def test_the_family_is_what_was_asked_for(plain, family):
    assert isinstance(fit(plain, family=family).family, family or FullRankNormal)
    objective = fit(plain, family=family, objective=ReverseKL())
    assert eqx.tree_equal(objective.family, fit(plain, family=family).family)


def test_an_instance_is_a_start(plain):
    start = FullRankNormal.init(jnp.array([50.0, 50.0]), 0.1)
    assert_moments(fit(plain, family=start), [1.0, -2.0], np.sqrt([1 / 1.75, 2 / 1.75]))


@pytest.mark.parametrize("num", [1, 3])
def test_the_number_of_starts_is_what_was_asked_for(plain, num):
    post = fit(plain, num_starts=num)
    assert sum(start.kind == "climb" for start in post.starts) == num
    assert post.status == "converged"


def test_callbacks_budgets_and_ctrl_c(plain):
    seen = []
    post = fit(plain, callback=seen.append)
    assert len(seen) == len(post.history["elbo"])
    stopped = fit(plain, callback=lambda snapshot: True)
    assert stopped.status == "stopped by callback"
    assert "`callback` returned True" in stopped.stopped_because

    def interrupt(snapshot):
        raise KeyboardInterrupt

    late = fit(plain, callback=interrupt)
    assert late.status == "interrupted"
    assert np.isfinite(late.elbo)
    assert fit(plain, max_seconds=0.0).status == "time spent"


def test_one_round_is_one_round(plain):
    assert len(fit(plain, num_steps=1).history["elbo"]) == 1


def test_a_callback_that_raises_loses_nothing(plain):
    def fails(snapshot):
        raise ValueError("no")

    with pytest.warns(UserWarning, match="`callback` raised ValueError: no"):
        post = fit(plain, callback=fails)
    assert post.status == "stopped by callback"
    assert "ValueError: no" in post.stopped_because
    assert np.isfinite(post.elbo)


def test_the_bar_is_drawn_on_stderr_when_asked(plain, capsys):
    fit(plain, progress=True)
    drawn = capsys.readouterr()
    assert "vikl" in drawn.err
    assert drawn.out == ""


def test_a_plain_objective_named_aloud_takes_score_functions_too():
    """Pathwise gradients of a staircase are zero: staying where it began would look converged."""
    post = vikl.fit(
        lambda x: jnp.floor(-jnp.sum(jnp.abs(x))),
        objective=ReverseKL(),
        like=2.0 * jnp.ones(1),
        key=jax.random.key(0),
        num_steps=300,
    )
    assert "score-function" in post.stopped_because
    assert abs(float(post.mean[0])) < 1.0
