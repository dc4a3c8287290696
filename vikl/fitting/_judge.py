"""What fresh draws of a fitted family say, whichever way it was fitted."""

from typing import Any

import jax
import numpy as np

from .._typing import PRNGKey
from ..diagnostics import WeightedDraws
from ..families import Family
from ..target import Target
from ._status import Ending
from ._weigh import weigh

_DRAWS = 2000  # behind ELBO and k-hat


class Judge:
    """Fresh weighted draws of a family, remembered, so that the last one is not drawn again."""

    def __init__(self, target: Target, key: PRNGKey):
        self.target, self.key = target, key
        self.family: Family | None = None
        self.weighted: WeightedDraws | None = None

    def __call__(self, family: Family) -> WeightedDraws:
        if self.weighted is None or not _same(family, self.family):
            self.family = family
            self.weighted = weigh(self.target, family, self.key, _DRAWS)
        return self.weighted


def _same(a: Any, b: Any) -> bool:
    """Whether two pytrees have equal leaves: by NumPy, which compiles nothing."""
    (leaves, treedef), (others, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    return treedef == other and all(
        np.array_equal(np.asarray(v), np.asarray(w)) for v, w in zip(leaves, others)
    )


def judge_support(ending: Ending, weighted: WeightedDraws) -> Ending:
    """Say where q reaches places of zero or undefined density: there the ELBO is −inf."""
    if weighted.num_bad == 0 or ending.status not in ("converged", "budget spent"):
        return ending
    share = 100.0 * weighted.num_bad / weighted.num_draws
    what = "NaN" if weighted.num_nan else "−inf"
    return Ending(
        "outside the support",
        f"{share:.2g} % of the draws have a log density of {what}, so the ELBO is −inf: declare "
        f"a `support`, or reparameterise ({ending.status}: {ending.because})",
        ending.notes,
    )
