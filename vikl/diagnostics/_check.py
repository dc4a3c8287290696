"""`check`: gather the evidence about a fit and judge it."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from .._typing import PRNGKey
from ..families import Family
from . import _thresholds as limits
from ._agreement import disagree, parameter_khats, stationarity, symmetric_kl
from ._blackjax import mcmc_probe
from ._bounds import error_bounds
from ._iterates import Settling
from ._moments import moment_shifts
from ._probe import mode_probe
from ._report import Report
from ._scores import score_checks
from ._verdict import Evidence, judge, parameters_off, still_moving
from ._weighted import WeightedDraws, check_count, draw_weighted


def check(
    target: Any,
    family: Family,
    key: PRNGKey,
    *,
    num_draws: int = 2000,
    weighted: WeightedDraws | None = None,
    converged: bool = True,
    starts_disagree: bool = False,
    others: Sequence[Any] = (),
    starts: Sequence[Any] = (),
    history: Mapping[str, Any] | None = None,
    settling: Settling | None = None,
    mcmc_steps: int = 0,
) -> Report:
    """Say whether a fitted q can be believed, with the evidence and what to do next.

    Three independent looks make the verdict: importance weights of draws of q (effective sample
    size, k-hat, the gap between log evidence and ELBO), the means and sds that those weights imply,
    and a mode probe that climbs from far outside q, because weights cannot show what q never
    visits. Beside them the report holds bounds on the errors of means and sds, Stein and Fisher
    checks, k-hat for each parameter, and how fits from other starts and the record of this one
    agree with it.

    Args:
        target: has `log_density(x)`, `dim`, `names`.
        family: the fitted q.
        key: a JAX random key; the same key gives the same report.
        num_draws: draws of q, one log density each; at least 100, and 500 or more for k-hat to
            mean something.
        weighted: draws made already, used instead of new ones.
        converged: False where the optimiser stopped before it settled. Evidence that the fit is
            good outweighs it; anything less is then "not converged".
        starts_disagree: True where starts of about equal ELBO ended in different distributions.
        others: fits of the same target from other starts or keys (`posterior`s: what has `family`,
            `elbo` and `elbo_std_error`), compared with this one by their symmetric KL.
        starts: fits that were already compared with this one (`posterior.starts`: what has `elbo`,
            `elbo_std_error` and `divergence`, their symmetric KL); NaN where there was none.
        history: the record of the fit, judged by `stationarity`.
        settling: what the iterates of a stochastic fit say (`posterior.settling`). Where they still
            move, the fit counts as not converged, whatever the optimiser said.
        mcmc_steps: more than 0 runs as many steps of NUTS from 16 draws of q (needs blackjax, and
            some hundred thousand gradients); what they move away from is not "good".

    Raises:
        ValueError: `num_draws` is not a whole number of at least 100, or the dimensions differ.
        ImportError: `mcmc_steps` is not zero and blackjax is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from vikl.families import MeanFieldNormal
        >>> from vikl.target import Target
        >>> target = Target.from_density(lambda x: -0.5 * jnp.sum(x**2), like=jnp.zeros(3))
        >>> check(target, MeanFieldNormal.init(jnp.zeros(3)), jax.random.key(0)).word
        'good'
        >>> check(target, MeanFieldNormal.init(jnp.zeros(3), 0.1), jax.random.key(0)).word
        'biased'

    References:
        Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work? Evaluating variational
        inference; Vehtari et al. (2024), Pareto smoothed importance sampling; Dhaka et al. (2021),
        Challenges and opportunities in high-dimensional variational inference.
    """
    if weighted is None:
        check_enough(num_draws)
        weighted = draw_weighted(target, family, jax.random.fold_in(key, 0), num_draws)
    check_enough(weighted.num_draws)
    shifts = moment_shifts(target, family, jax.random.fold_in(key, 2), weighted)
    probe = mode_probe(target, family, jax.random.fold_in(key, 1), weighted)
    scores = score_checks(target, family, jax.random.fold_in(key, 3), weighted)
    starts = [start for start in starts if np.isfinite(start.divergence)]
    divergences = np.array(
        [start.divergence for start in starts]
        + symmetric_kl([family, *(other.family for other in others)])[0, 1:].tolist()
    )
    starts_disagree = starts_disagree or disagree(
        [weighted.elbo, *(float(fit.elbo) for fit in (*starts, *others))],
        [weighted.elbo_std_error, *(float(fit.elbo_std_error) for fit in (*starts, *others))],
        divergences,
    )
    mcmc = None
    if mcmc_steps:
        check_count(mcmc_steps, "mcmc_steps")
        mcmc_key = jax.random.fold_in(key, 4)
        mcmc = mcmc_probe(target, family, mcmc_key, weighted, num_steps=mcmc_steps)
    converged = converged and not still_moving(settling)
    evidence = Evidence(weighted, shifts, probe, converged, starts_disagree, mcmc)
    verdict, advice = judge(evidence)
    return Report(
        verdict=verdict,
        advice=advice,
        notes=_notes(evidence, verdict),
        off=parameters_off(shifts),
        khat=weighted.khat,
        ess=weighted.ess,
        relative_ess=weighted.relative_ess,
        elbo=weighted.elbo,
        elbo_std_error=weighted.elbo_std_error,
        log_evidence=weighted.log_evidence,
        log_evidence_std_error=weighted.log_evidence_std_error,
        gap=weighted.log_evidence - weighted.elbo if weighted.num_bad == 0 else float("inf"),
        share_outside=probe.share_outside,
        num_bad=weighted.num_bad,
        num_gradients=probe.num_gradients
        + scores.num_gradients
        + (mcmc.num_gradients if mcmc else 0),
        num_evaluations=weighted.num_draws + weighted.num_draws // 2 + probe.num_evaluations,
        converged=converged,
        starts_disagree=starts_disagree,
        weighted=weighted,
        shifts=shifts,
        probe=probe,
        parameter_khats=parameter_khats(weighted),
        bounds=error_bounds(weighted),
        scores=scores,
        stationarity=stationarity(history or {}),
        start_divergences=divergences,
        mcmc=mcmc,
        settling=settling,
    )


def check_enough(num_draws: Any) -> None:
    """Refuse a number of draws from which no verdict can be given."""
    check_count(num_draws, "num_draws")
    if num_draws < limits.FEW_EFFECTIVE_DRAWS:
        raise ValueError(
            f"`num_draws` should be at least {limits.FEW_EFFECTIVE_DRAWS}; got {num_draws}. Fewer "
            "draws cannot tell a good fit from a bad one."
        )


def _notes(evidence: Evidence, verdict: str) -> tuple[str, ...]:
    notes = []
    if verdict.startswith("good") and not evidence.converged:
        notes.append("The optimiser had not settled, but the fit is already close to the target.")
    if evidence.weighted.num_bad and not verdict.startswith("wrong"):
        notes.append(
            f"The log density is NaN or infinite at {evidence.weighted.num_bad} of "
            f"{evidence.weighted.num_draws} draws: check the supports of the parameters."
        )
    ends = evidence.probe.ends
    if ends.get("ran away", 0) > sum(ends.values()) / 2:
        notes.append("Most climbs from outside ran away: the target may be improper or unbounded.")
    return tuple(notes)
