"""The promises of `vikl/_files`: what loads is what was saved, and nothing is lost."""

import errno
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import blank, same, small

from vikl import _files
from vikl._files import (
    CheckpointError,
    CheckpointWriteError,
    _write,
    load_header,
    load_tree,
    save_tree,
)

Pair = namedtuple("Pair", ["loc", "scale"])


def _rich() -> dict:
    return {
        "params": Pair(jnp.array([1.0, -0.0, jnp.nan, jnp.inf]), [jnp.ones((2, 3))]),
        "bfloat16": jnp.array([1.5, -2.0], jnp.bfloat16),
        "float8": jnp.array([0.5], jnp.float8_e4m3fn),
        "int4": jnp.array([-3, 7], jnp.int4),
        "bool": jnp.array([True, False]),
        "complex": jnp.array(1 + 2j, jnp.complex64),
        "scalar": jnp.array(3, jnp.int32),
        "empty": jnp.zeros((0, 4)),
        "key": jax.random.key(7),
        "keys": jax.random.split(jax.random.key(8, impl="rbg"), 3),
        "raw key": jax.random.PRNGKey(9),
        "numpy": np.arange(3.0),
        "big endian": np.arange(3, dtype=">i8"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "numpy scalar": np.float64(0.1),
        "../../etc/passwd": jnp.ones(1),
        "Σ": jnp.ones(1),
        "static": ("text", 3, 2.5, None, len),
    }


def _blank_like(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = jax.random.key_data(leaf)
        return jax.random.wrap_key_data(jnp.zeros_like(data), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jnp.zeros_like(leaf)
    if isinstance(leaf, np.generic):
        return type(leaf)(0)
    return np.zeros_like(leaf) if isinstance(leaf, np.ndarray) else leaf


# --- what loads is what was saved ---


def test_round_trip_is_bit_identical(tmp_path, dtype):
    tree = _rich()
    save_tree(tmp_path / "state", tree, {"step": 3, "elbo": [-1.5, None], "name": "Σ"})
    loaded, header = load_tree(tmp_path / "state", jax.tree.map(_blank_like, tree))
    assert same(loaded, tree)
    assert header == {"step": 3, "elbo": [-1.5, None], "name": "Σ"}
    assert [type(v) for v in jax.tree.leaves(loaded)] == [type(v) for v in jax.tree.leaves(tree)]


def test_a_template_may_describe_its_arrays(tmp_path):
    tree = {"a": jnp.arange(3.0), "k": jax.random.key(1, impl="rbg")}
    save_tree(tmp_path / "state", tree)
    assert same(load_tree(tmp_path / "state", jax.eval_shape(lambda: tree))[0], tree)


@pytest.mark.parametrize("tree", [{}, None, jnp.zeros(()), "no arrays", [[], ()]])
def test_trees_of_few_leaves(tmp_path, tree):
    save_tree(tmp_path / "state", tree)
    assert same(load_tree(tmp_path / "state", tree)[0], tree)


def test_loaded_arrays_are_their_own(tmp_path):
    save_tree(tmp_path / "state", small())
    first = load_tree(tmp_path / "state", blank())[0]
    first["loc"][:] = 9
    assert same(load_tree(tmp_path / "state", blank())[0]["loc"], np.arange(6.0))


def test_equal_states_are_equal_files_that_numpy_reads(tmp_path):
    for name in "ab":
        save_tree(tmp_path / name, small(), {"step": 0})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(tmp_path / "a", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["00001_loc"], np.arange(6.0))


def test_the_manifest_says_what_it_came_from(tmp_path):
    save_tree(tmp_path / "state", _rich(), {"step": 1})
    manifest = json.loads(zipfile.ZipFile(tmp_path / "state").read("manifest.json"))
    assert {"jax", "jaxlib", "numpy"} <= manifest["versions"].keys()
    assert manifest["format_version"] == 1
    assert manifest["x64"] is False
    by_name = {leaf["name"]: leaf for leaf in manifest["leaves"]}
    assert by_name["['keys']"]["prng_impl"] == "rbg"
    assert by_name["['bfloat16']"]["holds"] == "bfloat16[2]"


# --- nothing is lost ---


def test_the_one_before_is_kept_and_loaded_with_a_warning(tmp_path):
    path = tmp_path / "state"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*Check the path"):
        load_tree(path, blank())
    for step in range(3):
        save_tree(path, small(step), {"step": step})
    assert sorted(os.listdir(tmp_path)) == ["state", "state.previous"]
    assert load_header(path) == {"step": 2}
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="damaged .* Loaded the one before it"):
        tree, header = load_tree(path, blank())
    assert header == {"step": 1}
    assert same(tree, {**small(1), "step": "static"})
    with pytest.raises(CheckpointError, match="whole vikl checkpoint"):
        load_tree(path, blank(), use_previous=False)
    save_tree(path, small(3), {"step": 3})  # the damaged one must not displace the good one
    assert load_header(_files.previous(path)) == {"step": 1}
    path.unlink()
    with pytest.warns(UserWarning, match="There is no checkpoint .* Loaded the one before it"):
        assert load_header(path) == {"step": 1}


def test_both_damaged_is_an_error(tmp_path):
    for step in range(2):
        save_tree(tmp_path / "state", small(step))
    for file in tmp_path.iterdir():
        file.write_bytes(b"gone")
    with pytest.raises(CheckpointError, match="whole vikl checkpoint"):
        load_tree(tmp_path / "state", blank())


def test_without_hard_links_the_one_before_is_kept_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    for step in range(3):
        save_tree(tmp_path / "state", small(step), {"step": step})
    assert load_header(tmp_path / "state") == {"step": 2}
    assert load_header(_files.previous(tmp_path / "state")) == {"step": 1}
    assert sorted(os.listdir(tmp_path)) == ["state", "state.previous"]


def test_a_link_to_the_checkpoint_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "disk" / "state")
    for step in range(2):
        save_tree(tmp_path / "state", small(step), {"step": step})
    assert (tmp_path / "state").is_symlink()
    assert sorted(os.listdir(tmp_path / "disk")) == ["state", "state.previous"]
    assert load_header(tmp_path / "state") == {"step": 1}


class _FullDisk(io.FileIO):
    """A file on a disk with room for `room` more bytes."""

    room = 0

    def write(self, data, /):
        if len(data) > _FullDisk.room:
            super().write(bytes(data)[: _FullDisk.room])
            _FullDisk.room = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        _FullDisk.room -= len(data)
        return super().write(data)


def test_a_disk_full_at_any_byte_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "state"
    save_tree(path, small(0), {"step": 0})
    before = path.read_bytes()
    monkeypatch.setattr(_write, "open", _FullDisk, raising=False)
    _FullDisk.room = 10**6
    save_tree(tmp_path / "other", small(1), {"step": 1})
    (tmp_path / "other").unlink()
    needed = 10**6 - _FullDisk.room  # more than its length: a zip goes back to mend its headers
    for room in range(needed):
        _FullDisk.room = room
        with pytest.raises(CheckpointWriteError, match="No space left on device") as caught:
            save_tree(path, small(1), {"step": 1})
        assert caught.value.errno == errno.ENOSPC
        assert os.listdir(tmp_path) == ["state"]
        assert path.read_bytes() == before
    _FullDisk.room = needed
    save_tree(path, small(1), {"step": 1})
    assert load_header(path) == {"step": 1}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_later_keeps_what_was_there(tmp_path, monkeypatch, call):
    save_tree(tmp_path / "state", small(0), {"step": 0})

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(CheckpointWriteError, match="Input/output error"):
        save_tree(tmp_path / "state", small(1), {"step": 1})
    monkeypatch.undo()
    assert load_header(tmp_path / "state") == {"step": 0}
    assert not [name for name in os.listdir(tmp_path) if ".tmp-" in name]


def test_a_read_only_folder_is_named_and_left_alone():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_tree(folder / "state", small(0), {"step": 0})
        root = os.geteuid() == 0
        folder.chmod(0o555)
        if root:
            os.seteuid(65534)  # root may write anywhere, so for a moment be nobody
        try:
            with pytest.raises(CheckpointWriteError, match=r"Permission denied.*can be written"):
                save_tree(folder / "state", small(1), {"step": 1})
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert load_header(folder / "state") == {"step": 0}
        assert os.listdir(folder) == ["state"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointWriteError, match=r"no/state.*a folder that exists"):
        save_tree(tmp_path / "no" / "state", small())


def test_leftovers_of_killed_processes_go_once_they_are_old(tmp_path):
    for name, age in {"state.tmp-1-ab": 7200, "state.tmp-2-cd": 10, "other.tmp-1-ab": 7200}.items():
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    save_tree(tmp_path / "state", small())
    assert sorted(os.listdir(tmp_path)) == ["other.tmp-1-ab", "state", "state.tmp-2-cd"]


# One interpreter imports vikl once and forks the children that are to be killed.
_SAVER = """
import os, sys, warnings
import numpy as np
from vikl._files import save_tree
warnings.simplefilter("ignore")
for line in sys.stdin:
    start = int(line)
    child = os.fork()
    if child == 0:
        for step in range(start, 10**9):
            tree = {"a": np.full(20_000, step), "b": np.full((7, 3), float(step))}
            save_tree("state", tree, {"step": step})
            os.write(1, f"{step}\\n".encode())
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


def test_kill_at_random_moments_leaves_a_whole_state(tmp_path, monkeypatch):
    rng, kills, last = random.Random(1), 20, -1
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    template = {"a": np.zeros(20_000, int), "b": np.zeros((7, 3))}
    with subprocess.Popen(
        [sys.executable, "-c", _SAVER],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as saver:
        assert saver.stdin is not None
        assert saver.stdout is not None
        for _ in range(kills):
            saver.stdin.write(f"{last + 1}\n")
            saver.stdin.flush()
            said, pid = [], None
            while pid is None or not any(line.strip().isdigit() for line in said):
                said.append(saver.stdout.readline())
                assert said[-1], "the saving process ended early"
                if said[-1].startswith("pid"):
                    pid = int(said[-1].split()[1])
            time.sleep(rng.uniform(0.0, 0.03))
            os.kill(pid, signal.SIGKILL)
            while said[-1] != "dead\n":
                said.append(saver.stdout.readline())
                assert said[-1], "the saving process ended early"
            done = max(int(line) for line in said if line.strip().isdigit())
            tree, header = load_tree(tmp_path / "state", template, use_previous=False)
            step = header["step"]
            assert step in (done, done + 1)  # what was reported saved is there
            assert (tree["a"] == step).all()
            assert (tree["b"] == step).all()
            last = step
        saver.stdin.close()
    midway = len([name for name in os.listdir(tmp_path) if ".tmp-" in name])
    print(f"{kills} kills over {last} saves; {midway} in the midst of writing")
    assert midway > 0
