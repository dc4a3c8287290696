"""The automatic method of the low-rank normal: right where the target is one, and frugal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import family_density

import vikl
from vikl.families import LowRankNormal
from vikl.fitting._arguments import FULL_RANK_UP_TO
from vikl.fitting._low_rank import LowRankClimb
from vikl.fitting._special import special_method


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-2, 2, 30)
    loc, factor = scale * rng.normal(size=30), rng.normal(size=(30, 2))
    return LowRankNormal(*(jnp.asarray(v, jnp.float32) for v in (loc, np.log(scale), factor)))


def test_a_low_rank_target_of_any_scale_is_found(truth):
    target = vikl.Target.from_density(family_density, np.zeros(30, np.float32), data=truth)
    start = LowRankNormal.init(jnp.zeros(30), rank=3)
    post = vikl.fit(target, start, key=jax.random.key(0), progress=False)
    assert isinstance(post.family, LowRankNormal)
    assert post.family.factor.shape == (30, 3)
    np.testing.assert_allclose(post.std / vikl.families.std(truth), 1.0, atol=0.02)
    assert float(vikl.kl_divergence(post.family, truth)) < 0.05
    assert "rank 3 plus a diagonal" in post.stopped_because


def test_the_default_family_is_low_rank_where_full_rank_is_too_large():
    like = np.zeros(FULL_RANK_UP_TO + 1, np.float32)
    target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), like)
    assert isinstance(special_method(target, None), LowRankClimb)
    small = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), like[:3])
    assert special_method(small, None) is None
    assert isinstance(special_method(small, LowRankNormal), LowRankClimb)
