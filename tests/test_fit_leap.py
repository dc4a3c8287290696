"""Rounds of one frame of directions, and leaps along a funnel: what they promise, in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid

import vikl
from vikl.fitting._leap import Leap
from vikl.fitting._natural import FULL, Moments, draw_directions, summarize

RNG = np.random.default_rng(0)


def random_normal(dim):
    return Moments(RNG.normal(size=dim), np.eye(dim) + 0.3 * RNG.normal(size=(dim, dim)))


def test_a_leap_passes_both_normals_and_knows_its_slope():
    """The slope is that of the exact ELBO of a normal target: a frame is exact on a quadratic."""
    dim = 5
    old, new = random_normal(dim), random_normal(dim)
    root = RNG.normal(size=(dim, dim))
    precision, center = root @ root.T + np.eye(dim), RNG.normal(size=dim)
    leap = Leap(old, new, 1.0)
    for place, q in ((0.0, old), (1.0, new)):
        np.testing.assert_allclose(leap.at(place).cov, q.cov, atol=1e-10)
        np.testing.assert_allclose(leap.at(place).mean, q.mean, atol=1e-12)

    def elbo(q):
        off = q.mean - center
        return q.entropy - 0.5 * (off @ precision @ off + np.trace(precision @ q.cov))

    for place in (0.5, 1.0, 1.7):
        q, noise = leap.at(place), draw_directions(np.random.default_rng(1), dim)
        gradients = -(q.mean + noise @ q.scale.T - center) @ precision
        seen = summarize(np.zeros(len(noise)), gradients, q, noise, FULL)
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
