"""What the gallery's scripts share: targets on the line, exact fits by quadrature, one look."""

import pathlib
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from _common import BLUE, FILL, GREEN, INK, ORANGE, PURPLE, options, panels, save

import vikl

__all__ = [
    "BLUE", "FILL", "GREEN", "GRID", "INK", "ORANGE", "PURPLE", "exact_fit", "normal_of",
    "normal_pdf", "options", "panels", "save", "two_modes",
]  # fmt: skip

#: a grid on which integrals over the two-mode targets are exact to rounding
GRID = vikl.estimators.Quadrature(-16.0, 16.0, 1601)


def mixture(x, data):
    """Log density of a mixture of two normals, normalised."""
    weights, locs, scales = data
    z = (x - locs) / scales
    terms = jnp.log(weights) - 0.5 * z * z - jnp.log(scales) - 0.5 * np.log(2 * np.pi)
    return jax.scipy.special.logsumexp(terms)


def two_modes(weights=(0.5, 0.5), locs=(-2.0, 2.0), scales=(0.5, 0.5)) -> vikl.Target:
    """Return the target with two modes on the line."""
    data = tuple(jnp.asarray(v) for v in (weights, locs, scales))
    return vikl.Target.from_density(mixture, 0.0, data=data)


def normal_of(mu: float, sigma: float) -> vikl.families.MeanFieldNormal:
    """Return the normal with this mean and standard deviation."""
    return vikl.families.MeanFieldNormal.init(jnp.array([mu]), sigma)


def normal_pdf(x: np.ndarray, mu: float, sigma: float) -> np.ndarray:
    """Return the density of a normal."""
    return np.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


@eqx.filter_jit
def _value_and_grad(objective, target, v):
    def loss(v):
        q = vikl.families.MeanFieldNormal(v[:1], v[1:])
        return objective(q, target, jax.random.key(0))[0]

    return jax.value_and_grad(loss)(v)


def exact_fit(objective, target, mu: float, sigma: float) -> tuple[float, float, float]:
    """Return mean, sd and loss of the optimum that a descent without noise reaches from a start."""

    def of(v):
        v = jnp.asarray(v, jnp.result_type(float))
        value, gradient = _value_and_grad(objective, target, v)
        return float(value), np.asarray(gradient, np.float64)

    found = minimize(of, [mu, np.log(sigma)], jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(np.exp(found.x[1])), float(found.fun)
