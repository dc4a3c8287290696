"""Targets: what goes into a flat vector comes out of it, and the density moves with it."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SUPPORTS, TARGETS, numpyro_model
from jax.scipy import stats
from monte_carlo import assert_mean

from vikl import Target
from vikl._compile import compile_once, record_compiles
from vikl.families import MeanFieldNormal
from vikl.target._supports import Support, parse_support

supports = pytest.mark.parametrize("name", SUPPORTS)


def zero(values):
    """Constant log density: what is left is the Jacobian."""
    del values
    return 0.0


def _target_of(name):
    case = SUPPORTS[name]
    return Target.from_density(zero, np.zeros(case.shape), (name, *case.bounds))


def _world_of(name):
    """Return the promotion that the support's map needs: numpyro's code relies on some."""
    stack = contextlib.ExitStack()
    if SUPPORTS[name].promotes:
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack


@supports
def test_values_come_back(name, dtype):
    with _world_of(name):
        target = _target_of(name)
        x = jnp.asarray(np.linspace(-0.8, 0.9, target.dim), float)

        @jax.jit
        def there_and_back(x):
            values = target.constrain(x)
            again = target.unconstrain(values)
            return values, again, target.constrain(again)

        values, again, twice = there_and_back(x)
    assert values.dtype == again.dtype == dtype
    assert values.shape == SUPPORTS[name].shape
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(again, x, atol=tolerance)
    np.testing.assert_allclose(twice, values, atol=tolerance)


@supports
def test_the_density_has_the_jacobian(name, float64):
    """log p(x) = log |det ∂θ/∂x|, θ the free coordinates, from an autodiff Jacobian."""
    with _world_of(name):
        target = _target_of(name)
        x = jnp.asarray(np.linspace(-0.8, 0.9, target.dim), float)

        def free(x):
            return SUPPORTS[name].free(target.constrain(x)).reshape(-1)

        jacobian, found = jax.jit(lambda x: (jax.jacfwd(free)(x), target.log_density(x)))(x)
        assert jacobian.shape == (target.dim, target.dim)
        _, log_det = np.linalg.slogdet(jacobian)
    np.testing.assert_allclose(found, log_det, atol=1e-9)


NORMALISED = {
    "positive": lambda v: stats.gamma.logpdf(v, 3.0),
    "nonnegative": lambda v: stats.gamma.logpdf(v, 3.0),
    "softplus_positive": lambda v: stats.gamma.logpdf(v, 3.0),
    "interval": lambda v: stats.beta.logpdf(v, 2.0, 3.0, loc=-1.0, scale=6.0),
    "greater_than": lambda v: stats.gamma.logpdf(v, 3.0, loc=1.0),
    "less_than": lambda v: stats.gamma.logpdf(1.0 - v, 3.0),
    "negative": lambda v: stats.gamma.logpdf(-v, 3.0),
}


@pytest.mark.parametrize("name", NORMALISED)
def test_a_normalised_density_stays_normalised(name, float64, standard_promotion):
    support = (name, *SUPPORTS[name].bounds)
    target = Target.from_density(NORMALISED[name], 1.0, support)
    grid = jnp.linspace(-25.0, 25.0, 4001)
    density = np.exp(jax.jit(jax.vmap(target.log_density))(grid[:, None]))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-5)


# -- names, starts, types


def nested(values):
    """Log density of a nested dict."""
    return -jnp.sum(values["b"]["mu"] ** 2) - values["a"] - values["b"]["p"]


LIKE = {"b": {"mu": np.array([3.0, 4.0], np.float32), "p": 0.25}, "a": 2.0}
SUPPORT = {"a": "positive", "b": {"p": "unit_interval"}}


def test_a_nested_dict_has_names_and_starts_at_its_values():
    target = Target.from_density(nested, LIKE, SUPPORT)
    assert target.names == ("a", "b.mu[0]", "b.mu[1]", "b.p")
    assert target.dim == 4
    back = target.constrain(jnp.asarray(target.start))
    assert jax.tree.structure(back) == jax.tree.structure(LIKE)
    np.testing.assert_allclose(back["a"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(back["b"]["mu"], [3.0, 4.0])
    np.testing.assert_allclose(back["b"]["p"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(target.unconstrain(back), target.start, rtol=1e-5)


def test_values_outside_the_support_give_the_shape_only():
    like = {"tau": 0.0, "mu": jax.ShapeDtypeStruct((2,), jnp.float32)}
    target = Target.from_density(lambda v: -v["tau"] + v["mu"].sum(), like, {"tau": "positive"})
    np.testing.assert_array_equal(target.start, 0.0)


@pytest.mark.parametrize(
    ("like", "names"),
    [
        (1.0, ("x",)),
        (np.zeros((2, 2), np.float32), ("x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]")),
        ([1.0, (2.0,)], ("0", "1.0")),
        ({"z": np.zeros(1, np.float32)}, ("z[0]",)),
    ],
)
def test_names(like, names):
    target = Target.from_density(zero, like)
    assert target.names == names


@pytest.mark.parametrize(
    ("like", "in32", "in64"),
    [
        (1.0, "float32", "float64"),
        (np.zeros(2, np.float32), "float32", "float32"),
        (np.zeros(2, np.float64), "float32", "float64"),
        (np.zeros(2, np.float16), "float32", "float32"),
        ({"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float64)}, "float32", "float64"),
    ],
    ids=["python", "float32", "float64", "float16", "mixed"],
)
def test_the_type_of_the_vector_is_the_widest_of_the_example(like, in32, in64, dtype):
    target = Target.from_density(zero, like)
    expected = in32 if dtype == np.float32 else in64
    assert target.dtype == target.start.dtype == expected
    assert target.log_density(jnp.asarray(target.start)).dtype == expected


@pytest.mark.parametrize("make", TARGETS.values(), ids=list(TARGETS))
def test_values_density_and_gradient_are_finite_at_the_start(make, standard_promotion):
    target = make()
    value, gradient = jax.jit(jax.value_and_grad(target.log_density))(target.start)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert len(target.names) == target.dim == len(target.start)


def test_a_prior_is_part_of_the_density():
    prior = MeanFieldNormal.init(jnp.zeros(2), 2.0)
    target = Target.from_density(lambda x: -jnp.sum(x**2), jnp.zeros(2), prior=prior)
    x = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(target.log_likelihood(x), -5.0)
    np.testing.assert_allclose(target.log_density(x), -5.0 + prior.log_prob(x), rtol=1e-6)
    with pytest.raises(ValueError, match=r"`target` has no prior.*prior=\.\.\."):
        Target.from_density(zero, 1.0).log_likelihood(jnp.zeros(1))


# -- supports


def test_supports_by_name_by_tuple_and_by_constraint_are_the_same():
    constraints = pytest.importorskip("numpyro.distributions.constraints")
    same = {
        "positive": constraints.positive,
        "unit_interval": constraints.unit_interval,
        "ordered": constraints.ordered_vector,
        "lower_triangular_positive": constraints.lower_cholesky,
        ("interval", 0, 5): constraints.interval(0.0, 5.0),
        ("greater_than", 1): constraints.greater_than(1.0),
    }
    for name, constraint in same.items():
        assert parse_support(name, "x") == parse_support(constraint, "x")
    assert parse_support(None, "x").is_real
    assert parse_support(Support("positive"), "x").name == "positive"


# -- NumPyro models


def _by_hand(values, y):
    mu, tau = values["mu"], values["tau"]
    prior = stats.norm.logpdf(mu, 0.0, 5.0) + stats.norm.logpdf(tau, 0.0, 2.0) + jnp.log(2.0)
    return prior + stats.norm.logpdf(y, mu, tau).sum()


def test_a_numpyro_model_is_its_log_density_written_by_hand(float64, standard_promotion):
    y = jnp.array([1.0, 2.5, -0.5])
    like = {"mu": 0.0, "tau": 1.0}
    mine = Target.from_density(_by_hand, like, {"tau": "positive"}, data=y)
    model = Target.from_numpyro(numpyro_model, y)
    assert model.names == mine.names == ("mu", "tau")
    points = jnp.array([[0.0, 0.0], [1.5, -1.0], [-2.0, 0.7]])
    found, expected = (
        jax.jit(jax.vmap(jax.value_and_grad(target.log_density)))(points)
        for target in (model, mine)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-10)


def test_a_numpyro_model_gives_back_constrained_and_deterministic_sites(standard_promotion):
    target = Target.from_numpyro(numpyro_model, np.array([1.0, 2.0]))
    values = target.constrain(jnp.array([3.0, 0.5]))
    assert set(values) == {"mu", "tau", "ratio"}
    np.testing.assert_allclose(values["tau"], np.exp(0.5), rtol=1e-5)
    np.testing.assert_allclose(values["ratio"], 3.0 / np.exp(0.5), rtol=1e-5)
    np.testing.assert_allclose(target.unconstrain(values), [3.0, 0.5], rtol=1e-5)


@compile_once
def _density(target, x):
    return target.log_density(x)


@pytest.mark.parametrize("constructor", TARGETS)
def test_new_data_of_the_same_shape_do_not_recompile(constructor, standard_promotion):
    def make(y):
        if constructor == "from_numpyro":
            return Target.from_numpyro(numpyro_model, jnp.asarray(y))
        like = {"mu": 0.0, "tau": 1.0}
        return Target.from_density(_by_hand, like, {"tau": "positive"}, data=jnp.asarray(y))

    x = jnp.array([0.5, 0.1])
    first = _density(make([1.0, 2.0]), x)
    with record_compiles() as compiles:
        second = _density(make([3.0, -1.0]), x)
        assert compiles.count == 0
        _density(make([3.0, -1.0, 2.0]), x)
        assert compiles.count == 1
    assert first != second


def test_draws_of_a_constrained_prior_have_its_moments(float64, standard_promotion):
    """exp of a normal is the log-normal: draws through `constrain` have its mean."""
    target = Target.from_density(zero, 1.0, "positive")
    x = 0.5 * jax.random.normal(jax.random.key(0), (20_000, 1))
    assert_mean(jax.vmap(target.constrain)(x), np.exp(0.125), detects=0.05)


# -- the look at a plain log density


def test_a_function_is_looked_at_once_for_each_shape():
    traces = []

    def density(x, data):
        traces.append(x.shape)
        return -0.5 * jnp.sum((x - data) ** 2)

    def look(dim, data):
        before = len(traces)
        Target.from_density(density, jnp.zeros(dim), data=data)
        return len(traces) - before

    assert look(2, jnp.ones(2)) == 2
    assert look(2, jnp.zeros(2)) == 0  # new data of the same shape
    assert look(2, np.full(2, 3.0, np.float32)) == 0
    assert look(2, jnp.float32(1.0)) == 2
    assert look(3, jnp.ones(3)) == 2
    assert look(3, 1.0) == 2
    assert look(3, 2.0) == 2  # a number is part of the program


def test_a_function_found_wanting_is_refused_each_time():
    def density(x):
        return x

    for _ in range(2):
        with pytest.raises(ValueError, match="scalar"):
            Target.from_density(density, jnp.zeros(2))
