"""The loops: from a target to a posterior.

Purpose: `fit` (public as `vikl.fit`) runs either the automatic method (`_automatic.py`: modes,
curvature, natural gradients) or stochastic gradients of any objective with any optax optimizer
(`_stochastic.py`, pure `init` and `step`; `_loop.py`, the one loop around them), and returns a
`Posterior` with a status in words (`_status.py`).

May import: every room below; optax, and tqdm in `_progress.py`.

To add an algorithm, write `init` and `step` in a file of its own and let `_fit.py` choose it.

Laws: the same key gives the same bits, however the steps are cut into chunks and whether or not
the run was killed and resumed; a repeat call compiles nothing; whatever happens, the best finite
state comes back with a status that says what happened.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._amortized import Amortized as Amortized
    from ._callback import Snapshot as Snapshot
    from ._many import ManyFits as ManyFits
    from ._many import natural_gradient as natural_gradient
    from ._posterior import Posterior as Posterior
    from ._status import Ending as Ending
    from ._stochastic import GradientState as GradientState
    from ._stochastic import StochasticGradient as StochasticGradient
    from ._summary import Summary as Summary
