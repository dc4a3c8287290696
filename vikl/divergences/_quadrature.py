"""One-dimensional densities: f-divergences by a fixed quadrature (1e-9 in float64).

Gauss-Legendre with 16 points on panels between fixed multiples of both scales (and, where the
integrand has a kink, between the points where p = q). The nodes carry no gradient: the integral
does not depend on where they are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Float
from vikl.divergences._generators import Generator
from vikl.divergences._numpyro import Params
from vikl.divergences._pairs import Pair

_POINTS = 16


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_POINTS)


def _normal_log_density(p: Params, x: Array) -> Array:
    z = (x - p["loc"]) / p["scale"]
    return -0.5 * z * z - jnp.log(p["scale"]) - 0.5 * float(np.log(2 * np.pi))


def _laplace_log_density(p: Params, x: Array) -> Array:
    return -jnp.abs(x - p["loc"]) / p["scale"] - jnp.log(2 * p["scale"])


def _logistic_log_density(p: Params, x: Array) -> Array:
    z = jnp.abs(x - p["loc"]) / p["scale"]
    return -z - 2 * jnp.log1p(jnp.exp(-z)) - jnp.log(p["scale"])


def _steps(*pieces: tuple[int, int, int]) -> np.ndarray:
    half = np.concatenate([np.arange(a, b, step) for a, b, step in pieces] + [[pieces[-1][1]]])
    return np.unique(np.concatenate([-half, half]))


# family -> (log density, break points in units of the scale)
_DENSITIES = {
    "normal": (_normal_log_density, lambda: _steps((0, 10, 1))),
    "laplace": (_laplace_log_density, lambda: _steps((0, 8, 1), (8, 44, 3))),
    "logistic": (_logistic_log_density, lambda: _steps((0, 8, 1), (8, 44, 3))),
}


def log_ratio(family: str, p: Params, q: Params, x: Array) -> Array:
    """`log p(x) - log q(x)`; for normals from the differences of their parameters."""
    if family != "normal":
        log_density = _DENSITIES[family][0]
        return log_density(p, x) - log_density(q, x)
    shift = (p["scale"] - q["scale"]) / q["scale"]
    z_p, z_q = (x - p["loc"]) / p["scale"], (x - q["loc"]) / q["scale"]
    difference = -((p["loc"] - q["loc"]) + z_q * (p["scale"] - q["scale"])) / p["scale"]
    return -jnp.log1p(shift) - 0.5 * difference * (z_p + z_q)


def _crossings(p: Params, q: Params) -> Array:
    """Return the two points where normal densities are equal."""
    z = (q["loc"] - p["loc"]) / q["scale"]
    r = p["scale"] / q["scale"]
    # in units of s_q from loc_p: (1 - r^2) x^2 + 2 r^2 z x - r^2 (z^2 + 2 log r... ) = 0
    a, b = 1 - r * r, r * r * z
    c = -r * r * (z * z - 2 * jnp.log(r))
    root = jnp.sqrt(jnp.maximum(b * b - a * c, 0))
    big = -(b + jnp.where(b >= 0, root, -root))
    safe_a = jnp.where(jnp.abs(a) < 1e-12, jnp.inf, a)
    first = jnp.where(big == 0, z / 2, c / jnp.where(big == 0, 1, big))
    second = jnp.where(jnp.isfinite(big / safe_a), big / safe_a, 0)
    limit = 10 * (1 + r + jnp.abs(z))
    points = jnp.stack([jnp.clip(first, -limit, limit), jnp.clip(second, -limit, limit)], -1)
    return p["loc"][..., None] + q["scale"][..., None] * points


def integrable(pair: Pair, kink: bool) -> bool:
    """Whether this quadrature is accurate for the pair."""
    return pair.factors == 0 and (
        pair.family == "normal" or (not kink and pair.family in _DENSITIES)
    )


def integrate(pair: Pair, generator: Generator) -> Float[Array, "..."]:
    """Return the integral of `q f(p/q)`."""
    log_density, breaks = _DENSITIES[pair.family]
    units = jnp.asarray(breaks(), pair.p["loc"].dtype)
    shape = (*pair.p["loc"].shape, units.size)
    units = jnp.broadcast_to(units, shape)
    edges = [d["loc"][..., None] + d["scale"][..., None] * units for d in (pair.p, pair.q)]
    if generator.kink:
        edges.append(_crossings(pair.p, pair.q))
    edges = jax.lax.stop_gradient(jnp.sort(jnp.concatenate(edges, -1), -1))
    nodes, weights = (jnp.asarray(a, edges.dtype) for a in _rule())
    half = (edges[..., 1:] - edges[..., :-1]) / 2
    middle = (edges[..., 1:] + edges[..., :-1]) / 2
    full = (*half.shape, _POINTS)
    x = middle[..., None] + half[..., None] * jnp.broadcast_to(nodes, full)
    p, q = ({k: v[..., None, None] for k, v in d.items()} for d in (pair.p, pair.q))
    log_p, log_q = log_density(p, x), log_density(q, x)
    terms = generator.of(log_p, log_q, log_ratio(pair.family, p, q, x))
    return jnp.sum(half * jnp.sum(terms * jnp.broadcast_to(weights, full), -1), -1)
