"""Scripts run one after another in one process of their own, as users have JAX.

Importing JAX and compiling its small operations cost more than what most examples do; here they
share both. Each is a module with a `main(argv)`, told where it is.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SERVE = """
import contextlib, importlib, io, json, os, sys, traceback

replies = sys.stdout
for line in sys.stdin:
    name, folder, *arguments = json.loads(line)
    os.chdir(folder)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(name).main(arguments)
        except BaseException:
            code = 1
            traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=replies, flush=True)
"""
_ENVIRONMENT = {"JAX_NUMPY_DTYPE_PROMOTION": "standard", "JAX_NUMPY_RANK_PROMOTION": "allow"}


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a script went: `returncode` is 1 where it raised."""

    returncode: int
    stdout: str
    stderr: str


def as_users_have_it(*folders: pathlib.Path) -> dict[str, str]:
    """Return the environment of a script: JAX's own promotion rules, and where to import from."""
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    return os.environ | _ENVIRONMENT | {"PYTHONPATH": path}


class ScriptProcess:
    """A process that runs modules of `folder`, one after another, each in a folder of its own."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _SERVE], env=as_users_have_it(self._folder), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, name: str, out: pathlib.Path, *arguments: str, timeout: float = 900.0) -> Ended:
        """Run `main([*arguments, "--out", out])` of a module, in the folder `out`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps([name, str(out), *arguments, "--out", str(out)])
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        reply, ready = "", []
        try:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            reply = self._process.stdout.readline() if ready else ""
        finally:
            if not reply:  # an answer that still comes must not be taken for the next one's
                self.close()
                self._process = self._start()
        if not reply:
            why = "it ended its process" if ready else f"it took over {timeout} s"
            raise TimeoutError(f"No answer of `{name}`: {why}.")
        return Ended(*json.loads(reply))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def script_process(folder: pathlib.Path) -> Iterator[ScriptProcess]:
    """Start a process for the modules of a folder, and end it."""
    process = ScriptProcess(folder)
    try:
        yield process
    finally:
        process.close()
