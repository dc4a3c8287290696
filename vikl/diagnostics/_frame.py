"""q's whitened coordinates: the normal that stands for q as a frame, and densities seen from it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._typing import Array
from ..families import Family, FullRankNormal, MeanFieldNormal, cov, from_noise, mean, std
from ._weighted import WeightedDraws

Frame = MeanFieldNormal | FullRankNormal
CHUNK = 128  # points per call: one program for any number of them
CHUNK_GRADIENTS = 5  # points per call where the gradient is wanted
_BATCH = 64
_DENSE = 1000  # above this dimension the coordinates are scaled, not rotated


def frame_of(family: Family, weighted: WeightedDraws) -> Frame:
    """Return the normal whose standard coordinates are q's whitened ones: q where it is one."""
    if isinstance(family, MeanFieldNormal | FullRankNormal):
        return family
    dense = family.dim <= min(_DENSE, weighted.num_draws // 2)
    try:
        centre = np.asarray(mean(family))
        spread = np.asarray(cov(family)) if family.dim <= _DENSE else np.asarray(std(family)) ** 2
    except NotImplementedError:
        centre = weighted.x.mean(0)
        spread = np.cov(weighted.x.T).reshape(family.dim, -1) if dense else weighted.x.var(0)
    if not (np.isfinite(centre).all() and np.isfinite(spread).all()):
        return _robust_frame(weighted)  # a Student-t of few degrees of freedom, say
    centre = jnp.asarray(centre, weighted.x.dtype)
    if spread.ndim == 2:
        try:
            root = np.linalg.cholesky(spread.astype(np.float64))
        except np.linalg.LinAlgError:
            return _robust_frame(weighted)
        return FullRankNormal.from_moments(centre, jnp.asarray(root, weighted.x.dtype))
    return MeanFieldNormal.init(centre, jnp.asarray(np.sqrt(spread), weighted.x.dtype))


def _robust_frame(weighted: WeightedDraws) -> MeanFieldNormal:
    """Return the frame of the draws' medians and quartiles, for a q that has no moments."""
    x = np.where(np.isfinite(weighted.x), weighted.x, 0.0)
    low, centre, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    scale = (high - low) / 1.349  # the quartiles of a standard normal are that far apart
    scale = np.where(scale > 0, scale, 1.0)
    return MeanFieldNormal.init(*(jnp.asarray(v, weighted.x.dtype) for v in (centre, scale)))


def log_volume(frame: Frame) -> float:
    """Return log |dx/dz|, what a log density in x lacks to be one in whitened coordinates z."""
    log_scale = frame.log_scale if isinstance(frame, MeanFieldNormal) else frame.log_diagonal
    return float(np.asarray(log_scale, np.float64).sum())


def whiten(frame: Frame, x: Float[ndarray, "n dim"]) -> Float[ndarray, "n dim"]:
    """Return the whitened coordinates of points, float64."""
    off = x.astype(np.float64) - np.asarray(frame.loc, np.float64)
    if isinstance(frame, MeanFieldNormal):
        return off / np.exp(np.asarray(frame.log_scale, np.float64))
    return np.linalg.solve(np.asarray(frame.scale_tril, np.float64), off.T).T


def unwhiten(frame: Frame, z: Float[ndarray, "n dim"]) -> Float[ndarray, "n dim"]:
    """Return the points x of whitened coordinates, float64."""
    if isinstance(frame, MeanFieldNormal):
        off = z * np.exp(np.asarray(frame.log_scale, np.float64))
    else:
        off = z @ np.asarray(frame.scale_tril, np.float64).T
    return np.asarray(frame.loc, np.float64) + off


def log_densities(
    target: Any, family: Family, frame: Frame, z: Float[ndarray, "n dim"]
) -> tuple[Float[ndarray, "n dim"], Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Return x, log p and log q (as densities of x) at whitened points; NaN and +inf as −inf."""
    padded = np.concatenate([z, np.repeat(z[:1], -len(z) % CHUNK, axis=0)])
    parts = [
        _log_densities(target, family, frame, jnp.asarray(chunk, target.dtype))
        for chunk in padded.reshape(-1, CHUNK, z.shape[1])
    ]
    out = (np.concatenate([np.asarray(v) for v in vs]) for vs in zip(*parts, strict=True))
    x, log_p, log_q = (v[: len(z)].astype(np.float64) for v in out)
    log_p, log_q = (np.where(v < np.inf, v, -np.inf) for v in (log_p, log_q))
    return x, log_p, log_q


@compile_lightly
def _log_densities(target: Any, family: Any, frame: Any, z: Any) -> tuple[Array, Array, Array]:
    def one(z):
        x = from_noise(frame, z)
        return x, target.log_density(x), family.log_prob(x)

    return jax.lax.map(one, z, batch_size=_BATCH)


@compile_lightly
def value_and_grad(target: Any, frame: Any, z: Any) -> tuple[Array, Array]:
    """Return log p (n,) and its gradient (n, dim) in whitened coordinates, at points `z`."""
    return jax.vmap(jax.value_and_grad(lambda z: target.log_density(from_noise(frame, z))))(z)
