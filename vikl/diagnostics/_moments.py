"""How far q's means and sds are from the target's, by importance sampling."""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._typing import PRNGKey
from ..families import Family
from ._frame import frame_of, log_densities, log_volume, whiten
from ._psis import pareto_smooth
from ._weighted import WeightedDraws, seed_of

_DEGREES = 3.0


@dataclasses.dataclass(frozen=True)
class MomentShifts:
    """Fitted against importance-weighted moments, one entry for each unconstrained coordinate.

    Args:
        names: names of the coordinates.
        mean_shift: (weighted mean − mean of q) / weighted sd.
        mean_error: standard error of `mean_shift`.
        log_sd_shift: log(weighted sd / sd of q): positive where q is too narrow.
        log_sd_error: standard error of `log_sd_shift`.
        mean: weighted means.
        sd: weighted sds.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2), 0.5)
        >>> draws = vikl.diagnostics.draw_weighted(target, q, jax.random.key(0))
        >>> shifts = vikl.diagnostics.moment_shifts(target, q, jax.random.key(1), draws)
        >>> bool((shifts.log_sd_shift > 0.5).all())  # q is half as wide as it should be: log 2
        True
    """

    names: tuple[str, ...]
    mean_shift: Float[ndarray, " dim"]
    mean_error: Float[ndarray, " dim"]
    log_sd_shift: Float[ndarray, " dim"]
    log_sd_error: Float[ndarray, " dim"]
    mean: Float[ndarray, " dim"]
    sd: Float[ndarray, " dim"]

    def __repr__(self) -> str:
        if len(self.mean_shift) == 0:
            return "MomentShifts()"
        worst_mean, worst_sd = np.abs(self.mean_shift).argmax(), np.abs(self.log_sd_shift).argmax()
        return (
            f"MomentShifts({len(self.names)} coordinates; largest: mean of "
            f"{self.names[worst_mean]} {self.mean_shift[worst_mean]:+.2f} sd, sd of "
            f"{self.names[worst_sd]} ×{np.exp(self.log_sd_shift[worst_sd]):.2f})"
        )


def moment_shifts(
    target: Any, family: Family, key: PRNGKey, weighted: WeightedDraws
) -> MomentShifts:
    """Compare q's means and sds with the target's, by importance sampling that looks wider than q.

    Half as many draws again come from a Student-t with 3 degrees of freedom on q's whitened
    coordinates, so that tails heavier than q's, which draws of q cannot show, count. With m the
    mixture of all draws, w ∝ p/m (Pareto-smoothed) and v ∝ q/m, both normalised: mean shift
    (Σ w x − Σ v x)/s and log(s/s_q), where s² is the variance under w and s_q² under v. Both sides
    use the same points, so that their common noise cancels; where p is q, the shifts are zero.

    Args:
        target: has `log_density(x)`, `names`.
        family: q.
        key: a JAX random key, for the wider draws.
        weighted: draws of q.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from vikl.diagnostics import draw_weighted
        >>> from vikl.families import MeanFieldNormal
        >>> from vikl.target import Target
        >>> target = Target.from_density(lambda x: -0.5 * (x - 0.5) ** 2, like=0.0)
        >>> q, key = MeanFieldNormal.init(jnp.zeros(1)), jax.random.key(0)
        >>> shifts = moment_shifts(target, q, key, draw_weighted(target, q, key))
        >>> bool(abs(shifts.mean_shift[0] - 0.5) < 4 * shifts.mean_error[0])
        True

    References:
        Owen and Zhou (2000), Safe and effective importance sampling.
    """
    names, dim = tuple(target.names), weighted.x.shape[1]
    x, log_p, log_q, log_m = _widened(target, family, key, weighted)
    log_w, _ = pareto_smooth(log_p - log_m)
    if not np.isfinite(log_w).any() or not np.isfinite(x).all():
        return MomentShifts(names, *(np.full(dim, np.nan) for _ in range(6)))
    w = np.exp(log_w - np.logaddexp.reduce(log_w))[:, None]
    log_v = log_q - log_m
    v = np.exp(log_v - np.logaddexp.reduce(log_v))[:, None]
    # centred and scaled by q first: coordinates may be 1e8 apart
    centre = (v * x).sum(0)
    scale = np.sqrt((v * (x - centre) ** 2).sum(0))
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - centre) / scale
    mean = (w * z).sum(0)
    off = z - mean
    sd = np.sqrt(np.maximum((w * off**2).sum(0), 1e-300))
    mean_influence = (w * off - v * z) / sd
    log_sd_influence = 0.5 * (w * ((off / sd) ** 2 - 1) - v * (z**2 - 1))
    return MomentShifts(
        names=names,
        mean_shift=mean / sd,
        mean_error=np.sqrt((mean_influence**2).sum(0)),
        log_sd_shift=np.log(sd),
        log_sd_error=np.sqrt((log_sd_influence**2).sum(0)),
        mean=centre + scale * mean,
        sd=scale * sd,
    )


def _widened(
    target: Any, family: Family, key: PRNGKey, weighted: WeightedDraws
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Return all draws, and log p, log q and the log density of their mixture at each."""
    frame, rng = frame_of(family, weighted), np.random.default_rng(seed_of(key))
    n, dim = weighted.x.shape
    num_wide = n // 2
    stretch = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, size=(num_wide, 1)))
    wide = rng.normal(size=(num_wide, dim)) * stretch
    x, log_p, log_q = log_densities(target, family, frame, wide)
    known = np.where(weighted.bad, -np.inf, weighted.log_p.astype(np.float64))
    x = np.concatenate([weighted.x.astype(np.float64), x])
    log_p = np.concatenate([known, log_p])
    log_q = np.concatenate([weighted.log_q.astype(np.float64), log_q])
    log_t = _log_student(np.concatenate([whiten(frame, weighted.x), wide])) - log_volume(frame)
    total = n + num_wide
    log_m = np.logaddexp(np.log(n / total) + log_q, np.log(max(num_wide, 1e-9) / total) + log_t)
    return x, log_p, log_q, log_m


def _log_student(z: ndarray) -> ndarray:
    """Return the log density of the standard multivariate Student-t at each row."""
    dim, nu = z.shape[1], _DEGREES
    constant = (
        math.lgamma((nu + dim) / 2) - math.lgamma(nu / 2) - 0.5 * dim * math.log(nu * math.pi)
    )
    return constant - 0.5 * (nu + dim) * np.log1p((z**2).sum(1) / nu)
