"""Checkpoint files: the arrays of any pytree, written whole or not at all, read whole or refused.

Floor 0: imports nothing of vikl; numpy and jax only. A file is a stored (uncompressed) zip of
`.npy` entries with a `manifest.json` and the sha256 of that manifest, which holds the sha256 of
every array: nothing in it is code, no class is looked up by name, and no foreign text is parsed
but one bounded JSON document. The structure comes from the caller's template; the file only fills
its arrays. (The sums find damage, not forgery: anyone can write a sound file.)

Laws: what loads is bit for bit what was saved, or a `CheckpointError` says why not; a save that
fails or is killed at any moment leaves the newest or the previous good file readable; a file from
elsewhere runs no code and allocates no more than its own length.

`_format.py` says what a file is made of, `_write.py` and `_read.py` do the two halves.
"""

from ._format import CheckpointError as CheckpointError
from ._format import CheckpointWriteError as CheckpointWriteError
from ._format import previous as previous
from ._read import load_header as load_header
from ._read import load_tree as load_tree
from ._write import save_tree as save_tree
