"""Reading: verify everything, compare with the template, and only then use."""

import hashlib
import json
import math
import os
import re
import stat
import struct
import warnings
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._format import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    MAX_MANIFEST,
    SEAL,
    STORED,
    CheckpointError,
    DamagedError,
    Path,
    describe,
    is_array,
    is_key,
    npy_header,
    previous,
    structure_of,
)

# What `zipfile`, `json` and `numpy` raise on bytes that are not what they should be.
_READ_ERRORS = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError,
    AttributeError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile,
)  # fmt: skip

Entries = dict[str, zipfile.ZipInfo]


def load_tree(path: Path, template: Any, *, use_previous: bool = True) -> tuple[Any, dict]:
    """Return `template` with its arrays read from `path`, and the header that was saved.

    Args:
        path: a file that `save_tree` wrote.
        template: a pytree of the same structure; its arrays (or `jax.ShapeDtypeStruct`s) give
            shapes, dtypes and kind (jax or numpy), its other leaves are returned as they are.
        use_previous: if the newest file is damaged or missing, warn and load `<path>.previous`.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        CheckpointError: it is damaged, of a newer format, or of another structure.

    Example:
        >>> import os, tempfile
        >>> from vikl._files import save_tree
        >>> file = os.path.join(tempfile.mkdtemp(), "state")
        >>> save_tree(file, {"loc": jnp.ones(3)}, {"step": 7})
        >>> tree, header = load_tree(file, {"loc": jnp.zeros(3)})
        >>> print(tree["loc"], header)
        [1. 1. 1.] {'step': 7}
    """
    path, manifest, arrays = _read_newest(path, use_previous)
    _compare(path, manifest, template)
    leaves, treedef = jax.tree.flatten(template)
    stored = iter(zip(manifest["leaves"], arrays, strict=True))
    filled = [_restore(path, leaf, *next(stored)) if is_array(leaf) else leaf for leaf in leaves]
    return jax.tree.unflatten(treedef, filled), manifest["header"]


def load_header(path: Path, *, use_previous: bool = True) -> dict:
    """Return the header of the checkpoint that `load_tree` would load, once it is verified.

    Example:
        >>> import os, tempfile
        >>> from vikl._files import save_tree
        >>> file = os.path.join(tempfile.mkdtemp(), "state")
        >>> save_tree(file, jnp.zeros(2), {"family": "FullRankNormal"})
        >>> load_header(file)
        {'family': 'FullRankNormal'}
    """
    return _read_newest(path, use_previous)[1]["header"]


def _read_newest(path: Path, use_previous: bool) -> tuple[str, dict, list[np.ndarray]]:
    newest, kept = os.path.realpath(path), previous(path)
    try:
        return newest, *read(newest)
    except FileNotFoundError:
        trouble: CheckpointError | FileNotFoundError = FileNotFoundError(
            f"There is no checkpoint {newest!r}. Check the path."
        )
    except DamagedError as error:
        trouble = error
    if not use_previous or not os.path.exists(kept):
        raise trouble
    try:
        result = kept, *read(kept)
    except DamagedError:
        raise trouble from None
    warnings.warn(f"{trouble} Loaded the one before it, {kept!r}.", UserWarning, stacklevel=3)
    return result


def read(path: str) -> tuple[dict, list[np.ndarray]]:
    """Return the manifest and the stored arrays of a whole, verified file."""
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would wait for ever
            raise ValueError("not a regular file")
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            entries = _entries(archive, info.st_size)
            manifest = _read_manifest(path, archive, entries)
            arrays = [_read_array(archive, entries, leaf) for leaf in manifest["leaves"]]
            if entries:
                raise ValueError(f"entries that the manifest does not name: {sorted(entries)[:3]}")
            return manifest, arrays
    except (CheckpointError, FileNotFoundError):
        raise
    except _READ_ERRORS as error:
        raise DamagedError(
            f"The checkpoint {path!r} should be a whole vikl checkpoint; got {error}. It is "
            "damaged or was not written by vikl: restore it from a copy, or remove it to start "
            "afresh."
        ) from error


def _entries(archive: zipfile.ZipFile, file_size: int) -> Entries:
    """Return the entries by name, none of them compressed and together no longer than the file."""
    infos = archive.infolist()
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise ValueError("two entries of the same name")
    if sum(info.file_size for info in infos) > file_size:
        raise ValueError("entries that claim more bytes than the file has")
    for info in infos:
        stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
        named = re.fullmatch(r"[A-Za-z0-9_]+\.[a-z0-9]+", info.filename)
        if not stored or not named or info.flag_bits & 0x1:
            raise ValueError(f"an entry that vikl does not write: {info.filename[:80]!r}")
    return entries


def _take(archive: zipfile.ZipFile, entries: Entries, name: str) -> bytes:
    """Read one entry, which no other leaf may then claim."""
    info = entries.pop(name, None)
    if info is None:
        raise ValueError(f"no entry {name!r}")
    return archive.read(info)


def _read_manifest(path: str, archive: zipfile.ZipFile, entries: Entries) -> dict:
    for name in (MANIFEST, SEAL):
        if name not in entries or entries[name].file_size > MAX_MANIFEST:
            raise ValueError(f"no {name!r} of at most {MAX_MANIFEST} bytes")
    text = _take(archive, entries, MANIFEST)
    if _take(archive, entries, SEAL) != hashlib.sha256(text).hexdigest().encode():
        raise ValueError("a manifest whose sha256 is not the one recorded")
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("a manifest of something else")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint {path!r} should have format {FORMAT_VERSION}; got format {version!r}, "
            f"written by {manifest.get('versions')}. Read it with that version of vikl."
        )
    if not isinstance(manifest["leaves"], list) or not isinstance(manifest["header"], dict):
        raise ValueError("a manifest without leaves or header")
    return manifest


def _read_array(archive: zipfile.ZipFile, entries: Entries, leaf: dict) -> np.ndarray:
    name, dtype, shape = leaf["name"], leaf["dtype"], leaf["shape"]
    known = dtype[0] in "<|" and dtype[1:] in STORED
    if not known or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"dtype {dtype!r} and shape {shape!r} of `{name}`")
    dtype, shape = np.dtype(dtype), tuple(shape)
    raw = _take(archive, entries, leaf["entry"])
    # The header is compared, not parsed: no foreign bytes reach numpy's reader, or pickle's.
    head = npy_header(dtype, shape)
    if raw[: len(head)] != head or len(raw) - len(head) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an entry that is not the {dtype}{list(shape)} of `{name}`")
    body = memoryview(raw)[len(head) :]
    if hashlib.sha256(body).hexdigest() != leaf["sha256"]:
        raise ValueError(f"bytes of `{name}` whose sha256 is not the one recorded")
    return np.frombuffer(body, dtype).reshape(shape)


def _compare(path: str, manifest: dict, template: Any) -> None:
    """Refuse a sound file whose leaves or classes are not those of the template."""
    advice = (
        "Use the target, family, optimizer and settings it was saved with, or another path to "
        "start afresh."
    )
    if manifest["x64"] != jax.config.read("jax_enable_x64"):
        advice += f" It was saved with jax_enable_x64={manifest['x64']}, which is not so now."
    leaves = jax.tree_util.tree_leaves_with_path(template)
    wanted = {jax.tree_util.keystr(at): describe(leaf) for at, leaf in leaves if is_array(leaf)}
    has = {leaf["name"]: leaf["holds"] for leaf in manifest["leaves"]}
    for name in [*wanted, *has]:
        want, got = wanted.get(name, "no such array"), has.get(name, "no such array")
        if want != got:
            raise CheckpointError(
                f"The checkpoint {path!r} should hold {want} at `{name or 'its root'}`; "
                f"got {got}. {advice}"
            )
    want, got = structure_of(jax.tree.structure(template)), manifest["structure"]
    if want != got or list(wanted) != [leaf["name"] for leaf in manifest["leaves"]]:
        raise CheckpointError(
            f"The checkpoint {path!r} should hold the structure {_around(want, got)}; "
            f"got {_around(got, want)}. {advice}"
        )


def _around(text: str, other: str) -> str:
    """Return the part of `text` where it first differs from `other`."""
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    return repr(text[max(same - 40, 0) : same + 80])


def _restore(path: str, leaf: Any, record: dict, array: np.ndarray) -> Any:
    """Return the stored bits as the kind of array that `leaf` of the template is."""
    if is_key(leaf):
        known = isinstance(leaf, jax.Array)
        impl = jax.random.key_impl(leaf) if known else record["prng_impl"]
        result: Any = jax.random.wrap_key_data(jnp.array(array), impl=impl)
    else:
        dtype = np.dtype(leaf.dtype)
        native = array.astype(array.dtype.newbyteorder("="))  # a copy, which may be written to
        values = native.view(dtype.newbyteorder("=") if dtype.kind != "V" else dtype)
        if isinstance(leaf, (np.ndarray, np.generic)):
            result = values.astype(dtype, copy=False)
        else:
            result = jnp.array(values)
    if result.dtype != leaf.dtype or result.shape != leaf.shape:
        raise CheckpointError(
            f"The checkpoint {path!r} should give {describe(leaf)} at `{record['name']}`; "
            f"got {describe(result)}. If the file is sound, switch 64-bit types on first: "
            "`jax.config.update('jax_enable_x64', True)`."
        )
    if isinstance(leaf, np.generic):
        return result[()]
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.device_put(result, leaf.sharding)
    return result
