"""Bounds on KL between mixtures: they hold, and are exact where the components are far apart."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import vikl
from vikl.divergences import MixtureBounds, kl_mixture_bounds

pytestmark = pytest.mark.usefixtures("standard_promotion")


def mixture(weights, components):
    return dist.MixtureSameFamily(dist.Categorical(jnp.array(weights)), components)


def normals(weights, loc, scale):
    return mixture(weights, dist.Normal(jnp.array(loc), jnp.array(scale)))


def by_integration(p, q):
    x = jnp.linspace(-40.0, 40.0, 20001)
    a, b = p.log_prob(x), q.log_prob(x)
    return float(jnp.sum(jnp.exp(a) * (a - b)) * (x[1] - x[0]))


@pytest.mark.parametrize("gap", [0.0, 0.5, 3.0, 20.0])
def test_bounds_hold(gap):
    p = normals([0.3, 0.7], [-gap / 2, gap / 2], [1.0, 0.7])
    q = normals([0.5, 0.4, 0.1], [-gap / 2 + 0.3, gap / 2, 0.1], [1.1, 0.8, 2.0])
    bounds = kl_mixture_bounds(p, q)
    value = by_integration(p, q)
    assert isinstance(bounds, MixtureBounds)
    assert 0 <= float(bounds.lower) <= value + 1e-6
    assert float(bounds.upper) >= value - 1e-6
    if gap == 20.0:  # components that do not overlap
        assert float(bounds.upper) < value + 0.02


def test_the_lower_bound_sees_mixtures_that_are_apart():
    p = normals([0.3, 0.7], [-5.0, -4.0], [1.0, 0.7])
    q = normals([0.5, 0.5], [2.0, 3.0], [1.1, 0.8])
    bounds = kl_mixture_bounds(p, q)
    assert 1.0 < float(bounds.lower) < by_integration(p, q) < float(bounds.upper)


def test_equal_mixtures_and_one_component():
    p = normals([0.3, 0.7], [-1.0, 1.0], [1.0, 0.7])
    bounds = kl_mixture_bounds(p, p)
    assert float(bounds.lower) == 0.0
    assert 0.0 <= float(bounds.upper) < 1e-6
    one, other = normals([1.0], [0.0], [1.0]), normals([1.0], [1.0], [1.0])
    np.testing.assert_allclose(kl_mixture_bounds(one, other).upper, 0.5, rtol=1e-6)


def test_vectors_batches_and_other_families():
    loc = jnp.arange(12.0).reshape(2, 3, 2) / 5
    p = mixture([0.2, 0.3, 0.5], dist.Normal(loc, 1.0).to_event(1))
    q = mixture([0.2, 0.3, 0.5], dist.Normal(loc + 1.0, 1.0).to_event(1))
    bounds = jax.jit(kl_mixture_bounds)(p, q)
    assert bounds.upper.shape == bounds.lower.shape == (2,)
    assert np.all(bounds.upper <= 1.0 + 1e-6)  # that of each component from its own
    full = mixture([0.5, 0.5], dist.MultivariateNormal(loc[0, :2], jnp.eye(2)))
    assert 0.0 <= float(kl_mixture_bounds(full, full).upper) < 1e-6
    cauchy = mixture([0.5, 0.5], dist.Cauchy(jnp.array([-9.0, 9.0]), 1.0))
    bounds = kl_mixture_bounds(cauchy, mixture([0.4, 0.6], cauchy.component_distribution))
    assert float(bounds.lower) == 0.0
    assert float(bounds.upper) > 0.0


def test_kl_of_mixtures_is_estimated_or_bounded():
    p = normals([0.3, 0.7], [-2.0, 2.0], [1.0, 0.7])
    q = normals([0.5, 0.5], [-2.0, 2.0], [1.0, 1.0])
    with pytest.raises(NotImplementedError, match=r"estimate_kl.*kl_mixture_bounds"):
        vikl.kl_divergence(p, q)
    estimate = vikl.estimate_kl(p, q, key=jax.random.key(0))
    bounds = kl_mixture_bounds(p, q)
    slack = 5 * float(estimate.std_error)
    assert float(bounds.lower) - slack < float(estimate.value) < float(bounds.upper) + slack
    with pytest.raises(TypeError, match="`q` should be a numpyro MixtureSameFamily"):
        kl_mixture_bounds(p, dist.Normal(0.0, 1.0))
