"""Doors to neighbours: one file for each foreign library, imported when it is asked for.

Purpose: hand a fit over in the form another library expects, from plain named arrays.

May import: `_typing`, `_doors`, and any room above. Each file imports one foreign library through
`require`, inside the function that needs it.

To add one, write `_<library>.py` with a function of plain arrays, re-export it here, and add a test
that is skipped only where the library is not installed.

Laws: importing this room imports no foreign library; what is handed over has the same numbers,
names and shapes as what was given.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._arviz import to_arviz as to_arviz
