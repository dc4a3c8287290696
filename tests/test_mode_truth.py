"""Fits beside independent optima (`mode_reference.py`): which one is reached, how exactly."""

import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from monte_carlo import assert_at_most, assert_mean

import vikl
from vikl import Target
from vikl.estimators import DefensiveMixture, DoublyReparameterized, Pathwise, Quadrature
from vikl.families import FullRankNormal, MeanFieldNormal, StudentT, mean, std
from vikl.objectives import (
    ChiSquared,
    ForwardKL,
    ImportanceWeighted,
    Jeffreys,
    JensenShannon,
    MarkovianScoreClimbing,
    Renyi,
    ReverseKL,
    SquaredHellinger,
)

REFERENCE = json.loads((pathlib.Path(__file__).parent / "mode_reference.json").read_text())
MIXTURES = {
    "equal": ((0.5, 0.5), (-2.0, 2.0), (0.5, 0.5)),
    "unequal": ((0.7, 0.3), (-2.0, 2.5), (0.8, 0.6)),
    "close": ((0.4, 0.6), (-1.0, 1.5), (0.6, 0.9)),
}
GRID = Quadrature(-16.0, 16.0, 801)
#: how each divergence is minimised, and its value from the objective's own loss
EXACT = {
    "forward_kl": (Renyi(1.0, "p||q", GRID), lambda loss: loss),
    "reverse_kl": (ReverseKL(GRID), lambda loss: loss),
    "js": (JensenShannon(estimator=GRID), lambda loss: loss),
    "alpha_half": (SquaredHellinger(GRID), lambda loss: 4 * loss),
    "chi2_pq": (ChiSquared("p||q", GRID), lambda loss: np.expm1(2 * loss)),
    "chi2_qp": (ChiSquared("q||p", GRID), lambda loss: np.expm1(loss)),
    "jeffreys": (Jeffreys(GRID), lambda loss: loss),
}


def density(x, data):
    """Log density of a mixture of two normals, or of a log-gamma: one program for all targets."""
    weights, locs, scales, gamma = data
    z = (x - locs) / scales
    mixture = jax.scipy.special.logsumexp(
        jnp.log(weights) - 0.5 * z * z - jnp.log(scales) - 0.5 * np.log(2 * np.pi)
    )
    return jnp.where(gamma > 0, 2 * x - jnp.exp(x), mixture)


def target_of(name):
    mixture = MIXTURES.get(name, MIXTURES["close"])
    data = (*(jnp.asarray(v) for v in mixture), jnp.asarray(float(name == "log-gamma")))
    return Target.from_density(density, 0.0, data=data)


def normal_of(mu, sigma):
    return MeanFieldNormal.init(jnp.asarray([mu]), sigma)


@eqx.filter_jit
def _newton(objective, target, params):
    """Return where eight steps of Newton's method lead, and the loss there."""

    def loss(v):
        return objective(MeanFieldNormal(v[:1], v[1:]), target, jax.random.key(0))[0]

    def slope(v):
        value, gradient = jax.value_and_grad(loss)(v)
        return gradient, (v, value, gradient)

    def step(v, _):
        hessian, (here, value, gradient) = jax.jacfwd(slope, has_aux=True)(v)
        return v - jnp.linalg.solve(hessian, gradient), (here, value)

    # one more step than is taken, which evaluates the loss where the eighth led
    _, (visited, values) = jax.lax.scan(step, params, length=9)
    return visited[-1], values[-1]


CELLS = [
    pytest.param(target, name, id=f"{name}-{target}")
    for name in EXACT
    for target in REFERENCE
    if REFERENCE[target].get(name)
]


@pytest.mark.parametrize(("target", "name"), CELLS)
def test_every_optimum_is_found_by_quadrature(target, name, float64):
    objective, value_of = EXACT[name]
    for optimum in REFERENCE[target][name]:
        start = jnp.array([optimum["mu"] + 0.02, np.log(optimum["sigma"]) + 0.02])
        (mu, log_sigma), loss = _newton(objective, target_of(target), start)
        assert float(mu) == pytest.approx(optimum["mu"], abs=1e-6)
        assert float(jnp.exp(log_sigma)) == pytest.approx(optimum["sigma"], abs=1e-6)
        assert value_of(float(loss)) == pytest.approx(optimum["value"], abs=1e-6)


def test_the_verb_fits_deterministically(float64):
    """`vikl.fit` with a Quadrature and L-BFGS reaches the broad optimum of JS to 1e-6."""
    wanted = REFERENCE["unequal"]["js"][1]
    posterior = vikl.fit(
        target_of("unequal"), normal_of(-0.5, 2.0), JensenShannon(estimator=GRID),
        optax.lbfgs(), key=jax.random.key(0), num_steps=40,
    )  # fmt: skip
    assert float(posterior.mean[0]) == pytest.approx(wanted["mu"], abs=1e-6)
    assert float(posterior.std[0]) == pytest.approx(wanted["sigma"], abs=1e-6)


def _wide():
    return DefensiveMixture(normal_of(0.0, 4.0))


#: objective, start, and which optimum of each target is reached (in the order of the reference)
STOCHASTIC = {
    "reverse_kl": (
        lambda: ReverseKL(num_samples=32), (-1.0, 0.7), {"unequal": 0, "equal": 0, "log-gamma": 0}
    ),
    "forward_kl": (
        lambda: ForwardKL(None, normal_of(0.0, 4.0), 256), (0.0, 1.0),
        {"unequal": 0, "equal": 0, "log-gamma": 0},
    ),
    "js": (
        lambda: JensenShannon(estimator=_wide(), num_samples=256), (0.0, 2.5),
        {"unequal": 1, "equal": 0, "log-gamma": 0},
    ),
    "alpha_half": (
        lambda: SquaredHellinger(_wide(), num_samples=256), (0.0, 2.5),
        {"unequal": 0, "equal": 0, "log-gamma": 0},
    ),
    "chi2_pq": (
        lambda: ChiSquared(estimator=_wide(), num_samples=256), (0.0, 3.0),
        {"unequal": 0, "equal": 0},
    ),
    "chi2_qp": (
        lambda: ChiSquared("q||p", DoublyReparameterized(), 64), (2.0, 0.5),
        {"unequal": 1, "equal": 1},
    ),
    "jeffreys": (
        lambda: Jeffreys(_wide(), num_samples=256), (0.0, 2.5),
        {"unequal": 0, "equal": 0, "log-gamma": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "which"), [(name, target) for name, row in STOCHASTIC.items() for target in row[2]]
)
def test_stochastic_fits_reach_the_optimum_that_is_named(name, which):
    make, (mu, sigma), ranks = STOCHASTIC[name]
    rank = ranks[which]
    posterior = vikl.fit(
        target_of(which), normal_of(mu, sigma), make(),
        optax.adam(optax.cosine_decay_schedule(0.03, 2000)), key=jax.random.key(1), num_steps=2000,
    )  # fmt: skip
    optima = REFERENCE[which][name]
    found = np.array([float(posterior.mean[0]), float(posterior.std[0])])
    gaps = [np.abs(found - (o["mu"], o["sigma"])).max() for o in optima]
    assert int(np.argmin(gaps)) == rank
    assert gaps[rank] < 2e-2
    assert posterior.status in ("converged", "budget spent")


def test_score_climbing_needs_no_luck():
    posterior = vikl.fit(
        target_of("unequal"), normal_of(0.0, 1.0),
        MarkovianScoreClimbing(normal_of(0.0, 4.0), 16, 32),
        optax.adam(optax.cosine_decay_schedule(0.03, 1500)), key=jax.random.key(1), num_steps=1500,
    )  # fmt: skip
    wanted = REFERENCE["unequal"]["forward_kl"][0]
    assert abs(float(posterior.mean[0]) - wanted["mu"]) < 3e-2
    assert abs(float(posterior.std[0]) - wanted["sigma"]) < 3e-2
    assert posterior.history["moved"][-1] > 0.5


# -- what must not be reported as a number, or as inclusive


def student_density(x, df):
    return -0.5 * (df + 1) * jnp.log1p(x * x / df)


def test_chi_squared_of_a_student_t_by_a_normal_is_infinite():
    target = Target.from_density(student_density, 0.0, data=jnp.asarray(3.0))
    steps = {"key": jax.random.key(0), "num_steps": 200}
    posterior = vikl.fit(target, MeanFieldNormal, ChiSquared(), optax.adam(0.02), **steps)
    assert posterior.status == "infinite divergence"
    assert "give q heavier tails (`StudentT`)" in posterior.stopped_because
    heavier = StudentT.init(jnp.zeros(1), 1.0, df=2.5)
    posterior = vikl.fit(target, heavier, ChiSquared(), optax.adam(0.002), **steps)
    assert posterior.status != "infinite divergence"


def test_a_normal_too_broad_for_chi_squared_of_q_is_infinite():
    """∫ q²/p has no value where σ_q ≥ √2 σ_p: a 'broad optimum' there is the grid's, not real."""
    posterior = vikl.fit(
        target_of("equal"), normal_of(0.0, 0.9), ChiSquared("q||p", GRID),
        optax.sgd(0.0), key=jax.random.key(0), num_steps=10,
    )  # fmt: skip
    assert posterior.status == "infinite divergence"


def test_a_fit_that_runs_away_says_so_and_warns_of_nothing_else(float64):
    """∫ q²/p of the log-gamma has no value for any normal q: its left tail is an exponential's."""
    posterior = vikl.fit(
        target_of("log-gamma"), normal_of(-0.3, 0.5), ChiSquared("q||p", GRID), optax.lbfgs(),
        key=jax.random.key(0), num_steps=60,
    )  # fmt: skip
    assert posterior.status in ("infinite divergence", "diverged"), posterior.stopped_because


def test_forward_kl_from_a_narrow_q_says_what_it_misses():
    posterior = vikl.fit(
        target_of("unequal"), normal_of(-2.0, 0.5), ForwardKL(num_samples=64),
        optax.adam(0.02), key=jax.random.key(0), num_steps=300,
    )  # fmt: skip
    assert posterior.std[0] < 1.0  # mode-seeking
    assert posterior.status == "not inclusive any more"
    assert "of its mass where no draw of q" in posterior.stopped_because


# -- facts of the literature


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_factorised_against_correlated(rho, float64):
    """Bishop (2006), section 10.1.2: both optima cost −½ log(1 − ρ²), each is bad the other way."""
    tril = jnp.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
    p = FullRankNormal.from_moments(jnp.zeros(2), tril)
    narrow = MeanFieldNormal.init(jnp.zeros(2), np.sqrt(1 - rho**2))
    broad = MeanFieldNormal.init(jnp.zeros(2), 1.0)
    own = -0.5 * np.log(1 - rho**2)
    other = 0.5 * (2 / (1 - rho**2) - 2 + np.log(1 - rho**2))
    assert float(vikl.kl_divergence(narrow, p)) == pytest.approx(own, abs=1e-12)
    assert float(vikl.kl_divergence(p, broad)) == pytest.approx(own, abs=1e-12)
    assert float(vikl.kl_divergence(p, narrow)) == pytest.approx(other, abs=1e-12)
    assert float(vikl.kl_divergence(broad, p)) == pytest.approx(other, abs=1e-12)
    target = Target.from_density(lambda x, p: p.log_prob(x), jnp.zeros(2), data=p)
    grid = Quadrature(-9.0, 9.0, 91)
    for objective, optimum in (
        (ReverseKL(grid), narrow),
        (Renyi(1.0, "p||q", Quadrature(-9.0, 9.0, 181)), broad),
    ):
        loss, gradient = eqx.filter_jit(
            lambda q, o=objective: eqx.filter_value_and_grad(
                lambda q: o(q, target, jax.random.key(0))[0]
            )(q)
        )(optimum)
        assert float(loss) == pytest.approx(own, abs=1e-8)
        np.testing.assert_allclose(jax.tree.leaves(gradient), 0.0, atol=1e-7)


def banana(x):
    """Log density of x₁ ~ N(0, 2²), x₂ | x₁ ~ N(¼ (x₁² − 4), 1)."""
    square = (x[0] / 2) ** 2 + (x[1] - 0.25 * (x[0] ** 2 - 4)) ** 2
    return -0.5 * square - np.log(4 * np.pi)


#: objective, what its loss is multiplied by, mean of x₂, variances and divergence of the optimum,
#: in ten digits (Newton on a trapezoid grid): mean field and full rank have the same one
BANANA = {
    "forward_kl": (lambda grid: Renyi(1.0, "p||q", grid), 1, 0.0, (4.0, 3.0), 0.5493061443),
    "reverse_kl": (ReverseKL, 1, -0.6096117968, (1.5615528128, 1.0), 0.3179038719),
    "js": (lambda grid: JensenShannon(estimator=grid), 1, -0.47754756,
           (2.2540744534, 1.2259544368), 0.079536927),
    "alpha_half": (SquaredHellinger, 4, -0.4357094344, (2.2571622623, 1.2785348477), 0.375708278),
}  # fmt: skip


@pytest.mark.parametrize("name", BANANA)
def test_the_best_normal_of_a_banana(name, float64):
    """The loss by quadrature in the plane is stationary at the tabulated optimum, and its value."""
    make, times, middle, variances, value = BANANA[name]
    scale = jnp.sqrt(jnp.array(variances))
    q = FullRankNormal.init(jnp.array([0.0, middle]), scale)
    objective = make(Quadrature(-20.0, 48.0, 273))
    target = Target.from_density(banana, jnp.zeros(2))
    loss, gradient = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda q: objective(q, target, jax.random.key(0))[0])
    )(q)
    assert times * float(loss) == pytest.approx(value, abs=1e-6)
    slopes = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
    assert len(slopes) >= 5  # means, variances and the covariance
    np.testing.assert_allclose(slopes, 0.0, atol=1e-6)


#: the same four by draws, from proposals as wide as the banana
BY_DRAWS = {
    "forward_kl": lambda wide: ForwardKL(None, wide, 1024),
    "reverse_kl": lambda wide: ReverseKL(num_samples=64),
    "js": lambda wide: JensenShannon(estimator=DefensiveMixture(wide), num_samples=512),
    "alpha_half": lambda wide: SquaredHellinger(DefensiveMixture(wide), num_samples=512),
}


@pytest.mark.parametrize("family", [MeanFieldNormal, FullRankNormal])
@pytest.mark.parametrize("name", BY_DRAWS)
def test_stochastic_fits_of_the_banana_reach_the_best_normal(name, family):
    wide = FullRankNormal.init(jnp.array([0.0, 2.0]), jnp.array([2.5, 4.0]))
    start = family.init(jnp.array([0.5, 0.5]), jnp.array([1.2, 1.5]))
    posterior = vikl.fit(
        Target.from_density(banana, jnp.zeros(2)), start, BY_DRAWS[name](wide),
        optax.adam(optax.cosine_decay_schedule(0.03, 2000)), key=jax.random.key(2), num_steps=2000,
    )  # fmt: skip
    _, _, middle, variances, _ = BANANA[name]
    np.testing.assert_allclose(posterior.mean, [0.0, middle], atol=2e-2)
    np.testing.assert_allclose(posterior.std, np.sqrt(variances), atol=2e-2)
    np.testing.assert_allclose(posterior.cov[0, 1], 0.0, atol=5e-2)
    assert posterior.status in ("converged", "budget spent")


def conjugate(z):
    """Log joint of z ~ N(0, 1), x | z ~ N(z, 1) at x = 1."""
    return -0.5 * z**2 - 0.5 * (1.0 - z) ** 2 - jnp.log(2 * jnp.pi)


#: L_k from the prior, by E log S = ∫ (e^−t − E e^−tS) dt/t, in 20 digits
IWAE_BOUNDS = {1: -1.9189385332047, 2: -1.6534737865629, 5: -1.5574105783354, 50: -1.5191985161593}
EVIDENCE = -1.5155121234846


def test_importance_weighted_bounds_are_ordered_and_right(float64):
    target, prior = Target.from_density(conjugate, 0.0), normal_of(0.0, 1.0)
    means = []
    for k, exact in IWAE_BOUNDS.items():
        objective = ImportanceWeighted(Pathwise(), k)
        run = eqx.filter_jit(jax.vmap(lambda key, o=objective: o(prior, target, key)[1]["elbo"]))
        bounds = run(jax.random.split(jax.random.key(k), 200_000 // k))
        assert_mean(bounds, exact, detects=0.02, false_fail=0.0027)
        assert_at_most(bounds, EVIDENCE)
        means.append(float(bounds.mean()))
    assert means == sorted(means)


def test_the_chi_squared_bound_is_above_the_evidence(float64):
    """CUBO₂ from the prior: ½ log ∫ p(x|z)² N(z|0,1) dz = −½ log 2π − ¼ log 3 − ⅙."""
    target, prior = Target.from_density(conjugate, 0.0), normal_of(0.0, 1.0)
    bound = ChiSquared(estimator=Quadrature(-9.0, 9.0, 301))(prior, target, jax.random.key(0))[1]
    exact = -0.5 * np.log(2 * np.pi) - 0.25 * np.log(3.0) - 1 / 6
    assert float(bound["cubo"]) == pytest.approx(exact, abs=1e-12)
    assert exact > EVIDENCE
    assert "elbo" not in bound


def test_closed_forms_of_the_log_gamma(float64):
    """Forward: ψ(a), ψ′(a); reverse: log a − 1/(2a), 1/a (a = 2)."""
    for name, mu, variance in (
        ("forward_kl", 0.4227843350984671, np.pi**2 / 6 - 1),
        ("reverse_kl", np.log(2.0) - 0.25, 0.5),
    ):
        found, _ = _newton(EXACT[name][0], target_of("log-gamma"), jnp.array([0.4, -0.3]))
        q = MeanFieldNormal(found[:1], found[1:])
        assert float(mean(q)[0]) == pytest.approx(mu, abs=1e-6)
        assert float(std(q)[0]) == pytest.approx(np.sqrt(variance), abs=1e-6)
