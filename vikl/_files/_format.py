"""What a checkpoint file is made of: its names, limits and errors, and how leaves are described."""

import os
import struct
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

FORMAT = "vikl checkpoint"
FORMAT_VERSION = 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
MAX_MANIFEST = 16 * 2**20
#: The dtypes that stand in a file, without their byte order, which is always little-endian.
STORED = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())

Path = str | os.PathLike[str]


class CheckpointError(ValueError):
    """A checkpoint cannot be used: the message says which file, what was expected, what to do."""


class CheckpointWriteError(CheckpointError, OSError):
    """A checkpoint could not be written; what was there before is as it was."""


class DamagedError(CheckpointError):
    """Not a whole vikl checkpoint (as opposed to a sound one of something else)."""


def previous(path: Path) -> str:
    """Return where `save_tree(path, ...)` keeps the checkpoint before the newest.

    Example:
        >>> previous("run.ckpt").endswith("run.ckpt.previous")
        True
    """
    return os.path.realpath(path) + ".previous"


def is_array(leaf: Any) -> bool:
    """Whether `leaf` is stored (a template may describe it by a `jax.ShapeDtypeStruct`)."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def is_key(leaf: Any) -> bool:
    """Whether the array `leaf` consists of typed PRNG keys."""
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def describe(leaf: Any) -> str:
    """Return dtype and shape of an array as messages and manifests spell them."""
    dtype = str(leaf.dtype) if is_key(leaf) else np.dtype(leaf.dtype).name
    return f"{dtype}{list(leaf.shape)}"


def structure_of(treedef: Any) -> str:
    """Spell out the classes of a tree: two families may have equal leaves and differ in these."""
    data = treedef.node_data()
    if data is None:
        return "*" if treedef.num_leaves else "None"
    children = ",".join(structure_of(child) for child in treedef.children())
    return f"{data[0].__qualname__}({children})"


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Return the header of a `.npy` file (format 1.0), the same under every numpy."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")
