"""Distillation and focal KL: values by 30-digit arithmetic, and what is special to them."""

import math

import jax
import jax.flatten_util
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from many_digits import kl, softmax

from vikl import generators, losses

NAN, INF = math.nan, math.inf


# --- distillation ---

STUDENT, TEACHER = [1.5, -0.5, -1.0], [2.0, 0.5, -2.5]


@pytest.mark.parametrize("temperature", [1, 2, 5, 100])
def test_distillation_and_its_gradient(temperature, dtype):
    p, q = softmax(TEACHER, temperature), softmax(STUDENT, temperature)
    student, teacher = jnp.array(STUDENT), jnp.array(TEACHER)
    loss, slope = jax.jit(jax.value_and_grad(losses.distillation))(student, teacher, temperature)
    near = 1e-12 if dtype == np.float64 else 2e-6
    assert float(loss) == pytest.approx(float(temperature**2 * kl(p, q)), rel=near)
    expected = [float(temperature * (b - a)) for a, b in zip(p, q)]
    np.testing.assert_allclose(slope, expected, rtol=20 * near)


def test_distillation_of_hot_logits_is_a_squared_distance():
    """At T = 100 in float32 the gradient is right to a part in a million of its size."""
    rng = np.random.default_rng(0)
    z, v = (np.float32(rng.normal(0, 3, 10)) for _ in range(2))
    slope = jax.jit(jax.grad(losses.distillation))(jnp.array(z), jnp.array(v), 1e6)
    limit = (z - z.mean() - (v - v.mean())) / 10
    np.testing.assert_allclose(slope, limit, atol=3e-6)
    p, q = softmax(v.tolist(), 100), softmax(z.tolist(), 100)
    slope = jax.jit(jax.grad(losses.distillation))(jnp.array(z), jnp.array(v), 100.0)
    np.testing.assert_allclose(slope, [float(100 * (b - a)) for a, b in zip(p, q)], atol=1e-6)


FORMS = {
    "kl": (generators.kl, lambda p, q: kl(p, q)),
    "reverse_kl": (generators.reverse_kl, lambda p, q: kl(q, p)),
    "jensen_shannon": (
        lambda: generators.jensen_shannon((0.25, 0.75)),
        lambda p, q: 0.25 * kl(p, mix(p, q, 0.25)) + 0.75 * kl(q, mix(p, q, 0.25)),
    ),
    "skew_kl": (lambda: generators.skew_kl(0.9), lambda p, q: kl(p, mix(p, q, mp.mpf("0.1")))),
    "swapped": (
        lambda: generators.swapped(generators.skew_kl(0.9)),
        lambda p, q: kl(q, mix(p, q, mp.mpf("0.9"))),
    ),
}


def mix(p, q, share):
    return [share * a + (1 - share) * b for a, b in zip(p, q)]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_distillation(form, float64):
    make, expected = FORMS[form]
    got = jax.jit(lambda z, v: losses.distillation(z, v, 2.0, divergence=make()))(
        jnp.array(STUDENT), jnp.array(TEACHER)
    )
    value = 4 * expected(softmax(TEACHER, 2), softmax(STUDENT, 2))
    assert float(got) == pytest.approx(float(value), rel=1e-10)


def test_classes_that_the_teacher_rules_out_are_allowed_and_the_other_way_is_infinite():
    full, lacks = jnp.array([1.0, 0.0, 0.5]), jnp.array([1.0, 0.0, -jnp.inf])

    @jax.jit
    def every(z, v):
        """The loss and its slope, the reverse form, the Jensen-Shannon form."""
        forward = jax.value_and_grad(losses.distillation)(z, v, 2.0)
        others = (generators.reverse_kl(), generators.jensen_shannon())
        return forward, *(losses.distillation(z, v, divergence=d) for d in others)

    (value, slope), reverse, _ = every(full, lacks)
    exact = float(4 * kl([*softmax([1, 0], 2), 0], softmax([1, 0, 0.5], 2)))
    assert float(value) == pytest.approx(exact, rel=1e-5)
    assert np.isfinite(slope).all()
    assert reverse == INF
    (value, _), _, shannon = every(lacks, full)
    assert value == INF
    assert 0 < shannon < math.log(2)


def test_labels_are_mixed_in_at_temperature_one(float64):
    z, v = jnp.array([STUDENT, TEACHER]), jnp.array([TEACHER, STUDENT])
    labels = jnp.array([2, 0])

    @jax.jit
    def every(z, v):
        mix = lambda y: losses.distillation(z, v, 3.0, labels=y, label_weight=0.3)
        return losses.distillation(z, v, 3.0), mix(labels), mix(jax.nn.one_hot(labels, 3))

    soft, mixed, as_probabilities = every(z, v)
    hard = -jnp.log(jax.nn.softmax(z, -1))[jnp.arange(2), labels]
    np.testing.assert_allclose(mixed, 0.7 * soft + 0.3 * hard, rtol=1e-12)
    np.testing.assert_allclose(as_probabilities, mixed, rtol=1e-12)


# --- focal ---


@pytest.mark.parametrize(("q", "gamma"), [(0.7, 0), (0.7, 1), (0.7, 2), (0.9, 2), (0.968, 2)])
def test_focal_kl_of_a_label_is_the_focal_loss(q, gamma, float64):
    p, predicted = jnp.array([1.0, 0, 0]), jnp.array([q, (1 - q) * 0.6, (1 - q) * 0.4])
    expected = float((1 - mp.mpf(q)) ** gamma * -mp.log(mp.mpf(q)))
    for found in (
        losses.focal_kl(p, predicted, gamma),
        losses.naive_focal_kl(p, predicted, gamma),
        losses.focal_kl_from_logits(jnp.array(0), jnp.log(predicted), gamma),
        losses.focal_kl_from_logits(p, jnp.log(predicted), gamma),
    ):
        assert float(found) == pytest.approx(expected, rel=1e-11)


def test_the_naive_focal_weight_goes_negative_and_moves_the_minimum(float64):
    """Over predictions for p = (0.7, 0.3): focal KL is smallest at p, the naive one is not."""
    p = jnp.array([0.7, 0.3])
    grid = jnp.linspace(0.01, 0.99, 981)
    q = jnp.stack([grid, 1 - grid], -1)
    honest, naive = losses.focal_kl(p, q, 2.0), losses.naive_focal_kl(p, q, 2.0)
    assert (honest >= 0).all()
    assert abs(float(grid[jnp.argmin(honest)]) - 0.7) < 1e-3
    assert float(naive.min()) < -0.01
    assert abs(float(grid[jnp.argmin(naive)]) - 0.7) > 0.05
    assert float(losses.naive_focal_kl(p, p)) == 0


def test_the_mean_focal_loss_of_random_labels_is_under_confident(float64):
    """What the docstring says: with hard labels drawn from p the average is not least at p."""
    grid = jnp.linspace(0.01, 0.99, 981)
    q = jnp.stack([grid, 1 - grid], -1)
    eye = jnp.eye(2)
    mean = 0.8 * losses.focal_kl(eye[0], q) + 0.2 * losses.focal_kl(eye[1], q)
    best = float(grid[jnp.argmin(mean)])
    assert 0.5 < best < 0.75
