"""Single steps, frames of directions, and leaps along a funnel: what they promise, in NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import log_sigmoid

import vikl
from vikl.fitting import _ascend, _automatic
from vikl.fitting._leap import Leap
from vikl.fitting._natural import (
    DIAGONAL,
    FULL,
    Ascent,
    Moments,
    Row,
    Step,
    draw_directions,
    summarize,
)

RNG = np.random.default_rng(0)


def random_normal(dim):
    return Moments(RNG.normal(size=dim), np.eye(dim) + 0.3 * RNG.normal(size=(dim, dim)))


def normal_target(dim):
    """Return the exact ELBO of a normal target, and its gradients at rows."""
    root = RNG.normal(size=(dim, dim))
    precision, center = root @ root.T + np.eye(dim), RNG.normal(size=dim)

    def elbo(q):
        off = q.mean - center
        return q.entropy - 0.5 * (off @ precision @ off + np.trace(precision @ q.cov))

    return elbo, lambda x: -(x - center) @ precision


@pytest.mark.parametrize("shape", [FULL, DIAGONAL])
def test_a_step_knows_what_its_slope_promises_and_how_long_it_is(shape):
    dim = 5
    elbo, slope = normal_target(dim)
    q = Moments(RNG.normal(size=dim), np.diag(np.exp(RNG.normal(size=dim))))
    noise = draw_directions(np.random.default_rng(1), dim)
    seen = summarize(np.zeros(len(noise)), slope(q.mean + noise @ q.scale.T), q, noise, shape)
    short = shape.update(q, seen, 1e-6, np.inf)
    np.testing.assert_allclose(
        Step.between(q, short, seen).promise, elbo(short) - elbo(q), rtol=1e-3
    )
    new = shape.update(q, seen, 0.5, np.inf)
    precision = np.linalg.inv(q.cov)
    exact = np.trace(precision @ new.cov) - dim + np.linalg.slogdet(q.cov)[1]
    exact += (new.mean - q.mean) @ precision @ (new.mean - q.mean)
    exact = 0.5 * (exact - np.linalg.slogdet(new.cov)[1])
    np.testing.assert_allclose(Step.between(q, new, seen).length, exact, rtol=1e-9)


def test_a_step_brought_what_it_promised_or_did_not():
    def round_of(elbo, error=0.0):
        return dataclasses.replace(seen, elbo=elbo, elbo_std_error=error)

    seen = summarize(np.zeros(4), np.zeros((4, 1)), Moments(np.zeros(1), np.eye(1)),
                     np.array([[1.0], [2.0], [-1.0], [-2.0]]), FULL)  # fmt: skip
    step = Step(round_of(-10.0), 4.0, 1.0)
    assert step.brought(0.7, round_of(-7.0))
    assert not step.brought(0.7, round_of(-8.0))
    assert step.brought(0.7, round_of(-8.0, 0.5))  # within its noise
    assert not step.brought(0.25, round_of(-11.0, 50.0))  # a wild error is no excuse
    assert not step.brought(0.25, round_of(np.nan))


def test_a_normal_far_too_narrow_widens_faster_and_faster(monkeypatch):
    """Its sd is a millionth of the target's: twenty rounds at a factor of two each."""

    def rounds():
        q = Moments(np.zeros(10), np.diag([1e-6, *np.ones(9)]))
        rng, goal = np.random.default_rng(0), _ascend.Goal(0.01, 0.01, 100)
        found = _ascend.ascend(lambda x: (-0.5 * np.sum(x**2, 1), -x), q, rng, goal, num_draws=64)
        assert found.converged
        np.testing.assert_allclose(found.moments.cov, np.eye(10), atol=1e-6)
        return len(found.history)

    assert rounds() <= 16
    monkeypatch.setattr(_ascend, "_BOLDEST_CHANGE", 4.0)
    assert rounds() >= 20


def test_a_leap_passes_both_normals_and_knows_its_slope():
    """The slope is that of the exact ELBO of a normal target: a frame is exact on a quadratic."""
    dim = 5
    old, new = random_normal(dim), random_normal(dim)
    elbo, slope = normal_target(dim)
    leap = Leap(old, new, 1.0)
    for place, q in ((0.0, old), (1.0, new)):
        np.testing.assert_allclose(leap.at(place).cov, q.cov, atol=1e-10)
        np.testing.assert_allclose(leap.at(place).mean, q.mean, atol=1e-12)

    for place in (0.5, 1.0, 1.7):
        q, noise = leap.at(place), draw_directions(np.random.default_rng(1), dim)
        seen = summarize(np.zeros(len(noise)), slope(q.mean + noise @ q.scale.T), q, noise, FULL)
        exact = (elbo(leap.at(place + 1e-5)) - elbo(leap.at(place - 1e-5))) / 2e-5
        np.testing.assert_allclose(leap.slope(q, seen), exact, rtol=1e-5)


def test_a_leap_is_not_longer_than_a_few_sds_and_turns_where_the_slope_does():
    one = Moments(np.zeros(2), np.eye(2))
    far = Leap(one, Moments(np.array([8.0, 0.0]), np.eye(2)), 16.0)
    assert far.reach == 0.5  # the mean's way is eight sds: four more
    short = Leap(one, Moments(np.array([0.1, 0.0]), 1.1 * np.eye(2)), 2.0)
    np.testing.assert_allclose(short.turn(1.0, -3.0).mean, [0.15, 0.0])  # a quarter of the reach
    np.testing.assert_allclose(short.turn(1.0, np.nan).mean, [0.1, 0.0])


SURGERIES = np.array([47, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360], np.float32)
DEATHS = np.array([0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24], np.float32)


def surgical(x):
    """Centred logits of 12 hospitals; the log variance of the levels is the last coordinate."""
    y, n, level, mu, tau = DEATHS, SURGERIES, x[:12], x[12], jnp.exp(0.5 * x[13])
    prior = -0.5 * (mu / 1000) ** 2 - 0.001 * x[13] - 0.001 * jnp.exp(-x[13])
    prior = prior - 0.5 * jnp.sum(((level - mu) / tau) ** 2) - 12 * jnp.log(tau)
    return prior + jnp.sum(y * log_sigmoid(level) + (n - y) * log_sigmoid(-level))


def test_the_neck_of_a_centred_hierarchy_is_left():
    """The mode is at levels all alike, 13 nats below the best normal, along a winding ridge."""
    post = vikl.fit(surgical, like=jnp.zeros(14), key=jax.random.key(1), progress=False)
    assert post.num_gradients < 5000
    # at which of the two it ends hangs on rounding: the last rounds are a hair from the tolerance
    assert post.status in ("converged", "budget spent"), post.stopped_because
    assert post.elbo > -726.23 - 0.1 - 3 * post.elbo_std_error  # of a long float64 run
    assert post.mean[13] > -3.0  # from −7 at the mode


@pytest.mark.parametrize("key", [0, 1])
def test_a_budget_is_stretched_while_the_fit_gets_better(monkeypatch, key):
    """Half the usual gradients: cut off, the fit is 1 to 3 nats short."""

    def fit():
        return vikl.fit(surgical, like=jnp.zeros(14), key=jax.random.key(key), progress=False)

    monkeypatch.setattr(_automatic, "_GRADIENTS", 2400)
    monkeypatch.setattr(_automatic, "_ROUNDS_AT_LEAST", 1)
    post = fit()
    assert post.status == "converged", post.stopped_because
    assert 2500 < post.num_gradients < 3 * 2500
    assert post.elbo > -726.23 - 0.1 - 3 * post.elbo_std_error
    monkeypatch.setattr(_automatic, "_STRETCHES", 1)
    cut = fit()
    assert cut.status == "budget spent"
    assert cut.num_gradients < 2500
    assert cut.elbo < post.elbo - 0.5


def test_a_run_is_rising_where_that_is_clear():
    def run(elbos, error):
        rows = [Row(i, elbo, error, 0.0) for i, elbo in enumerate(elbos)]
        return Ascent(Moments(np.zeros(1), np.eye(1)), rows, False, "", 0.0, 0.0, 0.0)

    assert run(range(16), 1.0).rising
    assert not run(range(16), 10.0).rising  # within its noise
    assert not run([0.0] * 16, 0.0).rising
    assert not run(range(6), 0.0).rising  # too few rounds to say
