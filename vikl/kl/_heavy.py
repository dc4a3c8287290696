"""Student-t and logistic distributions (and a Cauchy as Student-t), by sinh-spaced nodes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._kernel import Value, kernel, positive, real
from ._normal import normal_formula
from ._quadrature import nodes_divergence, sinh_nodes
from ._stable import horner, is_wide, phi

_LOG_2PI = float(np.log(2 * np.pi))


def _reach(df: Array) -> Array:
    """Standardised distance beyond which a Student-t has a negligible share, in any tail."""
    exponent = 40.0 if is_wide(df) else 22.0
    return jnp.sqrt(df * jnp.expm1(jnp.minimum(2.0 * exponent / df, 80.0)))


def _light_reach(like: Array, narrow: float, wide: float) -> Array:
    return jnp.full_like(like, wide if is_wide(like) else narrow)


def _log1p_square(z: Array, df: Array) -> Array:
    """log1p(z² / df) without overflow of the square."""
    y = jnp.abs(z) / jnp.sqrt(df)
    huge = y > 1e4
    return jnp.where(
        huge, 2.0 * jnp.log(jnp.where(huge, y, 1.0)), jnp.log1p(jnp.where(huge, 0.0, y) ** 2)
    )


@dd.compensated
def _student_log_normalizer(df: Any) -> Any:
    """Return log ∫ (1 + z²/ν)^(−(ν+1)/2) dz."""
    half = df * 0.5
    lower, upper = dd.each(dd.lgamma, half, half + 0.5)
    return lower - upper + dd.log(df) * 0.5 + 0.5 * float(np.log(np.pi))


class _Nodes:
    """Nodes for p and q of a location-scale kind, as standardised points zp and zq = zp − e.

    `close`: p and q overlap well and the nodes cover both. Light-tailed p: nodes around q, where
    its log density bends; a heavy-tailed p is followed around its own center unless q is narrower.
    """

    def __init__(self, loc_p, scale_p, loc_q, scale_q, reach_p, reach_q, heavy=False):
        fixed = jax.lax.stop_gradient
        mu_p, s_p, mu_q, s_q, r_p, r_q = map(
            fixed, (loc_p, scale_p, loc_q, scale_q, reach_p, reach_q)
        )
        apart = jnp.abs(mu_p - mu_q)
        self.close = (apart < jnp.maximum(s_p, s_q)) & (s_p < 2.5 * s_q) & (s_q < 2.5 * s_p)
        follow_q = self.close | (s_q < s_p) & (apart < 4.0 * s_p) if heavy else (s_p > 0)
        center, scale = jnp.where(follow_q, mu_q, mu_p), jnp.where(follow_q, s_q, s_p)
        low, high = mu_p - r_p * s_p, mu_p + r_p * s_p
        low = jnp.where(self.close, jnp.minimum(low, mu_q - r_q * s_q), low)
        high = jnp.where(self.close, jnp.maximum(high, mu_q + r_q * s_q), high)
        points, self.log_weight = sinh_nodes(center, scale, low, high, loc_p)
        ratio, offset = scale / scale_q, (center - loc_q) / scale_q
        self.zq = points * ratio[..., None] + offset[..., None]
        # zp − zq from differences of the parameters, so that it is exact when they nearly agree
        shift = (loc_q - loc_p) / scale_p
        e = ((scale_q - scale_p) / scale_p)[..., None] * self.zq + shift[..., None]
        self.e = jnp.where(self.close[..., None], e, 0.0)
        # far apart, zp is better formed from the nodes directly
        direct = points * (scale / scale_p)[..., None] + ((center - loc_p) / scale_p)[..., None]
        self.zp = jnp.where(self.close[..., None], self.zq + self.e, direct)


def _broadcast(*arguments: Any) -> list[Array]:
    return list(jnp.broadcast_arrays(*arguments))


@kernel(df_p=positive, loc_p=real, scale_p=positive, df_q=positive, loc_q=real, scale_q=positive)
def student_t(
    df_p: Value, loc_p: Value, scale_p: Value, df_q: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of two Student-t distributions, by 320 (float64: 640) sinh-spaced nodes.

    Accurate for degrees of freedom from about 1 up; heavier tails lose digits slowly.

    Args:
        df_p: degrees of freedom of p, positive.
        loc_p: location of p.
        scale_p: scale of p, positive.
        df_q: degrees of freedom of q, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.student_t(3.0, 0.0, 1.0, 3.0, 0.0, 1.0))
    0.0

    Source: trapezoidal rule, Trefethen and Weideman (2014), "The exponentially convergent
    trapezoidal rule".
    """
    df_p, mu_p, s_p, df_q, mu_q, s_q = _broadcast(df_p, loc_p, scale_p, df_q, loc_q, scale_q)
    nodes = _Nodes(mu_p, s_p, mu_q, s_q, _reach(df_p), _reach(df_q), heavy=True)
    nu_p, nu_q, zp, zq, e = df_p[..., None], df_q[..., None], nodes.zp, nodes.zq, nodes.e
    log_p, log_q = _log1p_square(zp, nu_p), _log1p_square(zq, nu_q)
    # log1p(up) − log1p(uq) as log1p((up − uq) / (1 + uq)), divided through by zq² where that is big
    big = jnp.maximum(jnp.abs(zq), 1.0)
    x, y = zq / big, e / big
    rise = (x * x * ((nu_q - nu_p) / nu_q) + 2.0 * x * y + y * y) / nu_p
    rise = rise / (1.0 / (big * big) + x * x / nu_q)
    close = nodes.close[..., None]
    difference = jnp.where(close, jnp.log1p(jnp.where(close, rise, 0.0)), log_p - log_q)
    g = -0.5 * (nu_p + 1.0) * difference - 0.5 * (nu_p - nu_q) * log_q
    constant = (
        _student_log_normalizer(df_q) - _student_log_normalizer(df_p) + jnp.log(s_q) - jnp.log(s_p)
    )
    return nodes_divergence(
        nodes.log_weight - 0.5 * (nu_p + 1.0) * log_p,
        nodes.log_weight - 0.5 * (nu_q + 1.0) * log_q,
        g,
        nodes.close,
        constant,
    )


@kernel(loc_p=real, scale_p=positive, df_q=positive, loc_q=real, scale_q=positive)
def normal_student_t(
    loc_p: Value, scale_p: Value, df_q: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of a normal from a Student-t distribution, by 320 (float64: 640) nodes.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        df_q: degrees of freedom of q, positive (1 is a Cauchy).
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.normal_student_t(0.0, 1.0, 1.0, 0.0, 1.0)), 5)
    0.25924
    """
    mu_p, s_p, df_q, mu_q, s_q = _broadcast(loc_p, scale_p, df_q, loc_q, scale_q)
    nodes = _Nodes(mu_p, s_p, mu_q, s_q, _light_reach(mu_p, 7.0, 9.5), _reach(df_q))
    nu, zp, zq, e = df_q[..., None], nodes.zp, nodes.zq, nodes.e
    log_q = _log1p_square(zq, nu)
    close = nodes.close[..., None]
    u = jnp.where(close, jnp.minimum(jnp.abs(zq), 1e9) ** 2 / nu, 0.0)
    bent = 0.5 * log_q - 0.5 * nu * phi(u) - 0.5 * e * (2.0 * zq + e)
    plain = 0.5 * (nu + 1.0) * log_q - 0.5 * zp * zp
    far_out = jnp.minimum(jnp.abs(zp), 1e9)  # its weight is zero, its square is not to overflow
    a = nodes.log_weight - 0.5 * far_out * far_out
    constant = _student_log_normalizer(df_q) - 0.5 * _LOG_2PI + jnp.log(s_q) - jnp.log(s_p)
    b = nodes.log_weight - 0.5 * (nu + 1.0) * log_q
    return nodes_divergence(a, b, jnp.where(close, bent, plain), nodes.close, constant)


def _series_coefficients(terms: int) -> list[float]:
    """Coefficients of (ν/2)^(−n), n >= 2, of a Student-t's negentropy, by Bernoulli numbers."""
    bernoulli = [1.0, 1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510]
    c = [0.0] * (terms + 3)  # of lgamma(x + ½) − lgamma(x) − ½ log x in powers of 1/x
    for n in range(1, terms + 3, 2):
        even = bernoulli[(n + 1) // 2]
        c[n] = (2.0**-n - 2.0) * even / (n * (n + 1))
    return [1 / (2 * n) + (n + 1) * c[n] + 0.5 * (n - 1) * c[n - 1] for n in range(2, terms + 2)]


_NEGENTROPY = _series_coefficients(13)


@dd.compensated
def _student_negentropy_small(df: Any) -> Any:
    x = df * 0.5
    psi_upper, psi = dd.each(dd.digamma, x + 0.5, x)
    upper, lower = dd.each(dd.lgamma, x + 0.5, x)
    head = upper - lower - (x + 0.5) * (psi_upper - psi)
    return head - dd.log(x - 1.0) * 0.5 + 0.5


def student_negentropy(df: Array) -> Array:
    """KL of a Student-t from the normal of the same mean and variance (df > 2)."""
    large = df > 32.0
    inverse = jnp.where(large, 2.0 / df, 0.0)
    series = inverse * inverse * horner(_NEGENTROPY, inverse)
    return jnp.where(large, series, _student_negentropy_small(jnp.where(df > 2, df, 3.0)))


@kernel(df_p=positive, loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def student_t_normal(
    df_p: Value, loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of a Student-t from a normal distribution: +inf for df <= 2.

    By the Pythagorean rule for the normal family: the negentropy of p, plus the divergence of the
    normal with p's mean and variance from q.

    Args:
        df_p: degrees of freedom of p, positive.
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    >>> from vikl import kl
    >>> float(kl.student_t_normal(2.0, 0.0, 1.0, 0.0, 1.0))
    inf
    """
    df, mu_p, s_p, mu_q, s_q = _broadcast(df_p, loc_p, scale_p, loc_q, scale_q)
    finite = df > 2
    safe = jnp.where(finite, df, 3.0)
    growth = jnp.expm1(-0.5 * jnp.log1p(-2.0 / safe))  # standard deviation over scale, less one
    x = (s_p * growth + (s_p - s_q)) / s_q
    z = (mu_p - mu_q) / s_q
    matched = phi(x, (s_p / s_q) * (1.0 + growth)) + 0.5 * (x * x + z * z)
    return jnp.where(finite, student_negentropy(safe) + matched, jnp.inf)


def _softplus_tail(z: Array) -> Array:
    return jnp.abs(z) + 2.0 * jnp.log1p(jnp.exp(-jnp.abs(z)))


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def logistic(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two logistic distributions, by 320 (float64: 640) sinh-spaced nodes.

    Args:
        loc_p: location of p.
        scale_p: scale of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.logistic(0.0, 1.0, 0.0, 1.0))
    0.0
    """
    mu_p, s_p, mu_q, s_q = _broadcast(loc_p, scale_p, loc_q, scale_q)
    reach = _light_reach(mu_p, 24.0, 44.0)
    nodes = _Nodes(mu_p, s_p, mu_q, s_q, reach, reach)
    zp, zq, e = nodes.zp, nodes.zq, nodes.e
    small = jnp.abs(e) < 1.0
    step = jnp.where(small, e, 0.0)
    # log p − log q = −e − 2 log((1 + exp(−zp)) / (1 + exp(−zq))), exact for small e
    exact = -step - 2.0 * jnp.log1p(jax.nn.sigmoid(-zq) * jnp.expm1(-step))
    g = jnp.where(small & nodes.close[..., None], exact, _softplus_tail(zq) - _softplus_tail(zp))
    constant = jnp.log(s_q) - jnp.log(s_p)
    a, b = nodes.log_weight - _softplus_tail(zp), nodes.log_weight - _softplus_tail(zq)
    return nodes_divergence(a, b, g, nodes.close, constant)


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def normal_logistic(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of a normal from a logistic distribution, by 320 (float64: 640) nodes.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        loc_q: location of q.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> round(float(kl.normal_logistic(0.0, 1.0, 0.0, 1.0)), 4)
    0.1932
    """
    mu_p, s_p, mu_q, s_q = _broadcast(loc_p, scale_p, loc_q, scale_q)
    nodes = _Nodes(
        mu_p, s_p, mu_q, s_q, _light_reach(mu_p, 7.0, 9.5), _light_reach(mu_p, 24.0, 44.0)
    )
    square = 0.5 * nodes.zp * nodes.zp
    g = _softplus_tail(nodes.zq) - square
    constant = jnp.log(s_q) - jnp.log(s_p) - 0.5 * _LOG_2PI
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
