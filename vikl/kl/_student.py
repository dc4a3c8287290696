"""Student-t distributions (and a Cauchy as one), by nodes on graded panels and in the tails."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import _double as dd
from ._kernel import Value, kernel, positive, real
from ._line_nodes import LineNodes, light_reach
from ._quadrature import nodes_divergence
from ._stable import horner, is_wide, log_ratio, phi

_LOG_2PI = float(np.log(2 * np.pi))


def _reach(df: Array) -> Array:
    """Standardised distance beyond which a Student-t has a negligible share, in any tail."""
    exponent = 40.0 if is_wide(df) else 22.0
    return jnp.sqrt(df * jnp.expm1(jnp.minimum(2.0 * exponent / df, 80.0)))


def _log1p_square(z: Array, df: Array) -> Array:
    """log1p(z² / df) without overflow of the square."""
    y = jnp.abs(z) / jnp.sqrt(df)
    huge = y > (1e8 if is_wide(z) else 1e4)
    return jnp.where(
        huge, 2.0 * jnp.log(jnp.where(huge, y, 1.0)), jnp.log1p(jnp.where(huge, 0.0, y) ** 2)
    )


@dd.compensated
def _student_log_normalizer(df: Any) -> Any:
    """Return log ∫ (1 + z²/ν)^(−(ν+1)/2) dz."""
    half = df * 0.5
    lower, upper = dd.each(dd.lgamma, half, half + 0.5)
    return lower - upper + dd.log(df) * 0.5 + 0.5 * float(np.log(np.pi))


def _bend(z: Array, df: Array) -> Array:
    """½(ν + 1) log1p(z²/ν) − ½z², small for large ν."""
    u = jnp.minimum(jnp.abs(z), 1e9) ** 2 / df
    return 0.5 * jnp.log1p(u) - 0.5 * df * phi(u)


def _student_gap(nodes: LineNodes, nu_p: Array, nu_q: Array, similar: Array) -> Array:
    """Log p − log q at the nodes, without the normalizers."""
    zp, zq, e = nodes.zp, nodes.zq, nodes.e
    plain = 0.5 * (nu_q + 1.0) * _log1p_square(zq, nu_q) - 0.5 * (nu_p + 1.0) * _log1p_square(
        zp, nu_p
    )
    # p at its own and at q's point, then the two degrees of freedom at one point: no large terms
    size = jnp.maximum(jnp.abs(zq), 1.0)
    x, y = zq / size, e / size
    root = x * x + nu_p / (size * size)
    moved = -0.5 * (nu_p + 1.0) * jnp.log1p(jnp.where(similar, y * (2.0 * x + y) / root, 0.0))
    rest = nu_q / (size * size)
    v = x * x / (x * x + rest)  # u / (1 + u) for u = zq²/ν_q
    w = v * ((nu_q - nu_p) / nu_p)
    freed = 0.5 * (nu_q - nu_p) * phi(-v, rest / (x * x + rest))
    freed = freed + 0.5 * nu_p * phi(jnp.where(similar, w, 0.0))
    freed = freed - 0.5 * jnp.log1p(jnp.where(similar, w, 0.0))
    bent = _bend(zq, nu_q) - _bend(zp, nu_p) - 0.5 * e * (2.0 * zq + e)
    # far out the squares that cancel in `bent` have lost every digit, and little mass is left
    central = jnp.maximum(jnp.abs(zp), jnp.abs(zq)) < 50.0
    near = jnp.where(similar, moved + freed, jnp.where(central, bent, plain))
    return jnp.where(nodes.close[..., None], near, plain)


def _tails(df_p: Array, s_p: Array, df_q: Array, s_q: Array, end: Array) -> tuple[Array, Array]:
    """Nodes for both tails of a Student-t p beyond |zp| = `end`, where only logarithms matter.

    Returns log weights with p's density, and log p − log q. With |zp| = end e^(s/ν) the mass falls
    as e^(−s): Gauss-Laguerre nodes, exact for differences that are linear in log |zp|.
    """
    s, w = np.polynomial.laguerre.laggauss(24 if is_wide(df_p) else 16)
    s, log_w = (jnp.asarray(x, df_p.dtype) for x in (s, np.log(2.0 * w)))
    df, other = df_p[..., None], df_q[..., None]
    fixed = jax.lax.stop_gradient(df)
    c = (jnp.log(jax.lax.stop_gradient(s_p) / s_p) - 0.5 * jnp.log(df_p))[..., None]
    far = jnp.log(end)[..., None] + c
    y = far + s / fixed  # log (|zp| / √ν)
    mass = log_w + s * ((fixed - df) / fixed) - jnp.log(fixed) - c - df * far
    mass = mass - 0.5 * (df + 1.0) * jnp.log1p(jnp.exp(-2.0 * y))
    shift = (log_ratio(s_p, s_q) + 0.5 * log_ratio(df_p, df_q))[..., None]
    return mass, (other - df) * y + (other + 1.0) * shift


@kernel(df_p=positive, loc_p=real, scale_p=positive, df_q=positive, loc_q=real, scale_q=positive)
def student_t(
    df_p: Value, loc_p: Value, scale_p: Value, df_q: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of two Student-t distributions, by fixed nodes.

    Gauss-Legendre panels around both centers, and Gauss-Laguerre nodes in the tails.

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

    Source: nodes, Golub and Welsch (1969), "Calculation of Gauss quadrature rules".
    """
    df_p, mu_p, s_p, df_q, mu_q, s_q = jnp.broadcast_arrays(
        df_p, loc_p, scale_p, df_q, loc_q, scale_q
    )
    fixed = jax.lax.stop_gradient
    root_p, root_q = (jnp.maximum(1.0, jnp.sqrt(fixed(x))) for x in (df_p, df_q))
    end = root_p + (root_q * fixed(s_q) + jnp.abs(fixed(mu_p - mu_q))) / fixed(s_p)
    end = end * (1e8 if is_wide(df_p) else 1e4)
    base = jnp.minimum(1.0, jnp.sqrt(fixed(jnp.minimum(df_p, df_q))))
    similar = (df_p < 1.5 * df_q) & (df_q < 1.5 * df_p)
    light = jnp.minimum(df_p, df_q) > 8.0
    nodes = LineNodes((mu_p, s_p), (mu_q, s_q), (end, end), base, end, similar | light)
    g = _student_gap(nodes, df_p[..., None], df_q[..., None], similar[..., None])
    a = nodes.log_weight - 0.5 * (df_p[..., None] + 1.0) * _log1p_square(nodes.zp, df_p[..., None])
    tail_a, tail_g = _tails(df_p, s_p, df_q, s_q, end)
    a, g = jnp.concatenate([a, tail_a], -1), jnp.concatenate([g, tail_g], -1)
    normalizer_p, normalizer_q = _student_log_normalizer(jnp.stack([df_p, df_q]))
    constant = normalizer_q - normalizer_p + log_ratio(s_q, s_p)
    return nodes_divergence(a, a - g, g, nodes.close, constant)


@kernel(loc_p=real, scale_p=positive, df_q=positive, loc_q=real, scale_q=positive)
def normal_student_t(
    loc_p: Value, scale_p: Value, df_q: Value, loc_q: Value, scale_q: Value
) -> Array:
    """KL(p‖q) of a normal from a Student-t distribution, by fixed nodes.

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
    mu_p, s_p, df_q, mu_q, s_q = jnp.broadcast_arrays(loc_p, scale_p, df_q, loc_q, scale_q)
    reach = (light_reach(mu_p, 7.0, 9.5), _reach(df_q))
    base = jnp.minimum(1.0, jnp.sqrt(jax.lax.stop_gradient(df_q)))
    # q with heavier tails is far from p anyway, and the nodes would not cover it
    nodes = LineNodes((mu_p, s_p), (mu_q, s_q), reach, base, overlap=df_q > 8.0)
    nu, zp, zq, e = df_q[..., None], nodes.zp, nodes.zq, nodes.e
    log_q = _log1p_square(zq, nu)
    close = nodes.close[..., None]
    u = jnp.where(close, jnp.minimum(jnp.abs(zq), 1e9) ** 2 / nu, 0.0)
    bent = 0.5 * log_q - 0.5 * nu * phi(u) - 0.5 * e * (2.0 * zq + e)
    plain = 0.5 * (nu + 1.0) * log_q - 0.5 * zp * zp
    far_out = jnp.minimum(jnp.abs(zp), 1e9)  # its weight is zero, its square is not to overflow
    a = nodes.log_weight - 0.5 * far_out * far_out
    constant = _student_log_normalizer(df_q) - 0.5 * _LOG_2PI + log_ratio(s_q, s_p)
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
    df, mu_p, s_p, mu_q, s_q = jnp.broadcast_arrays(df_p, loc_p, scale_p, loc_q, scale_q)
    finite = df > 2
    safe = jnp.where(finite, df, 3.0)
    growth = jnp.expm1(-0.5 * jnp.log1p(-2.0 / safe))  # standard deviation over scale, less one
    x = (s_p * growth + (s_p - s_q)) / s_q
    z = (mu_p - mu_q) / s_q
    matched = phi(x, (s_p / s_q) * (1.0 + growth)) + 0.5 * (x * x + z * z)
    return jnp.where(finite, student_negentropy(safe) + matched, jnp.inf)
