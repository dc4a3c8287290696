"""A few hundred steps of MCMC from draws of q, by blackjax where it is installed."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .._compile import compile_lightly
from .._doors import require
from .._typing import Array, PRNGKey
from ..families import Family, from_noise
from ._frame import frame_of, whiten
from ._weighted import WeightedDraws, check_count

_DOUBLINGS = 5


@dataclasses.dataclass(frozen=True)
class McmcProbe:
    """Where chains that began at draws of q went, in q's whitened coordinates.

    Args:
        names: names of the coordinates.
        mean_shift: mean of the chains' second halves, in q's sds from q's mean.
        mean_error: its standard error, from the spread between chains.
        log_sd_shift: log of their sd over q's.
        log_sd_error: its standard error.
        acceptance: mean acceptance probability.
        rhat: largest R-hat of the coordinates over the chains' second halves.
        num_gradients: gradients of the log density used.

    Example:
        >>> none = np.zeros(1)
        >>> McmcProbe(("x",), none, none, none, none, 0.9, 1.0, 100).rhat
        1.0
    """

    names: tuple[str, ...]
    mean_shift: Float[ndarray, " dim"]
    mean_error: Float[ndarray, " dim"]
    log_sd_shift: Float[ndarray, " dim"]
    log_sd_error: Float[ndarray, " dim"]
    acceptance: float
    rhat: float
    num_gradients: int

    def __repr__(self) -> str:
        i, j = np.abs(self.mean_shift).argmax(), np.abs(self.log_sd_shift).argmax()
        return (
            f"McmcProbe(mean of {self.names[i]} moved {self.mean_shift[i]:+.2f} ± "
            f"{self.mean_error[i]:.2f} sd, sd of {self.names[j]} ×"
            f"{np.exp(self.log_sd_shift[j]):.2f} ± {100 * self.log_sd_error[j]:.0f} %; R-hat "
            f"{self.rhat:.2f}, acceptance {self.acceptance:.2f}, {self.num_gradients} gradients)"
        )


def mcmc_probe(
    target: Any,
    family: Family,
    key: PRNGKey,
    weighted: WeightedDraws,
    *,
    num_steps: int = 200,
    num_chains: int = 16,
) -> McmcProbe:
    """Run NUTS from draws of q and see where it goes: what q lacks nearby, the chains find.

    It cannot cross to another mode, and costs many times what the rest of a check does.

    Args:
        target: has `log_density(x)`, `names`.
        family: q.
        key: a JAX random key.
        weighted: draws of q; the chains start at the first finite ones.
        num_steps: steps of each chain; the first half is thrown away.
        num_chains: how many chains.

    Raises:
        ImportError: blackjax is not installed.
        ValueError: a count that is not a positive whole number.

    Example:
        >>> import vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 1) ** 2), jnp.zeros(2))
        >>> q, key = vikl.families.MeanFieldNormal.init(jnp.zeros(2)), jax.random.key(0)
        >>> draws = vikl.diagnostics.draw_weighted(target, q, key)
        >>> moved = mcmc_probe(target, q, key, draws, num_steps=100)  # q is one sd to the left
        >>> bool((np.abs(moved.mean_shift - 1) < 5 * moved.mean_error).all())
        True

    References:
        Hoffman and Gelman (2014), The No-U-Turn sampler; Cabezas et al. (2024), BlackJAX.
    """
    check_count(num_steps, "num_steps")
    check_count(num_chains, "num_chains")
    frame = frame_of(family, weighted)
    rows = np.flatnonzero(~weighted.bad)
    dim, names = family.dim, tuple(target.names)
    if not rows.size:
        unknown = np.full(dim, np.nan)
        return McmcProbe(names, unknown, unknown, unknown, unknown, 0.0, np.inf, 0)
    starts = whiten(frame, weighted.x[np.resize(rows, num_chains)])
    z, accepted, steps = _run(target, frame, key, jnp.asarray(starts, target.dtype), num_steps)
    z = np.asarray(z, np.float64)[:, num_steps // 2 :]
    each_mean, each_square = z.mean(1), (z**2).mean(1)
    mean, variance = each_mean.mean(0), (z - z.mean((0, 1))).reshape(-1, dim).var(0)
    mean_error = each_mean.std(0, ddof=1) / np.sqrt(num_chains)
    spread = (each_square - 2 * mean * each_mean + mean**2).std(0, ddof=1) / np.sqrt(num_chains)
    within = z.var(1, ddof=1).mean(0)
    rhat = np.sqrt(1 + each_mean.var(0, ddof=1) / within)
    return McmcProbe(
        names, mean, mean_error, 0.5 * np.log(variance), 0.5 * spread / variance,
        float(np.mean(accepted)), float(rhat.max()), int(np.sum(steps)),
    )  # fmt: skip


@compile_lightly
def _run(target: Any, frame: Any, key: Any, starts: Any, num_steps: int) -> tuple[Array, ...]:
    sampler = require("blackjax").nuts
    dim, dtype = starts.shape[1], starts.dtype
    kernel = sampler(
        lambda z: target.log_density(from_noise(frame, z)),
        jnp.asarray(0.7 * dim**-0.25, dtype),
        jnp.ones(dim, dtype),
        max_num_doublings=_DOUBLINGS,
    )

    def one(key: Array, start: Array) -> tuple[Array, Array, Array]:
        def step(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position, info.acceptance_rate, info.num_integration_steps)

        return jax.lax.scan(step, kernel.init(start), jax.random.split(key, num_steps))[1]

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return jax.vmap(one)(jax.random.split(key, len(starts)), starts)
