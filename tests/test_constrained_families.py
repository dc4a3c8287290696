"""Families for constrained parameters: gamma, beta, Dirichlet, von Mises."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from monte_carlo import assert_mean
from scipy import special, stats

import vikl
from vikl.estimators import StickingTheLanding
from vikl.families import (
    Beta,
    Blocks,
    Dirichlet,
    Gamma,
    VonMises,
    entropy,
    mean,
    std,
)
from vikl.fitting._arguments import initial_family
from vikl.objectives import ReverseKL

LIKE = {"rate": 1.0, "share": 0.5, "parts": np.full(3, 1 / 3, np.float32), "shift": 0.0}
SUPPORT = {"rate": "positive", "share": "unit_interval", "parts": "simplex"}
#: the exact posterior of the shares of three categories, under a conjugate prior
PARTS = (4.0, 2.0, 5.0)


def categories(parts):
    return jnp.sum((jnp.array(PARTS) - 1) * jnp.log(parts))


@eqx.filter_jit
def _slope_and_elbo(q, target, key):
    objective = ReverseKL(StickingTheLanding(), 8)
    return eqx.filter_grad(lambda q: objective(q, target, key), has_aux=True)(q)


def test_a_conjugate_posterior_is_reached_without_noise():
    """Where q is the exact posterior, sticking the landing has no gradient left, draw by draw."""
    target = vikl.Target.from_density(categories, LIKE["parts"], "simplex")
    q, key = Dirichlet(jnp.log(jnp.array(PARTS))), jax.random.key(0)
    slope, aux = _slope_and_elbo(q, target, key)
    np.testing.assert_allclose(slope.log_concentration, 0.0, atol=2e-5)
    evidence = special.gammaln(PARTS).sum() - special.gammaln(sum(PARTS))
    assert float(aux["elbo"]) == pytest.approx(evidence, abs=1e-5)
    slope, aux = _slope_and_elbo(Dirichlet(jnp.zeros(3)), target, key)
    assert float(jnp.abs(slope.log_concentration).max()) > 0.1
    assert float(aux["elbo"]) < evidence - 0.1


def test_densities_and_entropies_are_those_of_scipy(float64):
    x = jnp.array([0.3, -2.0, 1.5])
    a, b = np.array([2.0, 0.3, 60.0]), np.array([0.7, 3.0, 12.0])
    gamma, beta = Gamma(jnp.log(a / b), jnp.log(a)), Beta(jnp.log(a), jnp.log(b))
    theta: Any = stats.gamma(a, scale=1 / b)
    share: Any = stats.beta(a, b)
    inside = special.expit(np.asarray(x))
    np.testing.assert_allclose(
        gamma.log_prob(x), (theta.logpdf(np.exp(x)) + np.asarray(x)).sum(), rtol=1e-12
    )
    jacobian = np.log(inside * (1 - inside))
    np.testing.assert_allclose(
        beta.log_prob(x), (share.logpdf(inside) + jacobian).sum(), rtol=1e-12
    )
    log_theta = special.digamma(a) - np.log(b)  # entropy of x: that of θ less the mean log Jacobian
    np.testing.assert_allclose(entropy(gamma), (theta.entropy() - log_theta).sum(), rtol=1e-12)
    stretch = special.digamma(a) + special.digamma(b) - 2 * special.digamma(a + b)
    np.testing.assert_allclose(entropy(beta), (share.entropy() - stretch).sum(), rtol=1e-12)


def test_large_concentrations_keep_their_digits():
    """In float32: a gamma of shape 10⁶ is nearly normal, with sd 10⁻³ and a known entropy."""
    for q in (Gamma.init(jnp.zeros(1), 1e-3), Beta.init(jnp.zeros(1), 1e-3)):
        assert float(std(q)[0]) == pytest.approx(1e-3, rel=1e-5)
        assert float(entropy(q)) == pytest.approx(
            0.5 * np.log(2 * np.pi * np.e) - np.log(1e3), abs=1e-5
        )
        x = mean(q) + jnp.array([2e-3])
        assert float(q.log_prob(x)) == pytest.approx(
            -2.0 - 0.5 * np.log(2 * np.pi) + np.log(1e3), abs=4e-3
        )


# -- where they belong


def model():
    import numpyro
    import numpyro.distributions as dist

    numpyro.sample("angle", dist.VonMises(0.0, 2.0))
    numpyro.sample("rate", dist.Gamma(jnp.ones(2), 1.0).to_event(1))
    numpyro.sample("share", dist.Beta(2.0, 3.0))


@pytest.mark.usefixtures("standard_promotion")  # numpyro's own code
@pytest.mark.filterwarnings("ignore:Continuous inference poorly handles circular sample site")
def test_they_are_taken_where_the_support_is_theirs():
    target = vikl.Target.from_density(lambda v: 0.0 * v["rate"], LIKE, SUPPORT)
    fine = {"rate": Gamma, "share": Beta, "parts": Dirichlet}
    assert initial_family(target, Blocks.of(target, fine)).dim == 5
    sites = vikl.Target.from_numpyro(model)
    fine = {"rate": Gamma, "share": Beta, "angle": VonMises}
    assert initial_family(sites, Blocks.of(sites, fine)).dim == 4
    with pytest.raises(ValueError, match=r"`family` Beta is for .* 'rate' with support 'positive'"):
        initial_family(sites, Blocks.of(sites, {"rate": Beta}))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"shift": Gamma}, "`family` Gamma is for .* 'positive' .* 'shift' with support 'real'"),
        ({"share": Gamma}, "`family` Gamma .* 'share' with support 'unit_interval'"),
        ({"rate": Beta}, "`family` Beta .* 'unit_interval' .* 'rate' with support 'positive'"),
        ({"share": VonMises}, "`family` VonMises .* 'circular'; the target has 'share'"),
        ({"parts": Beta}, "`family` Beta .* 'parts' with support 'simplex'"),
        ({"share": Dirichlet}, "`family` Dirichlet .* one whole simplex; the target has 'share'"),
    ],
)
def test_they_are_refused_elsewhere(kinds, message):
    target = vikl.Target.from_density(lambda v: 0.0 * v["rate"], LIKE, SUPPORT)
    with pytest.raises(ValueError, match=message):
        initial_family(target, Blocks.of(target, kinds))


@pytest.mark.usefixtures("standard_promotion")
def test_a_class_for_all_parts_is_refused_too():
    target = vikl.Target.from_density(lambda v: 0.0 * v["rate"], LIKE, SUPPORT)
    with pytest.raises(ValueError, match="`family` Gamma is for parameters whose support is"):
        initial_family(target, Gamma)
    simplices = vikl.Target.from_density(
        lambda x: 0.0 * x[0, 0], np.full((2, 3), 1 / 3, np.float32), "simplex"
    )
    with pytest.raises(ValueError, match=r"Dirichlet .* one whole simplex"):
        initial_family(simplices, Dirichlet)
    both = Blocks((Dirichlet.init(jnp.zeros(2)), Dirichlet.init(jnp.zeros(2))))
    assert initial_family(simplices, both).dim == 4


@pytest.mark.parametrize("kind", [Gamma, Beta, Dirichlet])
def test_init_is_not_traced(kind):
    with pytest.raises(TypeError, match="should be numbers, not traced"):
        jax.jit(kind.init)(jnp.zeros(2))


# -- von Mises: angles, whose moments are those of their cosines


@jax.jit
def _circle(q, keys):
    """Return cos and sin of the draws' angles, their slopes, and log q twice."""

    def angle(q, key):
        x, log_q = q.sample_and_log_prob(key)
        theta = np.pi * jnp.tanh(0.5 * x)
        return jnp.concatenate([jnp.cos(theta), jnp.sin(theta)]), (x, log_q)

    def one(key):
        slope, (x, log_q) = jax.jacrev(angle, has_aux=True)(q, key)
        return angle(q, key)[0], slope, log_q, q.log_prob(x)

    return jax.vmap(one)(keys)


def test_von_mises(dtype):
    """E cos θ = A(κ) cos μ with A = I₁/I₀, and the draws' slopes are those of this."""
    loc, kappa = np.array([2.9, -0.4, 0.5]), np.array([0.8, 9.0, 400.0])
    q = VonMises(jnp.asarray(loc, dtype), jnp.asarray(np.log(kappa), dtype))
    keys = jax.random.split(jax.random.key(0), 20_000)
    waves, slope, log_q, again = _circle(q, keys)
    assert log_q.dtype == dtype
    np.testing.assert_allclose(log_q, again, rtol=1e-6)
    ratio = special.i1e(kappa) / special.i0e(kappa)
    wave = np.concatenate([np.cos(loc), np.sin(loc)])
    assert_mean(waves, np.tile(ratio, 2) * wave, detects=0.06)
    turned = np.concatenate([-np.sin(loc), np.cos(loc)]) * np.tile(ratio, 2)
    rise = kappa * (1 - ratio / kappa - ratio**2)  # κ A′(κ)
    places = np.arange(6), np.arange(6) % 3
    assert_mean(np.asarray(slope.loc)[:, *places], turned, detects=0.06)
    expected = np.tile(rise, 2) * wave
    found = np.asarray(slope.log_concentration)[:, *places]
    assert_mean(found, expected, detects=0.03)


def test_von_mises_is_normalised_and_its_slope_is_the_quantile_s(float64):
    q = VonMises(jnp.array([2.9]), jnp.log(jnp.array([1.7])))
    x = np.linspace(-30.0, 30.0, 20_001)
    density = np.exp(jax.jit(jax.vmap(q.log_prob))(x[:, None]))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=1e-9)
    from vikl.families._von_mises import _slope

    kappa, theta = np.array([0.01, 0.5, 3.0, 30.0, 2000.0]), np.array([2.0, -1.0, 0.4, 0.2, -0.03])
    step = 1e-4 * kappa
    circle: Any = stats.vonmises
    above, below = (circle(kappa + s).cdf(theta) for s in (step, -step))
    expected = -(above - below) / (2 * step) / circle(kappa).pdf(theta)
    np.testing.assert_allclose(_slope(jnp.asarray(theta), jnp.asarray(kappa)), expected, rtol=1e-6)


def test_von_mises_finds_an_angle_across_the_seam():
    """A periodic target whose mode lies at π, half of it on either side of the seam of x."""
    target = vikl.Target.from_density(lambda t: -3.0 * jnp.cos(t), 0.0, "circular")
    posterior = vikl.fit(
        target, VonMises(jnp.array([2.0]), jnp.zeros(1)), ReverseKL(StickingTheLanding(), 8),
        optax.adam(optax.cosine_decay_schedule(0.1, 400)), key=jax.random.key(0), num_steps=400,
    )  # fmt: skip
    q: Any = posterior.family
    assert float(jnp.cos(q.loc[0])) == pytest.approx(-1.0, abs=1e-4)
    assert float(jnp.exp(q.log_concentration[0])) == pytest.approx(3.0, rel=5e-3)
    assert float(vikl.kl_divergence(q, VonMises(q.loc + 2 * np.pi, q.log_concentration))) < 1e-6
    with pytest.raises(NotImplementedError, match="`mean` has no closed form for VonMises"):
        _ = posterior.mean
