"""The report of a check: the verdict, what to do next, and the evidence."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ._agreement import Stationarity
from ._blackjax import McmcProbe
from ._bounds import ErrorBounds
from ._iterates import Settling
from ._moments import MomentShifts
from ._probe import ModeProbe
from ._scores import ScoreChecks
from ._weighted import WeightedDraws


@dataclasses.dataclass(frozen=True)
class Report:
    """Whether a fit can be believed, why, and what to do next. Printing it shows all of that.

    Args:
        verdict: begins with `good`, `usable after resampling`, `biased`, `not converged` or
            `wrong`, and says in words what was found.
        advice: the sentence of what to do next.
        notes: further sentences that do not change the verdict.
        off: names of the parameters whose mean or sd q gets wrong, worst first.
        khat: Pareto shape of the importance weights (−inf: constant weights; see
            `pareto_smooth`).
        ess: effective sample size of the weights.
        relative_ess: the same per draw.
        elbo: estimate of E_q[log p − log q], nats, with its standard error.
        elbo_std_error: of `elbo`.
        log_evidence: importance sampling's estimate of log Z, nats.
        log_evidence_std_error: of `log_evidence`.
        gap: log evidence − ELBO, an estimate of KL(q‖p), nats; low where q misses mass.
        share_outside: share of the mass that the mode probe found outside q.
        num_bad: draws at which log p is NaN or infinite.
        num_gradients: gradients of the log density that the check used.
        num_evaluations: evaluations without gradient.
        converged: whether the optimiser said so.
        starts_disagree: whether starts of about equal ELBO ended in different places.
        weighted: the draws and their weights.
        shifts: fitted against importance-weighted means and sds.
        probe: what climbing from outside q found.
        parameter_khats: k-hat of the estimate of each coordinate's mean, shape (dim,).
        bounds: on the errors of q's means and sds.
        scores: Stein and Fisher checks of the target's gradient at draws of q.
        stationarity: whether the record of the fit stands still.
        start_divergences: symmetric KL of this fit and each other one that was given, nats.
        mcmc: where NUTS went from draws of q, where it was asked for.
        settling: whether the iterates of a stochastic fit stand still: R-hat, drift and Monte Carlo
            error of the parameters of q.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.zeros(2), 1.0)
        >>> vikl.diagnostics.check(target, q, jax.random.key(0)).word
        'good'
    """

    verdict: str
    advice: str
    notes: tuple[str, ...]
    off: tuple[str, ...]
    khat: float
    ess: float
    relative_ess: float
    elbo: float
    elbo_std_error: float
    log_evidence: float
    log_evidence_std_error: float
    gap: float
    share_outside: float
    num_bad: int
    num_gradients: int
    num_evaluations: int
    converged: bool
    starts_disagree: bool
    weighted: WeightedDraws
    shifts: MomentShifts
    probe: ModeProbe
    parameter_khats: Float[ndarray, " dim"]
    bounds: ErrorBounds
    scores: ScoreChecks
    stationarity: Stationarity
    start_divergences: Float[ndarray, " others"]
    mcmc: McmcProbe | None
    settling: Settling | None = None

    @property
    def word(self) -> str:
        """The verdict's class: one of `vikl.diagnostics.VERDICTS`."""
        return self.verdict.split(":")[0]

    def __repr__(self) -> str:
        lines = [self.verdict, f"Next: {self.advice}", *self.notes, *self._evidence()]
        return "\n".join(lines)

    def _evidence(self) -> list[str]:
        khat = "none (constant weights)" if self.khat == -math.inf else f"{self.khat:.2f}"
        draws = (
            f"{self.weighted.num_draws}, effective {self.ess:.0f} ("
            f"{100 * self.relative_ess:.0f} %), k-hat {khat}, {self.num_bad} not finite"
        )
        elbo = (
            f"{self.elbo:.4g} ± {self.elbo_std_error:.2g} nats; log evidence "
            f"{self.log_evidence:.4g} ± {self.log_evidence_std_error:.2g}; gap {self.gap:.3g}"
        )
        probe = (
            f"{100 * self.share_outside:.1f} % in {len(self.probe.optima)} optima; "
            f"{self.probe.num_starts} climbs"
        )
        cost = f"{self.num_gradients} gradients, {self.num_evaluations} evaluations"
        rows = [("draws", draws), ("ELBO", elbo), ("moments", self._moments())]
        rows += [("bounds", _inside(self.bounds)), ("gradients", _inside(self.scores))]
        if self.stationarity.num_cells:
            rows.append(("record", _inside(self.stationarity)))
        if self.settling is not None:
            rows.append(("iterates", _inside(self.settling)))
        if len(self.start_divergences):
            apart = ", ".join(f"{v:.2g}" for v in self.start_divergences)
            rows.append(("other starts", f"symmetric KL {apart} nats"))
        if self.mcmc is not None:
            rows.append(("NUTS", _inside(self.mcmc)))
        rows += [("mass outside", probe), ("cost", cost)]
        return [f"  {name:<13}{text}" for name, text in rows]

    def _worst_khat(self) -> str:
        worst = int(np.argmax(self.parameter_khats))
        if not np.isfinite([self.khat, self.parameter_khats[worst]]).all():
            return ""
        return f" (worst parameter: {self.parameter_khats[worst]:.2f}, {self.shifts.names[worst]})"

    def _moments(self) -> str:
        shifts = self.shifts
        if not np.isfinite(shifts.mean_shift).any():
            return "unknown (no draw has a finite weight)"
        i, j = np.nanargmax(np.abs(shifts.mean_shift)), np.nanargmax(np.abs(shifts.log_sd_shift))
        return (
            f"largest shifts: mean of {shifts.names[i]} by {shifts.mean_shift[i]:+.2f} ± "
            f"{shifts.mean_error[i]:.2f} sd, sd of {shifts.names[j]} by "
            f"{100 * np.expm1(shifts.log_sd_shift[j]):+.0f} ± "
            f"{100 * shifts.log_sd_error[j]:.0f} %"
        )


def _inside(evidence: object) -> str:
    """Return the words of a repr without the name of its class."""
    text = repr(evidence)
    return text[text.index("(") + 1 : -1]
