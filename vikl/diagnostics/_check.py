"""`check`: gather the evidence about a fit and judge it."""

from typing import Any

import jax

from .._typing import PRNGKey
from ..families import Family
from ._moments import moment_shifts
from ._probe import mode_probe
from ._report import Report
from ._verdict import Evidence, judge, parameters_off
from ._weighted import WeightedDraws, draw_weighted


def check(
    target: Any,
    family: Family,
    key: PRNGKey,
    *,
    num_draws: int = 2000,
    weighted: WeightedDraws | None = None,
    converged: bool = True,
    starts_disagree: bool = False,
) -> Report:
    """Say whether a fitted q can be believed, with the evidence and what to do next.

    Three independent looks: importance weights of draws of q (effective sample size, k-hat, the
    gap between log evidence and ELBO), the means and sds that those weights imply, and a mode
    probe that climbs from far outside q, because weights cannot show what q never visits.

    Args:
        target: has `log_density(x)`, `dim`, `names`.
        family: the fitted q.
        key: a JAX random key; the same key gives the same report.
        num_draws: draws of q, one log density each; 500 or more for k-hat to mean something.
        weighted: draws made already, used instead of new ones.
        converged: False where the optimiser stopped before it settled. Evidence that the fit is
            good outweighs it; anything less is then "not converged".
        starts_disagree: True where starts of about equal ELBO ended in different distributions.

    Raises:
        ValueError: `num_draws` is not a positive whole number, or the dimensions differ.

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
        weighted = draw_weighted(target, family, jax.random.fold_in(key, 0), num_draws)
    shifts = moment_shifts(target, family, jax.random.fold_in(key, 2), weighted)
    probe = mode_probe(target, family, jax.random.fold_in(key, 1), weighted)
    evidence = Evidence(weighted, shifts, probe, converged, starts_disagree)
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
        num_gradients=probe.num_gradients,
        num_evaluations=weighted.num_draws + weighted.num_draws // 2 + probe.num_evaluations,
        converged=converged,
        starts_disagree=starts_disagree,
        weighted=weighted,
        shifts=shifts,
        probe=probe,
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
