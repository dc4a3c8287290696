"""Normal distributions: scalar, diagonal, and with a full covariance.

The exact-difference form: with x = (σp − σq)/σq and z = (μp − μq)/σq, KL = φ(x) + ½x² + ½z², where
φ(x) = x − log1p(x). With a full covariance x becomes the matrix M = Lq⁻¹(Lp − Lq).
"""

import jax
import jax.numpy as jnp

from .._typing import Array
from ._double import Double, sqrt
from ._kernel import Value, covariance, kernel, positive, real, scale_tril
from ._stable import phi, quick_phi


def normal_formula(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    """KL of two normals, unchecked."""
    return _normal(*jnp.broadcast_arrays(loc_p, scale_p, loc_q, scale_q))


@jax.custom_jvp
def _normal(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    x, z = _in_units(scale_p - scale_q, loc_p - loc_q, scale_q)
    return quick_phi(x, scale_p / scale_q) + 0.5 * (x * x + z * z)


def _in_units(change: Array, shift: Array, scale: Array) -> tuple[Array, Array]:
    """Both over the scale, by one division."""
    shrink = jnp.where(
        scale > 1e37, 2.0**-10, 1.0
    )  # a reciprocal below 1e-38 would be flushed to 0
    inverse = 1.0 / (scale * shrink)
    return (change * shrink) * inverse, (shift * shrink) * inverse


@_normal.defjvp
def _normal_jvp(primals, tangents):
    loc_p, scale_p, loc_q, scale_q = primals
    x, z = _in_units(scale_p - scale_q, loc_p - loc_q, scale_q)
    pull = x * (1.0 + scale_p / scale_q)
    slopes = (z / scale_q, pull / scale_p, -z / scale_q, -(pull + z * z) / scale_q)
    terms = [slope * tangent for slope, tangent in zip(slopes, tangents, strict=True)]
    move = terms[0] + terms[1] + terms[2] + terms[3]
    return _normal(*primals), move


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two normal distributions, elementwise, in nats.

    log(σq/σp) + (σp² + (μp − μq)²) / (2σq²) − ½, as a sum of non-negative terms.

    Args:
        loc_p: mean of p.
        scale_p: standard deviation of p, positive.
        loc_q: mean of q.
        scale_q: standard deviation of q, positive.

    Raises:
        ValueError: outside jit, for a value that is not allowed or shapes that do not broadcast.
        TypeError: for an array that is not of floats.

    >>> from vikl import kl
    >>> round(float(kl.normal(0.0, 1.0, 1.0, 1.0)), 6)
    0.5

    Source: Kullback (1959), "Information Theory and Statistics", chapter 9.
    """
    return normal_formula(loc_p, scale_p, loc_q, scale_q)  # type: ignore[arg-type]


@kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
def log_normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two log-normals: that of the normals of log x, since KL ignores bijections.

    Args:
        loc_p: mean of log x under p.
        scale_p: standard deviation of log x under p, positive.
        loc_q: mean of log x under q.
        scale_q: standard deviation of log x under q, positive.

    >>> from vikl import kl
    >>> round(float(kl.log_normal(0.0, 1.0, 1.0, 1.0)), 6)
    0.5
    """
    return normal_formula(loc_p, scale_p, loc_q, scale_q)  # type: ignore[arg-type]


@kernel(scale_p=positive, scale_q=positive)
def half_normal(scale_p: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two half-normals: that of the centred normals, by symmetry.

    Args:
        scale_p: scale of p, positive.
        scale_q: scale of q, positive.

    >>> from vikl import kl
    >>> float(kl.half_normal(2.0, 2.0))
    0.0
    """
    return normal_formula(jnp.zeros_like(scale_p), scale_p, jnp.zeros_like(scale_q), scale_q)  # type: ignore[arg-type]


@kernel(
    loc_p=real.over("dim"),
    scale_p=positive.over("dim"),
    loc_q=real.over("dim"),
    scale_q=positive.over("dim"),
)
def diagonal_normal(loc_p: Value, scale_p: Value, loc_q: Value, scale_q: Value) -> Array:
    """KL(p‖q) of two normals with diagonal covariance: the last axis is the event.

    Args:
        loc_p: mean of p, shape (..., dim).
        scale_p: standard deviations of p, positive, shape (..., dim).
        loc_q: mean of q, shape (..., dim).
        scale_q: standard deviations of q, positive, shape (..., dim).

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> round(float(kl.diagonal_normal(jnp.zeros(3), jnp.ones(3), jnp.ones(3), jnp.ones(3))), 6)
    1.5
    """
    return normal_formula(loc_p, scale_p, loc_q, scale_q).sum(-1)  # type: ignore[arg-type]


def _solve_lower(lower: Array, right: Array) -> Array:
    """lower⁻¹ right, with batch axes broadcast."""
    batch = jnp.broadcast_shapes(lower.shape[:-2], right.shape[:-2])
    lower = jnp.broadcast_to(lower, batch + lower.shape[-2:])
    right = jnp.broadcast_to(right, batch + right.shape[-2:])
    return jax.lax.linalg.triangular_solve(lower, right, left_side=True, lower=True)


def tril_formula(loc_p: Array, tril_p: Array, loc_q: Array, tril_q: Array) -> Array:
    """KL of two normals by their Cholesky factors, unchecked."""
    tril_p, tril_q = jnp.tril(tril_p), jnp.tril(tril_q)
    diagonal_p = jnp.diagonal(tril_p, axis1=-2, axis2=-1)
    diagonal_q = jnp.diagonal(tril_q, axis1=-2, axis2=-1)
    difference, shift = tril_p - tril_q, (loc_p - loc_q)[..., None]
    batch = jnp.broadcast_shapes(difference.shape[:-2], shift.shape[:-2])
    right = jnp.concatenate(
        [
            jnp.broadcast_to(difference, batch + difference.shape[-2:]),
            jnp.broadcast_to(shift, batch + shift.shape[-2:]),
        ],
        axis=-1,
    )
    whitened = _solve_lower(tril_q, right)
    x = (diagonal_p - diagonal_q) / diagonal_q
    return phi(x, diagonal_p / diagonal_q).sum(-1) + 0.5 * (whitened * whitened).sum((-2, -1))


@kernel(
    loc_p=real.over("dim"),
    scale_tril_p=scale_tril,
    loc_q=real.over("dim"),
    scale_tril_q=scale_tril,
)
def multivariate_normal(
    loc_p: Value, scale_tril_p: Value, loc_q: Value, scale_tril_q: Value
) -> Array:
    """KL(p‖q) of two multivariate normals given by Cholesky factors, covariance L Lᵀ.

    Σ φ(Mᵢᵢ) + ½‖M‖² + ½‖z‖² with M = Lq⁻¹(Lp − Lq), z = Lq⁻¹(μp − μq), φ(x) = x − log1p(x).

    Args:
        loc_p: mean of p, shape (..., dim).
        scale_tril_p: lower triangular factor of the covariance of p, shape (..., dim, dim).
        loc_q: mean of q, shape (..., dim).
        scale_tril_q: lower triangular factor of the covariance of q, shape (..., dim, dim).

    Raises:
        ValueError: outside jit, for a factor that is not lower triangular with a positive
            diagonal, and for dimensions that differ (they are never broadcast).

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> tril = jnp.eye(2)
    >>> round(float(kl.multivariate_normal(jnp.zeros(2), tril, jnp.ones(2), tril)), 6)
    1.0

    Source: Kullback (1959), "Information Theory and Statistics", chapter 9.
    """
    return tril_formula(loc_p, scale_tril_p, loc_q, scale_tril_q)  # type: ignore[arg-type]


def cholesky(matrix: Double) -> Double:
    """Cholesky factor of a positive definite matrix, in double words."""
    dim = matrix.hi.shape[-1]
    rows = jnp.arange(dim)

    def step(rest: Double, j: Array) -> tuple[Double, Double]:
        pivot = sqrt(rest[..., j, j])
        column = rest[..., :, j] / pivot[..., None]
        column = Double(*(jnp.where(rows >= j, w, 0.0) for w in (column.hi, column.lo)))
        return rest - column[..., :, None] * column[..., None, :], column

    columns = jax.lax.scan(step, matrix, rows)[1]
    return Double(*(jnp.moveaxis(w, 0, -1) for w in (columns.hi, columns.lo)))


def solve_lower(lower: Double, right: Double) -> Double:
    """lower⁻¹ right by forward substitution in double words (equal batch axes)."""
    dim = lower.hi.shape[-1]

    def step(rest: Double, i: Array) -> tuple[Double, Double]:
        row = rest[..., i, :] / lower[..., i, i][..., None]
        return rest - lower[..., :, i][..., :, None] * row[..., None, :], row

    solved = jax.lax.scan(step, right, jnp.arange(dim))[1]
    return Double(*(jnp.moveaxis(w, 0, -2) for w in (solved.hi, solved.lo)))


def double_tril_formula(loc_p: Array, tril_p: Double, loc_q: Array, tril_q: Double) -> Array:
    """KL of two normals by Cholesky factors in double words, for ill-conditioned covariances."""
    dim = tril_q.hi.shape[-1]
    batch = jnp.broadcast_shapes(
        loc_p.shape[:-1], loc_q.shape[:-1], tril_p.hi.shape[:-2], tril_q.hi.shape[:-2]
    )
    difference = tril_p - tril_q
    shift = Double(loc_p) - Double(loc_q)
    words = [
        jnp.concatenate(
            [
                jnp.broadcast_to(w, (*batch, dim, dim)),
                jnp.broadcast_to(v, (*batch, dim))[..., None],
            ],
            axis=-1,
        )
        for w, v in ((difference.hi, shift.hi), (difference.lo, shift.lo))
    ]
    lower = Double(*(jnp.broadcast_to(w, (*batch, dim, dim)) for w in (tril_q.hi, tril_q.lo)))
    whitened = solve_lower(lower, Double(*words)).value
    x = jnp.diagonal(whitened, axis1=-2, axis2=-1)
    index = jnp.arange(dim)
    ratio = (tril_p[..., index, index] / tril_q[..., index, index]).value
    return phi(x, ratio).sum(-1) + 0.5 * (whitened * whitened).sum((-2, -1))


@kernel(
    loc_p=real.over("dim"),
    covariance_p=covariance,
    loc_q=real.over("dim"),
    covariance_q=covariance,
)
def multivariate_normal_covariance(
    loc_p: Value, covariance_p: Value, loc_q: Value, covariance_q: Value
) -> Array:
    """KL(p‖q) of two multivariate normals given by covariance matrices.

    The Cholesky factors are computed in double words, so that a correlation of 0.9999 or a q close
    to p loses no digits. With factors at hand `multivariate_normal` is faster.

    Args:
        loc_p: mean of p, shape (..., dim).
        covariance_p: covariance of p, symmetric positive definite, shape (..., dim, dim).
        loc_q: mean of q, shape (..., dim).
        covariance_q: covariance of q, symmetric positive definite, shape (..., dim, dim).

    Raises:
        ValueError: outside jit, for a matrix that is not symmetric positive definite.

    >>> import jax.numpy as jnp
    >>> from vikl import kl
    >>> c = jnp.eye(2)
    >>> float(kl.multivariate_normal_covariance(jnp.zeros(2), c, jnp.zeros(2), c))
    0.0
    """
    factors = [
        cholesky(Double(0.5 * (c + jnp.swapaxes(c, -1, -2))))  # type: ignore[arg-type]
        for c in (covariance_p, covariance_q)
    ]
    return double_tril_formula(loc_p, factors[0], loc_q, factors[1])  # type: ignore[arg-type]


def low_rank_tril(cov_factor: Array, cov_diag: Array) -> Array:
    """Cholesky factor of W Wᵀ + diag(d), computed in double words."""
    cov_factor, cov_diag = jnp.asarray(cov_factor), jnp.asarray(cov_diag)
    factor = Double(cov_factor)
    dim = cov_diag.shape[-1]
    covariance_matrix = (factor[..., :, None, :] * factor[..., None, :, :]).sum(-1)
    diagonal = jnp.eye(dim, dtype=cov_diag.dtype) * cov_diag[..., None]
    return cholesky(covariance_matrix + Double(diagonal)).value
