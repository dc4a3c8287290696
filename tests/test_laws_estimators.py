"""The laws of an estimator, for every row of `ESTIMATORS` with every family."""

import functools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    ESTIMATORS,
    FAMILIES,
    NORMALS,
    family_target,
    gaussian_parts,
    gaussian_with_prior,
)
from monte_carlo import assert_mean

from vikl import Target
from vikl.estimators import (
    AnalyticKL,
    ClosedFormEntropy,
    Pathwise,
    Quadrature,
    ScoreFunction,
    StickingTheLanding,
)
from vikl.families import Family, MeanFieldNormal, cov, entropy, mean
from vikl.objectives import ReverseKL

DIM = 2
PLAIN = ("Pathwise", "ScoreFunction")


def _worlds(estimator: str) -> list[tuple[str, int]]:
    """Return the families and the float sizes of an estimator: each once, for speed."""
    if estimator in PLAIN:
        return [(family, bits) for family in NORMALS for bits in (32, 64)]
    one, other = [ESTIMATORS[estimator].family or name for name in NORMALS]
    return [(one, 32), (other, 64)]


CELLS = [(e, f, bits) for e in ESTIMATORS for f, bits in _worlds(e)]
CELLS += [(e, "LowRankNormal", 32) for e in ("Pathwise", "StickingTheLanding", "AnalyticKL")]
cells = pytest.mark.parametrize(("estimator", "family", "bits"), CELLS, indirect=["bits"])


def _flat(tree):
    return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(tree)])


@eqx.filter_jit
def _of_keys(objective, family, target, keys):
    def one(key):
        (_, aux), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(family, target, key)
        return _flat(gradient), aux["elbo"]

    return jax.vmap(one)(keys)


def _gradients(objective, family, target, seed, num):
    """Return `num` independent gradients (num, parameters) and ELBOs (num,)."""
    return _of_keys(objective, family, target, jax.random.split(jax.random.key(seed), num))


def _exact_elbo(family: Family):
    """Return the ELBO of `gaussian_with_prior`, in closed form, differentiable."""
    loc, precision = (jnp.asarray(v, float) for v in gaussian_parts(DIM))
    prior_loc, prior_sd = 0.3, 1.5
    sigma, away = cov(family), mean(family) - loc
    likelihood = -0.5 * (jnp.sum(precision * sigma) + away @ (precision @ away))
    square = jnp.diagonal(sigma) + (mean(family) - prior_loc) ** 2
    prior = -0.5 * jnp.sum(square / prior_sd**2 + jnp.log(2 * jnp.pi * prior_sd**2))
    try:
        return likelihood + prior + entropy(family)
    except NotImplementedError:  # in 2-d, by integration
        grid = Quadrature(-14.0, 14.0, 101)
        own, _ = grid.expectation(lambda x, log_q: -log_q, family, jax.random.key(0), 1)
        return likelihood + prior + own


@eqx.filter_jit
def _exact_elbo_and_slope(family):
    value, slope = eqx.filter_value_and_grad(_exact_elbo)(family)
    return value, _flat(slope)


@functools.cache
def _exact(family, bits):
    """Return the exact ELBO of the lopsided family and its slopes; once for all estimators."""
    del bits
    value, slope = _exact_elbo_and_slope(FAMILIES[family].lopsided(DIM))
    return float(value), np.asarray(slope)


@pytest.fixture
def bits(request, world):
    """Run the test in 32 or 64 bits, as its row says."""
    with world(request.param):
        yield request.param


@cells
def test_value_and_gradient_are_unbiased(estimator, family, bits):
    case, q = ESTIMATORS[estimator], FAMILIES[family].lopsided(DIM)
    objective = ReverseKL(case.make(), num_samples=max(case.fewest, 2))
    gradients, elbos = _gradients(objective, q, gaussian_with_prior(DIM), 0, case.replicates)
    assert gradients.dtype == elbos.dtype == np.dtype(f"float{bits}")
    exact, slope = _exact(family, bits)
    if case.exact:
        tolerance = 1e-4 if bits == 32 else 1e-9
        np.testing.assert_allclose(elbos[0], exact, rtol=tolerance)
        np.testing.assert_allclose(gradients[0], -slope, rtol=tolerance, atol=tolerance)
        return
    assert_mean(elbos, exact, detects=0.3)
    assert_mean(gradients, -slope, detects=case.detects + 0.1 * np.abs(slope))


@pytest.mark.parametrize("family", NORMALS)
def test_sticking_the_landing_is_zero_draw_by_draw_where_the_target_is_q(family, dtype):
    q = FAMILIES[family].lopsided(DIM)
    target, num = family_target(q), 500
    landed, elbos = _gradients(ReverseKL(StickingTheLanding(), 2), q, target, 1, num)
    rounding = 2e-5 if dtype == np.float32 else 1e-13
    assert np.abs(landed).max() < rounding
    assert np.abs(elbos).max() < rounding
    others, _ = _gradients(ReverseKL(Pathwise(), 2), q, target, 1, num)
    assert np.abs(others).max() > 0.1  # zero in mean only


@pytest.mark.parametrize("estimator", [n for n, case in ESTIMATORS.items() if case.general])
def test_any_integrand_is_averaged_over_the_draws(estimator, float64):
    case = ESTIMATORS[estimator]
    q, num = FAMILIES[case.family or "FullRankNormal"].lopsided(DIM), 20_001
    if "Sobol" in estimator or "antithetic" in estimator:
        num = 16_384
    if estimator == "DefensiveMixture":  # the weights cost it draws
        num = 80_001
    if case.exact:
        num = 101**2

    scored = "entropy" not in FAMILIES[case.family or "FullRankNormal"].lacks

    def integrand(x, log_q):
        return jnp.sum(x**2) + (log_q if scored else 0.0)

    @eqx.filter_jit
    def run(q, key):
        return case.make().expectation(integrand, q, key, num)

    surrogate, values = run(q, jax.random.key(0))
    exact = jnp.sum(mean(q) ** 2) + jnp.trace(cov(q)) - (entropy(q) if scored else 0.0)
    assert values.shape == (num,)
    if case.exact:
        assert float(surrogate) == pytest.approx(float(exact), rel=1e-9)
    else:
        assert_mean(values, float(exact), detects=0.25)
    assert estimator == "ScoreFunction" or float(surrogate) == pytest.approx(float(values.mean()))


@pytest.mark.parametrize("estimator", [n for n, case in ESTIMATORS.items() if not case.general])
def test_closed_forms_refuse_other_integrands(estimator):
    q = FAMILIES["MeanFieldNormal"].standard(DIM)
    with pytest.raises(
        NotImplementedError, match=rf"`estimator` {estimator} (knows the reverse|needs a loss)"
    ):
        ESTIMATORS[estimator].make().expectation(lambda x, log_q: log_q, q, jax.random.key(0), 4)


def _square(x):
    return x[0] ** 2


def test_the_variances_of_the_survey(float64):
    """Anchor C8: f = x², x ~ N(μ, 1), μ = 1: gradient 2, variances 4 (pathwise) and 30 (score).

    The leave-one-out baseline of two draws gives ½ (f₁ − f₂)(s₁ − s₂), whose variance is 14,
    less than the 15 of two plain draws.
    """
    q, num = MeanFieldNormal.init(jnp.ones(1)), 100_000

    @eqx.filter_jit
    def slopes(estimator, num_samples):
        def one(key):
            def loss(q):
                return estimator.expectation(lambda x, log_q: _square(x), q, key, num_samples)[0]

            return eqx.filter_grad(loss)(q).loc[0]

        return jax.vmap(one)(jax.random.split(jax.random.key(0), num))

    x = jax.vmap(q.sample_and_log_prob)(jax.random.split(jax.random.key(0), num))[0]
    plain = np.asarray(x[:, 0] ** 2 * (x[:, 0] - 1.0))
    measured = {4.0: slopes(Pathwise(), 1), 30.0: plain, 14.0: slopes(ScoreFunction(), 2)}
    for variance, draws in measured.items():
        assert_mean(draws, 2.0, detects=0.15)
        assert np.var(draws) == pytest.approx(variance, rel=0.05)


def test_an_analytic_kl_has_the_gradient_of_its_parts(float64):
    target, q = gaussian_with_prior(DIM), FAMILIES["FullRankNormal"].lopsided(DIM)
    analytic, _ = _gradients(ReverseKL(AnalyticKL(), 2), q, target, 2, 20_000)
    pathwise, _ = _gradients(ReverseKL(Pathwise(), 2), q, target, 2, 20_000)
    assert_mean(np.asarray(analytic - pathwise), 0.0, detects=0.1)  # the same draws, paired


# -- what they refuse


@pytest.mark.parametrize("num", [1])
def test_the_score_function_needs_two_draws(num):
    q = FAMILIES["MeanFieldNormal"].standard(DIM)
    with pytest.raises(ValueError, match=r"`num_samples` should be at least 2 with .*; got 1\."):
        ReverseKL(ScoreFunction(), num)(q, family_target(q), jax.random.key(0))


@pytest.mark.parametrize("estimator", [AnalyticKL])
def test_an_analytic_kl_needs_a_prior(estimator):
    q = FAMILIES["MeanFieldNormal"].standard(DIM)
    with pytest.raises(ValueError, match=r"AnalyticKL needs a target with a prior; got one with"):
        ReverseKL(estimator())(q, family_target(q), jax.random.key(0))
    with pytest.raises(ValueError, match=r"`objective` uses .* `Target.from_density\(.*prior="):
        ReverseKL(estimator()).prepare(family_target(q))


class _Grid(Family):
    """A family whose draws do not depend on its parameter: only the score function takes it."""

    logit: jax.Array

    reparameterized: ClassVar[bool] = False

    @property
    def dim(self):
        return 1

    def sample_and_log_prob(self, key):
        x = jax.random.bernoulli(key, jax.nn.sigmoid(self.logit)).astype(self.logit.dtype)[None]
        return x, self.log_prob(x)

    def log_prob(self, x):
        return jnp.sum(
            x * jax.nn.log_sigmoid(self.logit) + (1 - x) * jax.nn.log_sigmoid(-self.logit)
        )


@pytest.mark.parametrize("estimator", [Pathwise, StickingTheLanding, ClosedFormEntropy])
def test_pathwise_estimators_refuse_draws_without_a_derivative(estimator):
    target = Target.from_density(lambda x: jnp.sum(x), jnp.zeros(1))
    with pytest.raises(ValueError, match=r"needs draws that are differentiable.*ScoreFunction\(\)"):
        ReverseKL(estimator())(_Grid(jnp.zeros(())), target, jax.random.key(0))


def test_the_score_function_takes_draws_without_a_derivative(float64):
    """Of a Bernoulli(s) and log p = x: −ELBO = −s + s log s + (1−s) log(1−s)."""
    target = Target.from_density(lambda x: jnp.sum(x), jnp.zeros(1))
    q = _Grid(jnp.asarray(0.4))
    gradients, _ = _gradients(ReverseKL(ScoreFunction(), 4), q, target, 3, 20_000)

    def exact(logit):
        s = jax.nn.sigmoid(logit)
        return -s + s * jnp.log(s) + (1 - s) * jnp.log1p(-s)

    assert_mean(gradients[:, 0], float(jax.grad(exact)(q.logit)), detects=0.02)
