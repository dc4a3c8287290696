"""The laws of losses, from the rows of `losses_cases.py`."""

import contextlib
import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import ELSEWHERE, LOSSES, RESULTS, LossCase, arguments

from vikl import losses

NAMED = [(f"{name}-{i}", case) for name, many in LOSSES.items() for i, case in enumerate(many)]


def rows(keep=lambda case: True):
    return [pytest.param(case, id=name) for name, case in NAMED if keep(case)]


ROWS = rows()
DIVERGENCES = rows(lambda case: case.divergence)
MASKED = rows(lambda case: case.masks)
EXTREME = rows(lambda case: case.extreme)
#: one row for each loss where the rest of its rows would compile the same code again
FIRST = rows(lambda case: any(case is many[0] for many in LOSSES.values()))


@contextlib.contextmanager
def promotion(case):
    """Strict, or JAX's own rules for what numpyro computes."""
    dtypes, ranks = ("strict", "raise") if case.strict else ("standard", "allow")
    with jax.numpy_dtype_promotion(dtypes), jax.numpy_rank_promotion(ranks):
        yield


def public_names():
    return {
        name for name, value in vars(losses).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("vikl.")
    }  # fmt: skip


def lacking(table):
    return public_names() ^ (set(table) | RESULTS | set(ELSEWHERE))


def test_every_public_name_has_a_row():
    assert lacking(LOSSES) == set()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_no_row_has_tests_of_its_own(name):
    text = (pathlib.Path(__file__).parent / ELSEWHERE[name]).read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\(", text)


def test_the_completeness_test_can_fail():
    assert lacking({n: c for n, c in LOSSES.items() if n != "focal_kl"}) == {"focal_kl"}


@functools.cache
def compiled(case: LossCase):
    """Values, and the gradient of their weighted sum: one program for all laws of a row."""

    def total(args, where):
        values = case.call(*args, where=where) if case.masks else case.call(*args)
        weights = jnp.arange(1.0, 1 + values.size, dtype=values.dtype).reshape(values.shape)
        return (weights * values).sum(), values

    def both(args, where):
        if not case.reverse:
            return total(args, where)[1], []
        (_, values), slopes = jax.value_and_grad(total, has_aux=True)(args, where)
        return values, slopes

    return jax.jit(both)


def run(case, args, where=None):
    """Return the values and slopes in the default float of the world."""
    args = [jnp.asarray(a, float) for a in args]
    batch = case.shape[:1]
    mask = jnp.ones(batch, bool) if where is None else jnp.asarray(where)
    with promotion(case):
        return compiled(case)(args, mask)


@pytest.mark.parametrize("case", ROWS)
def test_the_derivative_is_that_of_finite_differences(case, float64):
    args = arguments(case)
    rng = np.random.default_rng(1)
    values, slopes = run(case, args)
    assert np.isfinite(values).all()
    if not (case.by_parts and case.reverse):
        assert all(np.isfinite(s).all() for s in slopes)
        return
    weights = np.arange(1.0, 1 + values.size).reshape(values.shape)
    for which in range(case.arity):
        direction, step = rng.normal(size=case.shape), 1e-5
        ends = []
        for sign in (1, -1):
            moved = [a + sign * step * direction * (i == which) for i, a in enumerate(args)]
            ends.append((weights * np.asarray(run(case, moved)[0])).sum())
        found = float((np.asarray(slopes[which]) * direction).sum())
        assert found == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-7, abs=2e-8)


@pytest.mark.parametrize("case", DIVERGENCES)
def test_a_divergence_is_not_negative_and_zero_only_at_equality(case, dtype):
    tiny = 50 * np.finfo(dtype).eps
    first = arguments(case)[0]
    values, slopes = run(case, [first] * case.arity)
    assert (values >= 0).all()
    assert (values <= (0 if len(case.raw) == case.arity else tiny**2)).all()
    assert all((np.abs(s) <= tiny).all() for s in slopes)
    rng = np.random.default_rng(2)
    for size in (1e-6, 1e-3, 1.0, 5.0):
        values, slopes = run(case, [first, first + size * rng.normal(size=first.shape)])
        assert (values >= 0).all()
        assert (size < 1e-3) or (values > 0).all()
        assert all(np.isfinite(s).all() for s in slopes)


@pytest.mark.parametrize("case", EXTREME)
def test_float32_agrees_with_float64_at_extremes(case, world):
    hard = case.extreme
    args = [np.array([hard[i % len(hard)][a] for i in range(case.shape[0])])
            for a in range(case.arity)]  # fmt: skip
    args = [np.float32(a) for a in args]
    with world(64):
        exact, exact_slopes = run(case, args)
    values, slopes = run(case, args)
    assert values.dtype == np.float32
    np.testing.assert_allclose(np.asarray(values, float), np.asarray(exact), rtol=3e-5, atol=1e-30)
    for slope, truth in zip(slopes, exact_slopes, strict=True):
        truth = np.asarray(truth)
        size = np.abs(truth).max(-1, keepdims=True) + 1e-30
        np.testing.assert_allclose(np.asarray(slope, float) / size, truth / size, atol=3e-5)


@pytest.mark.parametrize("case", MASKED)
def test_what_is_masked_out_costs_nothing_and_leaks_nothing(case):
    args = arguments(case)
    where = np.arange(case.shape[0]) % 2 == 0
    whole, slopes = run(case, args)
    kept = where.reshape((-1,) + (1,) * (len(case.shape) - 1))
    spoilt = [np.where(kept | (i not in case.raw), a, np.nan) for i, a in enumerate(args)]
    values, masked_slopes = run(case, spoilt, where)
    np.testing.assert_array_equal(values, np.where(where, whole, 0))
    for masked, slope in zip(masked_slopes, slopes, strict=True):
        np.testing.assert_allclose(masked[where], slope[where], rtol=1e-6)
        assert (masked[~where] == 0).all()


@pytest.mark.parametrize("case", FIRST)
def test_jit_is_eager_without_a_second_trace_and_vmap_is_a_loop(case):
    args = [jnp.asarray(a, float) for a in arguments(case)]
    traces = []

    def counted(*a):
        traces.append(1)
        return case.call(*a)

    fast = jax.jit(counted)
    with promotion(case):
        values = fast(*args)
        np.testing.assert_allclose(values, case.call(*args), rtol=2e-6, atol=1e-7)
        fast(*[jnp.asarray(a, float) for a in arguments(case, seed=5)])
        assert len(traces) == 1
        if len(case.shape) > 1:
            one_by_one = jax.jit(jax.vmap(case.call))(*args)
            np.testing.assert_allclose(one_by_one, values, rtol=2e-6, atol=1e-7)
