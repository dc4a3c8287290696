"""Random targets whose truth is known: draws that are exact, or made by long runs of NUTS.

A zoo is made anew from a seed, so that thresholds may be looked at on one and judged on another.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import stats as jss
from jax.scipy.special import logsumexp

_DRAWS = 100_000


@dataclasses.dataclass(frozen=True)
class Animal:
    """A target, draws of it (n, dim) in unconstrained space, and its modes where it has several.

    `log_density(x, data)`; `modes` are normals (weight, mean, Cholesky factor).
    """

    name: str
    kind: str
    log_density: Callable
    data: Any
    draws: np.ndarray
    modes: tuple[tuple[float, np.ndarray, np.ndarray], ...] = ()

    @property
    def dim(self) -> int:
        return self.draws.shape[1]


def _root(rng: np.random.Generator, dim: int, condition: float) -> np.ndarray:
    """Return a Cholesky factor of a covariance with random directions."""
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return np.linalg.cholesky((basis * np.geomspace(1, condition, dim)) @ basis.T)


# -- normals and what bends, stretches or skews them


def _normal(x, data):
    mean, inverse_root = data
    return -0.5 * jnp.sum((inverse_root @ (x - mean)) ** 2)


def normals(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, condition in ((2, 30.0), (5, 3.0), (20, 100.0), (100, 10.0)):
        mean, root = 3 * rng.normal(size=dim), _root(rng, dim, condition)
        draws = mean + rng.normal(size=(_DRAWS // (1 + dim // 50), dim)) @ root.T
        yield Animal(f"normal {dim}-d", "normal", _normal, (mean, np.linalg.inv(root)), draws)


def _student(x, data):
    inverse_root, nu = data
    return -0.5 * (nu + x.shape[0]) * jnp.log1p(jnp.sum((inverse_root @ x) ** 2) / nu)


def heavy(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, nu in ((1, 3.0), (2, 4.0), (5, 3.0), (10, 8.0), (40, 5.0)):
        root = _root(rng, dim, 5.0)
        stretch = np.sqrt(nu / rng.chisquare(nu, size=(_DRAWS, 1)))
        draws = (rng.normal(size=(_DRAWS, dim)) * stretch) @ root.T
        data = (np.linalg.inv(root), nu)
        yield Animal(f"Student-t {nu:g}, {dim}-d", "heavy", _student, data, draws)
    for dim in (3, 30):
        draws = rng.laplace(size=(_DRAWS, dim)) if dim < 5 else rng.logistic(size=(_DRAWS, dim))
        density = _laplace if dim < 5 else _logistic
        yield Animal(f"{density.__name__[1:]} {dim}-d", "heavy", density, np.ones(1), draws)


def _laplace(x, data):
    return -jnp.sum(jnp.abs(x) * data)


def _logistic(x, data):
    return jnp.sum(-x * data - 2 * jnp.logaddexp(0.0, -x))


def _log_gamma(x, shape):
    return jnp.sum(shape * x - jnp.exp(x))


def _skew_normal(x, data):
    skew, inverse_root = data
    z = inverse_root @ x
    return -0.5 * jnp.sum(z**2) + jss.norm.logcdf(jnp.sum(skew * z))


def skewed(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, low, high in ((1, 0.5, 0.5), (4, 0.6, 4.0), (20, 1.0, 10.0), (80, 3.0, 30.0)):
        shape = rng.uniform(low, high, size=dim)
        draws = np.log(rng.gamma(shape + 1, size=(_DRAWS // (1 + dim // 40), dim)))
        draws += np.log(rng.uniform(size=draws.shape)) / shape  # gamma(a) = gamma(a + 1) U^(1/a)
        yield Animal(f"log gamma {dim}-d", "skewed", _log_gamma, shape, draws)
    for dim, size in ((1, 4.0), (3, 8.0), (10, 3.0)):
        skew = rng.normal(size=dim)
        skew *= size / np.linalg.norm(skew)
        z = rng.normal(size=(_DRAWS, dim))
        z *= np.where(rng.normal(size=_DRAWS) < z @ skew, 1.0, -1.0)[:, None]
        root = _root(rng, dim, 10.0)
        data = (skew, np.linalg.inv(root))
        yield Animal(f"skew normal {dim}-d", "skewed", _skew_normal, data, z @ root.T)


def _banana(x, data):
    scale, bend, width = data
    rest = jnp.sum(x[2:] ** 2)
    miss = (x[1] - bend * (x[0] ** 2 - scale**2)) / width
    return -0.5 * (x[0] / scale) ** 2 - 0.5 * miss**2 - 0.5 * rest


def _funnel(x, data):
    scale, slope = data
    return (
        -0.5 * (x[0] / scale) ** 2
        - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-slope * x[0])
        - (0.5 * slope * (x.shape[0] - 1) * x[0])
    )


def bent(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, bend in ((2, 0.15), (2, 0.5), (2, 1.5), (10, 0.3), (50, 0.4)):
        scale, width = rng.uniform(0.7, 2.0), rng.uniform(0.5, 1.0)
        z = rng.normal(size=(_DRAWS, dim))
        z[:, 1] = width * z[:, 1] + bend * scale**2 * (z[:, 0] ** 2 - 1)
        z[:, 0] *= scale
        yield Animal(f"banana {bend} {dim}-d", "banana", _banana, (scale, bend, width), z)
    for dim, scale, slope in ((2, 1.0, 0.5), (2, 2.0, 1.0), (5, 0.7, 1.0), (10, 3.0, 1.0)):
        z = rng.normal(size=(_DRAWS, dim))
        z[:, 0] *= scale
        z[:, 1:] *= np.exp(0.5 * slope * z[:, :1])
        yield Animal(f"funnel {scale:g} {dim}-d", "funnel", _funnel, (scale, slope), z)


# -- several modes


def _mixture(x, data):
    log_weights, means, inverse_roots, log_dets = data
    z = jnp.einsum("kij,kj->ki", inverse_roots, x - means)
    return logsumexp(log_weights - log_dets - 0.5 * jnp.sum(z**2, axis=1))


def _mix(name: str, rng: np.random.Generator, weights, means, roots) -> Animal:
    weights, means, roots = (np.asarray(v, float) for v in (weights, means, roots))
    which = rng.choice(len(weights), p=weights / weights.sum(), size=_DRAWS)
    noise = rng.normal(size=(_DRAWS, means.shape[1]))
    draws = means[which] + np.einsum("nij,nj->ni", roots[which], noise)
    data = (np.log(weights), means, np.linalg.inv(roots), np.linalg.slogdet(roots)[1])
    modes = tuple((float(w), m, r) for w, m, r in zip(weights, means, roots))
    return Animal(name, "mixture", _mixture, data, draws, modes)


def mixtures(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, apart in ((1, 2.5), (1, 4.0), (1, 8.0), (2, 3.0), (2, 6.0), (2, 20.0), (5, 5.0),
                       (10, 10.0), (20, 7.0), (60, 12.0)):  # fmt: skip
        way = rng.normal(size=dim)
        way *= apart / np.linalg.norm(way)
        weight = rng.uniform(0.15, 0.5)
        roots = [_root(rng, dim, 3.0) * s for s in (1.0, rng.uniform(0.5, 1.5))]
        yield _mix(
            f"2 modes, {apart:g} apart, {dim}-d", rng, [1 - weight, weight], [0 * way, way], roots
        )
    for count, dim, width in ((3, 2, 6.0), (4, 5, 5.0), (10, 2, 8.0)):
        means = rng.uniform(-width, width, size=(count, dim))
        roots = [_root(rng, dim, 2.0) for _ in range(count)]
        yield _mix(f"{count} modes, {dim}-d", rng, rng.dirichlet(3 * np.ones(count)), means, roots)
    for dim in (2, 8):  # one mode, two scales: a slab with a spike
        roots = [np.eye(dim), 4 * np.eye(dim)]
        animal = _mix(f"spike and slab {dim}-d", rng, [0.6, 0.4], np.zeros((2, dim)), roots)
        yield dataclasses.replace(animal, modes=(), kind="heavy")


# -- constrained parameters, as their log densities after Stan's or numpyro's transforms


def _logit_beta(x, data):
    a, b = data
    return jnp.sum(-a * jnp.logaddexp(0.0, -x) - b * jnp.logaddexp(0.0, x))


def _half_normal(x, scale):
    return jnp.sum(x - 0.5 * (jnp.exp(x) / scale) ** 2)


def constrained(rng: np.random.Generator) -> Iterator[Animal]:
    for dim, low in ((1, 0.5), (5, 1.0), (25, 3.0)):
        a, b = rng.uniform(low, 6 * low, size=(2, dim))
        draws = np.log(rng.gamma(a, size=(_DRAWS, dim))) - np.log(rng.gamma(b, size=(_DRAWS, dim)))
        yield Animal(f"logit beta {dim}-d", "constrained", _logit_beta, (a, b), draws)
    scale = rng.uniform(0.3, 5, size=3)
    draws = np.log(np.abs(rng.normal(size=(_DRAWS, 3))) * scale)
    yield Animal("log half-normal 3-d", "constrained", _half_normal, scale, draws)


# -- posteriors of simulated data, their truth by NUTS


def _logistic_regression(x, data):
    design, y = data
    logits = design @ x
    return jnp.sum(y * logits - jnp.logaddexp(0.0, logits)) - 0.5 * jnp.sum((x / 2.5) ** 2)


def _poisson_regression(x, data):
    design, y = data
    eta = design @ x
    return jnp.sum(y * eta - jnp.exp(eta)) - 0.5 * jnp.sum(x**2)


def _hierarchy(x, data):
    y, sigma = data
    mu, log_tau, effects = x[0], x[1], x[2:]
    prior = -0.5 * (mu / 5) ** 2 - 0.5 * log_tau**2 - 0.5 * jnp.sum(effects**2)
    return prior - 0.5 * jnp.sum(((y - mu - jnp.exp(log_tau) * effects) / sigma) ** 2)


def _centred(x, data):
    y, sigma = data
    mu, log_tau, effects = x[0], x[1], x[2:]
    prior = -0.5 * (mu / 5) ** 2 - 0.5 * log_tau**2
    prior += jnp.sum(-0.5 * ((effects - mu) * jnp.exp(-log_tau)) ** 2 - log_tau)
    return prior - 0.5 * jnp.sum(((y - effects) / sigma) ** 2)


def _simulations(rng: np.random.Generator) -> Iterator[tuple[str, Callable, Any, int]]:
    for rows in (12, 200):
        design, beta = rng.normal(size=(rows, 6)), rng.normal(size=6)
        y = (rng.uniform(size=rows) < 1 / (1 + np.exp(-design @ beta))).astype(float)
        yield f"logistic regression, {rows} rows", _logistic_regression, (design, y), 6
    design, beta = 0.5 * rng.normal(size=(40, 8)), 0.7 * rng.normal(size=8)
    y = rng.poisson(np.exp(design @ beta)).astype(float)
    yield "Poisson regression", _poisson_regression, (design, y), 8
    for density in (_hierarchy, _centred):
        for tau in (0.3, 2.0):
            sigma = rng.uniform(0.5, 1.5, size=8)
            y = 2 * rng.normal() + tau * rng.normal(size=8) + sigma * rng.normal(size=8)
            yield f"{density.__name__[1:]}, tau {tau}", density, (y, sigma), 10


def simulated(rng: np.random.Generator) -> Iterator[Animal]:
    for name, density, data, dim in _simulations(rng):
        data = jax.tree.map(jnp.asarray, data)
        draws = nuts(density, data, dim, int(rng.integers(2**31)))
        yield Animal(name, "simulated data", density, data, draws)


def nuts(density: Callable, data: Any, dim: int, seed: int, chains: int = 4) -> np.ndarray:
    """Return draws (n, dim) of four chains of 4,000 steps; raise where they disagree."""
    import blackjax

    @jax.jit
    def run(key, data):
        log_density = lambda x: density(x, data)
        warm_key, start_key, key = jax.random.split(key, 3)
        start = 0.1 * jax.random.normal(start_key, (dim,))
        warmup = blackjax.window_adaptation(blackjax.nuts, log_density, target_acceptance_rate=0.95)
        (state, parameters), _ = warmup.run(warm_key, start, num_steps=1000)
        step = blackjax.nuts(log_density, **parameters).step
        keys = jax.random.split(key, 4000)
        return jax.lax.scan(lambda s, k: (step(k, s)[0],) * 2, state, keys)[1].position

    found = jax.vmap(run, (0, None))(jax.random.split(jax.random.key(seed), chains), data)
    found = np.asarray(found, np.float64)
    rhat = np.sqrt(1 + found.mean(1).var(0, ddof=1) / found.var(1, ddof=1).mean(0))
    if rhat.max() > 1.03:
        print(f"(chains of {density.__name__} disagree: R-hat {rhat.max():.3f})")
    return found.reshape(-1, dim)


def zoo(seed: int) -> Iterator[Animal]:
    """Make every animal, from a seed."""
    rooms = (normals, heavy, skewed, bent, mixtures, constrained, simulated)
    for index, room in enumerate(rooms):
        yield from room(np.random.default_rng([seed, index]))
