"""Stand-in kernels."""

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular


def normal(loc_p, scale_p, loc_q, scale_q):
    """Stand-in."""
    x = (scale_p - scale_q) / scale_q
    z = (loc_p - loc_q) / scale_q
    return x - jnp.log1p(x) + 0.5 * x * x + 0.5 * z * z


def multivariate_normal(loc_p, tril_p, loc_q, tril_q):
    """Stand-in."""
    m = solve_triangular(tril_q, tril_p - tril_q, lower=True)
    z = solve_triangular(tril_q, loc_p - loc_q, lower=True)
    d = jnp.diagonal(m)
    return jnp.sum(d - jnp.log1p(d)) + 0.5 * jnp.sum(m * m) + 0.5 * jnp.sum(z * z)
