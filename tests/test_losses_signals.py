"""Information gained, noise added, and processes by their spectra."""

import math
from typing import Any

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest

from vikl import losses

NAN, INF = math.nan, math.inf


# --- information gained, spectra, noise ---


def test_information_gain_of_a_coin_and_of_a_normal(dtype, standard_promotion):
    """Beta(8, 4) from a uniform prior; one observation of unit noise halves a variance."""
    with mp.workdps(30):
        density = lambda x: x**7 * (1 - x) ** 3 / mp.beta(8, 4)
        nats: Any = mp.quad(lambda x: density(x) * mp.log(density(x)), [0, 0.6, 1])
    near = 1e-9 if dtype == np.float64 else 2e-6
    one = jnp.ones(())
    posterior, prior = dist.Beta(8 * one, 4 * one), dist.Beta(one, one)
    found = losses.information_gain(posterior, prior)
    assert float(found) == pytest.approx(float(nats), rel=near)
    bits = losses.information_gain(posterior, prior, base=2)
    assert float(bits) == pytest.approx(float(nats / mp.log(2)), rel=near)
    x = jnp.linspace(-3.0, 3.0, 7)  # KL(N(x/2, 1/2)‖N(0, 1)), whose mean over x is log(2)/2
    gain = losses.information_gain(dist.Normal(x / 2, math.sqrt(0.5)), dist.Normal(0.0, 1.0))
    np.testing.assert_allclose(gain, (math.log(2) - 0.5 + x**2 / 4) / 2, rtol=1e-5)


@pytest.mark.parametrize("decibels", [-10, 0, 10, 20, 60])
def test_noise_added_to_a_signal(decibels, dtype):
    with mp.workdps(40):
        r = mp.mpf(10) ** (-mp.mpf(decibels) / 10)
        exact = (mp.log1p(r) - r / (1 + r)) / 2
    found = losses.noise_kl(jnp.array(10.0 ** (decibels / 10)))
    near = 1e-12 if dtype == np.float64 else 1e-6
    assert float(found) == pytest.approx(float(exact), rel=near)


def covariance(coefficients, scale, n):
    """Toeplitz covariance by the impulse response, 4000 terms."""
    response = np.zeros(4000)
    response[0] = 1
    for t in range(1, len(response)):
        for lag, a in enumerate(coefficients, start=1):
            response[t] += a * response[t - lag] if t >= lag else 0
    lags = [scale**2 * response[: len(response) - k] @ response[k:] for k in range(n)]
    return np.array(lags)[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]


def kl_of_samples(p, q):
    n = len(p)
    trace = np.trace(np.linalg.solve(q, p))
    return 0.5 * (trace - n + np.linalg.slogdet(q)[1] - np.linalg.slogdet(p)[1])


PROCESSES = [
    (([0.9], 1.0), ([0.5], 1.0)),
    (([0.5, -0.3, 0.2], 1.0), ([0.9], 1.3)),
    (([], 2.0), ([0.4, 0.3], 1.0)),
    (([1.6, -0.8], 0.5), ([], 1.0)),
]


@pytest.mark.parametrize(("p", "q"), PROCESSES)
def test_processes_against_spectra_and_against_samples(p, q, float64):
    rate = float(losses.autoregressive_kl(p[0], p[1], q[0], q[1]))
    spectra = [losses.autoregressive_spectrum(a, s, 512) for a, s in (p, q)]
    assert float(losses.spectral_kl(*spectra)) == pytest.approx(rate, rel=1e-9)
    assert float(spectra[0].mean()) == pytest.approx(covariance(p[0], p[1], 1)[0, 0], rel=1e-9)
    # one more sample costs the rate exactly, once the past is longer than the orders
    longer, shorter = (
        kl_of_samples(covariance(p[0], p[1], n), covariance(q[0], q[1], n)) for n in (9, 8)
    )
    assert longer - shorter == pytest.approx(rate, rel=1e-8)


def test_a_pole_next_to_the_circle_needs_no_grid():
    """0.999 against 0.998 in float32: closed form (a - b)^2 / (2 (1 - a^2))."""
    with mp.workdps(30):
        a, b = mp.mpf(float(np.float32(0.999))), mp.mpf(float(np.float32(0.998)))
        exact = float((a - b) ** 2 / (2 * (1 - a * a)))
    assert float(losses.autoregressive_kl([0.999], 1.0, [0.998], 1.0)) == pytest.approx(
        exact, rel=1e-5
    )
