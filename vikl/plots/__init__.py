"""Figures: one function for each, from plain arrays to a matplotlib `Figure`.

Purpose: show whether a fit can be believed, on paper and in greyscale. A function takes named
arrays and reports, never a posterior, and returns a `matplotlib.figure.Figure` that nobody has
shown or saved: no global state, no window, safe on a machine without a screen.

May import: `_typing`, `_doors`, `diagnostics` (its result types). matplotlib, and only here, when a
figure is asked for.

To add a figure, write a function in a file of its own that starts from `new_figure` of `_style.py`,
re-export it here, and add it to `FIGURES` in `tests/test_plots.py`.

Laws: every axis is labelled, with units where there are any; the title says what to see; draws
that are not finite are counted in the figure, not dropped in silence.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._marginals import marginals_figure as marginals_figure
    from ._report import report_figure as report_figure
