"""How much mass lies around optima that q does not cover."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._typing import Array
from ..families import Family, from_noise
from ._frame import CHUNK, Frame, log_densities, log_volume

_MAX_HESSIAN = 200  # above this dimension an optimum is given q's own curvature
_MAX_NEWTON = 4
_ARRIVED = 0.02  # nats that the last Newton step may still gain
_PER_OPTIMUM = CHUNK
_UNSEEN = np.log(20.0)  # q has less than 1/20 of the density it should have
_LOG_2PI = float(np.log(2 * np.pi))


@dataclasses.dataclass(frozen=True)
class Outside:
    """Regular optima outside q (whitened coordinates), their evidence, and their share."""

    z: Float[ndarray, "k dim"]
    log_evidence: Float[ndarray, " k"]
    share: float
    share_std_error: float
    num_evaluations: int


@dataclasses.dataclass(frozen=True)
class Laplace:
    """A normal at a regular optimum: N(z | centre, root rootᵀ), whitened coordinates."""

    centre: Float[ndarray, " dim"]
    root: Float[ndarray, "dim dim"]


def laplace(target: Any, frame: Frame, z: Float[ndarray, " dim"]) -> tuple[Laplace | None, int]:
    """Return the Laplace normal at the optimum near `z`, or None, and the gradients it cost.

    A few Newton steps lead to the optimum. None where they do not arrive, or where the density is
    flat or curved upwards there: then it has no finite mass that a normal could stand for.
    """
    dim, cost = len(z), 0
    if dim > _MAX_HESSIAN:
        return Laplace(z, np.eye(dim)), 0
    for _ in range(_MAX_NEWTON):
        value, gradient, hessian = (
            np.asarray(v, np.float64)
            for v in _curvature(target, frame, jnp.asarray(z, target.dtype))
        )
        cost += dim + 1
        if not (np.isfinite(value) and np.isfinite(hessian).all()):
            return None, cost
        eigenvalues, vectors = np.linalg.eigh(-0.5 * (hessian + hessian.T))
        if eigenvalues.min() <= 1e-5 * max(eigenvalues.max(), 1e-3):
            return None, cost
        step = vectors @ ((vectors.T @ gradient) / eigenvalues)
        if 0.5 * float(gradient @ step) < _ARRIVED:
            return Laplace(z + step, vectors / np.sqrt(eigenvalues)), cost
        z = z + step
    return None, cost


def evidence_inside(log_ratios: Float[ndarray, " n"]) -> float:
    """Return the log evidence that q covers: E_q[min(p/q, 20 Z)], Z its own value, nats.

    A stray draw of q that lands on another mode carries that mode's whole mass; here it cannot.

    Args:
        log_ratios: log p − log q at draws of q, shape (n,); NaN and −inf count as zero.

    References:
        Ionides (2008), Truncated importance sampling.
    """
    values = np.where(np.isfinite(log_ratios), log_ratios, -np.inf)
    if not np.isfinite(values).any():
        return -np.inf
    log_z = float(values[np.isfinite(values)].mean()) + float(np.log(np.isfinite(values).mean()))
    for _ in range(30):
        log_z = float(_log_mean_exp(np.minimum(values, log_z + _UNSEEN), axis=0))
    return log_z


def mass_outside(
    target: Any,
    family: Family,
    frame: Frame,
    optima: list[Laplace],
    log_evidence_inside: float,
    rng: np.random.Generator,
) -> Outside:
    """Weigh the mass around optima where q is missing, against q's own evidence.

    With y drawn from the equal mixture m of the Laplace normals, the mass outside is
    E_m[p(y)/m(y) · 1{p(y)/(Z q(y)) > 20}]: overlapping optima are not counted twice, and mass that
    q covers is not counted at all.

    Args:
        target: has `log_density(x)`.
        family: q.
        frame: the normal that maps whitened coordinates to x.
        optima: Laplace normals in whitened coordinates.
        log_evidence_inside: log Z as q sees it, nats.
        rng: where the draws come from.
    """
    if not optima:
        return Outside(np.zeros((0, frame.dim)), np.zeros(0), 0.0, 0.0, 0)
    z = np.concatenate(
        [o.centre + rng.normal(size=(_PER_OPTIMUM, frame.dim)) @ o.root.T for o in optima]
    )
    _, log_p, log_q = log_densities(target, family, frame, z)
    log_p = log_p + log_volume(frame)
    log_q = np.maximum(log_q + log_volume(frame), -1e300)
    ratios = log_p - _log_mean_exp(np.stack([_log_normal(z, o) for o in optima]), axis=0)
    unseen = log_p - log_q > log_evidence_inside + _UNSEEN
    share, error = _share(np.where(unseen, ratios, -np.inf), log_evidence_inside)
    # the mean of p/m over one component's draws is its evidence times the number of components
    evidence = _log_mean_exp(ratios.reshape(len(optima), -1), axis=1) - np.log(len(optima))
    is_outside = unseen.reshape(len(optima), -1).mean(1) > 0.5
    order = [k for k in np.argsort(-evidence) if is_outside[k]]
    centres = np.array([optima[k].centre for k in order]).reshape(-1, frame.dim)
    return Outside(centres, evidence[order], share, error, len(z))


def _share(log_ratios: ndarray, log_evidence_inside: float) -> tuple[float, float]:
    """Return outside / (outside + inside) and its standard error."""
    log_outside = float(_log_mean_exp(log_ratios, axis=0))
    if log_outside == -np.inf:
        return 0.0, 0.0
    share = float(1 / (1 + np.exp(np.clip(log_evidence_inside - log_outside, -700, 700))))
    relative = np.exp(log_ratios - log_outside)
    error = float(relative.std(ddof=1) / np.sqrt(len(relative)))
    return share, share * (1 - share) * error


@compile_lightly
def _curvature(target: Any, frame: Any, z: Any) -> tuple[Array, Array, Array]:
    log_density = lambda z: target.log_density(from_noise(frame, z))
    gradient = jax.grad(log_density)
    rows = jax.lax.map(
        lambda row: jax.jvp(gradient, (z,), (row,))[1], jnp.eye(len(z), dtype=z.dtype), batch_size=8
    )
    return log_density(z), gradient(z), rows


def _log_normal(z: ndarray, normal: Laplace) -> ndarray:
    white = np.linalg.solve(normal.root, (z - normal.centre).T)
    log_det = np.linalg.slogdet(normal.root)[1]
    return -0.5 * (white**2).sum(0) - log_det - 0.5 * len(normal.centre) * _LOG_2PI


def _log_mean_exp(values: ndarray, axis: int) -> Any:
    top = np.max(values, axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.squeeze(safe, axis) + np.log(np.exp(values - safe).mean(axis))
