"""The `Posterior`: every public name of it, and what its words say."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from monte_carlo import assert_mean

import vikl
from vikl.diagnostics import Report
from vikl.fitting import Posterior


def log_density(v):
    """Two real parameters and a positive one."""
    gamma = 3.0 * jnp.log(v["tau"]) - 2.0 * v["tau"]
    return -0.5 * jnp.sum((v["mu"] - jnp.array([1.0, -2.0])) ** 2) + gamma


LIKE = {"mu": np.zeros(2, np.float32), "tau": 1.0}


@pytest.fixture(scope="module")
def post():
    target = vikl.Target.from_density(log_density, LIKE, {"tau": "positive"})
    return vikl.fit(target, key=jax.random.key(0))


PROMISED = """sample log_prob mean cov std elbo elbo_std_error khat status stopped_because history
num_gradients compile_seconds run_seconds check resample plot to_arviz save summary""".split()


@pytest.mark.parametrize("name", PROMISED)
def test_every_promised_name_is_there(post, name):
    value = getattr(post, name)
    assert value is not None
    assert not callable(value) or (value.__doc__ or "").strip()


def test_fit_takes_the_promised_arguments():
    parameters = inspect.signature(vikl.fit).parameters
    positional = ["target", "family", "objective", "optimizer"]
    assert list(parameters)[:4] == positional
    for name in ("key", "like", "num_steps", "num_starts", "progress", "callback", "checkpoint"):
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["key"].default is inspect.Parameter.empty


def test_kinds(post):
    assert isinstance(post, Posterior)
    numbers = ("elbo", "elbo_std_error", "khat", "compile_seconds", "run_seconds")
    assert all(isinstance(getattr(post, n), float) for n in numbers)
    assert isinstance(post.num_gradients, int)
    assert post.status == "converged"
    assert all(isinstance(column, np.ndarray) for column in post.history.values())
    assert {"elbo", "elbo_std_error"} <= set(post.history)
    assert (post.mean.shape, post.std.shape, post.cov.shape) == ((3,), (3,), (3, 3))


def test_draws_are_named_constrained_and_those_of_the_key(post):
    draws = post.sample(jax.random.key(1), 7)
    assert {k: v.shape for k, v in draws.items()} == {"mu": (7, 2), "tau": (7,)}
    assert (draws["tau"] > 0).all()
    again = post.sample(jax.random.key(1), 7)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), draws, again))
    other = post.sample(jax.random.key(2), 7)
    assert not (draws["tau"] == other["tau"]).any()


def test_draws_have_the_moments_of_the_fit(post):
    draws = post.sample(jax.random.key(1), 20_000)
    flat = np.column_stack([draws["mu"], np.log(draws["tau"])])
    assert_mean(flat, post.mean, detects=0.1)
    assert_mean((flat - np.asarray(post.mean)) ** 2, np.diag(post.cov), detects=0.15)


def test_log_prob_takes_one_or_many(post):
    x = jnp.zeros((4, 3))
    many = post.log_prob(x)
    assert many.shape == (4,)
    np.testing.assert_allclose(many[0], post.log_prob(x[0]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"`x` should have shape \(3,\) or \(n, 3\).*unconstrain"):
        post.log_prob(jnp.zeros(4))


def test_resampling_is_closer_to_the_target_than_the_fit(post):
    """tau ~ Gamma(4, 2) has mean 2 and variance 1; q is log-normal."""
    draws = post.resample(jax.random.key(2), 4_000)
    assert draws["mu"].shape == (4_000, 2)
    assert np.mean(draws["tau"]) == pytest.approx(2.0, abs=0.15)
    assert np.std(draws["tau"]) == pytest.approx(1.0, abs=0.15)


def test_the_elbo_is_below_the_evidence_by_little(post):
    log_z = np.log(2 * np.pi) + np.log(6.0) - 4 * np.log(2.0)  # ∫ τ³ e^{-2τ} dτ = Γ(4) / 2⁴
    assert post.elbo < log_z + 5 * post.elbo_std_error
    assert post.elbo > log_z - 0.1


def test_the_repr_says_the_status_and_the_numbers(post):
    text = repr(post)
    for word in (
        "FullRankNormal",
        "3 parameters",
        "converged",
        "ELBO",
        "k-hat",
        "gradients",
        "check",
    ):
        assert word in text
    assert post.stopped_because in text


def test_the_summary_is_a_table_of_named_parameters(post):
    table = post.summary()
    assert table.names == ("mu[0]", "mu[1]", "tau")
    row = table["tau"]
    assert row["mean (resampled)"] == pytest.approx(2.0, abs=0.15)
    assert row["5%"] < row["mean"] < row["95%"]
    for word in ("parameter", "mean", "sd", "5%", "95%", "mu[0]", "tau"):
        assert word in repr(table)


WORDS = ("good", "usable after resampling", "biased", "not converged", "wrong")


def test_the_verdict_begins_with_a_known_word(post):
    report = post.check(jax.random.key(3))
    assert isinstance(report, Report)
    assert report.verdict.startswith(WORDS)
    assert report.verdict.startswith(("good", "usable")), report.verdict
    assert "verdict" in repr(report).lower() or report.verdict.split(":")[0] in repr(report)


def test_a_fit_cut_short_is_not_good(post):
    import optax

    short = vikl.fit(
        post.target, vikl.families.FullRankNormal, None, optax.sgd(1e-6), key=jax.random.key(0),
        num_steps=5,
    )  # fmt: skip
    verdict = short.check(jax.random.key(3)).verdict
    assert verdict.startswith(WORDS)
    assert not verdict.startswith("good")


def test_a_plot_and_an_arviz_tree_come_out(post):
    pytest.importorskip("matplotlib")
    figure = post.plot()
    assert figure.axes
    import matplotlib.pyplot as plt

    plt.close(figure)
    pytest.importorskip("arviz_base")
    tree = post.to_arviz()
    assert set(tree["posterior"].data_vars) >= {"mu", "tau"}
