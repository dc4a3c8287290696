"""How a named pytree of constrained values lies in one flat vector."""

import dataclasses
import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PyTree, Scalar, Vector
from ._supports import Support, parse_support


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One named part of the vector: its place and its two shapes."""

    name: str
    shape: tuple[int, ...]
    unconstrained_shape: tuple[int, ...]
    offset: int
    support: Support

    @property
    def size(self) -> int:
        """The number of unconstrained coordinates."""
        return math.prod(self.unconstrained_shape)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Hashable description of a pytree in a flat vector, so equal examples compile once."""

    treedef: Any
    leaves: tuple[Leaf, ...]
    dtype: str

    @property
    def dim(self) -> int:
        """The length of the flat vector."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each coordinate of the flat vector, such as `theta[3]`."""
        return tuple(
            n for leaf in self.leaves for n in element_names(leaf.name, leaf.unconstrained_shape)
        )

    def constrain(self, x: Vector) -> tuple[PyTree, Scalar]:
        """Return the constrained pytree at `x` and log |det| of the map's Jacobian."""
        values, log_det = [], jnp.zeros((), self.dtype)
        for leaf in self.leaves:
            raw = x[leaf.offset : leaf.offset + leaf.size].reshape(leaf.unconstrained_shape)
            value = raw
            if not leaf.support.is_real:
                bijection = leaf.support.bijection()
                value = bijection(raw)
                log_det = log_det + jnp.sum(bijection.log_abs_det_jacobian(raw, value))
            values.append(value)
        return jax.tree.unflatten(self.treedef, values), log_det

    def unconstrain(self, tree: PyTree) -> Vector:
        """Return the flat vector of a pytree of constrained values."""
        leaves = self.treedef.flatten_up_to(tree)
        flat = [
            (v if leaf.support.is_real else leaf.support.bijection().inv(v)).reshape(-1)
            for leaf, v in zip(self.leaves, (jnp.asarray(v, self.dtype) for v in leaves))
        ]
        return jnp.concatenate(flat)

    def start(self, tree: PyTree) -> np.ndarray:
        """Return the flat start that an example gives.

        A leaf whose values all lie inside its support keeps them; any other (zeros for a positive
        scale, a bare shape) starts at the origin of the unconstrained space.
        """
        parts = []
        for leaf, value in zip(self.leaves, self.treedef.flatten_up_to(tree)):
            part = np.zeros(leaf.size, self.dtype)
            if not isinstance(value, jax.ShapeDtypeStruct):
                raw = np.asarray(value, self.dtype)
                if not leaf.support.is_real:
                    raw = np.asarray(_unconstrained(leaf.support, jnp.asarray(raw)))
                if np.isfinite(raw).all():
                    part = raw.reshape(-1)
            parts.append(part)
        return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=0)
def _unconstrained(support: Support, value: Array) -> Array:
    """Invert a support's map, in one program: operation by operation, up to thirty are compiled."""
    return support.bijection().inv(value)


def element_names(name: str, shape: tuple[int, ...]) -> list[str]:
    """Return `name`, `name[0]`, `name[0,1]` and so on, one for each element."""
    if shape == ():
        return [name or "x"]
    return [f"{name or 'x'}[{','.join(map(str, i))}]" for i in np.ndindex(*shape)]


def layout_of(like: PyTree, support: Any) -> Layout:
    """Describe the example `like`, with the supports of its leaves.

    Raises:
        TypeError: a leaf that is not a floating-point array, or an unknown support.
        ValueError: an empty example, or a `support` whose structure does not fit `like`.
    """
    paths, treedef = jax.tree_util.tree_flatten_with_path(like)
    if not paths:
        raise ValueError(
            f"`like` should be an example of the parameters with at least one array; got {like!r}. "
            "Give for example `like=jnp.zeros(3)` or `like={'mu': 0.0, 'tau': 1.0}`."
        )
    named = [(_path_name(path), leaf) for path, leaf in paths]
    specs = [_shape_dtype(name, leaf) for name, leaf in named]
    supports = _supports_of(like, support, treedef, [name for name, _ in named])
    leaves, offset = [], 0
    for (name, _), spec, one in zip(named, specs, supports):
        leaf = Leaf(name, spec.shape, _unconstrained_shape(one, spec.shape, name), offset, one)
        leaves.append(leaf)
        offset += leaf.size
    if offset == 0:
        raise ValueError(
            f"`like` should hold at least one unconstrained coordinate; got the shapes "
            f"{[leaf.shape for leaf in leaves]}. Remove empty arrays and one-element simplices."
        )
    # float32 unless a leaf is float64: half precision is too coarse for a log density
    dtype = "float64" if any(spec.dtype == np.float64 for spec in specs) else "float32"
    return Layout(treedef, tuple(leaves), dtype)


def _path_name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _shape_dtype(name: str, leaf: Any) -> jax.ShapeDtypeStruct:
    where = f"leaf {name!r}" if name else "the array"
    if isinstance(leaf, jax.ShapeDtypeStruct):
        shape, dtype = leaf.shape, leaf.dtype
    elif isinstance(leaf, (bool, int, float, complex)):
        shape, dtype = (), np.asarray(leaf).dtype
        dtype = jnp.result_type(float) if isinstance(leaf, float) else dtype
    elif eqx.is_array_like(leaf) and hasattr(leaf, "dtype"):
        shape, dtype = np.shape(leaf), leaf.dtype
    else:
        raise TypeError(
            f"`like` should hold arrays of floating-point numbers; {where} is {leaf!r} of type "
            f"{type(leaf).__name__}. Keep what is not a parameter out of `like` (use `data`)."
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"`like` should hold floating-point numbers; {where} has dtype {dtype} and shape "
            f"{tuple(shape)}. Write 1.0 instead of 1, or `jnp.zeros({tuple(shape)})`; sum discrete "
            "parameters out of the log density."
        )
    return jax.ShapeDtypeStruct(tuple(shape), jax.dtypes.canonicalize_dtype(dtype))


def _supports_of(like: PyTree, support: Any, treedef: Any, names: list[str]) -> list[Support]:
    """Match `support` to the leaves: one for all, a pytree like `like`, or a dict of some."""
    wheres = [f"leaf {name!r}" if name else "the array" for name in names]
    if support is None or isinstance(support, (str, tuple)) or hasattr(support, "feasible_like"):
        if not isinstance(like, tuple) or not isinstance(support, tuple) or _is_one(support):
            return [parse_support(support, where) for where in wheres]
    if isinstance(support, dict) and isinstance(like, dict):
        unknown = sorted(set(support) - set(like), key=str)
        if unknown:
            raise ValueError(
                f"`support` names {unknown}, which `like` does not have; its keys are "
                f"{sorted(like, key=str)}. Use the same keys."
            )
        support = {k: _pad(support.get(k), v) for k, v in like.items()}
    try:
        flat = jax.tree.flatten(support, is_leaf=_is_one)[0]
        same = jax.tree.structure(support, is_leaf=_is_one) == treedef
    except (TypeError, ValueError):
        same, flat = False, []
    if not same:
        raise ValueError(
            f"`support` should be one support for all, or have the structure of `like`; got "
            f"{support!r} for {jax.tree.structure(like)}. Name the leaves that are not real, "
            "for example `support={'tau': 'positive'}`."
        )
    return [parse_support(s, where) for s, where in zip(flat, wheres)]


def _is_one(node: Any) -> bool:
    """Whether a node of the `support` pytree is one support rather than a container."""
    if isinstance(node, tuple):
        return bool(node) and isinstance(node[0], str) and (
            len(node) == 1 or not isinstance(node[1], str)
        )  # fmt: skip
    return node is None or not isinstance(node, (dict, list))


def _pad(support: Any, like: Any) -> Any:
    """Fill a dict of some supports up to the structure of `like`, with None (real) elsewhere."""
    if isinstance(like, dict) and isinstance(support, dict):
        return {k: _pad(support.get(k), v) for k, v in like.items()} | {
            k: v for k, v in support.items() if k not in like
        }
    if jax.tree.structure(like) == jax.tree.structure(0) or not _is_one(support):
        return support
    return jax.tree.map(lambda _: support, like)


def _unconstrained_shape(support: Support, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    try:
        return support.unconstrained_shape(shape)
    except Exception as error:
        where = f"leaf {name!r}" if name else "the array"
        raise ValueError(
            f"`support` {support.name!r} does not fit {where} of shape {shape}: {error}. "
            "Correct the shape in `like` or the support."
        ) from error
