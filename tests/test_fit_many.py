"""Many small posteriors in one program: exact on normals, and a loop's answers elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import normal_density

import vikl
from vikl._compile import record_compiles
from vikl.families import std

NUM, DIM = 6, 2
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def normals():
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(NUM, DIM)).astype(np.float32) * 100
    root = rng.normal(size=(NUM, DIM, DIM)) + 2 * np.eye(DIM)
    precision = np.einsum("nij,nkj->nik", root, root).astype(np.float32)
    data = (jnp.asarray(loc), jnp.asarray(precision))
    one = jax.tree.map(lambda v: v[0], data)
    return vikl.Target.from_density(normal_density, np.zeros(DIM, np.float32), data=one), data


def test_normals_are_exact(normals):
    target, (loc, precision) = normals
    fits = vikl.fit_many(target, (loc, precision), key=KEY)
    cov = np.linalg.inv(np.asarray(precision, np.float64))
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    np.testing.assert_allclose((fits.family.loc - loc) / sd, 0.0, atol=0.01)
    np.testing.assert_allclose(jax.vmap(std)(fits.family) / sd, 1.0, atol=0.01)
    log_z = np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(cov)[1]
    np.testing.assert_allclose(fits.elbo, log_z, atol=0.01)
    assert fits.converged.all()
    assert repr(fits) == "ManyFits(6 normals, 6 converged)"


def test_new_data_of_the_same_shape_compile_nothing(normals):
    target, (loc, precision) = normals
    vikl.fit_many(target, (loc, precision), key=KEY)
    with record_compiles() as compiles:
        vikl.fit_many(target, (loc + 1, precision), key=jax.random.key(1))
    assert compiles.count == 0


def test_a_target_without_an_answer_is_not_called_converged(normals):
    target, (loc, precision) = normals
    fits = vikl.fit_many(target, (loc.at[1].set(jnp.nan), precision), key=KEY)
    np.testing.assert_array_equal(fits.converged, [True, False, True, True, True, True])
    flat = vikl.fit_many(target, (loc, precision.at[2].set(0.0)), key=KEY)
    assert not flat.converged[2]


def test_what_does_not_fit_is_refused(normals):
    target, (loc, precision) = normals
    with pytest.raises(ValueError, match=r"`data` should have the arrays .* got shapes .*\(5, 2\)"):
        vikl.fit_many(target, (loc[:5], precision), key=KEY)
    with pytest.raises(ValueError, match=r"each with one more axis in front"):
        vikl.fit_many(target, (loc[0], precision[0]), key=KEY)
    with pytest.raises(ValueError, match=r"`data` should have the structure of `target.data`"):
        vikl.fit_many(target, loc, key=KEY)
    plain = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="a Target with data; got Target without"):
        vikl.fit_many(plain, loc, key=KEY)
