"""The mode probe: finds modes q does not see, and none where there are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vikl._compile import record_compiles
from vikl.diagnostics import mode_probe
from vikl.diagnostics._climb import climb
from vikl.diagnostics._outside import evidence_inside
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.target import Target

# the mixtures below broadcast, as a user's would
pytestmark = pytest.mark.usefixtures("standard_promotion")

KEYS = [jax.random.key(i) for i in range(2)]


def mixture(x, data):
    means, scales, log_weights = data
    z = (x - means) / scales[:, None]
    each = -0.5 * jnp.sum(z * z, 1) - x.size * jnp.log(scales) + log_weights
    return jax.scipy.special.logsumexp(each)


def mixture_target(means, scales, weights):
    means, scales, weights = (jnp.asarray(np.asarray(v, float)) for v in (means, scales, weights))
    data = (means, scales, jnp.log(weights))
    return Target.from_density(mixture, like=jnp.zeros(means.shape[1]), data=data)


def normal(mean, scale):
    return MeanFieldNormal.init(jnp.asarray(np.asarray(mean, float)), np.asarray(scale, float))


# means, scales, weights; q's mode; the share that lies outside
MODES = {
    "1-d, 8 sds": ([[-2.0], [2.0]], [0.5, 0.5], [0.5, 0.5], 0, 0.5),
    "1-d, unequal, on the lighter": ([[-2.0], [2.5]], [0.8, 0.6], [0.7, 0.3], 1, 0.7),
    "2-d, 6 sds": ([[-3.0, 0], [3, 0]], [1, 1], [0.5, 0.5], 0, 0.5),
    "2-d, 20 sds": ([[-10.0, 0], [10, 0]], [1, 1], [0.5, 0.5], 0, 0.5),
    "2-d, 20 sds askew, a tenth": ([[0.0, 0], [12, 16]], [1, 1], [0.9, 0.1], 0, 0.1),
    "2-d, wider, far": ([[0.0, 0], [-20, -20]], [1, 6], [0.4, 0.6], 0, 0.6),
    "2-d, one per cent": ([[0.0, 0], [0, 9]], [1, 1], [0.99, 0.01], 0, 0.01),
    "2-d, only one": ([[1.0, 2], [1, 2]], [1, 1], [0.5, 0.5], 0, 0.0),
}


@pytest.mark.parametrize("name", MODES)
def test_finds_the_mass_that_q_does_not_see(name):
    means, scales, weights, mine, share = MODES[name]
    target = mixture_target(means, scales, weights)
    for key in KEYS:
        probe = mode_probe(target, normal(means[mine], scales[mine]), key)
        assert probe.share_outside == pytest.approx(share, abs=max(5 * probe.share_std_error, 0.03))
        if share:
            np.testing.assert_allclose(probe.optima[0], means[1 - mine], atol=0.05)
        else:
            assert len(probe.optima) == 0


def test_a_q_that_covers_both_modes_misses_nothing():
    target = mixture_target([[-2.0], [2.5]], [0.8, 0.6], [0.7, 0.3])
    assert mode_probe(target, normal([-0.65], 2.19), KEYS[0]).share_outside < 0.02


def test_a_misplaced_q_is_not_a_missed_mode():
    target = mixture_target([[30.0, 30], [30, 30]], [1, 1], [0.5, 0.5])
    probe = mode_probe(target, normal([0.0, 0.0], 0.1), KEYS[0])
    assert probe.share_outside == 0
    assert probe.home_distance == pytest.approx(300, rel=0.01)


def precision_normal(x, precision):
    return -0.5 * x @ (precision @ x)


def test_ill_conditioned_normal_in_100_dimensions_is_clean():
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(100, 100)))[0]
    variances = np.logspace(-2, 2, 100)
    precision = jnp.asarray((rotation / variances) @ rotation.T)
    target = Target.from_density(precision_normal, like=jnp.zeros(100), data=precision)
    root = np.linalg.cholesky((rotation * variances) @ rotation.T)
    q = FullRankNormal.from_moments(jnp.zeros(100), jnp.asarray(root))
    probe = mode_probe(target, q, KEYS[0])
    assert probe.share_outside == 0
    assert probe.num_gradients < 460


def student(x, degrees):
    return -0.5 * (degrees + x.size) * jnp.log1p(x @ x / degrees)


def banana(x):
    return -0.125 * x[0] ** 2 - 0.5 * (x[1] - 0.25 * (x[0] ** 2 - 4)) ** 2


def eight_schools(x, data):
    y, sigma = data
    theta, mu, tau = x[:8], x[8], jnp.exp(x[9])
    log_likelihood = -0.5 * jnp.sum(((y - mu - tau * theta) / sigma) ** 2)
    return log_likelihood - 0.5 * theta @ theta - mu**2 / 50 - jnp.log1p((tau / 5) ** 2) + x[9]


SCHOOLS = np.array([[28.0, 8, -3, 7, -1, 1, 18, 12], [15.0, 10, 16, 11, 9, 11, 10, 18]])
SCHOOLS_MEAN = np.array([0.3, 0.1, -0.1, 0.1, -0.1, -0.1, 0.3, 0.1, 4.4, 0.8])
SCHOOLS_SD = np.array([1.0] * 8 + [3.3, 1.2])
# density, data, q's mean and sd
CLEAN = {
    "Student-t, 3": (student, np.asarray(3.0), np.zeros(2), 1.2),
    "Student-t, 1": (student, np.asarray(1.0), np.zeros(2), 1.5),
    "banana": (banana, None, np.array([0, -0.6]), np.array([1.25, 1])),
    "eight schools": (eight_schools, SCHOOLS, SCHOOLS_MEAN, SCHOOLS_SD),
}


@pytest.mark.parametrize("name", CLEAN)
def test_flags_no_mode_where_there_is_one_only(name):
    density, data, mean, sd = CLEAN[name]
    target, q = Target.from_density(density, like=jnp.zeros(len(mean)), data=data), normal(mean, sd)
    for key in KEYS:
        probe = mode_probe(target, q, key)
        assert probe.share_outside < 0.02
        assert probe.num_gradients < 700


def hostile(x, kind):
    """Flat, unbounded above, NaN on the right, −inf on the left, NaN everywhere."""
    square = -0.5 * x @ x
    cases = [
        lambda: 0.0 * x[0],
        lambda: x.sum(),
        lambda: jnp.where(x[0] > 1.5, jnp.nan, square),
        lambda: jnp.where(x[0] > 0, square, -jnp.inf),
        lambda: jnp.nan * x[0],
    ]
    return jax.lax.switch(kind, cases)


@pytest.mark.parametrize(
    ("kind", "end"),
    list(enumerate(["arrived", "ran away", "arrived", "undefined", "undefined"])),
)
def test_hostile_targets_are_reported_not_raised(kind, end):
    target = Target.from_density(hostile, like=jnp.zeros(2), data=jnp.asarray(kind))
    probe = mode_probe(target, normal([0.0, 0.0], 1.0), KEYS[0])
    assert probe.share_outside == 0
    assert probe.ends[end] > 0
    assert sum(probe.ends.values()) == probe.num_starts
    assert "gradients" in repr(probe)


def test_same_key_same_answer_and_one_compilation():
    means, scales, weights, mine, _ = MODES["2-d, 6 sds"]
    q = normal(means[mine], 1.0)
    first = mode_probe(mixture_target(means, scales, weights), q, KEYS[0])
    with record_compiles() as record:
        again = mode_probe(mixture_target(means, scales, weights), q, KEYS[0])
        mode_probe(mixture_target(means, [1.1, 0.9], weights), q, KEYS[1])
    assert record.count == 0
    np.testing.assert_array_equal(first.optima, again.optima)
    assert first.share_outside == again.share_outside


def counted(function):
    calls = [0]

    def evaluate(z):
        calls[0] += len(z)
        return function(z)

    return evaluate, calls


def test_climb_counts_its_gradients_and_keeps_its_budget():
    scales = np.logspace(-1, 1, 6)
    evaluate, calls = counted(lambda z: (-0.5 * (z**2 / scales).sum(1), -z / scales))
    starts = 5 * np.random.default_rng(0).normal(size=(4, 6))
    found = climb(evaluate, starts, 400)
    assert found.state == ["arrived"] * 4
    assert found.num_gradients == calls[0] <= 400
    assert np.abs(found.value).max() < 0.01
    short = climb(evaluate, starts, 10)
    assert short.num_gradients <= 10
    assert short.state == ["climbing"] * 4


def test_climb_gets_round_the_bend():
    def rosenbrock(z):
        a, b = 1 - z[:, 0], z[:, 1] - z[:, 0] ** 2
        gradient = np.stack([2 * a + 40 * b * z[:, 0], -20 * b], 1)
        return -(a**2) - 10 * b**2, gradient

    found = climb(rosenbrock, np.array([[-1.2, 1.0], [3.0, -3.0]]), 200)
    assert found.state == ["arrived"] * 2
    np.testing.assert_allclose(found.z, 1.0, atol=0.1)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (lambda z: (z.sum(1), np.ones_like(z)), "ran away"),
        (lambda z: (np.nan * z.sum(1), z), "undefined"),
        (lambda z: (-z.sum(1), np.ones_like(z)), "stuck"),  # the gradient points down
        (lambda z: (np.full(len(z), np.inf), z), "ran away"),
    ],
)
def test_climb_says_why_it_stopped(value, state):
    assert climb(value, np.array([[0.7, 0.3, 0.45]]), 500).state == [state]


def test_a_stray_draw_does_not_carry_the_other_modes_mass():
    log_ratios = np.zeros(1000)
    log_ratios[3] = np.log(1000)
    assert np.log(np.exp(log_ratios).mean()) > 0.6
    assert evidence_inside(log_ratios) == pytest.approx(0.02, abs=0.01)
    assert evidence_inside(np.full(5, np.nan)) == -np.inf
