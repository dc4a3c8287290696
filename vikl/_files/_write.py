"""Writing: beside, flushed, renamed, and the last good one kept."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import re
import secrets
import time
import zipfile
from typing import Any

import jax
import numpy as np

from ._format import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    MAX_MANIFEST,
    SEAL,
    STORED,
    CheckpointError,
    CheckpointWriteError,
    Path,
    describe,
    is_array,
    is_key,
    npy_header,
    previous,
    structure_of,
)
from ._read import read

_STALE_SECONDS = 3600.0


def save_tree(path: Path, tree: Any, header: dict | None = None) -> None:
    """Write the arrays of `tree` and a JSON-able `header` to `path`, atomically.

    Leaves that are not arrays are not stored. A sound checkpoint that was at `path` is kept as
    `<path>.previous`. The file is written beside, flushed to the disk, and only then renamed.

    Args:
        path: the file; its folder must exist.
        tree: any pytree; typed PRNG keys, bfloat16, scalars and empty arrays are welcome.
        header: what else the caller wants back, e.g. the step; anything `json` can write.

    Raises:
        CheckpointWriteError: the disk is full, the folder is read-only, ...: nothing was changed.

    Example:
        >>> import jax.numpy as jnp, os, tempfile
        >>> file = os.path.join(tempfile.mkdtemp(), "state")
        >>> save_tree(file, {"loc": jnp.ones(3)}, {"step": 7})
        >>> os.listdir(os.path.dirname(file))
        ['state']
    """
    path = os.path.realpath(path)
    manifest, arrays = _describe_all(tree, {} if header is None else header)
    temporary = f"{path}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with open(temporary, "xb") as file:
            _write_zip(file, manifest, arrays)
            file.flush()
            os.fsync(file.fileno())
        _keep_previous(path)
        os.replace(temporary, path)
    except OSError as error:
        failure = CheckpointWriteError(
            f"The checkpoint {path!r} should be writable; got {type(error).__name__}: {error}. "
            "Free space, or choose a folder that exists and can be written; "
            "the checkpoints that were there before are kept."
        )
        failure.errno = error.errno
        raise failure from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    _make_durable(path)
    _remove_leftovers(path)


def _describe_all(tree: Any, header: dict) -> tuple[bytes, list[tuple[str, np.ndarray]]]:
    """Return the manifest, encoded, and the arrays by entry name."""
    leaves, arrays = [], []
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if is_array(leaf):
            name = jax.tree_util.keystr(key_path)
            array = _stored(name, leaf)
            readable = re.sub("[^A-Za-z0-9]+", "_", name).strip("_")[:80]
            entry = f"{len(leaves):05d}_{readable}.npy"
            leaves.append(_leaf_record(name, leaf, entry, array))
            arrays.append((entry, array))
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": _versions(),
        "x64": jax.config.read("jax_enable_x64"),
        "structure": structure_of(jax.tree.structure(tree)),
        "leaves": leaves,
        "header": header,
    }
    return _encode(manifest), arrays


def _leaf_record(name: str, leaf: Any, entry: str, array: np.ndarray) -> dict[str, Any]:
    return {
        "name": name,
        "holds": describe(leaf),
        "prng_impl": str(jax.random.key_impl(leaf)) if is_key(leaf) else None,
        "entry": entry,
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "sha256": hashlib.sha256(_bytes_of(array)).hexdigest(),
    }


def _stored(name: str, leaf: Any) -> np.ndarray:
    """Return the bits of `leaf` as a little-endian array of a dtype that every numpy knows."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise CheckpointError(f"`tree` should hold arrays; got {leaf} at `{name or 'its root'}`.")
    array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf, order="C")
    if array.dtype.kind == "V" and array.dtype.fields is None and array.dtype.itemsize in (1, 2):
        array = array.view(f"u{array.dtype.itemsize}")  # bfloat16, float8: not numpy's own dtypes
    if array.dtype.str[1:] not in STORED:
        raise CheckpointError(
            f"`tree` should hold arrays of numbers; got {array.dtype} at `{name or 'its root'}`. "
            "Leave it out, or turn it into numbers."
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _bytes_of(array: np.ndarray) -> memoryview:
    """Return the bytes of a contiguous array without a copy (numpy gives none for empty ones)."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _encode(manifest: dict) -> bytes:
    try:
        text = json.dumps(manifest, indent=1).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"`header` should be JSON-able; got {error}. Keep to dicts with text keys, lists, "
            "text, numbers, booleans and None, and put arrays into `tree`."
        ) from error
    if len(text) > MAX_MANIFEST:
        raise CheckpointError(
            f"`header` and the names of `tree` should take at most {MAX_MANIFEST} bytes as JSON; "
            f"got {len(text)}. Put large things into `tree` as arrays."
        )
    return text


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for package in ("vikl", "jax", "jaxlib", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _write_zip(file: Any, manifest: bytes, arrays: list[tuple[str, np.ndarray]]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(MANIFEST), manifest)
        archive.writestr(zipfile.ZipInfo(SEAL), hashlib.sha256(manifest).hexdigest())
        for name, array in arrays:
            info = zipfile.ZipInfo(name)  # its fixed date makes equal states equal files
            head = npy_header(array.dtype, array.shape)
            info.file_size = len(head) + array.nbytes  # tells zipfile whether it needs 64 bits
            with archive.open(info, "w") as entry:
                entry.write(head)
                entry.write(_bytes_of(array))


def _keep_previous(path: str) -> None:
    try:
        read(path)
    except (CheckpointError, FileNotFoundError):
        return  # never let a damaged or foreign file displace the last good one
    kept = previous(path)
    link = f"{kept}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        os.link(path, link)  # a second name, so that `path` itself never goes missing
        os.replace(link, kept)
    except OSError:  # a file system without hard links
        with contextlib.suppress(OSError):
            os.unlink(link)
        os.replace(path, kept)


def _make_durable(path: str) -> None:
    """Flush the folder, so that the rename survives a power cut."""
    with contextlib.suppress(OSError):  # the new file is in place: nothing here may undo that
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove_leftovers(path: str) -> None:
    """Remove what processes killed while saving left behind, once nobody can be writing it."""
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            temporary = entry.name.startswith((f"{name}.tmp-", f"{name}.previous.tmp-"))
            if temporary and time.time() - entry.stat().st_mtime > _STALE_SECONDS:
                os.unlink(entry.path)
