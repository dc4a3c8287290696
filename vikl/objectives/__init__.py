"""What is minimised.

Purpose: an objective maps `(family, target, key)` to `(loss, aux)`. It is always minimised;
`aux` holds scalars for the record, and whatever is called `elbo` there is a lower bound on the
log normaliser in expectation.

May import: `_typing`, `families`, `target`, `estimators`.

To add one, write a final subclass of `Objective` in a file of its own, re-export it here and add
a row to `OBJECTIVES` in `tests/cases.py`.

Laws: stationary at q = p; unchanged by a constant added to the log density (its gradient);
`elbo` ≤ log Z; all its estimators agree in mean.
"""

from ._base import Objective as Objective
from ._forward_kl import ForwardKL as ForwardKL
from ._reverse_kl import ReverseKL as ReverseKL
