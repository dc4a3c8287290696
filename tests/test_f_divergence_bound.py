"""`f_divergence_bound`: below the divergence, tight at the true ratio, stationary there."""

import functools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import vikl
from vikl import divergences as D
from vikl.divergences import generators

#: outcomes of eighths, so that so many draws of each have exactly these frequencies
P, Q = np.array([4, 1, 2, 1]), np.array([1, 3, 2, 2])
EVERY = {
    "kl": generators.kl(),
    "reverse_kl": generators.reverse_kl(),
    "jeffreys": generators.jeffreys(),
    "chi_squared": generators.chi_squared(),
    "squared_hellinger": generators.squared_hellinger(),
    "total_variation": generators.total_variation(),
    "jensen_shannon": generators.jensen_shannon(),
    "skew_kl": generators.skew_kl(0.3),
    "alpha": generators.alpha(0.4),
    "swapped": generators.swapped(generators.skew_kl(0.7)),
    "a function": lambda u: u * jnp.log(u) - 2 * (u - 1),
}
DRAWS_P, DRAWS_Q = (np.repeat(np.arange(4, dtype=np.int32), counts) for counts in (P, Q))
TRUTH = np.log(P / Q)


OTHERS = TRUTH + np.random.default_rng(0).normal(size=(6, 4))
STEP = 1e-5 * np.eye(4)
SURE = np.array([[1, -1, 1, -1], [-1, 1, -1, 1]])
#: critics, a value for each outcome: the truth, six wrong ones, steps for slopes, the very sure
ROWS = np.vstack(
    [TRUTH, OTHERS, OTHERS[0] + STEP, OTHERS[0] - STEP, 60.0 * SURE, 1e4 * SURE, np.inf * SURE]
)


@pytest.fixture(scope="module")
def bounds():
    """The bounds of all critics and their gradients, by generator; one program for each dtype."""
    done = {}

    def bound(row, generator):
        return D.f_divergence_bound(row[DRAWS_P], row[DRAWS_Q], generator)

    def every(rows):
        each = {
            n: jax.value_and_grad(functools.partial(bound, generator=g)) for n, g in EVERY.items()
        }
        return {name: jax.vmap(one)(rows) for name, one in each.items()}

    def get(name):
        rows = jnp.asarray(ROWS, float)
        if rows.dtype not in done:
            with jax.numpy_dtype_promotion("standard"):
                done[rows.dtype] = jax.tree.map(np.asarray, jax.jit(every)(rows))
        return done[rows.dtype][name]

    return get


def divergence(generator):
    """The sum over outcomes of Q f(P/Q), in float64."""
    if not isinstance(generator, generators.Generator):
        generator = generators.kl()  # of which the function is another normalisation
    p, q = (jnp.log(jnp.asarray(counts / 8, float)) for counts in (P, Q))
    return float(generator.of(p, q, p - q).sum())


def test_every_generator_has_a_row():
    made = {n for n, v in vars(generators).items() if isinstance(v, types.FunctionType)}
    public = {n for n in made if getattr(generators, n).__module__ == generators.__name__}
    public = {n for n in public if not n.startswith("_")} - {"from_function"}
    assert "skew_kl" in public
    assert public == set(EVERY) - {"a function"}


@pytest.mark.parametrize("name", EVERY)
def test_tight_at_the_ratio_below_elsewhere_and_the_gradient(name, bounds, float64):
    exact = divergence(EVERY[name])
    values, slopes = bounds(name)
    np.testing.assert_allclose(values[0], exact, rtol=1e-13)
    assert (values[1:7] <= exact + 1e-14).all()
    if name != "total_variation":  # its critic has two values: other ratios are as good
        np.testing.assert_allclose(slopes[0], 0, atol=1e-13)
        assert (values[1:7] < exact - 1e-4).all()
    np.testing.assert_allclose(
        slopes[1], (values[7:11] - values[11:15]) / 2e-5, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", EVERY)
def test_float32_and_wild_critics(name, bounds):
    """Right to the last digits at the truth; never NaN, whatever the critic is sure of."""
    values, slopes = bounds(name)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0], divergence(EVERY[name]), rtol=3e-6)
    assert (values[15:] < values[0] + 1e-6).all()
    if name != "a function":
        assert not np.isnan(slopes).any()


def test_it_is_the_bounds_that_have_names():
    rng = np.random.default_rng(1)
    p, q = (jnp.asarray(rng.normal(size=n), float) for n in (50, 70))
    np.testing.assert_allclose(
        D.f_divergence_bound(p, q, generators.kl()), D.nwj_bound(1 + p, 1 + q), rtol=1e-5
    )
    cross_entropy = (jax.nn.softplus(-p).mean() + jax.nn.softplus(q).mean()) / 2
    np.testing.assert_allclose(
        D.f_divergence_bound(p, q, generators.jensen_shannon()), math.log(2) - cross_entropy,
        rtol=1e-5,
    )  # fmt: skip


def test_batches_and_jit():
    p, q = jnp.linspace(-1, 1, 6).reshape(2, 3), jnp.linspace(0, 2, 8).reshape(2, 4)
    call = lambda p, q: D.f_divergence_bound(p, q, generators.jensen_shannon())
    eager = call(p, q)
    assert eager.shape == (2,)
    np.testing.assert_allclose(jax.jit(call)(p, q), eager, rtol=1e-6)
    np.testing.assert_allclose(eager, [call(*row) for row in zip(p, q)], rtol=1e-6)


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match=r"`log_ratio_p` .*last axis; got shape \(0,\)"):
        D.f_divergence_bound(jnp.zeros(0), jnp.zeros(3), generators.kl())


def test_the_best_discriminators_cross_entropy_is_jensen_shannon(standard_promotion):
    """E_p log D + E_q log(1 - D) at D = p/(p + q) is 2 JS - log 4 (N(0, 1) and N(1, 1))."""
    x = np.linspace(-12, 13, 20_001)
    p, q = (np.exp(-0.5 * (x - m) ** 2) / np.sqrt(2 * np.pi) for m in (0, 1))
    logit = 0.5 - x  # log p/q, which the best classifier finds
    value = np.trapezoid(-p * np.logaddexp(0, -logit) - q * np.logaddexp(0, logit), x)
    assert value == pytest.approx(-1.163451397, abs=1e-8)
    shannon = vikl.jensen_shannon_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))
    assert 2 * float(shannon) - np.log(4) == pytest.approx(value, abs=1e-5)
