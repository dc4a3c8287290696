"""Wasserstein-2 distances: normals (Bures) and one-dimensional location-scale families."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.divergences._numpyro import Params
from vikl.divergences._pairs import pair, unsupported

_EULER = 0.57721566490153286
# mean = loc + first * scale, standard deviation = second * scale
_LOCATION_SCALE = {
    "normal": (0.0, 1.0),
    "laplace": (0.0, math.sqrt(2)),
    "logistic": (0.0, math.pi / math.sqrt(3)),
    "gumbel": (_EULER, math.pi / math.sqrt(6)),
}


def _moments(family: str, p: Params) -> tuple[Array, Array] | None:
    """Mean and standard deviation of a family in which all members are affine images of one."""
    if family in _LOCATION_SCALE:
        shift, stretch = _LOCATION_SCALE[family]
        return p["loc"] + shift * p["scale"], stretch * p["scale"]
    if family == "uniform":
        return (p["low"] + p["high"]) / 2, (p["high"] - p["low"]) / math.sqrt(12)
    if family == "exponential":
        return 1 / p["rate"], 1 / p["rate"]
    if family == "half_normal":
        return p["scale"] * math.sqrt(2 / math.pi), p["scale"] * math.sqrt(1 - 2 / math.pi)
    return None


def _transpose(x: Array) -> Array:
    return jnp.swapaxes(x, -1, -2)


@jax.custom_jvp
def _polar(m: Array) -> Array:
    """Return the orthogonal matrix nearest to m."""
    left, _, right = jnp.linalg.svd(m)
    return left @ right


@_polar.defjvp
def _polar_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """`dU = U V (K / (s_i + s_j)) V^T`: sums, so equal singular values do no harm."""
    (m,), (dm,) = primals, tangents
    left, s, right = jnp.linalg.svd(m)
    inner = _transpose(left) @ dm @ _transpose(right)
    sums = s[..., :, None] + s[..., None, :]
    inner = (inner - _transpose(inner)) / jnp.maximum(sums, jnp.finfo(s.dtype).tiny)
    return left @ right, left @ inner @ right


@jax.custom_jvp
def _bures(tril_p: Array, tril_q: Array) -> Array:
    """`min over orthogonal U of |L_p - L_q U|^2`, a sum of squares."""
    rotated = tril_q @ _polar(_transpose(tril_q) @ tril_p)
    equal = jnp.all(tril_p == tril_q, (-2, -1))  # there the rotation is 1, to rounding
    return jnp.where(equal, 0, jnp.sum((tril_p - rotated) ** 2, (-2, -1)))


@_bures.defjvp
def _bures_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """U is the minimiser, so it does not enter the first derivative."""
    (p, q), (dp, dq) = primals, tangents
    u = _polar(_transpose(q) @ p)
    rest = p - q @ u
    return _bures(p, q), 2 * jnp.sum(rest * (dp - dq @ u), (-2, -1))


def wasserstein2_distance(p: Any, q: Any) -> Float[Array, "..."]:
    """Wasserstein-2 distance, the root of the least mean squared distance of a coupling.

    Normals: `W^2 = |mean_p - mean_q|^2 + min_U |L_p - L_q U|^2`, which is Bures' form without a
    cancellation. Two members of one location-scale family on the line (normal, Laplace, logistic,
    Gumbel, uniform, exponential, half-normal): `W^2 = (mean difference)^2 + (sd difference)^2`.
    Independent factors add their squares. The gradient at p = q, where there is none, is 0.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.

    Returns:
        One distance (not squared), in the units of x, for each batch entry; symmetric.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: for other families; use samples and an optimal transport library there.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import wasserstein2_distance
        >>> print(wasserstein2_distance(dist.Normal(0.0, 1.0), dist.Normal(3.0, 5.0)))
        5.0

    References:
        Dowson and Landau (1982), The Fréchet distance between multivariate normal distributions;
        Bhatia, Jain and Lim (2019), On the Bures-Wasserstein distance between positive definite
        matrices.
    """
    two = pair("The Wasserstein-2 distance", p, q)
    if two.transform:
        raise unsupported("The Wasserstein-2 distance", p, q)
    if two.family == "multivariate_normal":
        square = jnp.sum((two.p["loc"] - two.q["loc"]) ** 2, -1)
        square = square + _bures(two.p["scale_tril"], two.q["scale_tril"])
    else:
        of_p, of_q = _moments(two.family, two.p), _moments(two.family, two.q)
        if of_p is None or of_q is None:
            raise unsupported("The Wasserstein-2 distance", p, q)
        square = (of_p[0] - of_q[0]) ** 2 + (of_p[1] - of_q[1]) ** 2
    square = two.total(square)
    positive = square > 0
    return two.finish(jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0))
