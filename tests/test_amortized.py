"""The sleep phase: q(z | data) from simulations of the model."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import vikl
from vikl.families import Encoder, FullRankNormal, MeanFieldNormal, cov, mean
from vikl.objectives import AmortizedForwardKL

# z ~ N(loc, I), y | z ~ N(A z, 0.7² I): z | y is normal, its mean affine in y
LOC = np.array([1.0, -0.5])
A = np.array([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0]])
NOISE = 0.7
COV = np.linalg.inv(np.eye(2) + A.T @ A / NOISE**2)
DATA = LOC @ A.T + np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [-2.0, 0.5, 1.0]])


def simulate(key):
    one, other = jax.random.split(key)
    z = jnp.asarray(LOC, float) + jax.random.normal(one, (2,))
    return {"z": z}, jnp.asarray(A, float) @ z + NOISE * jax.random.normal(other, (3,))


def log_joint(v, y):
    residual = (y - jnp.asarray(A, float) @ v["z"]) / NOISE
    prior = -0.5 * jnp.sum((v["z"] - jnp.asarray(LOC, float)) ** 2)
    constant = -2.5 * np.log(2 * np.pi) - 3 * np.log(NOISE)
    return prior - 0.5 * jnp.sum(residual**2) + constant


@pytest.fixture(scope="module")
def fitted():
    examples = jax.vmap(simulate)(jax.random.split(jax.random.key(5), 500))[1]
    base = FullRankNormal.init(jnp.zeros(2))
    encoder = Encoder.init(base, examples, key=jax.random.key(1), depth=0)
    adam = optax.adam(optax.cosine_decay_schedule(0.03, 2000))
    return vikl.fit_amortized(
        simulate, encoder, adam, key=jax.random.key(0), num_samples=256, num_steps=2000
    )


def test_it_finds_the_exact_posterior_map_of_a_conjugate_model(fitted):
    for y in DATA:
        q = fitted.given(jnp.asarray(y, float))
        exact = COV @ (LOC + A.T @ y / NOISE**2)
        np.testing.assert_allclose(mean(q), exact, atol=0.02)
        np.testing.assert_allclose(cov(q), COV, atol=0.01)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * COV)[1]  # the least loss there is
    assert fitted.history["loss"][-1] == pytest.approx(entropy, abs=0.02)
    assert fitted.status in ("converged", "budget spent")
    assert fitted.num_simulations >= 2000 * 256
    assert "E[-log q(z|data)]" in repr(fitted)


def test_a_posterior_of_one_data_set_is_judged_by_the_density(fitted):
    y = jnp.asarray(DATA[1], float)
    target = vikl.Target.from_density(log_joint, {"z": jnp.zeros(2)}, data=y)
    posterior = fitted.posterior(target, y, jax.random.key(0))
    gap, total = DATA[1] - A @ LOC, A @ A.T + NOISE**2 * np.eye(3)
    evidence = -0.5 * (gap @ np.linalg.solve(total, gap))
    evidence -= 0.5 * np.linalg.slogdet(2 * np.pi * total)[1]
    assert posterior.elbo == pytest.approx(evidence, abs=5e-3)
    assert posterior.khat < 0.7
    assert fitted.sample(jax.random.key(1), y, 7)["z"].shape == (7, 2)
    other = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
    with pytest.raises(ValueError, match=r"`target` should be a Target with the latents \['z\[0"):
        fitted.posterior(other, y, jax.random.key(0))
    with pytest.raises(ValueError, match=r"`data` should be one data set .* \(3,\); got \(2, 3\)"):
        fitted.given(DATA[:2])
    with pytest.raises(TypeError, match="is known by simulations only and has no log density"):
        fitted.target.log_density(jnp.zeros(2))


def test_a_network_about_a_family_and_its_checkpoint(tmp_path):
    def rates(key):
        one, other = jax.random.split(key)
        rate = jax.random.exponential(one)
        return {"rate": rate}, {"y": jax.random.exponential(other, (4,)) / rate, "n": jnp.arange(2)}

    def run(steps):
        return vikl.fit_amortized(
            rates, MeanFieldNormal, optax.adam(0.02), support={"rate": "positive"}, num_samples=16,
            key=jax.random.key(0), num_steps=steps, checkpoint=tmp_path / "fit",
        )  # fmt: skip

    first = run(150)
    assert first.history["loss"][-1] < first.history["loss"][0] - 0.3
    again = run(150)  # from the file: no step is left to take
    many, few = ({"y": jnp.full(4, v), "n": jnp.arange(2)} for v in (0.1, 10.0))
    draws = [first.sample(jax.random.key(1), data)["rate"] for data in (many, few)]
    assert float(jnp.median(draws[0])) > 2 * float(jnp.median(draws[1])) > 0
    np.testing.assert_array_equal(again.sample(jax.random.key(1), many)["rate"], draws[0])


@pytest.fixture
def as_users_see_it():
    """Switch off the runtime checks of types that only test runs have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Wrong(eqx.Module):
    """An encoder whose family is of another dimension."""

    loc: Any

    def __call__(self, data):
        return MeanFieldNormal.init(self.loc)


def normal_pair(key):
    return jax.random.normal(key, (2,)), jnp.ones(3)


REFUSED = {
    "no function": ({"simulate": 3.0}, TypeError, "`simulate` should be a function of a key"),
    "raises": ({"simulate": lambda key: key + 1}, ValueError, "`simulate` raised"),
    "no pair": ({"simulate": lambda key: jnp.ones(2)}, ValueError, "should return a pair"),
    "no data": ({"simulate": lambda key: (jnp.ones(2), {})}, ValueError, "should return a pair"),
    "whole numbers": (
        {"simulate": lambda key: (jnp.arange(2), jnp.ones(3))},
        TypeError,
        "`simulate`: its latents should hold floating-point numbers",
    ),
    "outside": (
        {"support": "positive"}, ValueError, r"`simulate` should draw finite latents .* x\[0\], x",
    ),
    "no finite data": (
        {"simulate": lambda key: (jax.random.normal(key, (2,)), jnp.full(3, jnp.nan))},
        ValueError, "`simulate` should draw finite data; got NaN .* shape \\(3,\\)",
    ),
    "no encoder": ({"encoder": 3.0}, TypeError, "`encoder` should be a pytree with `encoder\\(d"),
    "nothing to train": ({"encoder": lambda data: data}, TypeError, "with arrays to train"),
    "another dimension": (
        {"encoder": Wrong(np.zeros(3, np.float32))}, ValueError,
        "`encoder` should return a family of dimension 2 .* got one of dimension 3",
    ),
    "num_samples": ({"num_samples": 0}, ValueError, "`num_samples` should be a whole number"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name, as_users_see_it):
    changes, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        vikl.fit_amortized(**{"simulate": normal_pair, "key": jax.random.key(0)} | changes)


def test_the_parts_refuse(as_users_see_it):
    with pytest.raises(TypeError, match="`simulate` should be a function of a key"):
        AmortizedForwardKL(3.0)  # pyright: ignore[reportArgumentType]
    base = MeanFieldNormal.init(jnp.zeros(2))
    with pytest.raises(ValueError, match="`examples` should be two or more data sets"):
        Encoder.init(base, jnp.ones(()), key=jax.random.key(0))
    with pytest.raises(ValueError, match="`examples` should be finite; got 1 numbers of 4"):
        Encoder.init(base, jnp.array([[1.0, 2.0], [jnp.nan, 1.0]]), key=jax.random.key(0))
    with pytest.raises(TypeError, match="`base` should be an instance of a family"):
        Encoder.init(MeanFieldNormal, jnp.ones((3, 2)), key=jax.random.key(0))  # pyright: ignore
    encoder = Encoder.init(base, jnp.ones((3, 2)), key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"`data` should hold 2 numbers, .* got 3"):
        encoder(jnp.ones(3))
