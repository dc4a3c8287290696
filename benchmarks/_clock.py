"""Measuring on a machine that others use too: interleaved repeats, ratios of neighbours."""

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version

import numpy as np


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send standard error nowhere: progress bars are drawn, and nobody has to look at them."""
    with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
        yield


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(run: Callable[[], object], clock: str = "wall") -> float:
    """Return the wall-clock or CPU seconds of one call."""
    read = CLOCKS[clock]
    started = read()
    run()
    return read() - started


def interleave(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, np.ndarray]:
    """Call every run once in each repeat, in alternating order; return what they returned."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs)[:: 1 if repeat % 2 == 0 else -1]:
            found[name].append(runs[name]())
    return {name: np.asarray(values) for name, values in found.items()}


def spread(values: np.ndarray, digits: int = 2) -> str:
    """Write a median with its quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def child(code: str, *args: str) -> tuple[float, float, str]:
    """Run Python code in a fresh process; return its wall and CPU seconds and its output.

    With compiled bytecode kept, as users have it: without, a checkout compiles its sources anew in
    each process, and installed peers do not.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows as a Markdown table; the first row names the columns."""
    names = list(rows[0])
    cells = [names, ["---"] * len(names), *([str(row.get(n, "")) for n in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
        for line in cells
    )


def versions(*packages: str) -> str:
    """Return the machine's cores and the versions of Python and of `packages`, in words."""
    found = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {found}"
