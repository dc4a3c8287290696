"""Covariances that mean-field variances lack, by the linear response of the fit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._typing import Array, PRNGKey
from ..families import MeanFieldNormal, from_noise
from ._weighted import check_count, check_dims, seed_of

_BATCH = 8
MAX_DIM = 200  # above: 2·dim Hessian products of dense size are no summary any more


def linear_response_cov(
    target: Any, family: MeanFieldNormal, key: PRNGKey, num_draws: int = 64
) -> Float[ndarray, "dim dim"]:
    """Return the covariance by which a mean-field normal's means answer to a tilt of the target.

    With m = (E x, E x²) the mean parameters of q, V = Cov_q of (x, x²) and H the Hessian of
    E_q[log p] in m, it is the block for x of (I − V H)⁻¹ V. It is computed as what it equals, the
    block for the means of the inverse of minus the ELBO's Hessian in (loc, log_scale): d loc/dt
    where log p is tilted by tᵀx. Exact where the target is normal, however correlated; where q is
    not at an optimum of the ELBO it is not a covariance, and NaN comes back.

    Args:
        target: has `log_density(x)`, `dim`.
        family: a mean-field normal at an optimum of the ELBO.
        key: a JAX random key, for the draws behind E_q.
        num_draws: mirrored draws; 2·dim Hessian-vector products each.

    Raises:
        TypeError: another family.
        ValueError: the dimensions differ, or `num_draws` is not a positive whole number.

    Example:
        >>> import vikl
        >>> precision = jnp.array([[1.0, 0.5], [0.5, 1.0]])  # variances 4/3, mean-field finds 1
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x @ precision @ x, jnp.zeros(2))
        >>> q = MeanFieldNormal.init(jnp.zeros(2))
        >>> print(linear_response_cov(target, q, jax.random.key(0)).round(3))
        [[ 1.333 -0.667]
         [-0.667  1.333]]

    References:
        Giordano, Broderick and Jordan (2018), Covariances, robustness, and variational Bayes.
    """
    if not isinstance(family, MeanFieldNormal):
        raise TypeError(
            f"`family` should be a MeanFieldNormal; got {type(family).__name__}. The covariance of "
            "a full-rank normal needs no correction of this kind."
        )
    check_dims(target, family)
    check_count(num_draws, "num_draws")
    half = np.random.default_rng(seed_of(key)).normal(size=(max(num_draws // 2, 2), family.dim))
    half /= np.sqrt((half**2).mean(0))  # unit variance, so that a normal target is exact
    noise = jnp.asarray(np.concatenate([half, -half]), target.dtype)
    hessian = np.asarray(_elbo_hessian(target, family, noise), np.float64)
    minus = -0.5 * (hessian + hessian.T)
    try:
        np.linalg.cholesky(minus)
        return np.linalg.inv(minus)[: family.dim, : family.dim]
    except np.linalg.LinAlgError:  # a saddle, or not finite
        return np.full((family.dim, family.dim), np.nan)


@compile_lightly
def _elbo_hessian(target: Any, family: Any, noise: Any) -> Array:
    def elbo(parameters: Array) -> Array:
        loc, log_scale = jnp.split(parameters, 2)
        q = MeanFieldNormal(loc, log_scale)
        log_p = jax.vmap(lambda z: target.log_density(from_noise(q, z)))(noise)
        return log_p.mean() + log_scale.sum()

    at = jnp.concatenate([family.loc, family.log_scale])
    return jax.lax.map(
        lambda row: jax.jvp(jax.grad(elbo), (at,), (row,))[1],
        jnp.eye(len(at), dtype=at.dtype),
        batch_size=_BATCH,
    )
