"""Linear-response covariances: what a mean-field fit knows about correlations after all."""

from typing import Any

import numpy as np

from .._typing import PRNGKey
from ..families import MeanFieldNormal
from ..fitting._arguments import check_key
from ..target import Target
from ._fixed_draws import FixedDraws, Point, antithetic
from ._watch import generator

_DRAWS = 64


def linear_response_covariance(
    target: Target, mean_field: MeanFieldNormal, key: PRNGKey, num_draws: int = _DRAWS
) -> np.ndarray:
    """Return the covariance (dim, dim) that a mean-field fit implies by linear response.

    The sds of a mean-field fit are too small where the target is correlated. But perturb the
    target by tᵀx, refit, and look how the mean moves: ∂μ/∂t at t = 0 is the covariance, and needs
    no refitting, only the Hessian of the objective at the optimum. Exact on a normal target.

    Costs `num_draws · dim` Hessian-vector products.

    Args:
        target: what was fitted.
        mean_field: a fit that has converged: linear response is about an optimum.
        key: a JAX PRNG key, for the draws behind the Hessian.
        num_draws: an even number of draws, in antithetic pairs.

    Raises:
        TypeError: `mean_field` is of another family.
        ValueError: another dimension; an odd `num_draws`; no optimum there, because the Hessian
            is not positive definite.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> precision = jnp.array([[2.0, 1.0], [1.0, 1.0]])  # sds 1 and √2
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x @ (precision @ x), jnp.zeros(2))
        >>> post = vikl.fit(target, vikl.families.MeanFieldNormal, key=jax.random.key(0))
        >>> cov = linear_response_covariance(target, post.family, jax.random.key(1))
        >>> print(post.std.round(1), cov.round(2).tolist())
        [0.7 1. ] [[1.0, -1.0], [-1.0, 2.0]]

    References:
        Giordano, Broderick & Jordan (2018), Covariances, robustness, and variational Bayes.
    """
    _check(target, mean_field, num_draws)
    rng = generator(check_key(key))
    fixed = FixedDraws(target, antithetic(rng, num_draws, target.dim))
    mean = np.asarray(mean_field.loc, np.float64)
    log_sd = np.asarray(mean_field.log_scale, np.float64)
    point = fixed.at(mean, log_sd)
    return response_of(fixed, point)[0]


def response_of(fixed: FixedDraws, point: Point) -> tuple[np.ndarray, np.ndarray]:
    """Return the linear-response covariance (dim, dim), and the estimates' variances (2 dim,).

    The second are the frequentist ones: how the optimum's means and log sds would vary with other
    draws, by the sandwich H⁻¹ Cov(∇f) H⁻¹ over antithetic pairs.
    """
    dim, half = fixed.dim, len(fixed.noise) // 2
    hessian = fixed.hessian(point, own=-np.ones(dim))
    try:
        root = np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        raise ValueError(
            "`mean_field` should be at an optimum of the reverse KL; the Hessian there is not "
            "positive definite. Fit it to the end first, or give more `num_draws`."
        ) from None
    inverse = np.linalg.inv(root)
    sd = np.exp(point.log_sd)
    cov = (inverse.T @ inverse)[:dim, :dim] * np.outer(sd, sd)
    each = fixed.gradients(point)
    pairs = (each[:half] + each[half:]) / 2
    moves = (pairs - pairs.mean(axis=0)) @ inverse.T @ inverse
    variances = np.sum(moves**2, axis=0) / (half - 1) / half
    return cov, variances * np.concatenate([sd**2, np.ones(dim)])


def _check(target: Any, mean_field: Any, num_draws: Any) -> None:
    if not isinstance(mean_field, MeanFieldNormal):
        raise TypeError(
            f"`mean_field` should be a MeanFieldNormal; got {type(mean_field).__name__}. A "
            "full-rank fit has its correlations already."
        )
    if mean_field.dim != target.dim:
        raise ValueError(
            f"`mean_field` should have the target's dimension, {target.dim}; got "
            f"{mean_field.dim}. Give the family that was fitted to this target."
        )
    if not isinstance(num_draws, (int, np.integer)) or num_draws < 4 or num_draws % 2:
        raise ValueError(
            f"`num_draws` should be an even number, at least 4; got {num_draws!r}. Draws come in "
            "antithetic pairs."
        )
