"""Posteriors of models that people fit, on simulated data: badly scaled, hierarchical, dynamic.

Each is a plain log density of one flat, unconstrained vector, Jacobians included, with flat or
weak priors as their authors wrote them. Nothing is centred or scaled on the user's behalf.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _models import MODELS, lotka_volterra
from _problems import Problem
from jax.nn import log_sigmoid
from jax.scipy.special import logsumexp

_RNG = np.random.default_rng
_32 = np.float32


def _normal(x: Any, loc: Any, scale: Any) -> Any:
    return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale)


def _regression(name: str, design: np.ndarray, y: np.ndarray) -> Problem:
    """Make a linear regression with flat priors; the last coordinate is log sd."""
    design, y, k = design.astype(_32), y.astype(_32), design.shape[1]

    def log_density(x):
        return jnp.sum(_normal(y, design @ x[:k], jnp.exp(x[k]))) + x[k]

    return Problem(name, k + 1, log_density)


def earnings() -> Problem:
    """Make income in dollars on height in inches: sds from 100 to 10,000, correlation 0.998."""
    rng = _RNG(0)
    height = rng.normal(67, 3.8, 1200)
    y = -60_000 + 1_250 * height + 19_000 * rng.normal(size=1200)
    return _regression("earnings", np.stack([np.ones(1200), height], 1), y)


def interaction() -> Problem:
    """Make a regression with centred-nowhere predictors and their product."""
    rng = _RNG(1)
    a, b = rng.normal(100, 15, 400), (rng.uniform(size=400) < 0.7) * 1.0
    design = np.stack([np.ones(400), b, a, a * b], 1)
    y = design @ np.array([-10.0, 50.0, 1.0, -0.5]) + 18 * rng.normal(size=400)
    return _regression("interaction", design, y)


def calendar() -> Problem:
    """Make summer temperatures on the calendar year, 1952 to 2013: correlation 0.99999."""
    rng = _RNG(2)
    year = np.arange(1952.0, 2014.0).astype(_32)
    y = (9.3 + 0.02 * (year - 1982) + 1.1 * rng.normal(size=62)).astype(_32)

    def log_density(x):
        prior = _normal(x[0], 9.3, 100.0) + _normal(x[1], 0.0, 0.03)
        return prior + jnp.sum(_normal(y, x[0] + x[1] * year, jnp.exp(x[2]))) + x[2]

    return Problem("calendar", 3, log_density)


def autoregression() -> Problem:
    """Make a fifth-order autoregression of 200 values."""
    rng = _RNG(3)
    y = np.zeros(205)
    for t in range(5, 205):
        y[t] = 0.1 + np.array([0.5, 0.2, 0.1, -0.1, 0.05]) @ y[t - 5 : t][::-1] + rng.normal() * 0.3
    lags = np.stack([y[5 - k : 205 - k] for k in range(1, 6)], 1).astype(_32)
    now = y[5:].astype(_32)

    def log_density(x):
        sd = jnp.exp(x[6])
        prior = jnp.sum(_normal(x[:6], 0.0, 10.0)) - jnp.log1p((sd / 2.5) ** 2) + x[6]
        return prior + jnp.sum(_normal(now, x[0] + lags @ x[1:6], sd))

    return Problem("autoregression", 7, log_density)


def moving_average() -> Problem:
    """Make an ARMA(1, 1) of 200 values: errors by recursion."""
    rng = _RNG(4)
    e, y = rng.normal(size=201) * 0.15, np.zeros(201)
    for t in range(1, 201):
        y[t] = 0.1 + 0.9 * y[t - 1] + 0.4 * e[t - 1] + e[t]
    y = y[1:].astype(_32)

    def log_density(x):
        mu, phi, theta, sd = x[0], x[1], x[2], jnp.exp(x[3])

        def step(carry, now):
            before, error = carry
            new = now - (mu + phi * before + theta * error)
            return (now, new), new

        first = y[0] - (mu + phi * mu)
        _, errors = jax.lax.scan(step, (y[0], first), y[1:])
        prior = _normal(mu, 0.0, 10.0) + _normal(phi, 0.0, 2.0) + _normal(theta, 0.0, 2.0)
        prior = prior - jnp.log1p((sd / 2.5) ** 2) + x[3]
        return prior + _normal(first, 0.0, sd) + jnp.sum(_normal(errors, 0.0, sd))

    return Problem("moving average", 4, log_density)


def logistic() -> Problem:
    """Make a logistic regression of 3,000 rows, distances in metres."""
    rng = _RNG(5)
    meters, level = rng.gamma(1.5, 30, 3000), rng.gamma(2, 0.8, 3000)
    design = np.stack([np.ones(3000), meters, level, rng.integers(0, 17, 3000)], 1)
    logits = design @ np.array([-0.2, -0.009, 0.47, 0.04])
    signs = np.where(rng.uniform(size=3000) < 1 / (1 + np.exp(-logits)), 1, -1).astype(_32)
    design = design.astype(_32)
    return Problem("logistic", 4, lambda x: jnp.sum(log_sigmoid(signs * (design @ x))))


def counts() -> Problem:
    """Make a Poisson regression with a cubic in the year, scaled to (-1, 1)."""
    rng = _RNG(6)
    t = np.linspace(-1, 1, 40)
    design = np.stack([np.ones(40), t, t**2, t**3], 1)
    y = rng.poisson(np.exp(design @ np.array([4.0, 0.9, -0.4, -0.7]))).astype(_32)
    design = design.astype(_32)

    def log_density(x):
        eta = design @ x
        return jnp.sum(y * eta - jnp.exp(eta)) - 0.5 * jnp.sum((x / 10.0) ** 2)

    return Problem("counts", 4, log_density)


def schools_centred() -> Problem:
    """Make the centred eight schools: a funnel in log tau."""
    effects = np.asarray((28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0), _32)
    errors = np.asarray((15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0), _32)

    def log_density(x):
        theta, mu, tau = x[:8], x[8], jnp.exp(x[9])
        prior = jnp.sum(_normal(theta, mu, tau)) + _normal(mu, 0.0, 5.0)
        return prior - jnp.log1p((tau / 5) ** 2) + x[9] + jnp.sum(_normal(effects, theta, errors))

    return Problem("schools, centred", 10, log_density)


def radon() -> Problem:
    """Make 40 counties' levels, non-centred, with a slope: 43 parameters and log sds."""
    rng = _RNG(7)
    sizes = rng.integers(2, 30, 40)
    county = np.repeat(np.arange(40), sizes)
    floor = (rng.uniform(size=len(county)) < 0.2).astype(_32)
    level = 1.5 + 0.3 * rng.normal(size=40)
    y = (level[county] - 0.7 * floor + 0.75 * rng.normal(size=len(county))).astype(_32)

    def log_density(x):
        z, mu, slope, tau, sd = x[:40], x[40], x[41], jnp.exp(x[42]), jnp.exp(x[43])
        prior = -0.5 * jnp.sum(z**2) - 0.5 * (mu / 10) ** 2 - 0.5 * (slope / 10) ** 2
        prior = prior - 0.5 * tau**2 - 0.5 * sd**2 + x[42] + x[43]
        return prior + jnp.sum(_normal(y, mu + tau * z[county] + slope * floor, sd))

    return Problem("radon", 44, log_density)


def predator_prey() -> Problem:
    """Make Lotka-Volterra by Runge-Kutta with log-normal noise: 8 positive parameters."""
    rng = _RNG(8)

    truth = np.array([0.55, 0.028, 0.80, 0.024], _32)
    clean = np.asarray(lotka_volterra(jnp.asarray(truth), jnp.array([33.0, 6.0])))
    y = np.log(clean * np.exp(0.25 * rng.normal(size=clean.shape))).astype(_32)
    first = np.log(np.array([30.0, 5.0])).astype(_32)

    def log_density(x):
        theta, start, sd = jnp.exp(x[:4]), jnp.exp(x[4:6]), jnp.exp(x[6:8])
        prior = jnp.sum(_normal(theta, jnp.array([1.0, 0.05, 1.0, 0.05]),
                                jnp.array([0.5, 0.05, 0.5, 0.05])))  # fmt: skip
        prior = prior + jnp.sum(_normal(x[4:6], np.log(10.0), 1.0) + _normal(x[6:8], -1.0, 1.0))
        fit = jnp.log(lotka_volterra(theta, start))
        return prior + jnp.sum(x[:4]) + jnp.sum(_normal(y, fit, sd)) + jnp.sum(
            _normal(first, x[4:6], sd)
        )  # fmt: skip

    return Problem("predator and prey", 8, log_density)


def mixture() -> Problem:
    """Make 1,000 values of two normals with ordered means: 5 parameters, and a second mode."""
    rng = _RNG(9)
    y = np.where(
        rng.uniform(size=1000) < 0.4, rng.normal(-2.75, 1, 1000), rng.normal(2.75, 1, 1000)
    )
    y = y.astype(_32)

    def log_density(x):
        mu = jnp.stack([x[0], x[0] + jnp.exp(x[1])])
        sd, w = jnp.exp(x[2:4]), x[4]
        prior = jnp.sum(_normal(mu, 0.0, 2.0)) - 0.5 * jnp.sum((sd / 2) ** 2)
        prior = prior + x[1] + jnp.sum(x[2:4]) + 5 * (log_sigmoid(w) + log_sigmoid(-w))
        parts = _normal(y[:, None], mu, sd) + jnp.stack([log_sigmoid(w), log_sigmoid(-w)])
        return prior + jnp.sum(logsumexp(parts, axis=1))

    return Problem("mixture", 5, log_density)


def gaussian_process() -> Problem:
    """Make a Gaussian process of 30 values: length, height and noise, all positive."""
    rng = _RNG(10)
    t = np.sort(rng.uniform(-10, 10, 30)).astype(_32)
    gap = (t[:, None] - t) ** 2
    cov = 9 * np.exp(-0.5 * gap / 4) + 0.25 * np.eye(30)
    y = (np.linalg.cholesky(cov) @ rng.normal(size=30)).astype(_32)

    def log_density(x):
        length, height, sd = jnp.exp(x)
        k = height**2 * jnp.exp(-0.5 * gap / length**2) + (sd**2 + 1e-6) * jnp.eye(30)
        root = jnp.linalg.cholesky(k)
        z = jax.scipy.linalg.solve_triangular(root, y, lower=True)
        prior = 24 * x[0] - 4 * length - 0.5 * height**2 / 9 - 0.5 * sd**2 + x[1] + x[2]
        return prior - 0.5 * z @ z - jnp.sum(jnp.log(jnp.diagonal(root)))

    return Problem("gaussian process", 3, log_density)


def poisson_process() -> Problem:
    """Make counts whose log rate is a Gaussian process at 11 places, non-centred."""
    rng = _RNG(11)
    t = np.linspace(-10, 10, 11).astype(_32)
    gap = (t[:, None] - t) ** 2
    k = np.linalg.cholesky(np.exp(-0.5 * gap / 36) + 1e-6 * np.eye(11))
    y = rng.poisson(np.exp(2 + k @ rng.normal(size=11))).astype(_32)

    def log_density(x):
        length, height, z = jnp.exp(x[0]), jnp.exp(x[1]), x[2:]
        cov = height**2 * jnp.exp(-0.5 * gap / length**2) + 1e-4 * jnp.eye(11)
        f = jnp.linalg.cholesky(cov) @ z
        prior = 25 * x[0] - 4 * length - 0.5 * (height / 2) ** 2 + x[1] - 0.5 * jnp.sum(z**2)
        return prior + jnp.sum(y * f - jnp.exp(f))

    return Problem("poisson process", 13, log_density)


def hidden_states() -> Problem:
    """Make a two-state hidden Markov model of 100 normal values, means ordered."""
    rng = _RNG(12)
    state, y = 0, np.zeros(100)
    for i in range(100):
        state = state if rng.uniform() < (0.7, 0.9)[state] else 1 - state
        y[i] = rng.normal((3.0, 9.0)[state], 1.0)
    y = y.astype(_32)

    def log_density(x):
        mu = jnp.stack([jnp.exp(x[0]), jnp.exp(x[0]) + jnp.exp(x[1])])
        stay = jnp.stack([log_sigmoid(x[2]), log_sigmoid(x[3])])
        go = jnp.stack([log_sigmoid(-x[2]), log_sigmoid(-x[3])])
        matrix = jnp.stack([jnp.stack([stay[0], go[0]]), jnp.stack([go[1], stay[1]])])
        parts = -0.5 * (y[:, None] - mu) ** 2

        def step(alpha, part):
            return logsumexp(alpha[:, None] + matrix, axis=0) + part, None

        alpha, _ = jax.lax.scan(step, parts[0], parts[1:])
        prior = -0.5 * jnp.sum((mu - jnp.array([3.0, 10.0])) ** 2) + x[0] + x[1]
        return prior + jnp.sum(stay + go) + logsumexp(alpha)

    return Problem("hidden states", 4, log_density)


def elimination() -> Problem:
    """Make a one-compartment drug model with saturated elimination: 4 positive parameters."""
    rng = _RNG(13)
    times = np.arange(0.5, 10.5, 0.5)

    def path(absorb, half, speed, volume, inner=20):
        h = 0.5 / inner

        def rate(c, t):
            dose = jnp.exp(-absorb * t) * 30.0 * absorb / volume
            return -speed / volume * c / (half + c) + dose

        def step(carry, _):
            c, t = carry
            k1 = rate(c, t)
            k2 = rate(c + h / 2 * k1, t + h / 2)
            k3 = rate(c + h / 2 * k2, t + h / 2)
            k4 = rate(c + h * k3, t + h)
            return (c + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + h), None

        def dose(carry, _):
            carry, _ = jax.lax.scan(step, carry, None, length=inner)
            return carry, carry[0]

        start = (jnp.asarray(0.0, jnp.result_type(float)),) * 2
        return jax.lax.scan(dose, start, None, length=len(times))[1]

    clean = np.asarray(path(0.75, 0.25, 1.0, 1.0))
    y = np.log(clean * np.exp(0.1 * rng.normal(size=len(times)))).astype(_32)

    def log_density(x):
        absorb, half, speed, volume = jnp.exp(x[:4])
        scales = jnp.exp(x[:5])
        prior = -jnp.sum(jnp.log1p(scales**2)) + jnp.sum(x[:5])
        fit = jnp.log(jnp.maximum(path(absorb, half, speed, volume), 1e-10))
        return prior + jnp.sum(_normal(y, fit, jnp.exp(x[4])))

    return Problem("elimination", 5, log_density)


def dogs() -> Problem:
    """Make avoidance learning of 30 dogs in 25 trials: counts of what went before."""
    rng = _RNG(14)
    shocks = np.zeros((30, 25))
    avoided = np.zeros((30, 25))
    y = np.zeros((30, 25))
    for t in range(25):
        if t:
            avoided[:, t] = avoided[:, t - 1] + 1 - y[:, t - 1]
            shocks[:, t] = shocks[:, t - 1] + y[:, t - 1]
        p = 1 / (1 + np.exp(-(1.8 - 0.36 * avoided[:, t] - 0.2 * shocks[:, t])))
        y[:, t] = rng.uniform(size=30) < p
    avoided, shocks, signs = (v.astype(_32) for v in (avoided, shocks, 2 * y - 1))

    def log_density(x):
        logits = x[0] + x[1] * avoided + x[2] * shocks
        return jnp.sum(log_sigmoid(signs * logits)) - 0.5 * jnp.sum((x / 100) ** 2)

    return Problem("dogs", 3, log_density)


SIMULATED: tuple[Callable[[], Problem], ...] = (
    earnings, interaction, calendar, autoregression, moving_average, logistic, counts,
    schools_centred, radon, predator_prey, mixture, gaussian_process, poisson_process,
    hidden_states, elimination, dogs,
)  # fmt: skip


def simulated() -> list[Problem]:
    """Return all of them, and those of `_models.py`."""
    return [make() for make in (*SIMULATED, *MODELS)]
