"""Compile once, and know what it cost: the cache behind every compiled function of vikl.

Floor 0. `jax.jit` keys its cache on the identity of functions, so a second `optax.adam(1e-3)`,
an equal object made anew, compiles again, and it cannot say how long compiling took. Here the
arrays of the arguments are traced and everything else is part of the key, compared by what it is:
functions of libraries (optax, jax, equinox, vikl) by their code and what they close over, and a
user's own functions by identity, because what they read from their surroundings may change.
"""

import contextlib
import contextvars
import functools
import math
import time
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_LIBRARIES = frozenset({"optax", "jax", "equinox", "vikl"})
_CAPACITY = 128
_HOLE = object()  # where a result has an array
_CONFIG = (
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_debug_nans",
    "jax_default_device",
)
#: of the compiler, for programs that it need not optimize; the fusion emitters that may be left
#: out are those of these versions, and others refuse the flag
_LITTLE: dict[str, Any] = {"xla_backend_optimization_level": 1} | (
    {"xla_cpu_use_fusion_emitters": False} if jax.__version__.startswith(("0.9.", "0.10.")) else {}
)
_PROGRAMS: weakref.WeakSet = weakref.WeakSet()
_RECORD: contextvars.ContextVar = contextvars.ContextVar("vikl_compile_record", default=None)


class CompileRecord:
    """How many programs were compiled while it was open, and for how many seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0


@contextlib.contextmanager
def record_compiles() -> Iterator[CompileRecord]:
    """Count what `compile_once` functions compile inside the block (the innermost block counts)."""
    record = CompileRecord()
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


def compile_once(fn: Callable) -> "Program":
    """Compile `fn` once for each shape of its arrays and each value of everything else.

    Array leaves of the arguments are traced; all other leaves are static. `fn` returns arrays
    (and static leaves, which come back as they were traced).
    """
    return Program(fn)


def compile_lightly(fn: Callable) -> "Program":
    """Compile `fn` once, where compiling costs more than running.

    A CPU's compiler then leaves out what takes half its time. Most programs run as fast without
    it; a loop of thousands of steps may not, and is for `compile_once`.
    """
    return Program(fn, optimize=False)


def forget_compiled() -> None:
    """Drop every compiled version: `jax.clear_caches` for what is compiled here."""
    for program in list(_PROGRAMS):
        program.cache.clear()


class Program:
    """A function and its compiled versions."""

    def __init__(self, fn: Callable, optimize: bool = True):
        functools.update_wrapper(self, fn)
        self.fn, self.options = fn, None if optimize else _LITTLE
        self.cache: OrderedDict = OrderedDict()
        _PROGRAMS.add(self)

    def __call__(self, *args: Any) -> Any:
        """Run the version for these arguments, compiling it if it is new."""
        return self.prepare(*args)(*args)

    def prepare(self, *args: Any) -> Callable:
        """Return the version for these arguments: a callable that skips looking it up.

        It may be called again with other values of the arrays, of the same shapes, and must not
        be called with other static leaves.
        """
        leaves, treedef = _flatten(args)
        arrays = [v for v in leaves if eqx.is_array(v)]
        if _jit_is_off() or any(isinstance(v, Tracer) for v in arrays):
            return self.fn  # inside someone else's trace, or with jit switched off
        key = (
            treedef,
            tuple(None if eqx.is_array(v) else fingerprint(v) for v in leaves),
            tuple((jax.typeof(v), v.sharding) for v in arrays),
            settings(),
        )
        version = self.cache.get(key)
        if version is None:
            version = self.cache[key] = _Version(self.fn, treedef, leaves, self.options)
            if len(self.cache) > _CAPACITY:
                self.cache.popitem(last=False)
        self.cache.move_to_end(key)
        return version


class _Version:
    """One compiled version of a function."""

    def __init__(self, fn: Callable, treedef: Any, leaves: list, options: dict | None):
        is_array = [eqx.is_array(v) for v in leaves]
        static = [None if flag else v for flag, v in zip(is_array, leaves)]

        def flat(arrays: list) -> list:
            given = iter(arrays)
            full = [next(given) if flag else v for flag, v in zip(is_array, static)]
            result = fn(*jax.tree.unflatten(treedef, full))
            leaves, self._structure = jax.tree.flatten(result)
            self._rest = [_HOLE if eqx.is_array(v) else v for v in leaves]
            return [v for v in leaves if eqx.is_array(v)]

        self._structure: Any = None
        self._rest: list = []
        started = time.perf_counter()
        traced = jax.jit(flat).trace([v for v in leaves if eqx.is_array(v)])
        self.work = work_of(traced.jaxpr)
        self._compiled = traced.lower().compile(options if jax.default_backend() == "cpu" else None)
        record = _RECORD.get()
        if record is not None:
            record.count += 1
            record.seconds += time.perf_counter() - started

    def __call__(self, *args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        values = self._compiled([_as_compiled(v) for v in leaves if _is_any_array(v)])
        given = iter(values)
        full = [next(given) if v is _HOLE else v for v in self._rest]
        return jax.tree.unflatten(self._structure, full)


def work_of(jaxpr: Any) -> float:
    """Return how many numbers a program computes, loops of known length counted in full."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total = 0.0
    for eqn in jaxpr.eqns:
        parts = jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_jaxpr)
        inner = sum(work_of(part) for part in parts if _is_jaxpr(part))
        size = float(sum(math.prod(getattr(v.aval, "shape", ())) for v in eqn.outvars))
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            size *= math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
        total += inner * eqn.params.get("length", 1) if inner else size
    return total


def settings() -> tuple[str, ...]:
    """Return the settings of JAX that a trace depends on."""
    return tuple(str(getattr(jax.config, name, None)) for name in _CONFIG)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def _jit_is_off() -> bool:
    return bool(getattr(jax.config, "jax_disable_jit", False))


def _is_any_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or eqx.is_array(value)


def _as_compiled(value: Any) -> Any:
    """Leave an array to the compiled program, which moves it faster, unless its type is wider."""
    if isinstance(value, np.ndarray) and jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        return jax.device_put(value)
    return value


def _flatten(args: tuple) -> tuple[list, Any]:
    """Flatten, with NumPy arrays made JAX arrays, so that both are traced and have one key.

    Not by `jnp.asarray`, which compiles a program (20 ms of CPU) for each new shape.
    """
    leaves, treedef = jax.tree.flatten(args)
    return [jax.device_put(v) if isinstance(v, np.ndarray) else v for v in leaves], treedef


class _ByIdentity:
    """An object compared by identity, kept alive so that its identity is not reused."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def fingerprint(value: Any, _seen: tuple[int, ...] = ()) -> Any:
    """Return a hashable stand-in for `value`, equal for two values that compute the same."""
    if id(value) in _seen:
        return ("cycle", _seen.index(id(value)))
    seen = (*_seen, id(value))
    if isinstance(value, types.FunctionType):
        return _function_fingerprint(value, seen)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, tuple(sorted(value.keywords.items())))
        return ("partial", *(fingerprint(v, seen) for v in parts))
    if isinstance(value, (tuple, list)):
        return (type(value), *(fingerprint(v, seen) for v in value))
    if isinstance(value, dict):
        return (dict, *((fingerprint(k), fingerprint(v, seen)) for k, v in value.items()))
    if isinstance(value, (np.ndarray, jax.Array)) and not isinstance(value, Tracer):
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(value) if is_key else value)
        return ("array", array.shape, str(value.dtype), array.tobytes())
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return (type(value), repr(value))  # repr tells 0.0 from -0.0 and equates nan with nan
    return value if _hashes(value) else _ByIdentity(value)


def _hashes(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # a tuple of lists, say
        return False
    return True


def _function_fingerprint(fn: types.FunctionType, seen: tuple[int, ...]) -> Hashable:
    if (fn.__module__ or "").split(".")[0] not in _LIBRARIES:
        return _ByIdentity(fn)
    try:
        cells = tuple(cell.cell_contents for cell in fn.__closure__ or ())
    except ValueError:  # a cell not yet filled
        return _ByIdentity(fn)
    # optax's schedules turn the integers they close over into floats when they are traced
    cells = tuple(float(v) if type(v) is int and abs(v) < 2**53 else v for v in cells)
    parts = (cells, fn.__defaults__, fn.__kwdefaults__)
    return ("function", fn.__module__, fn.__code__, *(fingerprint(p, seen) for p in parts))
