"""What is minimised.

Purpose: an objective maps `(family, target, key)` to `(loss, aux)`. It is always minimised;
`aux` holds scalars for the record, and whatever is called `elbo` there is a lower bound on the
log normaliser in expectation.

May import: `_typing`, `families`, `target`, `estimators`, `divergences`.

To add one, write a final subclass of `Objective` in a file of its own, re-export it here and add
a row to `OBJECTIVES` in `tests/cases.py`. One that carries something from step to step registers
`initial_state` and `evaluate`; one whose record can show that a fit is not what it seems registers
`verdict`.

Laws: stationary at q = p; unchanged by a constant added to the log density (its gradient);
`elbo` ≤ log Z; all its estimators agree in mean.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._amortized import AmortizedForwardKL as AmortizedForwardKL
    from ._annealed import AnnealedKL as AnnealedKL
    from ._base import Objective as Objective
    from ._base import evaluate as evaluate
    from ._base import initial_state as initial_state
    from ._base import verdict as verdict
    from ._f_divergence import FDivergence as FDivergence
    from ._forward_kl import ForwardKL as ForwardKL
    from ._importance_weighted import ImportanceWeighted as ImportanceWeighted
    from ._renyi import ChiSquared as ChiSquared
    from ._renyi import Renyi as Renyi
    from ._reverse_kl import ReverseKL as ReverseKL
    from ._score_climbing import MarkovianScoreClimbing as MarkovianScoreClimbing
    from ._score_matching import ScoreMatching as ScoreMatching
    from ._symmetric import Jeffreys as Jeffreys
    from ._symmetric import JensenShannon as JensenShannon
    from ._symmetric import SquaredHellinger as SquaredHellinger
    from ._tail_adaptive import TailAdaptive as TailAdaptive
