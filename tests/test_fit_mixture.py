"""The automatic method of a mixture: the modes, their weights, and what it may have missed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl
from vikl.families import NormalMixture

MODES = np.array([[-3.0, 0.0], [3.0, 1.0]], np.float32)


def two_modes(x):
    """Return the log density of 0.3 N(MODES[0], I) + 0.7 N(MODES[1], I)."""
    parts = -0.5 * jnp.sum((x[None] - MODES) ** 2, axis=1) + jnp.log(jnp.array([0.3, 0.7]))
    return jax.scipy.special.logsumexp(parts) - float(np.log(2 * np.pi))


def fit(density, dim, family: type[NormalMixture] | None = NormalMixture, **changes):
    like = np.zeros(dim, np.float32)
    return vikl.fit(density, family, like=like, key=jax.random.key(0), progress=False, **changes)


def test_two_modes_are_found_with_their_weights():
    post = fit(two_modes, 2)
    assert post.status == "converged"
    assert isinstance(post.family, NormalMixture)
    order = np.argsort(post.family.loc[:, 0])
    np.testing.assert_allclose(post.family.loc[order], MODES, atol=0.05)
    np.testing.assert_allclose(post.family.weights[order], [0.3, 0.7], atol=0.02)
    assert post.elbo == pytest.approx(0.0, abs=0.01)  # the target is normalised
    assert post.khat < 0.5


def test_one_normal_on_two_modes_is_flagged():
    post = fit(two_modes, 2, None)
    assert post.status == "modes missed"
    assert "NormalMixture" in post.stopped_because


def test_more_modes_than_climbs_are_flagged():
    centers = np.random.default_rng(0).uniform(-4, 4, size=(40, 6)).astype(np.float32)

    def many(x):
        return jax.scipy.special.logsumexp(-2.0 * jnp.sum((x[None] - centers) ** 2, axis=1))

    post = fit(many, 6, num_starts=10)
    assert post.status == "modes missed"
    assert "take more `num_starts`" in post.stopped_because


def test_one_mode_is_one_component():
    post = fit(lambda x: -0.5 * jnp.sum((x - 3.0) ** 2), 2)
    assert isinstance(post.family, NormalMixture)
    assert post.family.loc.shape == (1, 2)
    np.testing.assert_allclose(post.family.loc[0], 3.0, atol=0.02)
    assert post.status == "converged"
