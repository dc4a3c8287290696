"""Flows of flowjax as families: they score what they sample, and `vikl.fit` trains them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vikl
from vikl.estimators import StickingTheLanding
from vikl.families import Flow
from vikl.objectives import ReverseKL

pytestmark = pytest.mark.usefixtures("standard_promotion")  # flowjax relies on JAX's own rules


def make(kind: str) -> Flow:
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow, masked_autoregressive_flow

    builder = {"coupling": coupling_flow, "autoregressive": masked_autoregressive_flow}[kind]
    base = Normal(jnp.zeros(2))
    options = {"flow_layers": 2, "nn_width": 8, "nn_depth": 1, "invert": False}
    return Flow(builder(jax.random.key(0), base_dist=base, **options))


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_it_scores_what_it_samples(kind):
    q = make(kind)
    keys = jax.random.split(jax.random.key(1), 50)
    x, log_q = eqx.filter_jit(lambda q, keys: jax.vmap(q.sample_and_log_prob)(keys))(q, keys)
    again = eqx.filter_jit(lambda q, x: jax.vmap(q.log_prob)(x))(q, x)
    assert x.shape == (50, 2)
    np.testing.assert_allclose(again, log_q, atol=1e-4)


def banana(x):
    """Log density of x₁ ~ N(0, 2²), x₂ | x₁ ~ N(¼ (x₁² − 4), 1), normalised."""
    square = (x[0] / 2) ** 2 + (x[1] - 0.25 * (x[0] ** 2 - 4)) ** 2
    return -0.5 * square - np.log(2 * np.pi * 2)


def test_it_is_trained_beyond_what_a_normal_can():
    target = vikl.Target.from_density(banana, jnp.zeros(2))
    fit = vikl.fit(
        target, make("coupling"), ReverseKL(StickingTheLanding(), 32), optax.adam(1e-2),
        key=jax.random.key(0), num_steps=400,
    )  # fmt: skip
    gap = -fit.elbo
    assert -0.02 < gap < 0.2  # the best normal's is 0.3179
    assert fit.sample(jax.random.key(1), 10).shape == (10, 2)


def test_what_it_refuses():
    with pytest.raises(TypeError, match=r"`distribution` should be a flowjax distribution; got"):
        Flow(3.0)
    from flowjax.distributions import Normal

    with pytest.raises(ValueError, match=r"`distribution` should be unconditional and of shape"):
        Flow(Normal(0.0))
