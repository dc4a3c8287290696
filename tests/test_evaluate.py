"""Values and gradients in batches: the same numbers whatever the batch, and an honest count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl
from vikl._compile import compile_lightly, compile_once, record_compiles, work_of
from vikl.fitting import _evaluate
from vikl.fitting._evaluate import Evaluator


def bumpy(x):
    return jnp.sum(jnp.sin(3.0 * x) - 0.5 * x * x)


def target_of(dim):
    return vikl.Target.from_density(bumpy, jnp.zeros(dim))


def points_of(num, dim):
    return np.random.default_rng(num).normal(size=(num, dim))


@pytest.mark.parametrize("num", [1, 7, 8, 9, 40, 63, 64, 65, 130])
@pytest.mark.parametrize("sizes", [(8,), (8, 64), (5, 64), (64, 8), (8, 8)])
def test_values_and_gradients_are_those_of_the_density(sizes, num):
    points = points_of(num, 3)
    evaluate = Evaluator(target_of(3), sizes)
    values, gradients = evaluate(points)
    np.testing.assert_allclose(values, np.sum(np.sin(3 * points) - points**2 / 2, 1), atol=2e-5)
    np.testing.assert_allclose(gradients, 3 * np.cos(3 * points) - points, atol=2e-5)
    group = min(sizes)
    assert num <= evaluate.num_gradients < num + 2 * group


def counted(sizes, num, monkeypatch, light=_evaluate._LIGHT, backend="cpu"):
    """Return how often the density was evaluated, what was counted, and programs compiled."""
    monkeypatch.setattr(_evaluate, "_LIGHT", light)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    seen = []

    def density(x):
        jax.debug.callback(lambda v: seen.append(v), x[0])
        return bumpy(x)

    evaluate = Evaluator(vikl.Target.from_density(density, jnp.zeros(2)), sizes)
    with record_compiles() as compiles:
        for n in num:
            evaluate(points_of(n, 2))
    jax.effects_barrier()
    return len(seen), evaluate.num_gradients, compiles.count


def test_every_evaluation_is_counted_and_two_sizes_share_a_program(monkeypatch):
    called, told, compiled = counted((8, 64), (3, 8, 64, 70), monkeypatch)
    assert called == told == 8 + 8 + 64 + (64 + 8)
    assert compiled == 1


@pytest.mark.parametrize("other", [{"light": 0.0}, {"backend": "gpu"}])
def test_heavy_targets_and_accelerators_have_a_program_for_each_size(other, monkeypatch):
    called, told, compiled = counted((8, 64), (3, 8, 64, 70), monkeypatch, **other)
    assert called == told == 8 + 8 + 64 + (64 + 8)
    assert compiled == 2


def test_a_single_start_does_not_make_rows_come_one_by_one(monkeypatch):
    called, told, compiled = counted((1, 64), (1, 64, 66), monkeypatch)
    assert called == told == 1 + 64 + 66
    assert compiled == 2


def test_the_work_of_a_program_counts_loops_in_full():
    def product(x, y):
        return x @ y

    def loop(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, length=50)[0]

    def work(fn, *args):
        return work_of(jax.jit(fn).trace(*args).jaxpr)

    one = work(jnp.sin, jnp.ones(7))
    assert one == 7
    assert work(loop, jnp.ones(7)) == 50 * one
    assert work(product, jnp.ones((3, 5)), jnp.ones((5, 2))) == 3 * 5 * 2
    assert work(jax.jit(jnp.sin), jnp.ones(7)) == one  # seen through a call


def test_little_optimization_gives_the_same_numbers():
    def function(x):
        return jnp.cumsum(jnp.exp(-x * x)) / jnp.arange(1.0, 101.0)

    x = jnp.linspace(-2.0, 2.0, 100)
    full, little = compile_once(function), compile_lightly(function)
    assert full.options is None
    assert little.options
    np.testing.assert_allclose(full(x), little(x), rtol=1e-6)
