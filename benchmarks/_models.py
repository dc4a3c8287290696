"""More posteriors of models that people fit, many on data that are public: up to 104 parameters.

As in `_simulated.py`, plain log densities of a flat, unconstrained vector, with the priors of the
models' authors and nothing centred or scaled on the user's behalf.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _problems import Problem
from jax.nn import log_sigmoid
from jax.scipy.special import gammaln

_RNG = np.random.default_rng
_32 = np.float32

_HARE = [30, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4, 22, 25.4, 27.1, 40.3, 57, 76.6, 52.3, 19.5,
         11.2, 7.6, 14.6, 16.2, 24.7]  # fmt: skip
_LYNX = [4, 6.1, 9.8, 35.2, 59.4, 41.7, 19, 13, 8.3, 9.1, 7.4, 8, 12.3, 19.5, 45.7, 51.1, 29.7,
         15.8, 9.7, 10.1, 8.6]  # fmt: skip
# milliseconds and g after a simulated motorcycle accident (Silverman 1985)
_TIMES = """2.4 2.6 3.2 3.6 4 6.2 6.6 6.8 7.8 8.2 8.8 8.8 9.6 10 10.2 10.6 11 11.4 13.2 13.6 13.8
14.6 14.6 14.6 14.6 14.6 14.6 14.8 15.4 15.4 15.4 15.4 15.6 15.6 15.8 15.8 16 16 16.2 16.2 16.2
16.4 16.4 16.6 16.8 16.8 16.8 17.6 17.6 17.6 17.6 17.8 17.8 18.6 18.6 19.2 19.4 19.4 19.6 20.2 20.4
21.2 21.4 21.8 22 23.2 23.4 24 24.2 24.2 24.6 25 25 25.4 25.4 25.6 26 26.2 26.2 26.4 27 27.2 27.2
27.2 27.6 28.2 28.4 28.4 28.6 29.4 30.2 31 31.2 32 32 32.8 33.4 33.8 34.4 34.8 35.2 35.2 35.4 35.6
35.6 36.2 36.2 38 38 39.2 39.4 40 40.4 41.6 41.6 42.4 42.8 42.8 43 44 44.4 45 46.6 47.8 47.8 48.8
50.6 52 53.2 55 55 55.4 57.6"""
_ACCELERATIONS = """0 -1.3 -2.7 0 -2.7 -2.7 -2.7 -1.3 -2.7 -2.7 -1.3 -2.7 -2.7 -2.7 -5.4 -2.7 -5.4 0
-2.7 -2.7 0 -13.3 -5.4 -5.4 -9.3 -16 -22.8 -2.7 -22.8 -32.1 -53.5 -54.9 -40.2 -21.5 -21.5 -50.8
-42.9 -26.8 -21.5 -50.8 -61.7 -5.4 -80.4 -59 -71 -91.1 -77.7 -37.5 -85.6 -123.1 -101.9 -99.1 -104.4
-112.5 -50.8 -123.1 -85.6 -72.3 -127.2 -123.1 -117.9 -134 -101.9 -108.4 -123.1 -123.1 -128.5 -112.5
-95.1 -81.8 -53.5 -64.4 -57.6 -72.3 -44.3 -26.8 -5.4 -107.1 -21.5 -65.6 -16 -45.6 -24.2 9.5 4 12
-21.5 37.5 46.9 -17.4 36.2 75 8.1 54.9 48.2 46.9 16 45.6 1.3 75 -16 -54.9 69.6 34.8 32.1 -37.5 22.8
46.9 10.7 5.4 -1.3 -21.5 -13.3 30.8 -10.7 29.4 0 -10.7 14.7 -1.3 0 10.7 10.7 -26.8 -14.7 -13.3 0
10.7 -14.7 -2.7 10.7 -2.7 10.7"""
_SURGERIES = [47, 148, 119, 810, 211, 196, 148, 215, 207, 97, 256, 360]
_DEATHS = [0, 18, 8, 46, 8, 13, 9, 31, 14, 8, 29, 24]
_GERMINATED = [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3]
_SEEDS = [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7]
_RATS = """
151 199 246 283 320 145 199 249 293 354 147 214 263 312 328 155 200 237 272 297 135 188 230 280
323 159 210 252 298 331 141 189 231 275 305 159 201 248 297 338 177 236 285 350 376 134 182 220
260 296 160 208 261 313 352 143 188 220 273 314 154 200 244 289 325 171 221 270 326 358 163 216
242 281 312 160 207 248 288 324 142 187 234 280 316 156 203 243 283 317 157 212 259 307 336 152
203 246 286 321 154 205 253 298 334 139 190 225 267 302 146 191 229 272 302 157 211 250 285 323
132 185 237 286 331 160 207 257 303 345 169 216 261 295 333 157 205 248 289 316 137 180 219 258
291 153 200 244 286 324"""


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values.split() if isinstance(values, str) else values, _32)


def _normal(x: Any, loc: Any, scale: Any) -> Any:
    return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale)


def _student(x: Any, loc: Any, scale: Any, df: float = 3.0) -> Any:
    return -0.5 * (df + 1) * jnp.log1p(((x - loc) / scale) ** 2 / df)


def _binomial(y: Any, n: Any, logits: Any) -> Any:
    return jnp.sum(y * log_sigmoid(logits) + (n - y) * log_sigmoid(-logits))


def lotka_volterra(theta, start, num=20, inner=20):
    """Return prey and predators at the end of each year, by Runge-Kutta."""

    def rate(z):
        u, v = z
        return jnp.stack([(theta[0] - theta[1] * v) * u, (-theta[2] + theta[3] * u) * v])

    def step(z, _):
        h = 1.0 / inner
        k1 = rate(z)
        k2 = rate(z + h / 2 * k1)
        k3 = rate(z + h / 2 * k2)
        k4 = rate(z + h * k3)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    def year(z, _):
        z, _ = jax.lax.scan(step, z, None, length=inner)
        return z, z

    return jax.lax.scan(year, start, None, length=num)[1]


def lynx_and_hare() -> Problem:
    """Lotka-Volterra of the pelts of 1900 to 1920 (Stan's case study; Carpenter 2018)."""
    y = np.log(np.stack([_numbers(_HARE), _numbers(_LYNX)], 1)).astype(_32)

    def log_density(x):
        theta, start, sd = jnp.exp(x[:4]), jnp.exp(x[4:6]), jnp.exp(x[6:8])
        center, width = jnp.array([1.0, 0.05, 1.0, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05])
        prior = jnp.sum(_normal(theta, center, width)) + jnp.sum(x[:4])
        prior = prior + jnp.sum(_normal(x[4:6], np.log(10.0), 1.0) + _normal(x[6:8], -1.0, 1.0))
        fit = jnp.log(lotka_volterra(theta, start))
        return prior + jnp.sum(_normal(y[0], x[4:6], sd)) + jnp.sum(_normal(y[1:], fit, sd))

    return Problem("lynx and hare", 8, log_density)


def motorcycle() -> Problem:
    """Head acceleration by two basis-function Gaussian processes, of mean and log sd: 66."""
    y, times = _numbers(_ACCELERATIONS), np.asarray(_TIMES.split(), float)
    t = (times - times.min()) / (times.max() - times.min())
    center = 0.5
    edge = 5 / 4 * 0.5

    def basis(num):
        speed = np.arange(1, num + 1) * np.pi / (2 * edge)
        waves = np.sin(speed * (t - center + edge)[:, None]) / np.sqrt(edge)
        return waves.astype(_32), speed.astype(_32)

    (waves, speed), (sd_waves, sd_speed) = basis(40), basis(20)

    def process(parts, waves, speed, log_height, log_length, z):
        length = jnp.exp(log_length)
        root = jnp.exp(log_height) * jnp.sqrt(jnp.sqrt(2 * jnp.pi) * length)
        return parts + waves @ (root * jnp.exp(-0.25 * (length * speed) ** 2) * z)

    def log_density(x):
        (a, height, length), z = x[:3], x[3:43]
        (b, sd_height, sd_length), u = x[43:46], x[46:66]
        mean = process(a, waves, speed, height, length, z)
        log_sd = process(b, sd_waves, sd_speed, sd_height, sd_length, u)
        prior = _student(a, -13.0, 36.0) + _student(b, 0.0, 10.0) - 0.5 * jnp.sum(z**2)
        prior = prior - 0.5 * jnp.sum(u**2)
        for log_h, log_l in ((height, length), (sd_height, sd_length)):
            prior = prior + _student(jnp.exp(log_h), 0.0, 36.0) + log_h
            prior = prior - 1.124909 * log_l - 0.0177 * jnp.exp(-log_l)
        return prior + jnp.sum(-0.5 * ((y - mean) * jnp.exp(-log_sd)) ** 2 - log_sd)

    return Problem("motorcycle", 66, log_density)


def surgical() -> Problem:
    """Deaths after surgery in 12 hospitals, centred logits: 12 levels, their mean and variance."""
    y, n = _numbers(_DEATHS), _numbers(_SURGERIES)

    def log_density(x):
        mu, tau = x[12], jnp.exp(0.5 * x[13])  # the log variance is the coordinate
        prior = -0.5 * (mu / 1000) ** 2 - 0.001 * x[13] - 0.001 * jnp.exp(-x[13])
        return prior + jnp.sum(_normal(x[:12], mu, tau)) + _binomial(y, n, x[:12])

    return Problem("surgical", 14, log_density)


def seeds() -> Problem:
    """Germination on 21 plates with random effects, non-centred (Crowder 1978): 26."""
    y, n = _numbers(_GERMINATED), _numbers(_SEEDS)
    one = np.asarray([0] * 11 + [1] * 10, _32)
    two = np.asarray([0] * 5 + [1] * 6 + [0] * 5 + [1] * 5, _32)

    def log_density(x):
        a, z, sd = x[:4], x[4:25], jnp.exp(x[25])
        eta = a[0] + a[1] * one + a[2] * two + a[3] * one * two + sd * z
        prior = -0.5 * jnp.sum(a**2) - 0.5 * jnp.sum(z**2) - jnp.log1p(sd**2) + x[25]
        return prior + _binomial(y, n, eta)

    return Problem("seeds", 26, log_density)


def rats() -> Problem:
    """Growth of 30 rats, a level and a slope each, centred (Gelfand & Smith 1990): 65."""
    y = _numbers(_RATS).reshape(30, 5)
    day = np.asarray([8, 15, 22, 29, 36], _32) - 22

    def log_density(x):
        level, slope, mu, nu = x[:30], x[30:60], x[60], x[61]
        sd, a, b = jnp.exp(x[62:65])
        prior = _normal(mu, 0.0, 100.0) + _normal(nu, 0.0, 100.0) + jnp.sum(x[62:65])
        prior = prior + jnp.sum(_normal(level, mu, a)) + jnp.sum(_normal(slope, nu, b))
        return prior + jnp.sum(_normal(y, level[:, None] + slope[:, None] * day, sd))

    return Problem("rats", 65, log_density)


def items() -> Problem:
    """Make answers of 60 people to 20 items, two-parameter logistic: 104."""
    rng = _RNG(20)
    ability, hard = rng.normal(size=60), rng.normal(size=20)
    sharp = np.exp(0.5 * rng.normal(size=20))
    p = 1 / (1 + np.exp(-sharp[:, None] * (ability - hard[:, None])))
    signs = np.where(rng.uniform(size=p.shape) < p, 1, -1).astype(_32)

    def log_density(x):
        theta, a, b = x[:60], x[60:80], x[80:100]
        sd, sd_a, mu_b, sd_b = jnp.exp(x[100]), jnp.exp(x[101]), x[102], jnp.exp(x[103])
        prior = jnp.sum(_normal(theta, 0.0, sd)) + jnp.sum(_normal(a, 0.0, sd_a))
        prior = prior + jnp.sum(_normal(b, mu_b, sd_b)) - 0.5 * (mu_b / 5) ** 2
        for log_scale in (x[100], x[101], x[103]):
            prior = prior - jnp.log1p((jnp.exp(log_scale) / 2) ** 2) + log_scale
        logits = jnp.exp(a)[:, None] * (theta - b[:, None])
        return prior + jnp.sum(log_sigmoid(signs * logits))

    return Problem("items", 104, log_density)


def yearly_counts() -> Problem:
    """Make 40 counts with a cubic trend and a random effect a year, centred: 45."""
    rng = _RNG(21)
    t = np.linspace(-1.7, 1.7, 40)
    rate = 4.2 + 1.2 * t + 0.1 * t**2 - 0.25 * t**3 + 0.15 * rng.normal(size=40)
    y, t = rng.poisson(np.exp(rate)).astype(_32), t.astype(_32)

    def log_density(x):
        a, effect, sd = x[:4], x[4:44], jnp.exp(x[44])
        eta = a[0] + t * (a[1] + t * (a[2] + t * a[3])) + effect
        prior = -0.5 * jnp.sum((a / 10) ** 2) + jnp.sum(_normal(effect, 0.0, sd)) + x[44]
        return prior + jnp.sum(y * eta - jnp.exp(eta))

    return Problem("yearly counts", 45, log_density)


def counties() -> Problem:
    """Make 85 counties' levels, centred, few measurements in many: 89."""
    rng = _RNG(22)
    sizes = np.maximum(rng.negative_binomial(1, 0.1, 85), 1)
    county = np.repeat(np.arange(85), sizes)
    floor = (rng.uniform(size=len(county)) < 0.2).astype(_32)
    level = 1.5 + 0.3 * rng.normal(size=85)
    y = (level[county] - 0.7 * floor + 0.75 * rng.normal(size=len(county))).astype(_32)

    def log_density(x):
        level, mu, slope, tau, sd = x[:85], x[85], x[86], jnp.exp(x[87]), jnp.exp(x[88])
        prior = -0.5 * (mu / 10) ** 2 - 0.5 * (slope / 10) ** 2 - 0.5 * tau**2 - 0.5 * sd**2
        prior = prior + x[87] + x[88] + jnp.sum(_normal(level, mu, tau))
        return prior + jnp.sum(_normal(y, level[county] + slope * floor, sd))

    return Problem("counties", 89, log_density)


def roaches() -> Problem:
    """Make overdispersed counts of 250 flats: negative binomial on predictors up to 300."""
    rng = _RNG(23)
    before, treated = rng.gamma(0.4, 100, 250), rng.uniform(size=250) < 0.6
    senior = rng.uniform(size=250) < 0.3
    rate = np.exp(2.8 + 0.006 * before - 0.7 * treated - 0.3 * senior)
    y = rng.poisson(rate * rng.gamma(0.35, 1 / 0.35, 250)).astype(_32)
    design = np.stack([np.ones(250), before, treated, senior], 1).astype(_32)

    def log_density(x):
        eta, size = design @ x[:4], jnp.exp(x[4])
        prior = -0.5 * (x[0] / 5) ** 2 - 0.5 * jnp.sum((x[1:4] / 2.5) ** 2) - size + x[4]
        odds = eta - x[4]
        parts = gammaln(y + size) - gammaln(size) + y * log_sigmoid(odds)
        return prior + jnp.sum(parts + size * log_sigmoid(-odds))

    return Problem("roaches", 5, log_density)


def separated() -> Problem:
    """Make a logistic regression that one predictor nearly separates, with Cauchy priors."""
    rng = _RNG(24)
    a, b = rng.normal(size=60), rng.normal(size=60)
    signs = np.where(a + 0.3 * rng.normal(size=60) > 0, 1, -1).astype(_32)
    design = np.stack([np.ones(60), a, b], 1).astype(_32)

    def log_density(x):
        prior = -jnp.sum(jnp.log1p((x / jnp.array([10.0, 2.5, 2.5])) ** 2))
        return prior + jnp.sum(log_sigmoid(signs * (design @ x)))

    return Problem("separated", 3, log_density)


def local_level() -> Problem:
    """Make 60 values that follow a random walk, by its steps: 60, a level and two log sds."""
    rng = _RNG(25)
    y = 7.0 + np.cumsum(0.05 * rng.normal(size=60)) + 0.1 * rng.normal(size=60)
    y = y.astype(_32)

    def log_density(x):
        z, level, step, sd = x[:60], x[60], jnp.exp(x[61]), jnp.exp(x[62])
        path = level + step * jnp.cumsum(z)
        prior = -0.5 * jnp.sum(z**2) - 0.5 * step**2 - 0.5 * sd**2 + x[61] + x[62]
        return prior - 0.5 * ((level - 7) / 5) ** 2 + jnp.sum(_normal(y, path, sd))

    return Problem("local level", 63, log_density)


MODELS: tuple[Callable[[], Problem], ...] = (
    lynx_and_hare, motorcycle, surgical, seeds, rats, items, yearly_counts,
    counties, roaches, separated, local_level,
)  # fmt: skip
