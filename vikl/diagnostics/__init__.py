"""Is the answer any good: importance weights, missed modes, and a verdict with its evidence.

Purpose: given a target and a fitted family (or only their log densities at draws), say how far
the one is from the other, what follows for means, sds and tails, and what to do next.

May import: `_typing`, `_compile`, `_doors`, `_memory`, `kl`, `target`, `families`. Never the
fitting room, which calls this one. Nothing foreign but jax and numpy, and blackjax in its own file.

To add a diagnostic, write a function of plain data in a file of its own that returns a frozen
dataclass of numbers, re-export it here, and, where it should weigh in the verdict, give its
threshold and the source of the threshold in `_thresholds.py` and use it in `_verdict.py`.

Laws: right on a known answer; flags a deliberately bad q; reductions over draws are float64 on the
host; what is not finite is counted and said, never dropped; k-hat alone never says "good".
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._agreement import Stationarity as Stationarity
    from ._agreement import parameter_khats as parameter_khats
    from ._agreement import stationarity as stationarity
    from ._agreement import symmetric_kl as symmetric_kl
    from ._blackjax import McmcProbe as McmcProbe
    from ._blackjax import mcmc_probe as mcmc_probe
    from ._bounds import ErrorBounds as ErrorBounds
    from ._bounds import error_bounds as error_bounds
    from ._check import check as check
    from ._moments import MomentShifts as MomentShifts
    from ._moments import moment_shifts as moment_shifts
    from ._probe import ModeProbe as ModeProbe
    from ._probe import mode_probe as mode_probe
    from ._psis import pareto_smooth as pareto_smooth
    from ._report import Report as Report
    from ._scores import ScoreChecks as ScoreChecks
    from ._scores import score_checks as score_checks
    from ._verdict import VERDICTS as VERDICTS
    from ._verdict import first_look as first_look
    from ._weighted import WeightedDraws as WeightedDraws
    from ._weighted import draw_weighted as draw_weighted
    from ._weighted import resample as resample
