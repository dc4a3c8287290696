"""The bound on every test's time is on, and fires."""

import signal
import time

import pytest
from bounded import bounded


def test_every_test_has_a_bound():
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    assert 0 < left < 3600


def _loop_for_ever():
    with bounded(0.05, "a loop"):
        while True:
            time.sleep(0.01)


def test_what_takes_too_long_fails():
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(pytest.fail.Exception, match=r"a loop took longer than 0\.05 s"):
        _loop_for_ever()
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= before  # this test's own goes on


_DEAF = """
import signal, sys, time
sys.path.insert(0, "tests")
from bounded import bounded
with bounded(0.05, "a compiler", grace=0.2):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as in a call that never returns
    time.sleep(60)
"""


def test_what_hears_no_signal_is_ended_with_its_traceback(run_python):
    began = time.monotonic()
    done = run_python(_DEAF, timeout=50.0)
    assert done.returncode == 1
    assert time.monotonic() - began < 50
    assert "Timeout" in done.stderr
    assert 'File "<string>", line 7' in done.stderr
