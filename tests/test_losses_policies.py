"""Policies: KL, the penalty, the exact step of a bandit, the step of TRPO."""

import itertools
import math
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from many_digits import kl

import vikl
from vikl import losses

NAN, INF = math.nan, math.inf


# --- policies ---


def test_kl_of_a_team_is_that_of_the_product(float64):
    """Three agents: the sum, and the sum over all joint actions."""
    pairs = [
        ((0.2, 0.8), (0.3, 0.7)),
        ((0.8, 0.2), (0.6, 0.4)),
        ((0.6, 0.3, 0.1), (0.3, 0.3, 0.4)),
    ]
    joint_p = [math.prod(c) for c in itertools.product(*(p for p, _ in pairs))]
    joint_q = [math.prod(c) for c in itertools.product(*(q for _, q in pairs))]
    old, new = ([dist.Categorical(jnp.array(pair[side])) for pair in pairs] for side in (0, 1))
    found = float(losses.policy_kl(old, new))
    assert found == pytest.approx(float(kl(joint_p, joint_q)), rel=1e-12)
    assert found == pytest.approx(0.3945071866, abs=1e-10)


def test_a_squashed_policy_has_the_kl_and_the_density_of_its_actions():
    """By quadrature over the actions in (-1, 1)."""
    p = losses.TanhNormal(jnp.array([0.3]), jnp.array([0.5]))
    q = losses.TanhNormal(jnp.array([-0.2]), jnp.array([0.7]))

    def density(a, loc, scale):
        return mp.npdf(mp.atanh(a), loc, scale) / (1 - a * a)

    area: Any = mp.quad(lambda a: density(a, 0.3, 0.5), [-1, 0, 0.9, 1])
    assert float(area) == pytest.approx(1, abs=1e-6)
    exact: Any = mp.quad(
        lambda a: density(a, 0.3, 0.5) * mp.log(density(a, 0.3, 0.5) / density(a, -0.2, 0.7)),
        [-0.999999, 0, 0.9, 0.999999],
    )
    assert float(losses.policy_kl(p, q)) == pytest.approx(float(exact), rel=1e-4)
    action, log_prob = p.sample_and_log_prob(jax.random.key(0))
    exact = float(mp.log(density(float(action[0]), 0.3, 0.5)))
    assert float(log_prob) == pytest.approx(exact, rel=1e-4)
    assert float(p.log_prob(action)) == pytest.approx(exact, rel=1e-4)


def test_a_saturated_squashed_policy_keeps_finite_densities_and_gradients():
    def cost(loc):
        policy = losses.TanhNormal(loc, jnp.full((1,), 0.5))
        action, log_prob = policy.sample_and_log_prob(jax.random.key(1))
        return log_prob + policy.log_prob(jax.lax.stop_gradient(action))

    value, slope = jax.value_and_grad(cost)(jnp.array([40.0]))
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_padding_after_an_episode_costs_nothing():
    old = dist.Categorical(logits=jnp.zeros((3, 2)))
    new = dist.Categorical(logits=jnp.array([[1.0, 0], [2.0, 0], [3.0, 0]]))
    values = losses.policy_kl(old, new, where=jnp.array([True, True, False]))
    assert (values[:2] > 0).all()
    assert values[2] == 0


# --- the penalty of PPO ---


@pytest.mark.parametrize(
    ("measured", "expected"),
    [(0.0066, 0.5), (0.0067, 1.0), (0.01, 1.0), (0.0149, 1.0), (0.0151, 2.0), (INF, 2.0)],
)
def test_the_rule_of_the_adaptive_penalty(measured, expected):
    penalty = losses.AdaptivePenalty(target=0.01)
    step = jax.jit(penalty.update)
    state = step(penalty.init(1.0), measured)
    assert float(state.coefficient) == expected
    assert int(state.num_ignored) == 0


def test_the_penalty_has_ends_and_is_not_spoilt_by_nan():
    penalty = losses.AdaptivePenalty(0.01, largest=5.0, smallest=0.5)
    state = penalty.init(100.0)
    assert float(state.coefficient) == 5
    state = penalty.update(state, NAN)
    assert (float(state.coefficient), int(state.num_ignored)) == (5, 1)
    for _ in range(6):
        state = penalty.update(state, 0.0)
    assert float(state.coefficient) == 0.5


# --- the bandit ---


def tilt(p, a, radius, direction):
    """The multiplier and the policy, by 30-digit root finding."""
    with mp.workdps(30):
        p, a = [mp.mpf(str(x)) for x in p], [mp.mpf(str(x)) for x in a]

        def policy(beta):
            if direction == "new||old":
                w = [x * mp.exp(beta * y) for x, y in zip(p, a)]
            else:
                w = [x / (1 + beta * (max(a) - y)) for x, y in zip(p, a)]
            return [x / sum(w) for x in w]

        def moved(beta):
            return kl(policy(beta), p) if direction == "new||old" else kl(p, policy(beta))

        low, high = mp.mpf("1e-6"), mp.mpf("1e6")
        for _ in range(110):
            beta = (low + high) / 2
            near = moved(beta) < mp.mpf(str(radius))
            low, high = (beta, high) if near else (low, beta)
        return beta, policy(beta)


@pytest.mark.parametrize("direction", ["new||old", "old||new"])
@pytest.mark.parametrize(
    ("p", "a", "radius"),
    [
        ((0.2, 0.3, 0.5), (1.0, 0.0, -0.4), 0.01),
        ((0.2, 0.3, 0.5), (1.0, 0.0, -0.4), 1.5),  # nearly greedy: -log 0.2 is 1.609
        ((0.001, 0.499, 0.5), (0.25, 0.0, 0.0), 1.0),
    ],
)
def test_the_exact_trust_region_step(p, a, radius, direction, dtype):
    beta, policy = tilt(p, a, radius, direction)
    found = losses.tilted_policy(jnp.array(p), jnp.array(a), radius, direction=direction)
    near = 1e-10 if dtype == np.float64 else 1e-5
    assert float(found.multiplier) == pytest.approx(float(beta), rel=near)
    np.testing.assert_allclose(found.probabilities, [float(x) for x in policy], rtol=10 * near)
    assert float(found.kl) == pytest.approx(radius, rel=near)
    expected = float(sum(x * y for x, y in zip(policy, a)) - sum(x * y for x, y in zip(p, a)))
    assert float(found.gain) == pytest.approx(expected, rel=10 * near)


def test_no_policy_within_the_region_is_better(float64):
    p, a, radius = np.array([0.2, 0.3, 0.5]), np.array([1.0, 0.0, -0.4]), 0.01
    others = np.random.default_rng(0).dirichlet(60 * p, 20_000)
    gains = (others - p) @ a
    balls = {
        "new||old": (others * np.log(others / p)).sum(1),
        "old||new": (p * np.log(p / others)).sum(1),
    }
    for direction, moved in balls.items():
        best = losses.tilted_policy(jnp.array(p), jnp.array(a), radius, direction=direction)
        inside = moved <= radius
        assert inside.sum() > 500
        assert gains[inside].max() <= float(best.gain) + 1e-12
        assert gains[inside].max() > 0.9 * float(best.gain)  # the search came near


def test_a_wide_region_holds_the_greedy_policy_and_equal_advantages_stay():
    greedy = losses.tilted_policy([0.2, 0.3, 0.1, 0.4], [1.0, 1.0, 0.0, 2.0], 1.0)
    np.testing.assert_allclose(greedy.probabilities, [0, 0, 0, 1])
    assert greedy.multiplier == INF
    assert float(greedy.kl) == pytest.approx(-math.log(0.4), rel=1e-6)
    ties = losses.tilted_policy([0.2, 0.3, 0.5], [1.0, 1.0, 0.0], 1.0)
    np.testing.assert_allclose(ties.probabilities, [0.4, 0.6, 0.0], atol=1e-7)
    still = losses.tilted_policy([0.2, 0.8], [3.0, 3.0], 0.1)
    np.testing.assert_allclose(still.probabilities, [0.2, 0.8], rtol=1e-6)
    assert (still.multiplier, still.kl) == (0, 0)
    for direction in ("new||old", "old||new"):
        barred = losses.tilted_policy([0.5, 0.5, 0.0], [0.0, 1.0, 1e6], 0.01, direction=direction)
        assert barred.probabilities[2] == 0
        assert float(barred.kl) == pytest.approx(0.01, rel=1e-5)


def test_the_ball_of_trpo_never_holds_the_greedy_policy():
    """However wide: the constraint is met, though what is left of an action may be no float."""
    wide = losses.tilted_policy([0.2, 0.3, 0.5], [1.0, 0.0, -0.4], 30.0, direction="old||new")
    assert float(wide.kl) == pytest.approx(30, rel=1e-5)
    assert 1e15 < wide.multiplier < INF
    assert (wide.probabilities > 0).all()
    rare = losses.tilted_policy([1 - 1e-7, 1e-7, 0], [1.0, 0.0, 2.0], 1.0, direction="old||new")
    assert float(rare.kl) == pytest.approx(1, rel=1e-5)
    assert (rare.multiplier, rare.probabilities[0]) == (INF, 1)
    still = losses.tilted_policy([0.2, 0.8, 0], [3.0, 3.0, 4.0], 0.1, direction="old||new")
    assert (still.multiplier, still.kl) == (0, 0)


# --- the step of TRPO ---

OLD, ADVANTAGES = np.log([0.2, 0.3, 0.5]), np.array([1.0, 0.0, -0.4])


def bandit_step(**settings):
    old, a = jnp.array(OLD, float), jnp.array(ADVANTAGES, float)
    return losses.trust_region_step(
        lambda z: -jax.nn.softmax(z) @ a, lambda z: vikl.kl.categorical_logits(old, z), old,
        **settings,
    )  # fmt: skip


def test_the_quadratic_step_violates_the_constraint_and_the_line_search_keeps_it(float64):
    p = [mp.mpf("0.2"), mp.mpf("0.3"), mp.mpf("0.5")]
    a = [mp.mpf(1), mp.mpf(0), mp.mpf("-0.4")]
    mean = sum(x * y for x, y in zip(p, a))
    variance = sum(x * (y - mean) ** 2 for x, y in zip(p, a))
    beta = mp.sqrt(2 * mp.mpf("0.01") / variance)  # the natural gradient of a softmax is A itself
    assert float(beta) == pytest.approx(0.2672612419, abs=1e-10)
    w = [x * mp.exp(beta * y) for x, y in zip(p, a)]
    whole = float(kl(p, [x / sum(w) for x in w]))
    found = jax.jit(bandit_step)()
    assert whole > 0.0105
    assert float(found.proposed_kl) == pytest.approx(whole, rel=1e-9)
    assert float(found.kl) <= 0.01
    w = [x * mp.exp(beta * mp.mpf("0.8") * y) for x, y in zip(p, a)]
    np.testing.assert_allclose(
        jax.nn.softmax(found.params), [float(x / sum(w)) for x in w], rtol=1e-8
    )
    assert (bool(found.accepted), int(found.num_backtracks)) == (True, 1)
    assert found.status == "step taken, shortened 1 times"


def test_conjugate_gradients_solve_the_fisher_system(float64):
    """A linear softmax policy over 40 states: the same direction as by the whole matrix."""
    rng = np.random.default_rng(0)
    states = jnp.array(rng.normal(size=(40, 3)))
    advantages = jnp.array(rng.normal(size=(40, 4)))
    params = {"w": jnp.array(rng.normal(size=(3, 4)) * 0.3), "b": jnp.zeros(4)}
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def logits(p):
        return states @ p["w"] + p["b"][None]

    old = logits(params)

    def loss(p):
        return -(jax.nn.softmax(logits(p), -1) * advantages).sum(-1).mean()

    def divergence(p):
        return vikl.kl.categorical_logits(old, logits(p)).mean()

    @jax.jit
    def every(params):
        step = losses.trust_region_step(loss, divergence, params, max_kl=1e-4, num_iterations=50)
        fisher = jax.hessian(lambda v: divergence(unravel(v)))(flat)
        return step, fisher, jax.grad(lambda v: loss(unravel(v)))(flat)

    found, fisher, gradient = every(params)
    x = np.linalg.pinv(np.asarray(fisher), rcond=1e-10) @ np.asarray(gradient)
    moved = np.asarray(jax.flatten_util.ravel_pytree(found.params)[0] - flat)
    cosine = -(moved @ fisher @ x) / np.sqrt((moved @ fisher @ moved) * (x @ fisher @ x))
    assert float(cosine) == pytest.approx(1, abs=1e-6)
    assert float(found.kl) <= 1e-4
    assert float(found.loss) < float(loss(params))
    assert float(found.residual) < 1e-4


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (lambda z: 0 * z.sum(), "at an optimum"),
        (lambda z: z.sum() * jnp.nan, "not finite"),
        (lambda z: jnp.where(z[0] == np.float32(OLD[0]), z.sum(), jnp.nan), "improved"),
    ],
)
def test_where_no_step_is_good_the_parameters_stay(loss, says):
    old = jnp.array(OLD, float)
    kl_from_old = lambda z: vikl.kl.categorical_logits(old, z)
    found = jax.jit(lambda z: losses.trust_region_step(loss, kl_from_old, z))(old)
    assert not found.accepted
    assert says in found.status
    np.testing.assert_array_equal(found.params, old)
