"""KL per token: exact, by enumerating all texts of two tokens over three words."""

import itertools
import math
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from vikl import losses
from vikl.estimators import K1, K2, K3

NAN, INF = math.nan, math.inf


# --- KL per token, by enumerating all texts of two tokens over three words ---

REFERENCE = np.array([[0.5, -0.2, 0.3], [0.0, 0.4, -0.3], [1.0, 0.0, 0.2], [-0.5, 0.3, 0.0]])
TEXTS = jnp.array(list(itertools.product(range(3), repeat=2)))


def log_probs(params):
    """Log p of both tokens of all texts; the second depends on the first."""
    table = jax.nn.log_softmax(params, -1)
    first = table[0][TEXTS[:, 0]]
    second = table[1 + TEXTS[:, 0], TEXTS[:, 1]]
    return jnp.stack([first, second], -1)


def expected_slope(per_token, params, behaviour=None):
    """The mean, over all texts, of the derivative of a sum over tokens."""
    weights = jnp.exp(log_probs(params if behaviour is None else behaviour).sum(-1))
    weights = jax.lax.stop_gradient(weights)
    return jax.jit(jax.grad(lambda z: (weights * per_token(log_probs(z)).sum(-1)).sum()))(params)


def kl_of_texts(params):
    p, q = log_probs(params), log_probs(jnp.array(REFERENCE))
    return (jnp.exp(p.sum(-1)) * (p - q).sum(-1)).sum()


def kl_at_tokens(params, start):
    """KL at each token, the texts before it drawn from `start` held fixed."""
    p, q = jax.nn.log_softmax(params, -1), jax.nn.log_softmax(jnp.array(REFERENCE), -1)
    each = (jnp.exp(p) * (p - q)).sum(-1)
    return each[0] + jax.nn.softmax(start[0]) @ each[1:]


@pytest.fixture
def policy(float64):
    return jnp.array(np.random.default_rng(3).normal(size=(4, 3)))


@pytest.mark.parametrize("value", [K1(), K2(), K3()], ids=["k1", "k2", "k3"])
def test_token_gradients_are_unbiased(policy, value):
    q = log_probs(jnp.array(REFERENCE))
    near: Any = {"rtol": 1e-10, "atol": 1e-13}

    def estimate(gradient, **more):
        return lambda p: losses.token_kl(p, q, value=value, gradient=gradient, **more)

    local = jax.jit(jax.grad(kl_at_tokens))(policy, policy)
    np.testing.assert_allclose(expected_slope(estimate("score"), policy), local, **near)
    whole = jax.jit(jax.grad(kl_of_texts))(policy)
    np.testing.assert_allclose(expected_slope(estimate("sequence"), policy), whole, **near)
    assert np.abs(whole - local).max() > 0.01  # the two are not the same thing
    assert (expected_slope(estimate("stop"), policy) == 0).all()
    # drawn by an older policy: the first token needs no prefix, so it is exact by itself
    older = policy + 0.3 * jnp.sin(jnp.arange(12.0)).reshape(4, 3)
    off = estimate("score", behaviour_log_probs=log_probs(older))
    slope = expected_slope(off, policy, older)
    np.testing.assert_allclose(slope, jax.jit(jax.grad(kl_at_tokens))(policy, older), **near)


def test_token_values(policy):
    p, q = log_probs(policy), log_probs(jnp.array(REFERENCE))
    weights = jnp.exp(p.sum(-1))
    exact = kl_of_texts(policy)
    for value in (K1(), K3()):
        found = (weights * losses.token_kl(p, q, value=value).sum(-1)).sum()
        assert float(found) == pytest.approx(float(exact), rel=1e-12)
    assert (losses.token_kl(p, q, value=K3()) >= 0).all()
    assert (losses.token_kl(p, q, value=K1()) < 0).any()
    padded = losses.token_kl(p, q.at[0].set(jnp.nan), where=jnp.arange(9)[:, None] > 0)
    assert (padded[0] == 0).all()


def test_why_wrong_gradients_are_refused(policy):
    """The derivative of sampled k1 is zero in mean; that of k3 is of the other direction."""
    q = log_probs(jnp.array(REFERENCE))
    by_k1 = expected_slope(lambda p: K1().values(p - q), policy)
    np.testing.assert_allclose(by_k1, 0, atol=1e-14)

    def other_direction(params):
        p, r = jax.nn.log_softmax(params, -1), jax.nn.log_softmax(jnp.array(REFERENCE), -1)
        each = (jnp.exp(r) * (r - p)).sum(-1)
        return each[0] + jax.nn.softmax(policy[0]) @ each[1:]

    by_k3 = expected_slope(lambda p: K3().values(p - q), policy)
    np.testing.assert_allclose(by_k3, jax.grad(other_direction)(policy), rtol=1e-9, atol=1e-13)
    for value, says in ((K1(), "mean is zero"), (K3(), "other direction")):
        with pytest.raises(ValueError, match=says):
            losses.token_kl(q, q, value=value, gradient="autodiff")
    by_k2 = expected_slope(lambda p: losses.token_kl(p, q, value=K2(), gradient="autodiff"), policy)
    by_hand = expected_slope(lambda p: K2().values(p - q), policy)
    np.testing.assert_allclose(by_k2, by_hand, rtol=1e-12)
    with pytest.raises(TypeError, match="no gradient of its own"):
        jax.grad(lambda p: losses.token_kl(p, q).sum())(q)


@pytest.mark.parametrize(
    ("value", "bias", "spread"),
    [(K1(), 0.0, 20.0), (K2(), 0.0025, 1.417744688), (K3(), 0.0, 1.416574519)],
    ids=["k1", "k2", "k3"],
)
def test_the_published_bias_and_spread_of_the_three_values(value, bias, spread, float64):
    """Schulman's table for N(0, 1) against N(0.1, 1), relative to KL = 0.005, by quadrature."""
    x = np.linspace(-10, 10, 4001)
    weights = np.exp(-x * x / 2) / np.exp(-x * x / 2).sum()
    log_p, log_q = -0.5 * x**2, -0.5 * (x - 0.1) ** 2
    found = np.asarray(losses.token_kl(jnp.array(log_p), jnp.array(log_q), value=value))
    mean = (weights * found).sum()
    assert mean / 0.005 - 1 == pytest.approx(bias, abs=1e-9)
    sd = math.sqrt((weights * (found - mean) ** 2).sum())
    assert sd / 0.005 == pytest.approx(spread, rel=1e-8)
