"""How far q's means and sds are from those of its importance-weighted draws."""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ._weighted import WeightedDraws


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


def moment_shifts(weighted: WeightedDraws, names: tuple[str, ...]) -> MomentShifts:
    """Compare q's moments with the importance-weighted ones of the same draws.

    With normalised weights w and draws x of q: mean shift (Σ w x − x̄)/s and log(s/s_q), where s is
    the weighted and s_q the plain standard deviation. Both sides use the same draws, so that
    their common noise cancels and a shift is far better known than either side. Standard errors
    are those of the influence functions.

    Args:
        weighted: draws of q.
        names: one for each coordinate.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4000, 1))
        >>> log_ratio = -0.5 * (x[:, 0] - 0.5) ** 2 + 0.5 * x[:, 0] ** 2  # the target is N(0.5, 1)
        >>> shifts = moment_shifts(WeightedDraws(x, log_ratio, 0 * log_ratio), ("x",))
        >>> bool(abs(shifts.mean_shift[0] - 0.5) < 4 * shifts.mean_error[0])
        True
    """
    n, dim = weighted.x.shape
    total = weighted.weights.sum()
    if not total > 0 or not np.isfinite(weighted.x).all():
        unknown = np.full(dim, np.nan)
        return MomentShifts(tuple(names), *(unknown.copy() for _ in range(6)))
    w = weighted.weights[:, None] / total
    # centred and scaled by q first: coordinates may be 1e8 apart
    centre, scale = weighted.x.mean(0, dtype=np.float64), weighted.x.std(0, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    z = (weighted.x - centre) / scale
    mean = (w * z).sum(0)
    off = z - mean
    sd = np.sqrt(np.maximum((w * off**2).sum(0), 1e-300))
    mean_influence = (w * off - z / n) / sd
    log_sd_influence = 0.5 * (w * ((off / sd) ** 2 - 1) - (z**2 - 1) / n)
    return MomentShifts(
        names=tuple(names),
        mean_shift=mean / sd,
        mean_error=np.sqrt((mean_influence**2).sum(0)),
        log_sd_shift=np.log(sd),
        log_sd_error=np.sqrt((log_sd_influence**2).sum(0)),
        mean=centre + scale * mean,
        sd=scale * sd,
    )
