"""Trees to save, and what makes two of them the same."""

import jax
import jax.numpy as jnp
import numpy as np


def small(step: int = 0) -> dict:
    return {"loc": np.arange(6.0) + step, "key": np.array([1, step], np.uint32), "step": step}


def blank() -> dict:
    return {"loc": np.zeros(6), "key": np.zeros(2, np.uint32), "step": "static"}


def bits(leaf: object) -> object:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
    if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        return str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()
    return leaf


def same(left: object, right: object) -> bool:
    a, b = jax.tree.flatten(left), jax.tree.flatten(right)
    return a[1] == b[1] and [bits(v) for v in a[0]] == [bits(v) for v in b[0]]
