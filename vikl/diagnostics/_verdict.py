"""From the evidence to a verdict: pure functions of numbers, all thresholds from one place."""

import dataclasses

import numpy as np

from . import _thresholds as limits
from ._blackjax import McmcProbe
from ._iterates import Settling
from ._moments import MomentShifts
from ._probe import ModeProbe
from ._weighted import WeightedDraws

VERDICTS = ("good", "usable after resampling", "biased", "not converged", "wrong")
_RICHER = "a richer family (full rank, a mixture, a flow) or MCMC"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a verdict is made of."""

    weighted: WeightedDraws
    shifts: MomentShifts
    probe: ModeProbe
    converged: bool = True
    starts_disagree: bool = False
    mcmc: McmcProbe | None = None

    @property
    def moved_away(self) -> bool:
        """Whether MCMC from draws of q certainly left q's means or sds."""
        moved = self.mcmc
        if moved is None:
            return False
        mean = np.abs(moved.mean_shift) - 3 * moved.mean_error
        sd = np.abs(moved.log_sd_shift) - 3 * moved.log_sd_error
        kept = (mean <= limits.MEAN_OFF) & (sd <= np.log(limits.SD_OFF_FACTOR))
        return not kept.all()

    @property
    def khat_limit(self) -> float:
        """Above this k-hat the weights cannot be trusted, for this many draws."""
        n = max(self.weighted.num_draws, 11)
        return min(1 - 1 / float(np.log10(n)), limits.UNRELIABLE_KHAT)

    @property
    def can_resample(self) -> bool:
        """Whether importance-resampled draws can stand for the target."""
        reliable = self.weighted.khat < self.khat_limit
        return reliable and self.weighted.ess >= limits.FEW_EFFECTIVE_DRAWS

    @property
    def nan_share(self) -> float:
        """Share of draws at which the target is undefined."""
        return self.weighted.num_nan / self.weighted.num_draws


def parameters_off(shifts: MomentShifts) -> tuple[str, ...]:
    """Return the names whose mean or sd may be off, worst first; NaN counts as off."""
    mean = np.abs(shifts.mean_shift) + limits.ERRORS_ADDED * shifts.mean_error
    sd = np.abs(shifts.log_sd_shift) + limits.ERRORS_ADDED * shifts.log_sd_error
    size = np.maximum(mean / limits.MEAN_OFF, sd / np.log(limits.SD_OFF_FACTOR))
    size = np.where(np.isnan(size), np.inf, size)
    return tuple(shifts.names[i] for i in np.argsort(-size, kind="stable") if size[i] > 1)


def still_moving(settling: Settling | None) -> bool:
    """Whether the iterates of the fit drifted over its second half, by more than they scatter."""
    if settling is None:
        return False
    return settling.rhat > limits.RHAT and settling.drift > limits.MEAN_OFF


def first_look(weighted: WeightedDraws) -> str:
    """Return what the weights of draws of q say by themselves: never that the fit is good.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> first_look(WeightedDraws(np.zeros((900, 1)), 5 * rng.normal(size=900), np.zeros(900)))
        'q is not the target: 0.26 % of its draws count (k-hat 1.85)'
    """
    share = f"{100 * weighted.relative_ess:.2g} % of its draws count (k-hat {weighted.khat:.2f})"
    if weighted.num_bad:
        return (
            f"the log density is not finite at {weighted.num_bad} of {weighted.num_draws} draws of "
            "q: give the parameters the supports they need"
        )
    if weighted.relative_ess < limits.LOW_RELATIVE_ESS:
        return f"q is not the target: {share}"
    return f"{share}, which says nothing of modes and tails that q does not reach"


def judge(evidence: Evidence) -> tuple[str, str]:
    """Return the verdict, which begins with one of `VERDICTS`, and the advice.

    In this order: mass that q misses (the probe) or a target that is undefined where q is → wrong;
    weights near one and moments confirmed → good; a fit that had not converged, or starts that
    disagree → not converged; trustworthy weights → usable after resampling; a mean off by more
    than an sd → wrong; else biased. k-hat can spoil a verdict, never make it.
    """
    first = (_unresolved, _wrong_mass, _wrong_nan)
    for rule in (*first, _good, _not_converged, _usable, _wrong_place):
        answer = rule(evidence)
        if answer is not None:
            return answer
    return _biased(evidence)


def _unresolved(evidence: Evidence) -> tuple[str, str] | None:
    rounding = evidence.weighted.rounding
    if rounding <= limits.ROUNDING:
        return None
    return (
        f"wrong: log densities this large are rounded to {rounding:.2g} nats in "
        f"{evidence.weighted.log_p.dtype}, which hides how they differ from one draw to another",
        "subtract a constant from the log density, or switch on 64-bit numbers by "
        "`jax.config.update('jax_enable_x64', True)`, and fit again.",
    )


def _wrong_mass(evidence: Evidence) -> tuple[str, str] | None:
    share = evidence.probe.share_outside
    if share <= limits.MISSED_SHARE:
        return None
    away = ", ".join(f"{d:.3g}" for d in evidence.probe.distance[:3]) or "a few"
    return (
        f"wrong: missed mass, about {100 * share:.0f} % of it lies around "
        f"{len(evidence.probe.optima) or 'an'} other optimum(s), {away} sds of q from its mean",
        "fit from starts near `report.probe.optima`, use a mixture family, or sample with MCMC "
        "from several starts; draws of this fit, resampled or not, cannot show that mass.",
    )


def _wrong_nan(evidence: Evidence) -> tuple[str, str] | None:
    weighted = evidence.weighted
    if weighted.num_bad == weighted.num_draws:
        found = "at every one"
    elif evidence.nan_share > limits.NAN_SHARE:
        found = f"at {weighted.num_nan} (NaN or +inf)"
    else:
        return None
    return (
        f"wrong: the log density is not finite {found} of {weighted.num_draws} draws of q",
        "evaluate `target.log_density` at `report.weighted.x[report.weighted.bad]` and give the "
        "parameters the supports they need, or make the density finite there.",
    )


def _good(evidence: Evidence) -> tuple[str, str] | None:
    weighted = evidence.weighted
    heavy = weighted.khat > evidence.khat_limit
    floor, share = limits.LOW_RELATIVE_ESS, weighted.relative_ess
    if heavy:  # one draw of two thousand may decide what the share is: allow for its error
        floor = limits.HIGH_RELATIVE_ESS
        share += limits.ERRORS_ADDED * weighted.relative_ess_std_error
    confirmed = share >= floor and not parameters_off(evidence.shifts)
    doubted = weighted.num_bad or evidence.starts_disagree or evidence.moved_away
    if not confirmed or doubted:
        return None
    verdict = (
        f"good: {100 * weighted.relative_ess:.0f} % of the draws count, no mean or sd needs "
        "correcting, and no mass was found outside"
    )
    if heavy:
        return verdict, (
            "use it for means, sds and central intervals; the target's far tails are heavier than "
            f"q's (k-hat {weighted.khat:.2f}), so take extreme quantiles from MCMC or a Student-t."
        )
    return verdict, "use it."


def _not_converged(evidence: Evidence) -> tuple[str, str] | None:
    if not evidence.converged:
        return (
            "not converged: the fit stopped before it had settled, and it is not the target yet "
            f"({100 * evidence.weighted.relative_ess:.1f} % of the draws count)",
            "continue the fit with more steps (and a smaller or decaying step size), then check "
            "again.",
        )
    if evidence.starts_disagree:
        return (
            "not converged: starts of about equal ELBO ended in different places",
            "run more starts for more steps; if they still disagree, the target has several "
            f"optima: use {_RICHER}.",
        )
    return None


def _usable(evidence: Evidence) -> tuple[str, str] | None:
    if not evidence.can_resample:
        return None
    weighted = evidence.weighted
    why = _names(parameters_off(evidence.shifts), "off in {}")
    if weighted.num_bad:
        why = f"not finite at {weighted.num_bad} of {weighted.num_draws} draws"
    return (
        f"usable after resampling: q is {why or 'not close enough to stand alone'}, but its "
        f"weights can be trusted (k-hat {weighted.khat:.2f}, {weighted.ess:.0f} effective draws)",
        "use `posterior.resample(key, n)` instead of `posterior.sample`, or fit a richer family.",
    )


def _wrong_place(evidence: Evidence) -> tuple[str, str] | None:
    shifts, weighted = evidence.shifts, evidence.weighted
    certain = np.abs(shifts.mean_shift) - 3 * shifts.mean_error
    names = [shifts.names[i] for i in np.argsort(-certain) if certain[i] > limits.MEAN_WRONG]
    where = f"by more than one sd in {_names(tuple(names), '{}')}"
    if not names or weighted.ess < limits.VERY_FEW_EFFECTIVE_DRAWS:
        if evidence.probe.home_distance < limits.FAR_FROM_HOME:
            return None
        where = f"{evidence.probe.home_distance:.3g} of its sds per coordinate from its optimum"
    return (
        f"wrong: q is in the wrong place, {where}, and its weights cannot correct it",
        f"fit again with more steps and from several starts; if that ends here too, use {_RICHER}.",
    )


def _biased(evidence: Evidence) -> tuple[str, str]:
    weighted = evidence.weighted
    off = parameters_off(evidence.shifts)
    share = f"{100 * weighted.relative_ess:.2g} %"
    where = (
        f"in {_names(off, '{}')}" if off else "in the tails, though no single mean or sd is far off"
    )
    return (
        f"biased: {where}; {share} of the draws count and k-hat is {weighted.khat:.2f}, so "
        "resampling cannot be trusted to correct it",
        f"do not rely on these parameters' intervals; use {_RICHER}.",
    )


def _names(names: tuple[str, ...], form: str, most: int = 6) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return form.format(", ".join(names[:most]) + more)
