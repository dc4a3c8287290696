"""Climbing by L-BFGS from several starts: the textbook's recursion, and all starts at once."""

import numpy as np
import pytest

from vikl.fitting._ascent import Climb, aim, climb

DIM = 6


def quadratic(rng):
    root = rng.normal(size=(DIM, DIM))
    return root @ root.T + np.eye(DIM)


def wandered(rng, pairs):
    """Return a climb that has seen `pairs` steps on a quadratic, and all of them."""
    hessian = quadratic(rng)
    one = Climb(rng.normal(size=DIM), -np.inf, np.zeros(DIM))
    one.gradient, one.direction = -hessian @ one.x, np.zeros(DIM)
    steps = []
    for _ in range(pairs):
        x = one.x + rng.normal(size=DIM)
        steps.append((x - one.x, hessian @ (x - one.x)))
        one.accept(x, 0.0, -hessian @ x, 0.0)
    return one, steps


def textbook(one, steps):
    """Return the inverse-Hessian estimate by BFGS updates of a matrix, from the last ten steps."""
    steps = steps[-10:]
    if not steps:
        return np.eye(DIM) / max(np.linalg.norm(one.gradient), 1.0)
    s, y = steps[-1]
    found = np.eye(DIM) * (s @ y) / (y @ y)
    for s, y in steps:
        turn = np.eye(DIM) - np.outer(s, y) / (s @ y)
        found = turn @ found @ turn.T + np.outer(s, s) / (s @ y)
    return found


@pytest.mark.parametrize("pairs", [0, 1, 4, 10, 13])
def test_the_recursion_is_that_of_the_matrix(pairs):
    rng = np.random.default_rng(pairs)
    one, steps = wandered(rng, pairs)
    expected = textbook(one, steps)
    np.testing.assert_allclose(one.inverse_hessian_times(np.eye(DIM)), expected, rtol=1e-8)
    vector = rng.normal(size=DIM)
    np.testing.assert_allclose(one.inverse_hessian_times(vector), expected @ vector, rtol=1e-8)


def test_climbs_with_memories_of_any_length_aim_together_as_each_alone():
    rng = np.random.default_rng(0)
    climbs, steps = zip(*(wandered(rng, pairs) for pairs in (0, 3, 10, 1, 12)))
    aim(list(climbs))
    for one, seen in zip(climbs, steps):
        np.testing.assert_allclose(one.direction, textbook(one, seen) @ one.gradient, rtol=1e-8)
        assert one.direction @ one.gradient > 0


def test_a_direction_that_does_not_ascend_is_given_up_for_the_gradient():
    one, _ = wandered(np.random.default_rng(1), 2)
    one.steps, one.changes = one.steps, -one.changes  # a memory of the wrong curvature
    aim([one])
    np.testing.assert_allclose(one.direction, one.gradient / np.linalg.norm(one.gradient))
    assert not one.steps.any()


def test_all_starts_reach_the_mode_of_a_quadratic():
    hessian = quadratic(np.random.default_rng(2))
    evaluate = lambda x: (-0.5 * np.sum(x @ hessian * x, axis=1), -x @ hessian)
    found = climb(evaluate, np.random.default_rng(3).uniform(-2, 2, size=(8, DIM)), 1e-16)
    assert [one.done for one in found] == ["converged"] * 8
    np.testing.assert_allclose([one.value for one in found], 0.0, atol=1e-3)
