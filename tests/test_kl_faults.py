"""Bad input to divergences: an error that names the argument outside jit, NaN or inf inside."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import vikl
from vikl import kl
from vikl.kl import _registry

EYE = jnp.eye(2)
ZERO = jnp.zeros(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: kl.normal(0.0, -1.0, 0.0, 1.0), ValueError, ["scale_p", "positive", "-1.0"]),
        (lambda: kl.normal(0.0, 1.0, 0.0, 0.0), ValueError, ["scale_q", "positive", "0.0"]),
        (lambda: kl.normal(jnp.nan, 1.0, 0.0, 1.0), ValueError, ["loc_p", "nan"]),
        (
            lambda: kl.normal(ZERO, 1.0, jnp.zeros(3), 1.0),
            ValueError,
            ["broadcast", "(2,)", "(3,)"],
        ),
        (lambda: kl.normal(jnp.arange(2), 1.0, 0.0, 1.0), TypeError, ["loc_p", "int32", "astype"]),
        (lambda: kl.normal(jnp.zeros(0), 1.0, 0.0, 1.0), ValueError, ["loc_p", "empty"]),
        (lambda: kl.normal(None, 1.0, 0.0, 1.0), TypeError, ["loc_p", "None"]),  # type: ignore[arg-type]
        (
            lambda: kl.multivariate_normal(ZERO, EYE, jnp.zeros(1), jnp.eye(1)),
            ValueError,
            ["loc_q", "dim", "length 1", "agree"],
        ),
        (
            lambda: kl.multivariate_normal(ZERO, jnp.ones((2, 2)), ZERO, EYE),
            ValueError,
            ["scale_tril_p", "lower triangular"],
        ),
        (
            lambda: kl.multivariate_normal_covariance(
                ZERO, jnp.ones((2, 2)) * 2 - 3 * EYE, ZERO, EYE
            ),
            ValueError,
            ["covariance_p", "positive definite"],
        ),
        (
            lambda: kl.categorical(jnp.array([0.5, 0.6]), jnp.array([0.5, 0.5])),
            ValueError,
            ["probs_p", "sum to one"],
        ),
        (lambda: kl.bernoulli(0.5, 1.5), ValueError, ["probs_q", "between 0 and 1", "1.5"]),
    ],
)
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def test_events_never_broadcast():
    p = dist.Normal(jnp.zeros(1), 1.0).to_event(1)
    q = dist.Normal(jnp.zeros(3), 1.0).to_event(1)
    with pytest.raises(ValueError, match=r"same event shape; got \(1,\).*\(3,\)"):
        vikl.kl_divergence(p, q)


def test_unregistered_pair_names_the_alternatives():
    with pytest.raises(NotImplementedError, match="Poisson, Normal") as caught:
        vikl.kl_divergence(dist.Poisson(1.0), dist.Normal(0.0, 1.0))
    assert "vikl.estimate_kl(p, q, key=...)" in str(caught.value)
    assert "vikl.register_kl" in str(caught.value)


def test_nan_inside_jit_only_where_invalid():
    scales = jnp.array([1.0, -1.0, 0.0, jnp.nan])
    values = jax.jit(kl.normal)(0.0, scales, 0.0, 1.0)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, True])


def test_checked_raises_inside_jit():
    run = jax.jit(lambda scale: kl.checked(kl.normal)(0.0, scale, 0.0, 1.0))
    assert run(jnp.array(1.0)) == 0.0
    with pytest.raises(Exception, match="scale_p"):
        jax.block_until_ready(run(jnp.array(-1.0)))


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(_registry, "_RULES", {})


@pytest.mark.usefixtures("own_registry")
def test_registering_twice_and_ambiguity_raise():
    class Base:
        pass

    class Child(Base):
        pass

    _registry.register_kl(Base, Base)(lambda p, q: jnp.float32(0))
    with pytest.raises(ValueError, match=r"already\s+registered"):
        _registry.register_kl(Base, Base)(lambda p, q: jnp.float32(1))
    with pytest.raises(Exception, match="type_q"):  # by the checker or by the function itself
        _registry.register_kl(Base, 3)  # type: ignore[arg-type]
    assert _registry.kl_divergence(Child(), Child()) == 0
    _registry.register_kl(Child, Base)(lambda p, q: jnp.float32(2))
    assert _registry.kl_divergence(Child(), Child()) == 2
    _registry.register_kl(Base, Child)(lambda p, q: jnp.float32(3))
    with pytest.raises(TypeError, match="ambiguous"):
        _registry.kl_divergence(Child(), Child())
    _registry.register_kl(Child, Child)(lambda p, q: jnp.float32(4))
    assert _registry.kl_divergence(Child(), Child()) == 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_half_precision_is_computed_in_float32(dtype):
    arguments = [jnp.asarray(x, dtype) for x in (0.1, 1.0, 0.3, 1.1)]
    value = kl.normal(*arguments)
    assert value.dtype == dtype
    exact = kl.normal(*[x.astype("float32") for x in arguments])
    assert value == exact.astype(dtype)


def test_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        for name in ("normal", "gamma", "gumbel", "log_normal_gamma", "student_t_normal"):
            kernel = getattr(kl, name)
            count = 5 if name == "student_t_normal" else 4
            arguments = [jnp.full(2, 2.5 + 0.1 * i, "float32") for i in range(count)]
            assert np.all(np.isfinite(kernel(*arguments)))


def test_slopes_are_finite_at_the_edges():
    slope = jax.grad(lambda p, q: kl.categorical(p, q), argnums=(0, 1))
    for p, q in (([1.0, 0.0], [0.5, 0.5]), ([1.0, 0.0], [1.0, 0.0])):
        for s in slope(jnp.array(p), jnp.array(q)):
            assert np.all(np.isfinite(s))
    for logits in (40.0, -40.0, jnp.inf, -jnp.inf):
        for other in (0.3, 40.0, -40.0):
            for order in (jax.grad, lambda f, argnums: jax.hessian(f, argnums=argnums)):
                moves = order(kl.bernoulli_logits, argnums=(0, 1))(
                    jnp.float32(logits), jnp.float32(other)
                )
                assert all(np.all(np.isfinite(m)) for m in jax.tree.leaves(moves))
    z = jnp.array([-jnp.inf, 0.0, 40.0])
    for s in jax.grad(kl.categorical_logits, argnums=(0, 1))(z, jnp.array([-jnp.inf, 1.0, 0.0])):
        assert np.all(np.isfinite(s))


def test_second_derivatives_at_equality_are_the_fisher_information():
    hessian = jax.hessian(lambda x: kl.normal(x[0], x[1], 0.3, 2.0))(jnp.array([0.3, 2.0]))
    np.testing.assert_allclose(hessian, [[0.25, 0.0], [0.0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(jax.hessian(kl.laplace)(0.3, 2.0, 0.3, 2.0), 0.25, rtol=1e-6)
    np.testing.assert_allclose(jax.hessian(kl.bernoulli_logits)(0.0, 0.0), 0.25, rtol=1e-6)
    np.testing.assert_allclose(jax.hessian(kl.exponential)(2.0, 2.0), 0.25, rtol=1e-6)
