"""Whether fits from several starts, and the iterates of one, agree with each other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._typing import Array
from ..families import Family
from ..kl._registry import kl_divergence
from . import _thresholds as limits
from ._psis import pareto_smooth
from ._weighted import WeightedDraws

_FEWEST_CELLS = 4


@dataclasses.dataclass(frozen=True)
class Stationarity:
    """Whether the record of a fit stands still over its second half.

    Args:
        rhat: R-hat with the cells of the record as chains; 1 where they are alike.
        drift: mean of the last quarter less that of the one before, nats.
        drift_error: its standard error.
        monte_carlo_error: standard error of the mean over the second half, nats.
        num_cells: cells in the second half.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> cell = rng.normal(size=(40, 100))
        >>> record = {"step": 100.0 * np.arange(1, 41), "elbo": cell.mean(1),
        ...           "elbo_std_error": cell.std(1) / 10}
        >>> found = stationarity(record)
        >>> bool(found.rhat < 1.01), bool(abs(found.drift) < 4 * found.drift_error)
        (True, True)
    """

    rhat: float
    drift: float
    drift_error: float
    monte_carlo_error: float
    num_cells: int

    def __repr__(self) -> str:
        if not self.num_cells:
            return "Stationarity(unknown: too short a record)"
        return (
            f"Stationarity(R-hat {self.rhat:.3f}, drift {self.drift:+.2g} ± "
            f"{self.drift_error:.1g} nats, Monte Carlo error {self.monte_carlo_error:.1g} nats)"
        )


def stationarity(history: Mapping[str, Any]) -> Stationarity:
    """Judge the record of a fit: R-hat over its cells, its drift and its Monte Carlo error.

    The second half of the record is taken; each cell is a chain whose mean and standard error it
    holds. With W the mean variance of single steps, n their number in a cell and V the variance
    of the cells' means, R̂² = (n − 1)/n + V/W.

    Args:
        history: columns `step`, and `elbo` (or `loss`) with its `_std_error`, as of a posterior.

    Example:
        >>> rising = {"step": np.arange(1, 9), "elbo": np.arange(8.0), "elbo_std_error": np.ones(8)}
        >>> stationarity(rising).drift
        2.0

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and
        localization; Dhaka et al. (2020), Robust, accurate stochastic optimization for
        variational inference.
    """
    unknown = Stationarity(np.nan, np.nan, np.nan, np.nan, 0)
    name = "elbo" if "elbo" in history else "loss"
    if name not in history or f"{name}_std_error" not in history or "step" not in history:
        return unknown
    step, mean, error = (
        np.asarray(history[k], np.float64) for k in ("step", name, f"{name}_std_error")
    )
    if step.shape != mean.shape or mean.shape != error.shape or not step.size:
        return unknown
    count = np.diff(step, prepend=0.0)
    late = (step > step[-1] / 2) & np.isfinite(mean) & np.isfinite(error) & (count > 0)
    mean, error, count = mean[late], error[late], count[late]
    if late.sum() < _FEWEST_CELLS:
        return unknown
    within, n = float((error**2 * count).mean()), float(count.mean())
    between = float(mean.var(ddof=1))
    rhat = np.sqrt((n - 1) / n + between / within) if within > 0 else np.inf
    half = len(mean) // 2
    old, new = mean[:half], mean[half:]
    spread = np.sqrt(sum(v.var(ddof=1) / len(v) for v in (old, new) if len(v) > 1))
    return Stationarity(
        float(rhat), float(new.mean() - old.mean()), float(spread),
        float(np.sqrt(between / len(mean))), len(mean),
    )  # fmt: skip


@compile_lightly
def _kl(p: Any, q: Any) -> Array:
    return kl_divergence(p, q)


def symmetric_kl(families: Sequence[Family]) -> Float[ndarray, "n n"]:
    """Return KL(p‖q) + KL(q‖p) in nats for every two fits; NaN where there is no closed form.

    Example:
        >>> import jax.numpy as jnp
        >>> from vikl.families import MeanFieldNormal
        >>> fits = [MeanFieldNormal.init(jnp.full(2, v)) for v in (0.0, 0.1)]
        >>> symmetric_kl(fits).round(4).tolist()
        [[0.0, 0.02], [0.02, 0.0]]

    References:
        Jeffreys (1946), An invariant form for the prior probability in estimation problems;
        Welandawe et al. (2024), A framework for improving the reliability of black-box
        variational inference.
    """
    found = np.zeros((len(families), len(families)))
    for i, p in enumerate(families):
        for j, q in enumerate(families[:i]):
            try:
                found[i, j] = found[j, i] = float(_kl(p, q)) + float(_kl(q, p))
            except (NotImplementedError, TypeError):
                found[i, j] = found[j, i] = np.nan
    return found


def disagree(
    elbos: Sequence[float], errors: Sequence[float], divergences: Float[ndarray, " others"]
) -> bool:
    """Whether a fit of about the first one's ELBO is another distribution than it is.

    Args:
        elbos: of the fits, nats.
        errors: their standard errors.
        divergences: symmetric KL of each other fit from the first.
    """
    for elbo, error, divergence in zip(elbos[1:], errors[1:], divergences, strict=True):
        rival = elbo > elbos[0] - limits.SIMILAR_ELBO - 2 * np.hypot(error, errors[0])
        if rival and not divergence <= limits.STARTS_DISAGREE:
            return True
    return False


def parameter_khats(weighted: WeightedDraws) -> Float[ndarray, " dim"]:
    """Return k̂ of the weights times each coordinate's distance from its mean: of its mean, that is.

    Above 0.7 the importance-sampling estimate of that coordinate's mean cannot be trusted, though
    the weights alone may look fine.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(1000, 2))
        >>> x[:, 1] = np.sinh(2 * x[:, 1])  # q is the target, but this coordinate has heavy tails
        >>> khats = parameter_khats(WeightedDraws(x, np.zeros(1000), np.zeros(1000)))
        >>> bool(khats[0] < 0.3), bool(khats[1] > 0.7)
        (True, True)

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, 2.4.
    """
    off = np.abs(weighted.x - weighted.x.mean(0)).astype(np.float64)
    with np.errstate(divide="ignore"):
        log_off = np.log(off / np.maximum(off.mean(0), 1e-300))
    ratios = weighted.log_ratios
    return np.array([pareto_smooth(ratios + column)[1] for column in log_off.T])
