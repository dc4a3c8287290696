"""The project's own targets: plain log densities of one flat, unconstrained vector."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_EFFECTS = (28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0)  # Rubin (1981)
_ERRORS = (15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0)

SEED = 1  # of the correlated normal


@dataclasses.dataclass(frozen=True)
class Problem:
    """A log density of x (dim,), and draws of it where they can be made exactly."""

    name: str
    dim: int
    log_density: Callable
    draws: np.ndarray | None = None


def eight_schools() -> Problem:
    """Make the non-centred eight schools: 8 standardised effects, their mean and log sd."""
    effects, errors = np.asarray(_EFFECTS, np.float32), np.asarray(_ERRORS, np.float32)

    def log_density(x):
        z, mu, tau = x[:8], x[8], jnp.exp(x[9])
        log_prior = -0.5 * jnp.sum(z**2) - 0.5 * (mu / 5.0) ** 2 - jnp.log1p((tau / 5.0) ** 2)
        return log_prior + x[9] - 0.5 * jnp.sum(((effects - mu - tau * z) / errors) ** 2)

    return Problem("eight schools", 10, log_density)


def spectrum(rng: np.random.Generator, dim: int, condition: float) -> tuple[np.ndarray, np.ndarray]:
    """Return random directions, in columns, and variances along them, log-spaced about 1."""
    basis, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    return basis, np.geomspace(condition**-0.5, condition**0.5, dim)


def correlated_normal(dim: int = 100, condition: float = 100.0) -> Problem:
    """Make a normal whose covariance has log-spaced eigenvalues in random directions."""
    rng = np.random.default_rng(SEED)
    basis, variances = spectrum(rng, dim, condition)
    mean = rng.normal(size=dim)
    precision = np.asarray((basis / variances) @ basis.T, np.float32)
    center = np.asarray(mean, np.float32)
    draws = mean + (rng.normal(size=(10_000, dim)) * np.sqrt(variances)) @ basis.T

    def log_density(x):
        return -0.5 * (x - center) @ (jnp.asarray(precision) @ (x - center))

    return Problem(f"normal, {dim}-d, condition {condition:g}", dim, log_density, draws)


def diabetes_rows() -> tuple[np.ndarray, np.ndarray]:
    """Return ten measured predictors in their own units, ones first, and the outcome."""
    from sklearn.datasets import load_diabetes

    bunch: Any = load_diabetes(scaled=False)
    design = np.concatenate([np.ones((len(bunch.data), 1)), bunch.data], axis=1)
    return design.astype(np.float32), bunch.target.astype(np.float32)


def regression(x, rows):
    """Return the log posterior of 11 coefficients and a log sd, by rows of design and outcome."""
    design, outcome = rows
    residual = (outcome - design @ x[:11]) * jnp.exp(-x[11])
    log_prior = -0.5 * jnp.sum((x[:11] / 1000.0) ** 2) - 0.5 * ((x[11] - 4.0) / 2.0) ** 2
    return log_prior - 0.5 * jnp.sum(residual**2) - len(outcome) * x[11]


def diabetes() -> Problem:
    """Make diabetes progression on its predictors; log sd last."""
    rows = diabetes_rows()
    return Problem("diabetes", 12, lambda x: regression(x, rows))


def banana() -> Problem:
    """Make a bent normal in two dimensions (Haario, Saksman & Tamminen 1999)."""
    z = np.random.default_rng(2).normal(size=(10_000, 2))
    draws = np.stack([10 * z[:, 0], z[:, 1] + 0.03 * (100 * z[:, 0] ** 2 - 100)], axis=1)

    def log_density(x):
        return -0.5 * (x[0] / 10) ** 2 - 0.5 * (x[1] - 0.03 * (x[0] ** 2 - 100)) ** 2

    return Problem("banana", 2, log_density, draws)


def funnel() -> Problem:
    """Make Neal's funnel in ten dimensions: the first is the log variance of the others."""
    z = np.random.default_rng(3).normal(size=(10_000, 10))
    draws = np.concatenate([3 * z[:, :1], np.exp(1.5 * z[:, :1]) * z[:, 1:]], axis=1)

    def log_density(x):
        return -(x[0] ** 2) / 18 - 4.5 * x[0] - 0.5 * jnp.sum(x[1:] ** 2) * jnp.exp(-x[0])

    return Problem("funnel", 10, log_density, draws)


def own() -> list[Problem]:
    """Return all of them."""
    return [eight_schools(), diabetes(), correlated_normal(), banana(), funnel()]


def as_numpyro(problem: Problem) -> Callable:
    """Wrap a log density as a NumPyro model of one site `x`."""
    import numpyro
    import numpyro.distributions as dist

    def model():
        flat = dist.ImproperUniform(dist.constraints.real_vector, (), (problem.dim,))
        x = numpyro.sample("x", flat)
        assert isinstance(x, jax.Array)
        numpyro.factor("log_density", problem.log_density(x))

    return model
