"""Files that are damaged, foreign, hostile, or sound but of something else: none is used."""

import hashlib
import io
import json
import os
import pickle
import random
import warnings
import zipfile
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import blank, same, small

from vikl._files import CheckpointError, load_tree, save_tree

Pair = namedtuple("Pair", ["loc", "scale"])
Couple = namedtuple("Couple", ["loc", "scale"])


# --- damage: 10,000 flips and truncations ---


@pytest.mark.parametrize("part", range(4))  # so that the workers of xdist share the 10,000
def test_no_damaged_file_loads_as_another_state(tmp_path, part):
    path, rng = tmp_path / "state", random.Random(part)
    save_tree(path, small(5), {"step": 5})
    good, wanted = path.read_bytes(), load_tree(path, blank())
    counts = {"refused": 0, "the same": 0, "another": 0}
    for trial in range(2_500):
        data = bytearray(good)
        if trial % 4 == 0:
            del data[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.choice([1, 1, 2, 8])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            got = load_tree(path, blank(), use_previous=False)
        except CheckpointError:
            counts["refused"] += 1
        else:
            counts["the same" if same(got, wanted) else "another"] += 1
    print(f"2,500 damaged checkpoints: {counts}")
    assert counts["another"] == 0
    assert counts["refused"] > 1_500  # the rest fell on bytes that a zip does not need


def test_flips_that_mend_the_checksums_of_the_zip_are_seen(tmp_path):
    """Behind CRC-32 stands sha256: rewrite the zip around a changed array, checksums and all."""
    path = tmp_path / "state"
    save_tree(path, small())
    _rewrite(path, {"00001_loc.npy": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])})
    with pytest.raises(CheckpointError, match=r"bytes of `\['loc'\]` whose sha256"):
        load_tree(path, blank(), use_previous=False)
    save_tree(path, small(), {"step": 0})
    _rewrite(path, {"manifest.json": lambda raw: raw.replace(b'"step": 0', b'"step": 1')})
    with pytest.raises(CheckpointError, match="manifest whose sha256"):
        load_tree(path, blank(), use_previous=False)


def _rewrite(path, changes, add=(), compress=zipfile.ZIP_STORED, seal=False):
    """Write the zip anew with some entries changed, as a person with an editor could."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        entries[name] = change(entries[name])
    if seal:
        digest = hashlib.sha256(entries["manifest.json"]).hexdigest()
        entries["manifest.sha256"] = digest.encode()
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compress) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, raw in [*entries.items(), *add]:
            archive.writestr(name, raw)


def _edit(**changes):
    """Return a change of the manifest: top-level keys, or those of its leaf `loc`."""

    def change(raw: bytes) -> bytes:
        manifest = json.loads(raw)
        for key, value in changes.items():
            place = manifest if key in manifest else manifest["leaves"][1]
            place[key] = value
        return json.dumps(manifest).encode()

    return {"manifest.json": change}


# --- files from elsewhere ---


class _Payload:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


def _object_npy() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([_Payload()], object), allow_pickle=True)
    return buffer.getvalue()


def _long_header(raw: bytes) -> bytes:
    return b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + raw[10:]


HOSTILE = {
    "pickled array": {"changes": {"00001_loc.npy": lambda raw: _object_npy()}},
    "absurd npy header": {"changes": {"00001_loc.npy": _long_header}},
    "object dtype": {"changes": _edit(dtype="|O")},
    "odd dtype": {"changes": _edit(dtype="<M8[ns]")},
    "dtype of a dict": {"changes": _edit(dtype={"names": []})},
    "huge shape": {"changes": _edit(shape=[2**62, 2**62])},
    "negative shape": {"changes": _edit(shape=[-6])},
    "boolean shape": {"changes": _edit(shape=[True])},
    "shape as text": {"changes": _edit(shape="6")},
    "empty and overflowing": {"changes": _edit(shape=[0, 10**40])},
    "entry used twice": {"changes": _edit(entry="00000_key.npy")},
    "manifest as an entry": {"changes": _edit(entry="manifest.json")},
    "path out of the folder": {"add": [("../evil.npy", b"x")]},
    "absolute path": {"add": [("/evil.npy", b"x")]},
    "entry twice": {"add": [("00001_loc.npy", b"x")]},
    "entry too many": {"add": [("extra.npy", b"x")]},
    "compressed": {"compress": zipfile.ZIP_DEFLATED},
    "bomb": {"compress": zipfile.ZIP_DEFLATED, "add": [("zeros.npy", bytes(10**8))]},
    "leaves as text": {"changes": _edit(leaves="many")},
    "leaves of null": {"changes": _edit(leaves=[None])},
    "header as a list": {"changes": _edit(header=[])},
    "another format": {"changes": _edit(format="torch")},
    "deep JSON": {"changes": {"manifest.json": lambda raw: b"[" * 200_000}},
    "not JSON": {"changes": {"manifest.json": lambda raw: b"\xff\xfe"}},
    "long manifest": {"changes": {"manifest.json": lambda raw: b" " * (2**24 + 1)}},
}


@pytest.mark.parametrize("row", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(tmp_path, monkeypatch, row):
    monkeypatch.chdir(tmp_path)
    save_tree("state", small())
    _rewrite("state", **{"changes": {}, "seal": True, **row})
    with pytest.raises(CheckpointError, match="should be a whole vikl checkpoint"):
        load_tree("state", blank(), use_previous=False)
    assert os.listdir() == ["state"]  # nothing ran, nothing was unpacked


def test_foreign_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "state"
    npz = io.BytesIO()
    np.savez(npz, a=np.ones(3))
    for data in (b"", b"x", b"PK\x05\x06" + bytes(18), pickle.dumps(_Payload()), npz.getvalue()):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="remove it to start afresh"):
            load_tree(path, blank())
    assert os.listdir() == ["state"]


def test_folders_and_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CheckpointError, match="not a regular file"):
            load_tree(path, blank())


def test_a_hostile_key_cannot_change_its_generator(tmp_path):
    tree = {"a": jnp.ones(2), "loc": jax.random.key(0)}
    save_tree(tmp_path / "state", tree)
    _rewrite(tmp_path / "state", _edit(prng_impl="unsafe_rbg"), seal=True)
    with pytest.raises((CheckpointError, TypeError)):
        load_tree(tmp_path / "state", jax.eval_shape(lambda: tree))


# --- sound files of something else ---

OTHERS = {
    "shape": ({**blank(), "loc": np.zeros(5)}, r"float64\[5\] at `\['loc'\]`; got float64\[6\]"),
    "dtype": ({**blank(), "loc": np.zeros(6, np.float32)}, r"float32\[6\].*got float64\[6\]"),
    "missing": ({**blank(), "new": np.zeros(1)}, r"float64\[1\] at `\['new'\]`; got no"),
    "extra": ({"loc": np.zeros(6), "step": 0}, r"no such array at `\['key'\]`; got uint32\[2\]"),
    "key kind": ({**blank(), "key": jax.random.key(0)}, r"key<fry>\[\].*got uint32\[2\]"),
}  # fmt: skip


@pytest.mark.parametrize(("template", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_other_templates_are_refused_by_name(tmp_path, template, message):
    for step in (0, 1):  # a sound file is not passed over for the one before it
        save_tree(tmp_path / "state", small(step))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_tree(tmp_path / "state", template)
    assert "start afresh" in str(caught.value)
    assert str(tmp_path / "state") in str(caught.value)


def test_another_class_of_equal_leaves_is_refused(tmp_path):
    save_tree(tmp_path / "state", {"q": Pair(np.ones(1), np.ones(1))})
    with pytest.raises(CheckpointError, match=r"structure .*Couple.*got .*Pair"):
        load_tree(tmp_path / "state", {"q": Couple(np.ones(1), np.ones(1))})


def test_a_newer_format_is_named(tmp_path):
    for _ in range(2):
        save_tree(tmp_path / "state", small())
    _rewrite(tmp_path / "state", _edit(format_version=2), seal=True)
    with pytest.raises(CheckpointError, match="should have format 1; got format 2"):
        load_tree(tmp_path / "state", blank())


def test_64_bit_states_say_so(tmp_path, float64, world):
    tree = jnp.ones(3)
    save_tree(tmp_path / "state", tree)
    with world(32):
        with pytest.raises(CheckpointError, match="jax_enable_x64=True, which is not so now"):
            load_tree(tmp_path / "state", jnp.ones(3))
        with pytest.raises(CheckpointError, match="switch 64-bit types on first"):
            load_tree(tmp_path / "state", tree)


def test_what_cannot_be_stored_is_refused_before_writing(tmp_path):
    for tree in (np.array(["text"]), np.array([None]), np.longdouble(1), np.zeros(1, "M8[s]")):
        with pytest.raises(CheckpointError, match="`tree` should hold arrays of numbers; got"):
            save_tree(tmp_path / "state", tree)
    for header in ({"a": np.ones(1)}, {(1, 2): 3}):
        with pytest.raises(CheckpointError, match=r"`header` should be JSON-able; got"):
            save_tree(tmp_path / "state", {}, header)
    with pytest.raises(CheckpointError, match=r"`header` and the names .* at most"):
        save_tree(tmp_path / "state", {}, {"long": "x" * 2**24})
    assert os.listdir(tmp_path) == []
