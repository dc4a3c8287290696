"""`f_divergence_bound`: below the divergence, tight at the true ratio, stationary there."""

import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
TRUTH = np.log(P / Q)


def bounds(log_ratios, generator):
    """The bounds of critics (n, 4) with a value for each outcome, and their gradients."""

    def bound(row):
        draws = [jnp.repeat(row, counts, total_repeat_length=8) for counts in (P, Q)]
        return D.f_divergence_bound(draws[0], draws[1], generator)

    with jax.numpy_dtype_promotion("standard"):
        found = jax.jit(jax.vmap(jax.value_and_grad(bound)))(jnp.asarray(log_ratios, float))
    return [np.asarray(part) for part in found]


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
def test_tight_at_the_ratio_below_elsewhere_and_the_gradient(name, float64):
    generator = EVERY[name]
    exact = divergence(generator)
    others = TRUTH + np.random.default_rng(0).normal(size=(6, 4))
    step = 1e-5 * np.eye(4)
    values, slopes = bounds(
        np.vstack([TRUTH, others, others[0] + step, others[0] - step]), generator
    )
    np.testing.assert_allclose(values[0], exact, rtol=1e-13)
    assert (values[1:7] <= exact + 1e-14).all()
    if name != "total_variation":  # its critic has two values: other ratios are as good
        np.testing.assert_allclose(slopes[0], 0, atol=1e-13)
        assert (values[1:7] < exact - 1e-4).all()
    np.testing.assert_allclose(slopes[1], (values[7:11] - values[11:]) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_float32_and_wild_critics(name):
    """Right to the last digits at the truth; never NaN, whatever the critic is sure of."""
    sure = np.array([[1, -1, 1, -1], [-1, 1, -1, 1]])
    rows = np.vstack([TRUTH, 60.0 * sure, 1e4 * sure, np.inf * sure])
    values, slopes = bounds(rows, EVERY[name])
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0], divergence(EVERY[name]), rtol=3e-6)
    assert (values[1:] < values[0] + 1e-6).all()
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
