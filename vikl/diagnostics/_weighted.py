"""Draws of q with their importance weights, and what the weights say."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from .._compile import compile_lightly
from .._memory import check_memory
from .._typing import Array, PRNGKey
from ..families import Family
from ._psis import pareto_smooth

_BATCH = 64  # draws evaluated at once: bounds the memory, fills a vector unit
_ROUNDING = 16  # log densities are trusted to this many units of their last place


@dataclasses.dataclass(frozen=True)
class WeightedDraws:
    """Draws x ~ q with log p(x) and log q(x), and estimates of log Z from them.

    Nothing is dropped: a draw with log p = NaN or ±inf counts in `num_bad`, has weight zero, and
    makes the ELBO −inf.

    Args:
        x: draws, shape (n, dim), unconstrained.
        log_p: the target's unnormalised log density at each, shape (n,), nats.
        log_q: the family's log density at each, shape (n,), nats.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2), 1.0)
        >>> draws = vikl.diagnostics.draw_weighted(target, q, jax.random.key(0), 100)
        >>> draws.num_draws, round(draws.elbo, 4)  # log 2π: q is the target
        (100, 1.8379)
    """

    x: Float[ndarray, "n dim"]
    log_p: Float[ndarray, " n"]
    log_q: Float[ndarray, " n"]

    def __repr__(self) -> str:
        bad = f", {self.num_bad} of them bad" if self.num_bad else ""
        return (
            f"WeightedDraws({self.num_draws} draws{bad}: ELBO {self.elbo:.4g} ± "
            f"{self.elbo_std_error:.2g}, relative ESS {self.relative_ess:.3g}, "
            f"k-hat {self.khat:.2f})"
        )

    @property
    def num_draws(self) -> int:
        """How many draws there are, bad ones included."""
        return len(self.log_p)

    @functools.cached_property
    def log_ratios(self) -> Float[ndarray, " n"]:
        """The log ratios log p(x) − log q(x) as they came, float64, nats."""
        with np.errstate(invalid="ignore"):
            return self.log_p.astype(np.float64) - self.log_q.astype(np.float64)

    @property
    def bad(self) -> ndarray:
        """Which draws have a log ratio that is NaN or infinite, shape (n,)."""
        return ~np.isfinite(self.log_ratios)

    @property
    def num_bad(self) -> int:
        """How many draws have a log ratio that is NaN or infinite."""
        return int(self.bad.sum())

    @property
    def num_nan(self) -> int:
        """How many of the bad draws are NaN or +inf: the target is undefined there, not zero."""
        return int((np.isnan(self.log_ratios) | (self.log_ratios == np.inf)).sum())

    @property
    def rounding(self) -> float:
        """A unit in the last place of the largest log density, nats: less is not there to see.

        Of the draws whose weight is no less than e⁻⁵⁰ of the largest: the others count for nothing.
        """
        good = ~self.bad
        counts = good & (self.log_ratios >= np.max(self.log_ratios[good], initial=-np.inf) - 50)
        size = max(float(np.abs(v[counts]).max(initial=1.0)) for v in (self.log_p, self.log_q))
        return float(np.finfo(self.log_p.dtype).eps) * size

    @functools.cached_property
    def _smoothed(self) -> tuple[ndarray, float]:
        return pareto_smooth(self.log_ratios, resolution=_ROUNDING * self.rounding)

    @property
    def log_weights(self) -> Float[ndarray, " n"]:
        """Pareto-smoothed log weights, normalised to sum to one, shape (n,)."""
        return self._smoothed[0]

    @property
    def weights(self) -> Float[ndarray, " n"]:
        """Pareto-smoothed weights, which sum to one (all zero where every draw is bad)."""
        return np.exp(self.log_weights)

    @property
    def khat(self) -> float:
        """Pareto shape of the weights' tail; −inf where they are constant (see `pareto_smooth`)."""
        return self._smoothed[1]

    @property
    def ess(self) -> float:
        """Effective sample size 1 / Σ w² of the smoothed weights, between 0 and n."""
        squares = float((self.weights**2).sum())
        return 1 / squares if squares > 0 else 0.0

    @property
    def relative_ess(self) -> float:
        """Effective sample size per draw, between 0 and 1."""
        return self.ess / self.num_draws

    @property
    def relative_ess_std_error(self) -> float:
        """Standard error of `relative_ess`, by the delta method; large where few draws decide.

        With r = n w, relative ESS = 1/S where S is the mean of r²; a draw adds
        r² − S − 2 S (r − 1) to n times the error of S.
        """
        r = self.num_draws * self.weights
        s = float((r**2).mean())
        if not s > 0:
            return np.inf
        influence = r**2 - s - 2 * s * (r - 1)
        return float(np.sqrt((influence**2).mean() / self.num_draws)) / s**2

    @property
    def elbo(self) -> float:
        """E_q[log p − log q], nats: a lower bound on log Z. −inf where any draw is bad."""
        return float(self.log_ratios.mean()) if self.num_bad == 0 else -np.inf

    @property
    def elbo_std_error(self) -> float:
        """Standard error of `elbo`; +inf where any draw is bad or there is only one."""
        if self.num_bad or self.num_draws < 2:
            return np.inf
        return float(self.log_ratios.std(ddof=1) / np.sqrt(self.num_draws))

    @property
    def log_evidence(self) -> float:
        """The estimate log (1/n) Σ p(x)/q(x) of log Z, nats; bad draws count as zero."""
        ratios = self.log_ratios[~self.bad]
        if ratios.size == 0:
            return -np.inf
        return float(ratios.max() + np.log(np.exp(ratios - ratios.max()).sum() / self.num_draws))

    @property
    def log_evidence_std_error(self) -> float:
        """Standard error of `log_evidence` by the delta method: believe it only where k̂ < 0.7."""
        ratios = self.log_ratios[~self.bad]
        if ratios.size == 0 or self.num_draws < 2:
            return np.inf
        weights = np.zeros(self.num_draws)
        weights[~self.bad] = np.exp(ratios - ratios.max())
        return float(weights.std(ddof=1) / weights.mean() / np.sqrt(self.num_draws))


def draw_weighted(
    target: Any, family: Family, key: PRNGKey, num_draws: int = 2000
) -> WeightedDraws:
    """Draw from the family and weigh each draw by p(x)/q(x).

    Draw i depends on `key` and i only, not on how many are asked for. Memory is bounded: 64 draws
    are evaluated at a time. Compiled once for each structure of target and family.

    Args:
        target: has `log_density(x)`, `dim`.
        family: q, of the same dimension.
        key: a JAX random key.
        num_draws: how many draws, at least 1; k̂ needs a few hundred to mean anything.

    Raises:
        ValueError: `num_draws` is not a positive whole number, or the dimensions differ.

    Example:
        >>> from vikl.families import MeanFieldNormal
        >>> from vikl.target import Target
        >>> target = Target.from_density(lambda x: -0.5 * jnp.sum(x**2), like=jnp.zeros(2))
        >>> weighted = draw_weighted(target, MeanFieldNormal.init(jnp.zeros(2)), jax.random.key(0))
        >>> round(weighted.elbo, 4), weighted.khat  # log 2π, and nothing left to correct
        (1.8379, -inf)
    """
    check_count(num_draws, "num_draws")
    check_dims(target, family)
    advice = "A few thousand say what there is to say."
    check_memory(8.0 * num_draws * (target.dim + 4), "num_draws", num_draws, advice)
    padded = -(-num_draws // _BATCH) * _BATCH  # whole batches: one program, not two
    x, log_p, log_q = (np.asarray(v)[:num_draws] for v in _draw(target, family, key, padded))
    return WeightedDraws(x, log_p, log_q)


@compile_lightly
def _draw(target: Any, family: Any, key: Any, num_draws: int) -> tuple[Array, Array, Array]:
    def one(i):
        x, log_q = family.sample_and_log_prob(jax.random.fold_in(key, i))
        return x, target.log_density(x), log_q

    return jax.lax.map(one, jnp.arange(num_draws, dtype=jnp.uint32), batch_size=_BATCH)


def resample(weighted: WeightedDraws, key: PRNGKey, num_draws: int) -> Int[ndarray, " m"]:
    """Return indices of `num_draws` Pareto-smoothed importance-resampled draws, in random order.

    Systematic resampling, with replacement: draw i appears ⌊m·wᵢ⌋ or ⌈m·wᵢ⌉ times, which is
    unbiased and has less noise than independent picks. With replacement because `num_draws` may be
    anything and because estimates then stay those of the weights; a few heavy draws show as
    repeats rather than being hidden.

    Args:
        weighted: the draws and weights.
        key: a JAX random key.
        num_draws: how many, at least 1.

    Raises:
        ValueError: `num_draws` is not a positive whole number, or no draw has a usable weight.

    Example:
        >>> weighted = WeightedDraws(np.zeros((4, 1)), np.log([0.1, 0.4, 0.4, 0.1]), np.zeros(4))
        >>> np.bincount(resample(weighted, jax.random.key(0), 10)).tolist()
        [1, 4, 4, 1]

    References:
        Kitagawa (1996), Monte Carlo filter and smoother for non-Gaussian nonlinear state space
        models; Vehtari et al. (2024), Pareto smoothed importance sampling.
    """
    check_count(num_draws, "num_draws")
    weights = weighted.weights
    if not weights.sum() > 0:
        raise ValueError(
            f"`weighted` should have at least one draw with a finite weight; all "
            f"{weighted.num_draws} are NaN or infinite. Check the log density where q has its mass."
        )
    rng = np.random.default_rng(seed_of(key))
    positions = (rng.uniform() + np.arange(num_draws)) / num_draws
    cumulative = np.cumsum(weights)
    indices = np.searchsorted(cumulative / cumulative[-1], positions, side="right")
    return rng.permutation(np.minimum(indices, len(weights) - 1))


@compile_lightly
def _seed(key: Any) -> Array:
    return jax.random.bits(key, (4,), jnp.uint32)


def seed_of(key: PRNGKey) -> ndarray:
    """Return a seed for NumPy that depends on a JAX key only."""
    return np.asarray(_seed(key))


def check_count(value: Any, name: str) -> None:
    """Refuse what is not a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"`{name}` should be a whole number, at least 1; got {value!r}.")


def check_dims(target: Any, family: Any) -> None:
    """Refuse a family of another dimension than the target's."""
    if target.dim != family.dim:
        raise ValueError(
            f"`family` should have the target's dimension, {target.dim}; got {family.dim}. "
            "Give the family that was fitted to this target."
        )
