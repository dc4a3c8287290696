"""Compiled once: what is the same compiles once, and what is not is never mistaken for it."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vikl._compile import (
    _CAPACITY,
    compile_once,
    fingerprint,
    forget_compiled,
    record_compiles,
)


@pytest.fixture
def program():
    @compile_once
    def apply(function, x):
        return function(x)

    return apply


def _count(call):
    with record_compiles() as record:
        call()
    assert (record.seconds > 0.0) == (record.count > 0)
    return record.count


def double(x):
    return 2 * x


def times(x, y):
    return x * y


def test_what_is_forgotten_compiles_again(program):
    assert _count(lambda: program(double, jnp.ones(3))) == 1
    forget_compiled()
    assert not program.cache
    assert _count(lambda: program(double, jnp.ones(3))) == 1


def test_values_are_traced_and_shapes_and_types_are_not(program):
    assert _count(lambda: program(double, jnp.ones(3))) == 1
    assert _count(lambda: program(double, jnp.zeros(3))) == 0
    assert _count(lambda: program(double, np.full(3, 7.0, np.float32))) == 0
    assert _count(lambda: program(double, jnp.ones(4))) == 1
    assert _count(lambda: program(double, jnp.ones(3, jnp.int32))) == 1
    np.testing.assert_array_equal(program(double, jnp.full(3, 4.0)), 8.0)


def test_a_users_functions_are_told_apart_by_identity(program):
    factor = 2

    def scaled(x):
        return factor * x

    first = program(scaled, jnp.ones(2))
    factor = 3  # a function may read what changes: another object is another program
    assert _count(lambda: program(lambda x: factor * x, jnp.ones(2))) == 1
    assert _count(lambda: program(scaled, jnp.ones(2))) == 0
    np.testing.assert_array_equal(first, 2.0)


def test_optimizers_made_anew_are_the_same():
    assert fingerprint(optax.adam(1e-2).update) == fingerprint(optax.adam(1e-2).update)
    schedule = optax.cosine_decay_schedule
    assert fingerprint(schedule(0.1, 10)) == fingerprint(schedule(0.1, 10))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (optax.adam(1e-2), optax.adam(2e-2)),
        (optax.adam(1e-2), optax.adam(1e-2, b1=0.8)),
        (optax.adam(1e-2), optax.sgd(1e-2)),
        (optax.adam(1e-2), optax.adamw(1e-2)),
        (optax.adam(optax.cosine_decay_schedule(0.1, 10)), optax.adam(0.1)),
        (
            optax.adam(optax.cosine_decay_schedule(0.1, 10)),
            optax.adam(optax.cosine_decay_schedule(0.1, 20)),
        ),
        (
            optax.chain(optax.clip(1.0), optax.sgd(0.1)),
            optax.chain(optax.sgd(0.1), optax.clip(1.0)),
        ),
    ],
)
def test_optimizers_that_differ_are_told_apart(one, other):
    assert fingerprint(one.update) != fingerprint(other.update)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (True, 1),
        ("1", 1),
        ((1,), [1]),
        (None, 0),
        (1.0, float("nan")),
    ],
)
def test_values_that_compute_otherwise_are_told_apart(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_values_that_compute_the_same_are_one():
    assert fingerprint(float("nan")) == fingerprint(float("nan"))
    assert fingerprint(np.arange(3.0)) == fingerprint(np.arange(3.0))
    assert fingerprint(np.zeros(2, np.float32)) != fingerprint(np.zeros(2, np.float64))
    assert fingerprint({"a": (1, [2])}) == fingerprint({"a": (1, [2])})
    assert fingerprint(jax.random.key(0)) == fingerprint(jax.random.key(0))
    assert fingerprint(jax.random.key(0)) != fingerprint(jax.random.key(1))
    one, other = (functools.partial(times, y=3) for _ in range(2))
    assert fingerprint(one) == fingerprint(other)
    hash(fingerprint({"a": np.zeros(2), "b": [double, ([1], {2: set()})]}))


def test_cycles_end():
    ring: list = []
    ring.append(ring)
    assert fingerprint(ring) == fingerprint(ring)


def test_the_settings_of_jax_are_part_of_the_key(program, world):
    assert _count(lambda: program(double, jnp.ones(2, jnp.float32))) == 1
    with world(64):
        assert _count(lambda: program(double, jnp.ones(2, jnp.float32))) == 1
    with jax.numpy_rank_promotion("allow"):
        assert _count(lambda: program(double, jnp.ones(2, jnp.float32))) == 1


def test_inside_a_trace_or_without_jit_it_is_the_function_itself(program):
    found = jax.jit(lambda x: program(double, x))(jnp.ones(2))
    np.testing.assert_array_equal(found, 2.0)
    np.testing.assert_array_equal(jax.vmap(lambda x: program(double, x))(jnp.ones(2)), 2.0)
    assert jax.grad(lambda x: program(double, x))(1.0) == 2.0
    assert len(program.cache) == 0
    with jax.disable_jit():
        assert _count(lambda: program(double, jnp.ones(2))) == 0


def test_static_leaves_come_back(program):
    found = program(lambda x: {"x": x, "name": "it", "n": 3, "f": double}, jnp.ones(2))
    assert (found["name"], found["n"], found["f"]) == ("it", 3, double)
    assert eqx.is_array(found["x"])


def test_a_prepared_version_takes_other_values(program):
    version = program.prepare(double, jnp.ones(2))
    np.testing.assert_array_equal(version(double, jnp.full(2, 5.0)), 10.0)
    assert _count(lambda: version(double, np.ones(2, np.float32))) == 0


def test_the_innermost_record_counts(program):
    with record_compiles() as outer:
        program(double, jnp.ones(5))
        assert _count(lambda: program(double, jnp.ones(6))) == 1
    assert outer.count == 1


def test_the_cache_is_bounded(program):
    for number in range(_CAPACITY):
        program.cache[number] = None
    program(double, jnp.ones(2))
    assert len(program.cache) == _CAPACITY
    assert 0 not in program.cache


def test_an_error_in_tracing_is_the_users_own_and_leaves_nothing(program):
    def fails(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        program(fails, jnp.ones(2))
    assert len(program.cache) == 0
