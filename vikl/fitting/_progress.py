"""Progress for people: a bar in a terminal or a notebook, drawn between chunks only."""

import sys
from types import TracebackType

from .._doors import require


def wants_bar(progress: bool | None) -> bool:
    """Return whether to draw: as asked, or wherever a person seems to be looking."""
    if progress is not None:
        return progress
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Bar:
    """A tqdm bar, or nothing. A context manager, so that an error leaves no broken line."""

    def __init__(self, total: int, shown: bool, done: int = 0, unit: str = "step"):
        self._bar = None
        if shown:
            tqdm = require("tqdm.auto" if "ipykernel" in sys.modules else "tqdm").tqdm
            # ten times a second is plenty: drawing costs as much as many steps of a small problem
            options = {"unit": unit, "desc": "vikl", "mininterval": 0.1, "miniters": 1}
            self._bar = tqdm(total=total, initial=done, **options)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, steps: int, text: str) -> None:
        """Move on by `steps` and say `text` beside the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(steps)
