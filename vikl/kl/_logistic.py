"""Logistic distributions, by nodes on graded panels."""

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ._kernel import Value, kernel, positive, real
from ._line_nodes import LineNodes, light_reach
from ._normal import normal_formula
from ._quadrature import nodes_divergence
from ._stable import log_ratio


def _softplus_tail(z: Array) -> Array:
    return jnp.abs(z) + 2.0 * jnp.log1p(jnp.exp(-jnp.abs(z)))


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def logistic(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two logistic distributions, by fixed nodes.

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.logistic(0.0, 1.0, 0.0, 1.0))
    0.0
    """
    mu_p, s_p, mu_q, s_q = jnp.broadcast_arrays(loc_p, scale_p, loc_q, scale_q)
    reach = light_reach(mu_p, 24.0, 44.0)
    nodes = LineNodes((mu_p, s_p), (mu_q, s_q), (reach, reach))
    zp, zq, e = nodes.zp, nodes.zq, nodes.e
    small = jnp.abs(e) < 1.0
    step = jnp.where(small, e, 0.0)
    # log p − log q = −e − 2 log((1 + exp(−zp)) / (1 + exp(−zq))), exact for small e
    exact = -step - 2.0 * jnp.log1p(jax.nn.sigmoid(-zq) * jnp.expm1(-step))
    g = jnp.where(small & nodes.close[..., None], exact, _softplus_tail(zq) - _softplus_tail(zp))
    constant = log_ratio(s_q, s_p)
    a, b = nodes.log_weight - _softplus_tail(zp), nodes.log_weight - _softplus_tail(zq)
    return nodes_divergence(a, b, g, nodes.close, constant)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def normal_logistic(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a normal from a logistic distribution, by fixed nodes.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.normal_logistic(0.0, 1.0, 0.0, 1.0)), 4)
    0.1932
    """
    mu_p, s_p, mu_q, s_q = jnp.broadcast_arrays(loc_p, scale_p, loc_q, scale_q)
    reach = (light_reach(mu_p, 7.0, 9.5), light_reach(mu_p, 24.0, 44.0))
    nodes = LineNodes((mu_p, s_p), (mu_q, s_q), reach)
    square = 0.5 * nodes.zp * nodes.zp
    g = _softplus_tail(nodes.zq) - square
    constant = log_ratio(s_q, s_p) - 0.5 * float(np.log(2 * np.pi))
    a, b = nodes.log_weight - square, nodes.log_weight - _softplus_tail(nodes.zq)
    return nodes_divergence(a, b, g, nodes.close, constant)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def logistic_normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a logistic from a normal distribution.

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.logistic_normal(0.0, 1.0, 0.0, 1.8137993)), 4)
    0.0144
    """
    deviation = scale_p * float(np.pi / np.sqrt(3))  # type: ignore[operator]
    negentropy = float(0.5 * np.log(2 * np.pi * np.e * np.pi**2 / 3) - 2)
    return negentropy + normal_formula(loc_p, deviation, loc_q, scale_q)  # type: ignore[arg-type]
