"""The one loop of stochastic fits: compiled chunks, and everything for people between them.

The record is kept in cells whose ends depend on the step count alone, and the keys are
`fold_in(key, step)`, so neither the trajectory nor the record depends on how the steps are cut
into chunks, on the machine's speed, or on whether the run was killed and resumed.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compile_lightly
from .._files import CheckpointError, load_tree, save_tree
from .._typing import PRNGKey, PyTree
from ..diagnostics._iterates import Iterates
from ..target import Target
from ._callback import Snapshot, call_back
from ._chunk import LONGEST, ROW_LIMIT, accepted_rows, run_chunk
from ._iterates import Kept, Sums
from ._progress import Bar, wants_bar
from ._status import Ending, plateau
from ._stochastic import GradientState, StochasticGradient

_CHUNK_SECONDS = 0.2
_CHECKPOINT_SECONDS = 5.0
_ROLLBACKS = 5
_FEWEST_STEPS = 1000  # before standing still counts as evidence


@dataclasses.dataclass
class Run:
    """The state of a run on the host: what a checkpoint must hold."""

    state: GradientState
    best: GradientState
    history: dict[str, list[float]]
    best_loss: tuple[float, float] = (np.inf, np.inf)
    rollbacks: int = 0
    kept: Kept = dataclasses.field(default_factory=Kept)


@compile_lightly
def _initial(
    algorithm: StochasticGradient, family: Any, target: Target, key: PRNGKey
) -> GradientState:
    return algorithm.init(family, target, key)


def cell_end(step: int, num_steps: int) -> int:
    """Return where the cell that `step` is in ends: cells grow with the step count."""
    width = max(10, 2 ** int(np.log2(step + 1)) // 8)
    return min((step // width + 1) * width, num_steps)


class Loop:
    """A run of a stochastic algorithm, from its start or from a checkpoint, to its ending."""

    def __init__(
        self,
        algorithm: StochasticGradient,
        target: Target,
        family: Any,
        key: PRNGKey,
        *,
        num_steps: int,
        stop_on_plateau: bool,
        progress: bool | None = None,
        callback: Callable[[Snapshot], Any] | None = None,
        checkpoint: str | Path | None = None,
        max_seconds: float | None = None,
        chunk_steps: int | None = None,
    ):
        self.algorithm, self.target, self.key = algorithm, target, key
        self.num_steps, self.stop_on_plateau = num_steps, stop_on_plateau
        self.progress, self.callback, self.chunk_steps = progress, callback, chunk_steps
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.max_seconds = np.inf if max_seconds is None else max_seconds
        info = eqx.filter_eval_shape(algorithm.objective, family, target, key)[1]
        self.names = sorted({"loss", *info})
        self.notes: list[str] = []
        self.runner: Callable | None = None
        self.seen: tuple[Any, int] = (None, 0)
        self.looks = 0  # steps that were taken to look at a state, and thrown away
        state = _initial(algorithm, family, target, key)
        self.run = Run(state, state, {})
        self.no_sums = Sums.of_none(family)
        self.resumed_from = 0
        if self.checkpoint is not None:
            self._resume()

    def go(self) -> tuple[GradientState, Ending, dict[str, np.ndarray]]:
        """Run to an ending; return the state worth keeping, the ending, and the record."""
        self.began = self.saved = time.monotonic()
        try:
            with Bar(self.num_steps, wants_bar(self.progress), self._step) as bar:
                ending = self._cells(bar)
        except KeyboardInterrupt:
            ending = Ending("interrupted", f"Ctrl-C after {self._step} steps")
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            ending = Ending(
                "out of memory",
                f"a step asked for more than there is after {self._step} steps ({error}); use "
                "fewer `num_samples`, less data at a time, or a family with fewer parameters",
            )
        state, ending = self._choose(ending)
        if self.checkpoint is not None:
            self._save()
        rejected = int(state.rejected)
        if rejected:
            ending = ending.with_note(
                f"{rejected} steps were not finite and were rejected, {self.run.rollbacks} times "
                "going back to the last good state; the steps after them were smaller"
            )
        for note in self.notes:
            ending = ending.with_note(note)
        return state, ending, {k: np.asarray(v) for k, v in self.run.history.items()}

    def iterates(self, sd: np.ndarray) -> Iterates | None:
        """Return the iterates of the second half of the run, in units of `sd` (dim,) of q."""
        return self.run.kept.iterates(self.run.state.family, np.asarray(sd, np.float64))

    @property
    def steps_taken(self) -> int:
        """How many steps were evaluated, rejected ones and those after the best state included."""
        return self._step + self.looks

    @property
    def _step(self) -> int:
        if self.seen[0] is not self.run.state:  # reading a number off the device is not free
            self.seen = (self.run.state, int(self.run.state.step))
        return self.seen[1]

    def _cells(self, bar: Bar) -> Ending:
        chunk = self.chunk_steps or 10
        while self._step < self.num_steps:
            first, end = self._step, cell_end(self._step, self.num_steps)
            state: GradientState = self.run.state
            rows: list[np.ndarray] = []
            step, row, sums = first, 0, self.no_sums
            while step < end and row < ROW_LIMIT:
                num = min(chunk, end - step, LONGEST)
                started, before = time.monotonic(), step
                state, sums, record = self._chunk(state, sums, num)
                # one transfer of all that is looked at, which also waits for the result
                step, row = (int(v) for v in jax.device_get((state.step, state.rejected_in_a_row)))
                rows.append(np.asarray(record)[: step - before])
                elapsed = max(time.monotonic() - started, 1e-9)
                if self.chunk_steps is None and num >= chunk / 2:
                    chunk = max(1, int(num * min(_CHUNK_SECONDS / elapsed, 8.0)))
                bar.advance(num, self._text())
                if time.monotonic() - self.began > self.max_seconds:
                    break
            ending = self._close_cell(state, accepted_rows(rows), sums)
            if ending is not None:
                return ending
        return Ending("budget spent", f"all {self.num_steps} steps were taken")

    def _chunk(self, state: GradientState, sums: Sums, num: int) -> tuple[GradientState, Sums, Any]:
        num_steps = np.asarray(num, np.int32)
        args = (self.algorithm, state, sums, self.target, self.key, num_steps)
        self.runner = self.runner or run_chunk.prepare(*args)
        return self.runner(*args)

    def _text(self) -> str:
        for name in ("elbo", "loss"):
            if self.run.history.get(name):
                return f"{name} {self.run.history[name][-1]:.4g}"
        return ""

    def _close_cell(self, state: GradientState, rows: np.ndarray, sums: Sums) -> Ending | None:
        """Record a cell; go back where it failed; decide whether to end."""
        if int(state.rejected_in_a_row) >= ROW_LIMIT or not _all_finite(state.family):
            return self._roll_back(state)
        before, self.run.state = self.run.state, state
        if len(rows):
            self._record(before, state, rows)
        self.run.kept.add(self._step, sums)
        if self.callback is not None:
            ending = self._call_back(state)
            if ending is not None:
                return ending
        if self.checkpoint is not None and time.monotonic() - self.saved > _CHECKPOINT_SECONDS:
            self._save()
        if self.stop_on_plateau and self._step >= _FEWEST_STEPS:
            flat = self._plateau()
            if flat.reached:
                return Ending("converged", f"the last quarter of the steps gained {flat}")
        if time.monotonic() - self.began > self.max_seconds:
            return Ending("time spent", f"{self.max_seconds:g} seconds passed")
        return None

    def _record(self, before: GradientState, state: GradientState, rows: np.ndarray) -> None:
        mean = rows.mean(axis=0)
        error = np.full_like(mean, np.inf)
        if len(rows) > 1:
            with np.errstate(invalid="ignore"):  # a value of inf, which float32 cannot hold
                error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
        row = {"step": float(state.step)}
        for name, value, std_error in zip(self.names, mean, error):
            row |= {name: float(value), f"{name}_std_error": float(std_error)}
        for name, value in row.items():
            self.run.history.setdefault(name, []).append(value)
        if row["loss"] < self.run.best_loss[0]:
            # the state the cell began with: its loss was evaluated, that of the last was not
            self.run.best, self.run.best_loss = before, (row["loss"], row["loss_std_error"])

    def _roll_back(self, failed: GradientState) -> Ending | None:
        self.run.rollbacks += 1
        good = self.run.state
        self.run.state = good._replace(
            step=failed.step,
            step_scale=good.step_scale * 0.1**self.run.rollbacks,
            rejected=failed.rejected,
            rejected_in_a_row=jnp.zeros_like(failed.rejected_in_a_row),
        )
        if self.run.rollbacks <= _ROLLBACKS:
            return None
        return Ending(
            "diverged",
            f"loss or gradient stayed not finite from step {int(failed.step)} on, with ever "
            "smaller steps; use a smaller learning rate, or look at the log density there",
        )

    def _call_back(self, state: GradientState) -> Ending | None:
        record = {name: values[-1] for name, values in self.run.history.items()}
        seconds = time.monotonic() - self.began
        assert self.callback is not None
        snapshot = Snapshot(self._step, self.num_steps, seconds, record, state.family)
        because = call_back(self.callback, snapshot)
        return Ending("stopped by callback", f"{because} at step {self._step}") if because else None

    def _plateau(self) -> Any:
        history = self.run.history
        return plateau(np.asarray(history["step"]), np.asarray(history["loss"]))

    def _choose(self, ending: Ending) -> tuple[GradientState, Ending]:
        """Return the last state, or the best one where the last is clearly worse."""
        losses = self.run.history.get("loss", [])
        state = self.run.state
        if 2 * int(state.rejected) > self._step and ending.status == "budget spent":
            because = f"{int(state.rejected)} of {self._step} steps were not finite"
            ending = Ending("diverged", f"{because}; use a smaller learning rate")
        if not losses or ending.status == "out of memory":
            return state, ending
        best, best_error = self.run.best_loss
        last, last_error = losses[-1], self.run.history["loss_std_error"][-1]
        margin = 1.0 + 5 * np.hypot(best_error, last_error)
        if not self._usable(state) and ending.status != "diverged":
            ending = Ending(
                "diverged", f"the last step left a state without a loss ({ending.because})"
            )
        if ending.status == "diverged" or last > best + margin:
            state = self.run.best._replace(rejected=state.rejected)
            if ending.status != "diverged":
                because = (
                    f"the loss rose from {best:.4g} at step {int(state.step)} to {last:.4g}; the "
                    f"best state is returned; use a smaller learning rate ({ending.because})"
                )
                return state, Ending("diverged", because)
        elif ending.status == "budget spent" and self._plateau().reached:
            because = f"the last quarter of the steps gained {self._plateau()}"
            return state, Ending("converged", f"{because}; {ending.because}")
        elif ending.status == "budget spent" and np.isfinite(self._plateau().gain):
            because = f"{ending.because}; the last quarter of them gained {self._plateau()}"
            return state, Ending("budget spent", because)
        return state, ending

    def _usable(self, state: GradientState) -> bool:
        """Whether the loss is finite at a state, found by a step from it that is thrown away."""
        if self.runner is None:
            return True
        self.looks += 1
        *_, record = self._chunk(state, self.no_sums, 1)
        return bool(np.asarray(record)[0, -1] == 1.0)

    def _header(self) -> dict[str, Any]:
        return {
            "what": "vikl stochastic fit",
            "algorithm": type(self.algorithm.objective).__name__,
            "family": type(self.run.state.family).__name__,
            "names": list(self.target.names),
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
        }

    def _save(self) -> None:
        assert self.checkpoint is not None
        run = self.run
        header = self._header() | {
            "history": run.history,
            "best_loss": list(run.best_loss),
            "rollbacks": run.rollbacks,
        }
        try:
            kept = run.kept.packed(len(self.no_sums.total))
            save_tree(self.checkpoint, (run.state, run.best, kept), header)
        except OSError as error:
            note = f"the checkpoint could not be written ({error}); the fit went on without it"
            if note not in self.notes:
                self.notes.append(note)
                warnings.warn(note, stacklevel=4)
        self.saved = time.monotonic()

    def _resume(self) -> None:
        assert self.checkpoint is not None
        blank = self.run.kept.packed(len(self.no_sums.total))
        template: PyTree = (self.run.state, self.run.best, blank)
        try:
            (state, best, kept), header = load_tree(self.checkpoint, template)
        except FileNotFoundError:
            return
        expected = self._header()
        for name, value in expected.items():
            if header.get(name) != value:
                raise CheckpointError(
                    f"`checkpoint` {self.checkpoint} belongs to another fit: its {name} is "
                    f"{header.get(name)!r}, this fit's is {value!r}. "
                    "Give another path, or remove the file to start anew."
                )
        self.run = Run(
            state, best, header["history"], tuple(header["best_loss"]), header["rollbacks"],
            Kept.unpacked(kept),
        )  # fmt: skip
        self.resumed_from = int(state.step)


def _all_finite(tree: PyTree) -> bool:
    arrays = jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    return all(bool(np.isfinite(np.asarray(v, np.float64)).all()) for v in arrays)
