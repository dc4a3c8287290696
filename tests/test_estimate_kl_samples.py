"""KL from samples alone, by a classifier, and the two variational bounds."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from vikl import divergences as D


def draws(seed, n=1000, dim=1, shift=1.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, dim)), rng.standard_normal((n, dim)) + shift


@pytest.mark.parametrize(
    ("f", "published", "deviation"),
    [(D.kl_from_samples, 0.487, 0.061), (D.kl_from_classifier, 0.5, 0.05)],
    ids=["neighbours", "classifier"],
)
def test_normals_in_one_dimension(f, published, deviation):
    """N(0, 1) against N(1, 1), n = 1000: the mean of 40 repeats within 3.5 errors of the anchor."""
    estimates = [f(*draws(seed)) for seed in range(40)]
    values = np.array([float(e) for e in estimates])
    assert abs(values.mean() - published) < 3.5 * deviation / math.sqrt(40)
    assert values.std(ddof=1) < 1.5 * deviation
    errors = np.array([float(e.std_error) for e in estimates])
    assert 0.9 < errors.mean() / values.std(ddof=1) < 2  # honest, on the safe side
    assert np.mean(np.abs(values - 0.5) < 1.96 * errors) > 0.85


def test_the_bias_in_ten_dimensions_is_as_documented():
    """The docstring says 0.86 for 1.25: a known failing, pinned so that the text stays true."""
    values = [float(D.kl_from_samples(*draws(seed, dim=10, shift=0.5))) for seed in range(6)]
    assert np.mean(values) == pytest.approx(0.86, abs=0.1)
    assert "0.86 for 1.25" in " ".join(str(D.kl_from_samples.__doc__).split())


def test_ties():
    x, y = draws(0, 2000)
    doubled = np.concatenate([x, x[:40]])  # 4 % of duplicates
    e = D.kl_from_samples(doubled, y)
    assert abs(float(e) - float(D.kl_from_samples(x, y))) < 0.1
    shared = D.kl_from_samples(x, np.concatenate([y, x[:40]]))
    assert np.isfinite(float(shared))
    with pytest.warns(UserWarning, match="of the draws in `x` have ties.*frequencies"):
        rounded = D.kl_from_samples(np.round(x, 1), np.round(y, 1))
    assert np.isfinite(float(rounded))


def test_same_distribution_is_near_zero():
    for f in (D.kl_from_samples, D.kl_from_classifier):
        e = f(*draws(3, shift=0.0, dim=2))
        assert abs(float(e)) < 5 * float(e.std_error)
    vector = D.kl_from_samples(*(a[:, 0] for a in draws(0)))
    assert float(vector) == float(D.kl_from_samples(*draws(0)))
    assert "k = 5" in repr(vector)


def test_bounds_are_tight_at_the_optimal_critic():
    """N(0, 1) against N(1, 1): log p/q = 1/2 - x; both bounds are 1/2 there."""
    x, y = (jnp.asarray(a[:, 0], jnp.float32) for a in draws(0, 200_000))
    optimal = lambda z: 0.5 - z
    error = math.sqrt((1 + math.e - 1) / 200_000)
    assert abs(float(D.donsker_varadhan_bound(optimal(x), optimal(y))) - 0.5) < 5 * error
    assert abs(float(D.nwj_bound(1 + optimal(x), 1 + optimal(y))) - 0.5) < 5 * error
    other = lambda z: -0.5 * z
    dv, nwj = D.donsker_varadhan_bound(other(x), other(y)), D.nwj_bound(other(x), other(y))
    assert float(nwj) < float(dv) < 0.5  # E_p T - log E_q e^T = 0 + 1/2 - 1/8
    assert abs(float(dv) - 0.375) < 5 * error
    shifted = D.donsker_varadhan_bound(optimal(x) + 7, optimal(y) + 7)
    np.testing.assert_allclose(shifted, D.donsker_varadhan_bound(optimal(x), optimal(y)), atol=1e-5)
    assert D.nwj_bound(x.reshape(2, -1), y.reshape(2, -1)).shape == (2,)


NAN = float("nan")
FAULTS = [
    (
        lambda: D.kl_from_samples(np.zeros((9, 2)), np.zeros((9, 3))),
        ValueError,
        "dimensions; got 2 and 3",
    ),
    (lambda: D.kl_from_samples(np.zeros((9, 2)), np.full((9, 2), NAN)), ValueError, "`y`.*18 NaN"),
    (
        lambda: D.kl_from_samples(np.zeros(3), np.zeros(9)),
        ValueError,
        "`x` .*at least 6 draws; got 3",
    ),
    (lambda: D.kl_from_samples(np.arange(9), np.zeros(9)), TypeError, "`x`.*int64"),
    (lambda: D.kl_from_samples(np.zeros(9), np.zeros(9)), ValueError, "draws from densities"),
    (lambda: D.kl_from_samples(np.zeros((9, 2, 1)), np.zeros(9)), ValueError, r"`x`.*\(9, 2, 1\)"),
    (
        lambda: D.kl_from_samples(np.zeros(9), np.zeros(9), k=0),
        ValueError,
        "`k` should be at least 1",
    ),
    (lambda: D.kl_from_classifier(np.zeros(9), np.zeros(9)), ValueError, "at least 10 draws"),
    (lambda: D.nwj_bound(jnp.zeros((0,)), jnp.zeros(3)), ValueError, r"`critic_p`.*\(0,\)"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[2][:30])
def test_bad_input_names_the_argument(fault):
    call, error, message = fault
    with pytest.raises(error, match=message):
        call()
