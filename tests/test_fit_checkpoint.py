"""Nothing lost: a fit that was stopped or killed goes on, and ends as if it had not been."""

import dataclasses
import errno
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import FAMILIES, skewed_target, small_target
from killed import assert_killed_twice_it_ends_the_same

import vikl
from vikl._files import CheckpointError
from vikl.families import FullRankNormal, LowRankNormal, MeanFieldNormal, NormalMixture
from vikl.fitting import _fit, _loop, _posterior
from vikl.methods import Raabbvi, StochasticVI
from vikl.objectives import ForwardKL

STEPS = 400
#: A process is started for each: 20 where there is time (VIKL_SLOW=1; all 20 went on and ended
#: bit-identical on 27 November 2026, in 490 s on a busy machine).
NUM_KILLS = 20 if os.environ.get("VIKL_SLOW") == "1" else 3


def fit(checkpoint=None, **changes):
    arguments = {"key": jax.random.key(0), "num_steps": STEPS, "progress": False} | changes
    family, objective = arguments.pop("family", MeanFieldNormal), arguments.pop("objective", None)
    target = arguments.pop("target", None) or small_target()
    return vikl.fit(target, family, objective, optax.adam(0.05), checkpoint=checkpoint, **arguments)


def assert_same(a, b):
    assert eqx.tree_equal(a.family, b.family)
    assert a.elbo == b.elbo
    assert a.status == b.status
    assert a.settling == b.settling
    for name, column in a.history.items():
        np.testing.assert_array_equal(column, b.history[name])


@pytest.mark.parametrize("step", [10, 130, 350])
def test_a_stopped_fit_goes_on_to_the_same_bits(step, tmp_path):
    path = tmp_path / "fit.vikl"
    first = fit(path, callback=lambda snapshot: snapshot.step >= step)
    assert first.status == "stopped by callback"
    assert path.exists()
    seen = []
    again = fit(path, callback=lambda snapshot: seen.append(snapshot.step))
    assert seen[0] > step  # it went on, rather than starting anew
    assert_same(again, fit())


def test_a_finished_fit_is_not_done_again(tmp_path):
    path = tmp_path / "fit.vikl"
    first = fit(path)
    seen = []
    again = fit(path, callback=lambda snapshot: seen.append(snapshot.step))
    assert seen == []
    assert_same(again, first)


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path):
    path = tmp_path / "fit.vikl"
    fit(path, num_steps=80)  # the end of a cell of the longer run too
    assert_same(fit(path), fit())


# -- killed

_CHILD = """
import sys, time
sys.path.insert(0, "tests")
import cases, jax, optax, vikl
from vikl.families import MeanFieldNormal
from vikl.fitting import _journal, _loop
_loop._CHECKPOINT_SECONDS = _journal._SECONDS = 0.0  # every cell, every answer
_journal._SHARE = 0.0
def say(snapshot):
    print(snapshot.step, flush=True)
    time.sleep(PAUSE)
def fit(*parts, target=cases.small_target(), path=None, **options):
    return vikl.fit(target, *parts, key=jax.random.key(0), progress=False, checkpoint=path,
                    callback=say, **options)
"""
_STOCHASTIC = f"""
fit(MeanFieldNormal, None, optax.adam(0.05), num_steps={STEPS}, path=sys.argv[1])
"""
_AUTOMATIC = """
fit(target=cases.skewed_target(), path=sys.argv[1])
"""
_INTERRUPTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
for options in ({"target": cases.skewed_target()},
                {"optimizer": optax.adam(0.05), "num_steps": 400_000}):
    post = fit(**options)
    print(post.status, "and", post.stopped_because, jax.numpy.isfinite(post.elbo), flush=True)
"""


def _start(code, *arguments, pause=0.0):
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD.replace("PAUSE", str(pause)) + code, *arguments],
        cwd=pathlib.Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def _run_and_kill(path, step, code, pause=0.0):
    """Run the fit in a process of its own and kill it, without warning, past a step."""
    child = _start(code, str(path), pause=pause)
    assert child.stdout is not None
    with child:
        for line in child.stdout:
            if int(line) >= step:
                break
        child.send_signal(signal.SIGKILL)
    return child.returncode


def test_killed_at_random_moments_it_ends_bit_identical(tmp_path):
    path, rng = tmp_path / "fit.vikl", random.Random(5)
    moments = sorted(rng.sample(range(10, STEPS - 50), NUM_KILLS))
    codes = [_run_and_kill(path, moment, _STOCHASTIC) for moment in moments]
    assert codes == [-signal.SIGKILL] * NUM_KILLS
    seen = []
    again = fit(path, callback=lambda snapshot: seen.append(snapshot.step))
    assert seen[0] >= moments[-1]
    assert_same(again, fit())


def test_the_automatic_method_killed_at_random_moments_ends_bit_identical(tmp_path):
    whole = vikl.fit(skewed_target(), key=jax.random.key(0))
    rounds = [int(step) for step in whole.history["step"]]
    path, kills = tmp_path / "fit.vikl", min(max(1, NUM_KILLS // 3), len(rounds) - 2)
    moments = sorted(random.Random(5).sample(rounds[:-2], kills))
    codes = [_run_and_kill(path, moment, _AUTOMATIC, 0.05) for moment in moments]
    assert codes == [-signal.SIGKILL] * kills
    seen = []
    again = vikl.fit(
        skewed_target(),
        key=jax.random.key(0),
        checkpoint=path,
        callback=lambda snapshot: seen.append(snapshot.step),
    )
    assert seen[0] > moments[-1]  # the rounds before were not done again
    assert_same(again, whole)


def test_control_c_brings_back_the_best_so_far():
    child = _start(_INTERRUPTED, pause=0.05)
    assert child.stdout is not None
    said, lines = [], 0
    with child:
        for line in child.stdout:
            lines = lines + 1 if line.strip().isdigit() else 0
            if lines == 3:  # in mid-run: a real signal
                child.send_signal(signal.SIGINT)
            if not line.strip().isdigit():
                said.append(line.strip())
    assert child.returncode == 0
    automatic, stochastic = said
    assert re.fullmatch(r"interrupted and Ctrl-C after \d+ gradients.* True", automatic)
    assert re.fullmatch(r"interrupted and Ctrl-C after \d+ steps.* True", stochastic)


def rows_target():
    rows = 3.0 + np.random.default_rng(0).normal(size=64)
    return vikl.Target.from_density(
        lambda x, rows: -0.5 * jnp.sum((rows - x) ** 2), 0.0,
        data=jnp.asarray(rows, float), batch_size=8,
    )  # fmt: skip


def steps_target():
    """Return a target whose gradient is zero wherever there is one: the loop takes over."""
    return vikl.Target.from_density(lambda x: -0.5 * jnp.sum(jnp.round(x) ** 2), jnp.zeros(1))


#: What runs without an optimizer but is no method of `vikl.methods`' own (those are in
#: tests/test_laws_methods.py), and the one that stops by its own rule.
AUTOMATIC = {
    "automatic": {},
    "mixture": {"family": NormalMixture, "num_starts": 8},
    "low rank": {"family": LowRankNormal, "num_steps": 60},
    "minibatch": {"target": rows_target},
    "no gradient": {"target": steps_target, "num_steps": 60},
    "Raabbvi": {"method": StochasticVI(whiten=None, stop=Raabbvi(fewest=40))},
}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_without_an_optimizer_killed_twice_it_ends_the_same(name, tmp_path, monkeypatch):
    arguments = {"target": small_target, "key": jax.random.key(0), "progress": False}
    arguments |= AUTOMATIC[name]
    target = arguments.pop("target")()

    def run(**options):
        return vikl.fit(target, **arguments, **options)

    assert_killed_twice_it_ends_the_same(run, tmp_path, monkeypatch)


# -- what is not this fit's

OTHERS = {
    "key": ({"key": jax.random.PRNGKey}, "key"),
    "family": ({"family": FullRankNormal}, "family|structure"),
    "objective": ({"objective": ForwardKL()}, "its algorithm is 'ReverseKL', this fit's is 'Forw"),
}


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=list(OTHERS))
def test_a_checkpoint_of_another_fit_is_refused_by_name(changes, message, tmp_path):
    path = tmp_path / "fit.vikl"
    fit(path, num_steps=10)
    before = path.read_bytes()
    if "key" in changes:
        changes = {"key": jax.random.key(1)}
    with pytest.raises(CheckpointError, match=message) as caught:
        fit(path, num_steps=10, **changes)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_another_optimizer_is_refused(tmp_path):
    path = tmp_path / "fit.vikl"
    fit(path, num_steps=10)
    with pytest.raises(CheckpointError):
        vikl.fit(
            small_target(), MeanFieldNormal, None, optax.sgd(0.05), key=jax.random.key(0),
            num_steps=10, progress=False, checkpoint=path,
        )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_refused(content, tmp_path):
    path = tmp_path / "fit.vikl"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"fit\.vikl"):
        fit(path)
    assert path.read_bytes() == content


# -- what cannot be written


@pytest.fixture
def read_only(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(_loop, "save_tree", refuse)
    monkeypatch.setattr(_loop, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(_fit.Posterior, "save", refuse)


def test_a_folder_that_cannot_be_written_does_not_stop_the_fit(tmp_path, read_only):
    with pytest.warns(
        UserWarning, match=r"the checkpoint could not be written .*Read-only"
    ) as seen:
        post = fit(tmp_path / "fit.vikl")
    assert len(seen) == 1  # said once, not for every cell
    assert "could not be written" in post.stopped_because
    assert eqx.tree_equal(post.family, fit().family)


def test_the_automatic_method_says_so_too(tmp_path, read_only):
    with pytest.warns(UserWarning, match=r"the checkpoint could not be written"):
        post = vikl.fit(small_target(), key=jax.random.key(0), checkpoint=tmp_path / "fit.vikl")
    assert post.status == "converged"
    assert "could not be written" in post.stopped_because


# -- the automatic method, and saved posteriors


def test_the_automatic_method_reads_its_result_back(tmp_path):
    path = tmp_path / "fit.vikl"
    first = vikl.fit(small_target(), key=jax.random.key(0), checkpoint=path)
    seen = []
    again = vikl.fit(small_target(), key=jax.random.key(0), checkpoint=path, callback=seen.append)
    assert seen == []
    assert_same(again, first)
    with pytest.raises(CheckpointError, match="belongs to another fit: its key is"):
        vikl.fit(small_target(), key=jax.random.key(1), checkpoint=path)


def test_a_posterior_survives_saving(tmp_path):
    path, post = tmp_path / "post.vikl", fit(num_steps=20)
    post.save(path, {"note": "mine"})
    again = vikl.load(path, small_target())
    assert_same(again, post)
    assert again.stopped_because == post.stopped_because
    assert again.khat == post.khat
    assert again.num_gradients == post.num_gradients
    np.testing.assert_array_equal(
        again.sample(jax.random.key(1), 5), post.sample(jax.random.key(1), 5)
    )
    assert json.dumps(again.stopped_because)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_comes_back_by_its_name(name, tmp_path):
    path, family = tmp_path / "post.vikl", FAMILIES[name].lopsided(2)
    post = dataclasses.replace(fit(num_steps=20), family=family)
    post.save(path)
    again = vikl.load(path, small_target())
    assert eqx.tree_equal(again.family, family)


@pytest.mark.parametrize(
    "shapes",
    [
        None,
        {},
        {"parts": []},
        {"loc": [2]},
        {"loc": [2], "log_scale": [10**12]},
        {"loc": 2, "log_scale": 2},
    ],
)
def test_a_file_whose_family_has_absurd_shapes_is_refused(shapes, tmp_path, monkeypatch):
    path = tmp_path / "post.vikl"
    monkeypatch.setattr(_posterior, "_shapes_of", lambda family: shapes)
    fit(num_steps=20).save(path)
    with pytest.raises(CheckpointError, match="MeanFieldNormal, whose structure"):
        vikl.load(path, small_target())


@pytest.mark.parametrize(
    "parts",
    [
        [], "x", [["os", {}]], [["Blocks", {"parts": []}]], [["MeanFieldNormal"]],
        [["MeanFieldNormal", {"loc": [10**12], "log_scale": [2]}]],
    ],
)  # fmt: skip
def test_a_file_whose_blocks_are_absurd_is_refused(parts, tmp_path, monkeypatch):
    path = tmp_path / "post.vikl"
    monkeypatch.setattr(_posterior, "_shapes_of", lambda family: {"parts": parts})
    dataclasses.replace(fit(num_steps=20), family=FAMILIES["Blocks"].lopsided(2)).save(path)
    with pytest.raises(CheckpointError, match="Blocks, whose structure"):
        vikl.load(path, small_target())


def test_a_posterior_of_another_target_is_refused(tmp_path):
    path = tmp_path / "post.vikl"
    fit(num_steps=20).save(path)
    other = vikl.Target.from_density(lambda v: -(v["a"] ** 2), {"a": 1.0})
    with pytest.raises(CheckpointError, match=r"holds a fit of .*; `target` has \['a'\]"):
        vikl.load(path, other)


def test_a_running_fits_checkpoint_is_not_a_posterior(tmp_path):
    path = tmp_path / "fit.vikl"
    fit(path, num_steps=20)
    with pytest.raises(CheckpointError, match="should hold a posterior; it holds 'vikl stochastic"):
        vikl.load(path, small_target())
