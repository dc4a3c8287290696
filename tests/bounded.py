"""No test may hang: a bound on its time, first by an error, then by force."""

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator

import pytest

_stderr = sys.stderr


def keep_stderr() -> None:
    """Remember where to write of a hang; called before pytest captures what tests write."""
    global _stderr
    _stderr = os.fdopen(os.dup(2), "w")


@contextlib.contextmanager
def bounded(seconds: float, what: str, grace: float = 60.0) -> Iterator[None]:
    """Fail what takes longer than `seconds`; end the process if that does not help.

    The error comes of a signal, which Python sees between two of its own instructions. A compiler
    that never comes back does not let it: `grace` seconds later every thread's traceback is written
    and the process ends, which pytest-xdist reports as this test's failure.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        pytest.fail(f"{what} took longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, stop)
    outer = signal.setitimer(signal.ITIMER_REAL, seconds)[0]
    faulthandler.dump_traceback_later(seconds + grace, exit=True, file=_stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, outer)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            faulthandler.dump_traceback_later(outer + grace, exit=True, file=_stderr)
