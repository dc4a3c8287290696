"""A run on disk: what the target answered, in the order in which it was asked.

The automatic method, and the named ones that loop on the host, are NumPy around a compiled target:
from the same key they ask it the same questions. So its answers are a checkpoint. Read back, the
run repeats itself from them in moments, to the same bits, and goes on where it was stopped.
"""

import dataclasses
import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import CheckpointError, load_header, load_tree, save_tree

RUNNING = "vikl running fit"  # what a file of this kind says that it is
_SECONDS = 5.0  # between two writes, or
_SHARE = 20.0  # this many times what the last one took
_SAME = 1e4  # units in the last place within which two answers are one: machines differ

#: A question or an answer: arrays, in a fixed order.
Arrays = Sequence[Any]


@dataclasses.dataclass(frozen=True)
class _Entry:
    question: int
    answer: list[np.ndarray]

    @property
    def kind(self) -> list[list[Any]]:
        """Dtype and shape of each array, as JSON has them."""
        return [[v.dtype.str, list(v.shape)] for v in self.answer]


class Journal:
    """The answers of a target to a run, written every few seconds.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "fit.vikl")
        >>> journal = Journal(path, {"key": [0, 1]})
        >>> journal.ask([np.ones(2)], lambda: [np.full(2, 3.0)])
        [array([3., 3.])]
        >>> journal.save()
        >>> again = Journal.open(path, {"key": [0, 1]})
        >>> again.ask([np.ones(2)], lambda: [np.full(2, 3.0)]), again.replaying
        ([array([3., 3.])], True)
    """

    def __init__(self, path: str | Path, header: dict[str, Any]):
        self.path, self.header = Path(path), header | {"what": RUNNING}
        self.entries: list[_Entry] = []
        self.place = 0
        self.replaying = False  # whether the last answer was read rather than asked for
        self.trouble = ""
        self.saved, self.seconds = time.monotonic(), 0.0

    @classmethod
    def open(cls, path: str | Path, header: dict[str, Any]) -> "Journal":
        """Return the journal of this run that is at `path`, or an empty one where none is.

        Raises:
            CheckpointError: the file is damaged, or of another run.
        """
        journal = cls(path, header)
        try:
            stored = load_header(journal.path)
        except FileNotFoundError:
            return journal
        for name, mine in journal.header.items():
            if stored.get(name) != mine:
                raise CheckpointError(
                    f"`checkpoint` {path} belongs to another fit: its {name} is "
                    f"{stored.get(name)!r}, this fit's is {mine!r}. "
                    "Give another path, or remove the file to start anew."
                )
        journal.entries = _read(journal.path, stored)
        return journal

    @property
    def steps(self) -> Path:
        """Where a stochastic loop inside the run keeps its own state."""
        return self.path.with_name(f"{self.path.name}.steps")

    def ask(self, question: Arrays, program: Callable[[], Arrays]) -> list[np.ndarray]:
        """Return what `program` answered before to the same question, or ask and remember.

        Where a run begins to ask otherwise (more steps, say), the rest of the journal is dropped.

        Raises:
            CheckpointError: the first question or its answer is another: this is another fit.
        """
        mark = _mark(question)
        if self.place < len(self.entries) and self.entries[self.place].question == mark:
            entry = self.entries[self.place]
            if self.place == 0:
                self._compare(entry.answer, program())
            self.replaying = True
        else:
            if self.entries and self.place == 0:
                raise self._other("it looks at the target in other places first")
            del self.entries[self.place :]
            entry = _Entry(mark, [np.asarray(v) for v in program()])
            self.entries.append(entry)
            self.replaying = False
        self.place += 1
        if not self.replaying and self._due():
            self.save()
        return entry.answer

    def _compare(self, stored: list[np.ndarray], answer: Arrays) -> None:
        """Refuse the answers of another target: other data, or another log density."""
        for old, new in zip(stored, (np.asarray(v) for v in answer), strict=True):
            exact = old.dtype.kind != "f"
            near = 0.0 if exact else _SAME * float(np.finfo(old.dtype).eps)
            if old.shape != new.shape or not np.allclose(old, new, near, near, equal_nan=True):
                raise self._other("the target answers otherwise: other data, or another density")

    def _other(self, because: str) -> CheckpointError:
        return CheckpointError(
            f"`checkpoint` {self.path} belongs to another fit: {because}. "
            "Give another path, or remove the file to start anew."
        )

    def _due(self) -> bool:
        return time.monotonic() - self.saved > max(_SECONDS, _SHARE * self.seconds)

    def save(self) -> None:
        """Write all answers, atomically; a disk that cannot be written is said once."""
        began = time.monotonic()
        try:
            save_tree(self.path, *_packed(self.entries, self.header))
        except OSError as error:
            if not self.trouble:
                self.trouble = f"the checkpoint could not be written ({error})"
                warnings.warn(self.trouble, stacklevel=2)
        self.saved = time.monotonic()
        self.seconds = self.saved - began

    def forget_steps(self) -> None:
        """Remove what a loop inside the run kept beside: the run has ended."""
        for path in (self.steps, self.steps.with_name(f"{self.steps.name}.previous")):
            path.unlink(missing_ok=True)


def ask(journal: Journal | None, question: Arrays, program: Callable[[], Arrays]) -> Arrays:
    """Return the answer of `program`, through a journal where there is one."""
    return program() if journal is None else journal.ask(question, program)


def _mark(question: Arrays) -> int:
    """Return 64 bits that tell a question from others."""
    digest = hashlib.blake2b(digest_size=8)
    for part in question:
        array = np.ascontiguousarray(part)
        digest.update(repr((array.dtype.str, array.shape)).encode())
        digest.update(array.tobytes())
    return int.from_bytes(digest.digest(), "little")


def _packed(entries: list[_Entry], header: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a few long arrays, rather than thousands of short ones, and what cuts them up."""
    kinds: dict[str, int] = {}
    which = np.zeros(len(entries), np.int32)
    flat: dict[str, list[np.ndarray]] = {}
    distinct = []
    for i, entry in enumerate(entries):
        which[i] = kinds.setdefault(repr(entry.kind), len(kinds))
        if len(distinct) < len(kinds):
            distinct.append(entry.kind)
        for v in entry.answer:
            flat.setdefault(v.dtype.str, []).append(v.ravel())
    numbers = {name: np.concatenate(parts) for name, parts in flat.items()}
    questions = np.asarray([entry.question for entry in entries], np.uint64)
    header = header | {
        "kinds": distinct,
        "count": len(entries),
        "numbers": {name: len(v) for name, v in numbers.items()},
    }
    return {"questions": questions, "which": which, "numbers": numbers}, header


def _read(path: Path, header: dict[str, Any]) -> list[_Entry]:
    try:
        sizes = {np.dtype(name).str: int(size) for name, size in header["numbers"].items()}
        count, kinds = int(header["count"]), header["kinds"]
        held = sum(np.dtype(name).itemsize * size for name, size in sizes.items()) + 12 * count
        if min(count, *sizes.values(), held) < 0 or held > os.path.getsize(path):
            raise ValueError("more numbers than the file has")
        template = {
            "questions": np.empty(count, np.uint64),
            "which": np.empty(count, np.int32),
            "numbers": {name: np.empty(size, name) for name, size in sizes.items()},
        }
        stored: Any = load_tree(path, template)[0]
        places = dict.fromkeys(sizes, 0)
        entries = []
        for question, which in zip(stored["questions"], stored["which"]):
            answer = []
            for name, shape in kinds[which]:
                size = math.prod(shape)
                part = stored["numbers"][name][places[name] : places[name] + size]
                answer.append(part.reshape(shape))
                places[name] += size
            entries.append(_Entry(int(question), answer))
        return entries
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise CheckpointError(
            f"`checkpoint` {path} should hold a running fit; its parts do not fit together "
            f"({error}). Remove the file to start anew."
        ) from error
