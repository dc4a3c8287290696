"""What is special about each named method: its update, its settings, what it refuses."""

from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from cases import normal_density, small_target

import vikl
from vikl import families, methods, objectives
from vikl.fitting._natural import Moments
from vikl.methods import _batch_and_match, _score_matching
from vikl.methods._fixed_draws import FixedDraws, antithetic
from vikl.methods._hops import _due
from vikl.methods._newton import steihaug
from vikl.methods._normals import symmetric_kl
from vikl.methods._paths import Path, ThinNormal, _diagonal, normals
from vikl.methods._stationarity import best_window, effective_size, split_rhat
from vikl.methods._track import Track
from vikl.methods._whiten import Coordinates


@pytest.fixture
def rng():
    """The same draws in every test, whatever ran before."""
    return np.random.default_rng(0)


def fit(method, target=None, **changes):
    target = small_target() if target is None else target
    return vikl.fit(
        target, method=method, **{"key": jax.random.key(0), "progress": False} | changes
    )


# -- the arguments


anything: Any = methods  # what a user may pass, whatever the annotations say
REFUSED = [
    (lambda: fit(methods.Laplace), TypeError, ("`method`", "Call the class")),
    (lambda: fit("laplace"), TypeError, ("`method`", "'laplace'")),
    (lambda: fit(methods.Laplace(), objective=objectives.ReverseKL()), ValueError,
     ("`objective`", "Laplace")),
    (lambda: fit(methods.Laplace(), optimizer=optax.sgd(0.1)), ValueError, ("`optimizer`",)),
    (lambda: fit(methods.BatchAndMatch(), family=families.MeanFieldNormal), ValueError,
     ("`family`", "FullRankNormal", "BatchAndMatch", "MeanFieldNormal")),
    (lambda: methods.Laplace(num_starts=0), ValueError, ("`num_starts`", "0")),
    (lambda: methods.BatchAndMatch(batch_size=1), ValueError, ("`batch_size`", "at least 2")),
    (lambda: methods.BatchAndMatch(tolerance=-1.0), ValueError, ("`tolerance`", "-1.0")),
    (lambda: anything.BatchAndMatch(regularization=0.1), TypeError, ("`regularization`", "0.1")),
    (lambda: anything.BatchAndMatch(start="mode"), TypeError, ("`start`", "'mode'")),
    (lambda: anything.StochasticVI(objective="elbo"), TypeError, ("`objective`", "'elbo'")),
    (lambda: anything.StochasticVI(optimizer=0.1), TypeError, ("`optimizer`", "0.1")),
    (lambda: anything.StochasticVI(whiten=True), TypeError, ("`whiten`", "True")),
    (lambda: anything.StochasticVI(average=methods.PolyakAverage), TypeError, ("`average`",)),
    (lambda: anything.StochasticVI(stop=10), TypeError, ("`stop`", "StandsStill or Raabbvi")),
    (lambda: methods.StochasticVI(optimizer=optax.sgd(0.1), stop=methods.Raabbvi()), ValueError,
     ("`optimizer`", "Raabbvi")),
    (lambda: fit(methods.StochasticVI(objectives.ForwardKL(samples=np.zeros((5, 2))))), ValueError,
     ("`objective` ForwardKL", "whiten=None")),
    (lambda: methods.Raabbvi(factor=1.5), ValueError, ("`factor`", "1.5")),
    (lambda: methods.PolyakAverage(-1.0), ValueError, ("`memory`", "-1.0")),
    (lambda: anything.GaussianScoreMatching(num_steps=1.5), ValueError, ("`num_steps`", "1.5")),
    (lambda: anything.GaussianScoreMatching(start=methods.Laplace), TypeError, ("`start`",)),
]  # fmt: skip


@pytest.fixture
def as_users_see_it():
    """Switch off the runtime checks of types that only test runs have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("as_users_see_it")
@pytest.mark.parametrize(("call", "error", "fragments"), REFUSED)
def test_a_bad_argument_is_named(call, error, fragments):
    with pytest.raises(error) as caught:
        call()
    assert all(fragment in str(caught.value) for fragment in fragments), str(caught.value)


def test_a_staircase_has_no_gradient_to_use():
    with pytest.raises(ValueError, match="`method` needs the gradient"):
        fit(methods.Laplace(), lambda x: jnp.floor(-jnp.sum(jnp.abs(x))), like=jnp.ones(2))


def test_an_instance_of_the_family_is_the_start():
    """From far off, on a normal target, and without a Laplace fit."""
    start = families.FullRankNormal.init(jnp.array([20.0, -20.0]), 3.0)
    post = fit(methods.BatchAndMatch(), family=start)
    assert post.status == "converged"
    assert post.starts == ()
    np.testing.assert_allclose(post.mean, small_target().data[0], atol=0.03)


# -- Laplace


def test_laplace_keeps_the_mode_of_most_evidence():
    """A narrow high mode at 4, and a wide low one at −4 with more mass."""

    def density(x):
        narrow = -0.5 * jnp.sum(((x - 4.0) / 0.1) ** 2) + 1.0
        return jnp.logaddexp(narrow, -0.5 * jnp.sum((x + 4.0) ** 2))

    post = fit(methods.Laplace(num_starts=12), density, like=jnp.zeros(2))
    np.testing.assert_allclose(post.mean, -4.0, atol=1e-3)
    assert "2 distinct modes" in post.stopped_because or len(post.starts) == 12


def test_laplace_with_a_mean_field_has_the_conditional_variances():
    post = fit(methods.Laplace(), family=families.MeanFieldNormal)
    _, precision = small_target().data
    np.testing.assert_allclose(post.std, 1 / np.sqrt(np.diagonal(precision)), rtol=1e-3)


# -- batch and match


@pytest.mark.parametrize(("count", "dim"), [(10, 4), (3, 12), (2, 30)])
def test_batch_and_match_solves_its_equation(count, dim, rng):
    """Σ U Σ + Σ = V, in the dense and in the low-rank form alike."""
    wide, steep = rng.normal(size=(dim, count + 1)), 3.0 * rng.normal(size=(dim, count + 1))
    v, u = np.eye(dim) + wide @ wide.T, steep @ steep.T
    solvers = [_batch_and_match._solve_dense, _batch_and_match._solve_low_rank][: 1 + (count < dim)]
    for solve in solvers:
        root = solve(wide, steep)
        sigma = root @ root.T
        np.testing.assert_allclose(sigma @ u @ sigma + sigma, v, atol=1e-9)


def test_batch_and_match_minimises_its_objective(rng):
    """The step is a minimum of divergence + (2/λ) KL(q_t‖q), as the paper defines them."""
    dim, count, strength = 2, 5, 3.0
    noise, scores = rng.normal(size=(count, dim)), rng.normal(size=(count, dim))
    now = Moments(np.zeros(dim), np.eye(dim))

    def objective(mean, cov):
        off = scores + np.linalg.solve(cov, (noise - mean).T).T  # target's score less q's
        divergence = np.mean(np.einsum("bi,ij,bj->b", off, cov, off))
        kl = np.trace(np.linalg.inv(cov)) + mean @ np.linalg.solve(cov, mean) - dim
        return divergence + (kl + np.linalg.slogdet(cov)[1]) / strength

    found = _batch_and_match.match(now, noise, scores, strength)
    least = objective(found.mean, found.cov)
    for _ in range(50):
        bump = 0.03 * rng.normal(size=(dim, dim))
        moved = objective(found.mean + 0.03 * rng.normal(size=dim), found.cov + bump @ bump.T)
        assert moved > least
    shrunk = objective(found.mean, 0.98 * found.cov)
    assert shrunk > least


def test_the_low_rank_form_is_taken_and_exact_above_the_batch():
    """60 dimensions, 8 draws a step, scales from 1e-2 to 1e2."""
    sizes = jnp.geomspace(1e-2, 1e2, 60)
    post = fit(
        methods.BatchAndMatch(batch_size=8, num_steps=10),
        lambda x: -0.5 * jnp.sum(((x - 1.0) / sizes) ** 2), like=jnp.zeros(60),
    )  # fmt: skip
    assert post.status == "converged"
    np.testing.assert_allclose(post.std / sizes, 1.0, atol=1e-3)


# -- Gaussian score matching


def test_score_matching_matches_the_score(rng):
    dim = 4
    root = rng.normal(size=(dim, dim))
    q = Moments(rng.normal(size=dim), np.linalg.cholesky(root @ root.T + np.eye(dim)))
    noise, scores = rng.normal(size=(1, dim)), rng.normal(size=(1, dim))
    found = _score_matching.match(q, noise, scores)
    x = q.mean + q.scale @ noise[0]
    np.testing.assert_allclose(np.linalg.solve(found.cov, found.mean - x), scores[0], atol=1e-10)


def test_score_matching_finds_the_nearest_such_normal():
    """In one dimension: of all normals with that score there, the least KL(q_t‖q)."""
    z, g = 0.7, -1.3
    found = _score_matching.match(Moments(np.zeros(1), np.eye(1)), np.array([[z]]), np.array([[g]]))
    variance = np.geomspace(0.05, 20, 200_001)
    mean = z + variance * g
    kl = 0.5 * ((1 + mean**2) / variance - 1 + np.log(variance))
    best = int(np.argmin(kl))
    assert found.cov[0, 0] == pytest.approx(variance[best], rel=1e-3)
    assert found.mean[0] == pytest.approx(mean[best], abs=1e-3)


# -- deterministic ADVI and linear response


def correlated(dim=3):
    """A normal with strong correlations and sds 0.01, 1 and 100."""
    index = np.arange(dim)
    sizes = np.geomspace(1e-2, 1e2, dim)
    cov = 0.9 ** np.abs(index[:, None] - index) * np.outer(sizes, sizes)
    data = (jnp.asarray(sizes, float), jnp.asarray(np.linalg.inv(cov), float))
    return cov, vikl.Target.from_density(normal_density, jnp.zeros(dim), data=data)


def test_linear_response_mends_what_a_mean_field_gets_wrong(dtype):
    cov, target = correlated()
    sd = np.sqrt(np.diag(cov))
    post: Any = fit(methods.DeterministicADVI(), target)
    assert (np.asarray(post.std) < 0.7 * sd).all()
    found = post.details["linear_response_cov"]
    np.testing.assert_allclose(found / np.outer(sd, sd), cov / np.outer(sd, sd), atol=2e-3)
    np.testing.assert_allclose(post.details["linear_response_sd"], sd, rtol=2e-3)
    again = methods.linear_response_covariance(target, post.family, jax.random.key(1))
    np.testing.assert_allclose(again / np.outer(sd, sd), cov / np.outer(sd, sd), atol=2e-3)


def test_the_standard_errors_are_those_of_other_draws():
    """Of a target with thin tails and some skew: 60 fits by other draws scatter as each says."""
    target = vikl.Target.from_density(
        lambda x: jnp.sum(0.5 * x - 0.5 * x**2 - 0.1 * x**4), jnp.zeros(2)
    )
    start = families.MeanFieldNormal.init(jnp.array([0.3, 0.3]), 0.7)
    method, num = methods.DeterministicADVI(num_draws=100), 60
    posts: Any = [fit(method, target, family=start, key=jax.random.key(i)) for i in range(num)]
    for values, name in [
        ([p.mean for p in posts], "mean_std_error"),
        ([p.family.log_scale for p in posts], "log_sd_std_error"),
    ]:
        scatter = np.std(np.asarray(values, float), axis=0, ddof=1)
        said = np.mean([p.details[name] for p in posts], axis=0)
        # the sd of a sd from 60 values is 9 %: this finds an error that is wrong by a half
        np.testing.assert_allclose(scatter / said, 1.0, atol=5 * 0.09)


def test_the_hessian_is_that_of_the_objective(float64, rng):
    """By differences of the gradient, and by products alone."""
    target = vikl.Target.from_density(
        lambda x: -jnp.sum(jnp.cosh(x)) + 0.3 * x[0] * x[1] ** 2, jnp.zeros(2)
    )
    fixed = FixedDraws(target, antithetic(rng, 6, 2))
    mean, log_sd, step = rng.normal(size=2), 0.3 * rng.normal(size=2), 1e-5
    here = fixed.at(mean, log_sd)
    hessian = fixed.hessian(here)
    fixed.dim, dim = 100, fixed.dim  # as above the size at which it is kept whole
    scale = np.concatenate([np.exp(log_sd), np.ones(2)])
    for j, unit in enumerate(np.eye(4)):
        move = step * unit * scale
        sides = []
        for sign in (1, -1):
            point = fixed.at(mean + sign * move[:2], log_sd + sign * move[2:])
            # in the coordinates of `here`
            sides.append(fixed.gradient(point) * scale / np.append(np.exp(point.log_sd), [1, 1]))
        np.testing.assert_allclose((sides[0] - sides[1]) / (2 * step), hessian[j], atol=1e-6)
    fixed.dim = dim
    by_products = FixedDraws.product.__get__(fixed)
    np.testing.assert_allclose(by_products(here)(np.ones(4)), hessian.sum(axis=0), atol=1e-10)


def test_steihaug_stops_at_the_edge_and_at_negative_curvature():
    inside = steihaug(np.array([1.0, 0.0]), lambda p: np.array([2.0, 1.0]) * p, 10.0)
    assert (inside.move.tolist(), inside.at_edge) == ([-0.5, 0.0], False)
    for bend in (2.0, -2.0):
        cut = steihaug(np.array([1.0, 0.0]), lambda p, bend=bend: bend * p, 0.1)
        assert cut.at_edge
        assert cut.promise > 0
        np.testing.assert_allclose(cut.move, [-0.1, 0.0])


LINEAR_RESPONSE_REFUSED = [
    ({"mean_field": families.FullRankNormal}, TypeError, "`mean_field`.*FullRankNormal"),
    ({"dim": 3}, ValueError, "`mean_field`.*dimension, 2; got 3"),
    ({"num_draws": 5}, ValueError, "`num_draws`.*even.*5"),
    ({"at": 50.0}, ValueError, "`mean_field` should be at an optimum"),
]


@pytest.mark.usefixtures("as_users_see_it")
@pytest.mark.parametrize(("change", "error", "words"), LINEAR_RESPONSE_REFUSED)
def test_linear_response_refuses(change, error, words):
    kind = change.get("mean_field", families.MeanFieldNormal)
    q = kind.init(jnp.full(change.get("dim", 2), change.get("at", 0.0)))
    target = vikl.Target.from_density(lambda x: -jnp.sum(jnp.log1p(x**2)), jnp.zeros(2))
    with pytest.raises(error, match=words):
        methods.linear_response_covariance(
            target, q, jax.random.key(0), change.get("num_draws", 64)
        )


# -- standing still


def test_a_track_averages_and_sees_drift(rng):
    still, drifting = Track(), Track()
    for t in range(500):
        noise = 0.1 * rng.normal(size=2)
        still.add(Moments(noise, np.diag([1.0, 2.0])))
        drifting.add(Moments(np.array([t / 100, 0.0]), np.eye(2)))
    assert len(still.cells) <= 64
    assert still.restlessness() < 0.01 < 0.5 < drifting.restlessness()
    np.testing.assert_allclose(still.average().cov, np.diag([1.0, 4.0]))
    assert drifting.average().mean[0] == pytest.approx(3.75, abs=0.05)


def test_it_looks_often_at_first_and_then_at_every_eighth_of_the_way():
    assert [t for t in range(30) if _due(t)] == [*range(8, 16), *range(16, 30, 2)]


def test_symmetric_kl_is_the_sum_of_both():
    p = families.FullRankNormal.from_moments(jnp.zeros(2), jnp.array([[1.0, 0.0], [0.5, 2.0]]))
    q = families.FullRankNormal.from_moments(jnp.ones(2), jnp.array([[0.7, 0.0], [-0.3, 1.0]]))
    both = vikl.kl_divergence(p, q) + vikl.kl_divergence(q, p)
    sides = [Moments(np.asarray(v.loc, float), np.asarray(v.scale_tril, float)) for v in (p, q)]
    assert symmetric_kl(*sides) == pytest.approx(float(both), rel=1e-5)


# -- stochastic gradients: whitening, averages, stopping


def ill_scaled():
    """A correlated normal with sds from 1e-3 to 1e3."""
    sizes = np.array([1e-3, 1.0, 1e3])
    cov = (0.8 * np.ones((3, 3)) + 0.2 * np.eye(3)) * np.outer(sizes, sizes)
    data = (jnp.asarray(sizes, float), jnp.asarray(np.linalg.inv(cov), float))
    return sizes, vikl.Target.from_density(normal_density, jnp.zeros(3), data=data)


def test_whitened_coordinates_are_those_of_the_target(float64, rng):
    """The density changes by the Jacobian; families come back as what they were in x."""
    sizes, target = ill_scaled()
    root = np.tril(rng.normal(size=(3, 3))) + 3 * np.eye(3)
    q = Moments(sizes, root * sizes[:, None])
    for kind in (families.FullRankNormal, families.MeanFieldNormal, families.LowRankNormal):
        coordinates = Coordinates.of(q, kind, target.dtype)
        white, u = coordinates.target(target), jnp.array([0.3, -0.2, 0.7])
        x: Any = white.constrain(u)
        scale = coordinates.scale if coordinates.scale.ndim == 2 else jnp.diag(coordinates.scale)
        np.testing.assert_allclose(x, coordinates.loc + scale @ u)
        log_det = jnp.linalg.slogdet(scale)[1]
        np.testing.assert_allclose(white.log_density(u), target.log_density(x) + log_det)
        np.testing.assert_allclose(white.unconstrain(x), u, rtol=1e-9)
        inner = kind.init(jnp.array([0.1, 0.2, -0.3]), 0.7)
        outer = coordinates.back(inner)
        np.testing.assert_allclose(outer.log_prob(x), inner.log_prob(u) - log_det, rtol=1e-9)
        np.testing.assert_allclose(families.cov(outer), scale @ families.cov(inner) @ scale.T)
        np.testing.assert_allclose(families.mean(outer), coordinates.loc + scale @ inner.loc)
        draw, log_prob = outer.sample_and_log_prob(jax.random.key(0))
        np.testing.assert_allclose(outer.log_prob(draw), log_prob, rtol=1e-9)
        if kind is not families.LowRankNormal:
            assert type(outer) is kind


def test_whitening_is_what_an_ill_scaled_posterior_needs():
    sizes, target = ill_scaled()
    start = families.FullRankNormal.from_moments(
        jnp.asarray(0.5 * sizes, float), jnp.diag(jnp.asarray(1.5 * sizes, float))
    )
    method = methods.StochasticVI(num_steps=600)
    post = fit(method, target, family=start)
    np.testing.assert_allclose(np.asarray(post.std) / sizes, 1.0, atol=0.05)
    np.testing.assert_allclose(np.asarray(post.mean) / sizes, 1.0, atol=0.05)
    raw = fit(methods.StochasticVI(whiten=None, num_steps=600), target)
    assert abs(float(raw.std[2]) / sizes[2] - 1) > 0.5


def test_an_average_has_less_noise_than_the_last_iterate():
    """Plain SGD at a fixed rate with pathwise gradients, whose noise stays at the optimum."""
    kept = {"optimizer": optax.sgd(0.05), "objective": objectives.ReverseKL(num_samples=1)}
    kept |= {"num_steps": 400, "whiten": None}
    loc = np.asarray(small_target().data[0])
    errors = []
    for average in (methods.PolyakAverage(), None):
        method = methods.StochasticVI(average=average, **kept)
        posts = [fit(method, key=jax.random.key(i)) for i in range(8)]
        errors.append(np.sqrt(np.mean([(np.asarray(p.mean) - loc) ** 2 for p in posts])))
    assert errors[0] < 0.6 * errors[1]


@pytest.mark.parametrize("name", ["dowg", "prodigy"])
def test_step_free_optimizers_just_work(name):
    """In `vikl.fit` as they are, and in whitened coordinates."""
    optimizer, num_steps = getattr(optax.contrib, name)(), 1000
    loc, precision = small_target().data
    sd = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(precision))))
    plain = vikl.fit(
        small_target(), families.FullRankNormal, optimizer=optimizer, num_steps=num_steps,
        key=jax.random.key(0), progress=False,
    )  # fmt: skip
    method = methods.StochasticVI(optimizer=optimizer, num_steps=300)
    # as it is the last iterate carries the noise of its step, which averaging takes out
    for post, off in ((plain, 0.5), (fit(method), 0.1)):
        assert post.status in ("converged", "budget spent")
        np.testing.assert_allclose((np.asarray(post.mean) - loc) / sd, 0.0, atol=off)
        np.testing.assert_allclose(np.asarray(post.std) / sd, 1.0, atol=off)


def test_raabbvi_lowers_its_rate_until_it_is_not_worth_it():
    """From far off, with noisy gradients: two phases or more, and an accurate average."""
    rule = methods.Raabbvi(accuracy=0.05)
    method = methods.StochasticVI(objective=objectives.ReverseKL(num_samples=4), stop=rule)
    start = families.FullRankNormal.init(jnp.array([3.0, -3.0]), 2.0)
    post = fit(method, family=start)
    assert post.status == "converged", post.stopped_because
    assert "phases" in post.stopped_because
    loc, precision = small_target().data
    sd = np.sqrt(np.diagonal(np.linalg.inv(np.asarray(precision))))
    np.testing.assert_allclose((np.asarray(post.mean) - loc) / sd, 0.0, atol=0.1)
    np.testing.assert_allclose(np.asarray(post.std) / sd, 1.0, atol=0.1)
    again = fit(method, family=start)
    assert again.compile_seconds == 0.0
    assert (again.mean == post.mean).all()
    short = fit(method, family=start, num_steps=100)
    assert short.status == "budget spent"
    seen = []
    stopped = fit(method, family=start, callback=lambda snapshot: seen.append(snapshot) or True)
    assert stopped.status == "stopped by callback"
    assert seen[0].family.dim == 2


def test_standing_still_ends_a_run():
    post = fit(methods.StochasticVI(stop=methods.StandsStill(), num_steps=20_000))
    assert post.status == "converged"
    assert post.history["step"][-1] < 20_000


def test_stationarity_is_told_from_drift(rng):
    noise = rng.normal(size=(1000, 2))
    correlated = np.zeros_like(noise)
    for t in range(1, 1000):
        correlated[t] = 0.9 * correlated[t - 1] + noise[t]
    drift = np.linspace(0, 3, 1000)[:, None] + 0.5 * noise
    assert split_rhat(noise).max() < 1.01
    assert split_rhat(drift).min() > 1.1
    assert (effective_size(noise) > 600).all()
    # an autoregression of 0.9 is worth (1 − 0.9)/(1 + 0.9) of its length
    np.testing.assert_allclose(effective_size(correlated), 1000 / 19, rtol=0.6)
    settling = np.concatenate([drift[:400] - 3.0, 0.1 * noise[:600]])
    window, rhat = best_window(settling, 200)
    assert window <= 600
    assert rhat < 1.1


def test_a_callback_sees_the_family_in_the_targets_coordinates():
    seen = []
    sizes, target = ill_scaled()
    method = methods.StochasticVI(num_steps=50)
    fit(method, target, callback=lambda snapshot: seen.append(snapshot.family))
    np.testing.assert_allclose(families.std(seen[-1]) / sizes, 1.0, atol=0.05)


# -- Pathfinder


def test_a_thin_normal_is_the_normal_it_says(rng):
    dim = 5
    axes = np.linalg.qr(rng.normal(size=(dim, 2)))[0]
    root = np.array([[2.0, 0.0], [0.3, 0.4]])
    thin = ThinNormal(rng.normal(size=dim), np.geomspace(0.1, 10, dim), axes, root)
    cov = thin.scale @ thin.scale.T
    x = rng.normal(size=(7, dim))
    away = np.linalg.solve(cov, (x - thin.mean).T).T
    log_det = np.linalg.slogdet(2 * np.pi * cov)[1]
    exact = -0.5 * np.sum((x - thin.mean) * away, axis=1) - 0.5 * log_det
    np.testing.assert_allclose(thin.log_prob(x), exact)
    np.testing.assert_allclose(thin.draw(np.eye(dim)) - thin.mean, thin.scale.T, atol=1e-12)


def test_the_inverse_hessian_estimate_is_that_of_bfgs(rng):
    """diag(α) + β γ βᵀ equals the pairs put one by one into the BFGS formula from diag(α)."""
    dim, num = 6, 4
    root = rng.normal(size=(dim, dim))
    hessian = root @ root.T + np.eye(dim)
    points = rng.normal(size=(num + 1, dim))
    path = Path(list(points), [-hessian @ x for x in points])
    found = normals(path, memory=num)[-1]
    alpha = np.ones(dim)
    pairs = list(zip(np.diff(points, axis=0), np.diff(points, axis=0) @ hessian))
    for s, y in pairs:
        alpha = _diagonal(alpha, s, y)
    inverse = np.diag(alpha)
    for s, y in pairs:
        shift = np.eye(dim) - np.outer(s, y) / (s @ y)
        inverse = shift @ inverse @ shift.T + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(found.scale @ found.scale.T, inverse, atol=1e-9)
    np.testing.assert_allclose(found.mean, points[-1] + inverse @ path.gradients[-1], atol=1e-9)


def test_pathfinder_pools_the_paths_and_covers_both_modes():
    """Two modes ten sds apart, one with twice the mass: log Z, the weights, and an honest k-hat."""

    def density(x):
        low, high = -0.5 * jnp.sum((x + 5.0) ** 2), -0.5 * jnp.sum((x - 5.0) ** 2)
        return jnp.logaddexp(low, high + jnp.log(jnp.asarray(2.0, x.dtype)))

    post: Any = fit(methods.Pathfinder(), density, like=jnp.zeros(2))
    assert post.status == "converged"
    assert post.elbo == pytest.approx(np.log(3 * 2 * np.pi), abs=0.02)
    assert post.khat < 0.5
    right = np.asarray(post.family.weights)[np.asarray(post.family.loc)[:, 0] > 0].sum()
    assert right == pytest.approx(2 / 3, abs=0.05)
    one = fit(methods.Pathfinder(), density, like=jnp.zeros(2), family=families.FullRankNormal)
    assert isinstance(one.family, families.FullRankNormal)
    assert abs(float(one.mean[0])) == pytest.approx(5.0, abs=0.1)


def test_pathfinder_says_what_it_could_not_see():
    """Scales from 1e-3 to 1e3 in float32: right, or said to be unseen; never silently wrong."""
    sizes, target = ill_scaled()
    said = []
    for seed in range(3):
        post = fit(methods.Pathfinder(num_paths=4), target, key=jax.random.key(seed))
        said.append("before they saw how wide the target is" in post.stopped_because)
        if post.status == "converged":
            np.testing.assert_allclose(np.asarray(post.std) / sizes, 1.0, atol=0.2)
        else:
            assert (post.status, said[-1]) == ("budget spent", True)
    assert any(said)


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    fit(methods.Laplace(), checkpoint=tmp_path / "fit")
    with pytest.raises(ValueError, match="its method is Laplace, this fit's is BatchAndMatch"):
        fit(methods.BatchAndMatch(), checkpoint=tmp_path / "fit")
