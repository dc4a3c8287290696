"""Targets whose likelihood is a sum over rows: minibatches find what all rows find.

What is no such target is refused: those rows are in fault_rows.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl

NUM, DIM, BATCH = 2000, 3, 50


def log_likelihood(beta, rows):
    design, sign = rows
    return jnp.sum(jax.nn.log_sigmoid(sign * (design @ beta)))


def log_prior(beta):
    return -0.5 * jnp.sum(beta**2)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    design = rng.normal(size=(NUM, DIM)) @ np.array([[1, 0.6, 0], [0, 1, 0], [0, 0, 3.0]])
    logits = design @ np.array([1.0, -0.5, 0.3])
    sign = np.where(rng.uniform(size=NUM) < 1 / (1 + np.exp(-logits)), 1, -1)
    return design.astype(np.float32), sign.astype(np.float32)


def make(rows, likelihood=log_likelihood, batch_size: int | None = BATCH, prior=log_prior):
    like = np.zeros(DIM, np.float32)
    return vikl.Target.from_density(
        likelihood, like, data=rows, batch_size=batch_size, log_prior=prior
    )


def fit(target):
    return vikl.fit(target, key=jax.random.key(0), progress=False)


def test_minibatches_find_what_all_rows_find(rows):
    some = fit(make(rows))
    every = fit(
        vikl.Target.from_density(
            lambda b, d: log_likelihood(b, d) + log_prior(b), np.zeros(DIM, np.float32), data=rows
        )
    )
    assert some.status == "converged"
    np.testing.assert_allclose((some.mean - every.mean) / every.std, 0.0, atol=0.05)
    np.testing.assert_allclose(some.std / every.std, 1.0, atol=0.05)
    assert some.elbo == pytest.approx(every.elbo, abs=0.02)
    assert f"{BATCH} of {NUM} rows" in some.stopped_because
    assert "minibatches, in coordinates whitened by a fit to" in some.stopped_because


def test_the_log_density_is_that_of_all_rows(rows):
    x = jnp.asarray([0.3, -0.2, 0.1], jnp.float32)
    found = make(rows).log_density(x)
    assert float(found) == pytest.approx(float(log_likelihood(x, rows) + log_prior(x)), rel=1e-5)
