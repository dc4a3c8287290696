"""Runs that die in the middle, in this process: at any answer of the target, any cell of a loop."""

import pathlib
from collections.abc import Callable

import equinox as eqx
import numpy as np
import pytest

from vikl.fitting import _journal, _loop


class KilledError(BaseException):
    """Nothing in the library catches it: what it interrupts is lost, but for what is on disk."""


class Executioner:
    """Counts what a run does anew (answers, callbacks), and kills it after `limit` of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.count, self.limit = 0, float("inf")
        ask = _journal.Journal.ask

        def counted(journal, question, program):
            answer = ask(journal, question, program)
            if not journal.replaying:
                self.event()
            return answer

        monkeypatch.setattr(_journal.Journal, "ask", counted)
        monkeypatch.setattr(_journal, "_SECONDS", 0.0)
        monkeypatch.setattr(_journal, "_SHARE", 0.0)
        monkeypatch.setattr(_loop, "_CHECKPOINT_SECONDS", 0.0)

    def event(self, *_: object) -> None:
        """Count one, or kill."""
        self.count += 1
        if self.count > self.limit:
            raise KilledError

    def spare(self, limit: float) -> None:
        """Let the next run do so much."""
        self.count, self.limit = 0, limit


def assert_killed_twice_it_ends_the_same(
    run: Callable, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run(checkpoint=..., callback=...)`, killed after a fifth and two thirds, loses nothing."""
    executioner = Executioner(monkeypatch)
    whole = run(checkpoint=folder / "whole.vikl", callback=executioner.event)
    total = executioner.count
    assert total >= 3, "nothing to interrupt"
    path, done = folder / "fit.vikl", 0
    for share in (0.2, 0.65):
        limit = max(int(share * total) - done, 1)
        executioner.spare(limit)
        with pytest.raises(KilledError):
            run(checkpoint=path, callback=executioner.event)
        done += limit
    executioner.spare(float("inf"))
    again = run(checkpoint=path, callback=executioner.event)
    assert executioner.count <= total - done + 2  # it went on: at most a cell was done again
    assert eqx.tree_equal(again.family, whole.family)
    assert (again.elbo, again.status) == (whole.elbo, whole.status)
    assert again.num_gradients == whole.num_gradients
    assert again.settling == whole.settling
    for name, column in whole.history.items():
        np.testing.assert_array_equal(column, again.history[name])
    assert sorted(p.name for p in folder.iterdir() if "steps" in p.name) == []
