"""Targets whose likelihood is a sum over rows: minibatches find what all rows find."""

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


@pytest.mark.parametrize("size", [0, -1, NUM + 1, True])
def test_a_batch_that_is_not_some_of_the_rows_is_refused(rows, size):
    with pytest.raises(ValueError, match=r"`batch_size` should be .* from 1 to .*2000; got"):
        make(rows, batch_size=size)


def test_ragged_rows_are_refused(rows):
    design, sign = rows
    with pytest.raises(ValueError, match=r"`data` should be arrays of rows, all of one length"):
        make((design, sign[:-1]))
    with pytest.raises(ValueError, match=r"`data` should be arrays of rows"):
        make((design, np.float32(1.0)))


def test_a_likelihood_that_is_no_sum_over_rows_is_refused(rows):
    def mean(beta, rows):
        return log_likelihood(beta, rows) / len(rows[1])

    def with_prior(beta, rows):
        return log_likelihood(beta, rows) + log_prior(beta)

    def scaled(beta, rows):
        return log_likelihood(beta, rows) * NUM / len(rows[1])

    for wrong in (mean, with_prior, scaled):
        with pytest.raises(ValueError, match=r"`log_density` should be a sum over rows .* apart"):
            make(rows, wrong)


def test_a_prior_apart_needs_a_batch_size(rows):
    with pytest.raises(ValueError, match="`log_prior` goes with `batch_size`"):
        make(rows, batch_size=None)
