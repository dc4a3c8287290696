"""What we approximate: an unnormalised log density on a flat, unconstrained space.

Purpose: one ravel at entry, one constrain at exit. Everything between works on a vector `x` of
shape `(dim,)` with no constraints; people see named, constrained values.

May import: `_typing`, `_doors`, and (for `prior=`) nothing else of vikl. numpyro is imported by
`_supports.py` (bijections) and `_numpyro.py` (models), each when first needed.

To add a kind of target, write a final subclass of `Problem` (see `_problem.py`) in a file of its
own, give `Target` a `from_...` constructor, and add a row to `TARGETS` in `tests/cases.py`.

Laws: `unconstrain(constrain(x)) == x`; the log density includes the log Jacobian, so it
integrates to the same constant in both spaces; the data are traced leaves, so a second data set
of the same shapes does not recompile.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._target import Target as Target
