"""Everything for people between the rounds of a method that loops on the host."""

import time
from collections.abc import Callable

import jax
import numpy as np

from .._typing import PRNGKey
from ..families import Family
from ..fitting._callback import Snapshot, call_back
from ..fitting._method import Request
from ..fitting._progress import Bar, wants_bar
from ..fitting._status import Ending


class Watch:
    """The bar, the callback and the clock. A context manager that also takes Ctrl-C.

    After the block `ending` is what stopped it from outside, or None.
    """

    def __init__(self, request: Request, num_steps: int, unit: str = "step"):
        self.bar = Bar(num_steps, wants_bar(request.progress), unit=unit)
        self.callback, self.num_steps = request.callback, num_steps
        self.journal = request.journal
        self.began = time.monotonic()
        self.max_seconds = np.inf if request.max_seconds is None else request.max_seconds
        self.step = 0
        self.ending: Ending | None = None

    def __enter__(self) -> "Watch":
        self.bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        self.bar.__exit__(None, None, None)
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.ending = Ending("interrupted", f"Ctrl-C at step {self.step}")
            return True
        return False

    def stops(self, family: Callable[[], Family], record: dict[str, float]) -> bool:
        """Say after each step whether to stop: because the callback or the clock says so."""
        self.step += 1
        self.bar.advance(1, " ".join(f"{k} {v:.4g}" for k, v in list(record.items())[:1]))
        if self.journal is not None and self.journal.replaying:
            return False  # this was seen before the run was stopped
        seconds = time.monotonic() - self.began
        if self.callback is not None:
            snapshot = Snapshot(self.step, self.num_steps, seconds, record, family())
            try:
                because = call_back(self.callback, snapshot)
            except KeyboardInterrupt:
                self.ending = Ending("interrupted", f"Ctrl-C at step {self.step}")
                return True
            if because:
                self.ending = Ending("stopped by callback", f"{because} at step {self.step}")
        if self.ending is None and seconds > self.max_seconds:
            self.ending = Ending("time spent", f"{self.max_seconds:g} seconds passed")
        return self.ending is not None


def generator(key: PRNGKey) -> np.random.Generator:
    """Return a NumPy generator that depends on a JAX key only."""
    seed = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist()
    return np.random.default_rng(seed)
