"""Any pytree with `sample_and_log_prob` is a family: by its methods, not its class."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vikl
from vikl.estimators import DefensiveMixture, Pathwise, StickingTheLanding
from vikl.families import Blocks, Custom, MeanFieldNormal, as_family
from vikl.objectives import ForwardKL, ReverseKL


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Plain:
    """A normal that knows nothing of vikl, and scores its own draws only."""

    loc: jax.Array
    log_scale: jax.Array

    def sample_and_log_prob(self, key):
        noise = jax.random.normal(key, self.loc.shape)
        log_q = -0.5 * jnp.sum(noise**2) - jnp.sum(self.log_scale) - noise.size * 0.918938533
        return self.loc + jnp.exp(self.log_scale) * noise, log_q


class Warped(eqx.Module):
    """A normal in an Equinox module, with a function among its leaves."""

    plain: Plain
    bend: eqx.nn.Lambda

    def sample_and_log_prob(self, key):
        x, log_q = self.plain.sample_and_log_prob(key)
        return self.bend(x), log_q

    def log_prob(self, x):
        z = (x - self.plain.loc) * jnp.exp(-self.plain.log_scale)
        return -0.5 * jnp.sum(z**2) - jnp.sum(self.plain.log_scale) - z.size * 0.918938533


def plain(loc=0.0):
    return Plain(jnp.full(2, loc), jnp.zeros(2))


def warped(loc=0.0):
    return Warped(plain(loc), eqx.nn.Lambda(jnp.positive))


def density(x):
    return -0.5 * jnp.sum((x - jnp.array([1.0, -2.0])) ** 2 / jnp.array([0.25, 4.0]))


@pytest.mark.parametrize(
    ("make", "estimator"),
    [(plain, Pathwise), (warped, StickingTheLanding)],
    ids=["registered dataclass", "Equinox module"],
)
def test_it_is_fitted_as_it_is(make, estimator):
    target = vikl.Target.from_density(density, jnp.zeros(2))
    adam = optax.adam(optax.cosine_decay_schedule(0.05, 500))
    posterior = vikl.fit(
        target, make(), ReverseKL(estimator(), 32), adam, key=jax.random.key(0), num_steps=500
    )
    family: Any = posterior.family
    found = family.distribution
    assert type(found) is type(make())
    normal = getattr(found, "plain", found)
    off = (np.asarray(normal.loc) - [1.0, -2.0]) / [0.5, 2.0]
    np.testing.assert_allclose(off, 0.0, atol=0.05)
    np.testing.assert_allclose(np.exp(normal.log_scale), [0.5, 2.0], rtol=0.05)
    assert posterior.elbo == pytest.approx(np.log(2 * np.pi), abs=0.01)
    assert posterior.sample(jax.random.key(1), 3).shape == (3, 2)
    if make is plain:
        with pytest.raises(TypeError, match="`family` Plain should have a method `log_prob`"):
            posterior.log_prob(jnp.zeros(2))
    else:
        assert posterior.log_prob(jnp.array([1.0, -2.0])) > -2.0


def test_it_may_be_a_proposal():
    assert ForwardKL(proposal=warped()).proposal == Custom(warped())
    assert isinstance(DefensiveMixture(warped()).proposal, Custom)
    q = vikl.families.MeanFieldNormal.init(jnp.zeros(2))
    assert as_family(q) is q


class Unregistered:
    def sample_and_log_prob(self, key):
        return jnp.zeros(2), jnp.zeros(())


class Other(eqx.Module):
    """What a field says: which way it is wrong."""

    value: object
    drawn: object = eqx.field(static=True, default=None)

    def sample_and_log_prob(self, key):
        return self.drawn(self.value)  # pyright: ignore


class Scores(Other):
    def log_prob(self, x):
        return x


ONES = np.ones(2, np.float32)
REFUSED = {
    "no method": (lambda: eqx.nn.Linear(2, 2, key=jax.random.key(0)), TypeError, "with `sam"),
    "no pytree": (Unregistered, TypeError, "should be a pytree; it is not registered as one"),
    "a number": (lambda: Other(1.0), TypeError, r"`family` Other.value is the Python number 1.0"),
    "no arrays": (lambda: Other(jnp.arange(2)), TypeError, "floating-point numbers to train"),
    "no pair": (lambda: Other(ONES, lambda v: v), ValueError, r"\(dim,\) and \(\); got \(2,\)"),
    "a batch": (
        lambda: Other(ONES, lambda v: (v[None], v[0])), ValueError,
        r"shapes \(dim,\) and \(\); got \(\(1, 2\), \(\)\)",
    ),
    "scores apart": (
        lambda: Other(ONES, lambda v: (v, v)), ValueError, r"and \(\); got \(\(2,\), \(2,\)\)",
    ),
    "raises": (lambda: Other(ONES, lambda v: v["x"]), ValueError, "sample_and_log_prob raised"),
    "scores a vector": (
        lambda: Scores(ONES, lambda v: (v, v[0])), ValueError, r"log_prob should return a scalar",
    ),
    "another dimension": (
        lambda: Other(np.ones(3, np.float32), lambda v: (v, v[0])), ValueError,
        "should have the dimension of the target, 2 .* got 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_to_do(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        vikl.fit(density, make(), like=jnp.zeros(2), key=jax.random.key(0))


def test_a_draw_that_is_not_differentiable_says_so():
    assert Custom(plain()).reparameterized

    class Held(Warped):
        reparameterized: bool = eqx.field(static=True, default=False)

    q = Custom(Held(plain(), eqx.nn.Lambda(jnp.positive)))
    target = vikl.Target.from_density(density, jnp.zeros(2))
    with pytest.raises(ValueError, match="Pathwise needs draws that are differentiable"):
        ReverseKL(Pathwise())(q, target, jax.random.key(0))


def test_it_may_be_a_block_among_others():
    q = Blocks((plain(1.0), MeanFieldNormal.init(jnp.zeros(1))))
    assert [type(part) for part in q.parts] == [Custom, MeanFieldNormal]
    assert q.dim == 3
    x, log_q = q.sample_and_log_prob(jax.random.key(0))
    keys = jax.random.split(jax.random.key(0))
    first, second = (p.sample_and_log_prob(k) for p, k in zip(q.parts, keys, strict=True))
    np.testing.assert_array_equal(x, jnp.concatenate([first[0], second[0]]))
    assert float(log_q) == pytest.approx(float(first[1] + second[1]))
    target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 1.0) ** 2), jnp.zeros(3))
    post = vikl.fit(
        target, q, ReverseKL(Pathwise(), num_samples=8), optax.sgd(0.05),
        key=jax.random.key(0), num_steps=200, progress=False,
    )  # fmt: skip
    fitted: Any = post.family
    np.testing.assert_allclose(fitted.parts[0].distribution.loc, 1.0, atol=0.1)
    with pytest.raises(TypeError, match="`parts` should be an instance of a family"):
        Blocks((MeanFieldNormal,))
