"""Bounds on how wrong q's means and sds can be, from its importance weights."""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from . import _thresholds as limits
from ._weighted import WeightedDraws


@dataclasses.dataclass(frozen=True)
class ErrorBounds:
    """At most this far are the target's means and sds from q's, in q's own sds.

    Args:
        log_divergence: bound on the Rényi divergence D₂(p‖q), nats (+inf: no bound).
        mean: bounds on |E_p x − E_q x| / sd_q(x), shape (dim,).
        sd: bounds on |sd_p(x) − sd_q(x)| / sd_q(x), shape (dim,).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(2000, 1))
        >>> log_q = -0.5 * x[:, 0] ** 2
        >>> bounds = error_bounds(WeightedDraws(x, log_q + 0.1 * x[:, 0], log_q))
        >>> bool(0.1 < bounds.mean[0] < 0.2)  # the target's mean is 0.1
        True
    """

    log_divergence: float
    mean: Float[ndarray, " dim"]
    sd: Float[ndarray, " dim"]

    def __repr__(self) -> str:
        if not np.isfinite(self.log_divergence):
            return "ErrorBounds(none: the weights have no second moment to go by)"
        return (
            f"ErrorBounds(means within {self.mean.max():.2g} sd, sds within "
            f"{100 * self.sd.max():.2g} %, D2 at most {self.log_divergence:.2g} nats)"
        )


def error_bounds(weighted: WeightedDraws) -> ErrorBounds:
    """Bound the errors of q's means and sds by the spread of its importance weights.

    With c = e^{D₂(p‖q)} − 1 and log Z bounded below by the ELBO, D₂(p‖q) ≤ log E_q[(p/q)²] −
    2·ELBO, and for each coordinate

        |E_p x − E_q x| ≤ W₁ ≤ √c · sd_q(x),
        |sd_p − sd_q| ≤ W₂ ≤ √2 · c^¼ · (E_q (x − E_q x)⁴)^¼.

    They are bounds on the errors of q for the mass that draws of q can show: about a mode that q
    never visits they say nothing, and neither do they where k̂ says that the weights' second
    moment cannot be had from this sample (then they are infinite). They are wide: a small bound
    is good news, a large one is no news.

    Args:
        weighted: draws of q with their weights.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(2000, 1))
        >>> log_q = -0.5 * x[:, 0] ** 2
        >>> error_bounds(WeightedDraws(x, log_q + 0.2 * x[:, 0], log_q)).mean.round(1)
        array([0.3])

    References:
        Huggins, Kasprzak, Campbell and Broderick (2020), Validated variational inference via
        practical posterior error bounds; Villani (2009), Optimal Transport, theorem 6.15.
    """
    x, dim = weighted.x.astype(np.float64), weighted.x.shape[1]
    off = x - x.mean(0)
    sd = np.sqrt((off**2).mean(0))
    unknown = np.full(dim, np.inf)
    if weighted.num_bad or weighted.khat > limits.SECOND_MOMENT_KHAT or not (sd > 0).all():
        return ErrorBounds(np.inf, unknown, unknown)
    ratios = weighted.log_ratios
    top = float(ratios.max())
    cubo = 2 * top + float(np.log(np.exp(2 * (ratios - top)).mean()))
    divergence = max(cubo - 2 * weighted.elbo, 0.0)
    excess = float(np.expm1(min(divergence, 700.0)))
    fourth = ((off / sd) ** 4).mean(0) ** 0.25
    return ErrorBounds(divergence, np.full(dim, excess**0.5), np.sqrt(2) * excess**0.25 * fourth)
