"""What turns a formula into a public kernel: dtypes, shapes, checks and the NaN of invalid input.

    @kernel(loc_p=real, scale_p=positive, loc_q=real, scale_q=positive)
    def normal(loc_p, scale_p, loc_q, scale_q): ...

The formula gets arrays of one dtype, float32 or float64, already compatible in shape. Around it,
the decorator raises `TypeError` or `ValueError` for input that is wrong and known (not traced),
gives NaN where traced input is invalid, and returns half precision for half precision. The
validity test is part of the compiled kernel, so that outside jit it costs one small transfer.
"""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._typing import Array, Float

#: What a kernel takes: a float array of JAX or NumPy, or a Python number.
Value = Float[Array, "..."] | Float[np.ndarray, "..."] | float
P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class Argument(NamedTuple):
    """What an argument must be: the words for the error, the test, and its trailing event axes."""

    should_be: str
    valid: Callable[[Array], Array]
    event: tuple[str, ...] = ()
    integers: bool = False  # whether integer arrays are allowed

    def over(self, *event: str) -> "Argument":
        """Return the same constraint on every entry of an array whose last axes are `event`."""
        axes = tuple(range(-len(event), 0))
        return self._replace(event=event, valid=lambda x: self.valid(x).all(axes))


def _is_simplex(x: Array) -> Array:
    tolerance = 1e-8 if x.dtype == np.float64 else 1e-5
    total = jnp.where(x >= 0, x, jnp.inf).sum(-1)  # one pass: what is negative or NaN shows in it
    return jnp.abs(total - 1.0) <= tolerance * np.sqrt(x.shape[-1])


def _is_scale_tril(x: Array) -> Array:
    upper = jnp.triu(jnp.ones(x.shape[-2:], bool), 1)
    diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)
    return jnp.where(upper, x == 0, jnp.isfinite(x)).all((-2, -1)) & (diagonal > 0).all(-1)


def _is_covariance(x: Array) -> Array:
    scale = jnp.sqrt(jnp.abs(jnp.diagonal(x, axis1=-2, axis2=-1)))
    tolerance = 1e-5 * scale[..., :, None] * scale[..., None, :]
    symmetric = (jnp.abs(x - jnp.swapaxes(x, -1, -2)) <= tolerance).all((-2, -1))
    return symmetric & jnp.isfinite(jax.lax.linalg.cholesky(x)).all((-2, -1))


real = Argument("a finite number", jnp.isfinite)
positive = Argument("positive and finite", lambda x: (x > 0) & (x < jnp.inf))
non_negative = Argument("zero or positive, and finite", lambda x: (x >= 0) & (x < jnp.inf))
count = Argument(
    "a count: zero or positive, and finite", lambda x: (x >= 0) & (x < jnp.inf), integers=True
)
extended = Argument("a number (it may be infinite)", lambda x: ~jnp.isnan(x))
probability = Argument("a probability, between 0 and 1", lambda x: (x >= 0) & (x <= 1))
interior_probability = Argument("a probability above 0, at most 1", lambda x: (x > 0) & (x <= 1))
open_probability = Argument("a probability strictly between 0 and 1", lambda x: (x > 0) & (x < 1))
simplex = Argument(
    "probabilities that are not negative and sum to one along the last axis (divide by their sum)",
    _is_simplex,
    ("classes",),
)
logits = Argument(
    "logits along the last axis: no NaN, no +inf, and at least one above -inf",
    lambda x: (x < jnp.inf).all(-1) & (x > -jnp.inf).any(-1),
    ("classes",),
)
scale_tril = Argument(
    "a lower triangular matrix with a positive diagonal (the Cholesky factor of a covariance)",
    _is_scale_tril,
    ("dim", "dim"),
)
covariance = Argument("a symmetric positive definite matrix", _is_covariance, ("dim", "dim"))

_CHECKED = contextvars.ContextVar("vikl_kl_checked", default=False)


@contextlib.contextmanager
def _checking() -> Iterator[None]:
    token = _CHECKED.set(True)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def checked(function: Callable[P, Any]) -> Callable[P, Any]:
    """Return `function` with its divergences raising on invalid values also inside jit.

    A kernel gives NaN for invalid traced input. Wrapped in `checked`, the same input raises an
    error at run time, through `equinox.error_if`, which costs a host callback.

    Args:
        function: a kernel, `kl_divergence`, or any function that calls them.

    Raises:
        RuntimeError: when the compiled function meets an invalid value.

    >>> import jax
    >>> from vikl import kl
    >>> float(jax.jit(kl.checked(kl.exponential))(1.0, 1.0))
    0.0
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        with _checking():
            return function(*args, **kwargs)

    return wrapped


def _as_arrays(
    name: str, specs: dict[str, Argument], values: dict[str, Any]
) -> tuple[dict[str, Array], Any]:
    """Return the arguments as arrays of one float dtype, and the dtype of the result."""
    dtypes = []
    for key, value in values.items():
        if isinstance(value, (bool, complex)) or value is None:
            raise TypeError(f"{name}: `{key}` should be a float array; got {value!r}.")
        if isinstance(value, (int, float)):
            continue  # a Python number takes the dtype of the others
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value, float).dtype
        if specs[key].integers and jnp.issubdtype(dtype, jnp.integer):
            continue
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{name}: `{key}` should be an array of floats; got dtype {dtype}. "
                f"Convert it with `.astype(float)`."
            )
        if hasattr(value, "dtype"):
            dtypes.append(jax.dtypes.canonicalize_dtype(dtype))
    default = jax.dtypes.canonicalize_dtype(np.float64)
    result = functools.reduce(jnp.promote_types, dtypes) if dtypes else default
    # half precision is computed in float32 (spelled out: strict promotion refuses to mix them)
    compute = result if result.itemsize >= 4 else np.dtype(np.float32)
    return {k: jnp.asarray(v, compute) for k, v in values.items()}, result


def _check_shapes(name: str, specs: dict[str, Argument], arrays: dict[str, Array]) -> None:
    """Raise unless event axes agree exactly and batch axes broadcast."""
    axes: dict[str, tuple[str, int]] = {}
    batches = []
    for key, array in arrays.items():
        event = specs[key].event
        if array.size == 0:
            raise ValueError(f"{name}: `{key}` is empty; its shape is {array.shape}.")
        if array.ndim < len(event):
            raise ValueError(
                f"{name}: `{key}` should have the trailing axes ({', '.join(event)}); "
                f"got shape {array.shape}."
            )
        for axis, size in zip(event, array.shape[array.ndim - len(event) :], strict=True):
            other, expected = axes.setdefault(axis, (key, size))
            if size != expected:
                raise ValueError(
                    f"{name}: the axis `{axis}` has length {size} in `{key}` {array.shape} but "
                    f"{expected} in `{other}` {arrays[other].shape}; events must agree exactly."
                )
        batches.append(array.shape[: array.ndim - len(event)])
    try:
        np.broadcast_shapes(*batches)
    except ValueError:
        shapes = ", ".join(f"`{k}` {a.shape}" for k, a in arrays.items())
        raise ValueError(
            f"{name}: the batch shapes do not broadcast: {shapes}. Add axes of length one where "
            f"a dimension should be repeated."
        ) from None


def _first_invalid(name: str, spec: Argument, key: str, array: Array) -> str:
    bad = np.argwhere(~np.asarray(spec.valid(array)))
    where = tuple(int(i) for i in bad[0]) if len(bad) else ()
    at = f" at index {where}" if where else ""
    got = np.asarray(array)[where]
    return f"{name}: `{key}` should be {spec.should_be}; got {got}{at}."


def kernel(**specs: Argument) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
    """Make a public kernel of a formula; one `Argument` per parameter."""

    def decorate(formula: Callable[P, Array]) -> Callable[P, Array]:
        name = formula.__name__
        signature = inspect.signature(formula)
        if tuple(signature.parameters) != tuple(specs):
            raise TypeError(f"{name}: the constraints {tuple(specs)} do not match {signature}.")

        @jax.jit
        def compiled(arrays: dict[str, Array]) -> tuple[Array, Array]:
            value = formula(**arrays)  # type: ignore[call-arg]
            valid = [spec.valid(arrays[key]) for key, spec in specs.items()]
            everywhere = functools.reduce(jnp.logical_and, valid)
            return jnp.where(everywhere, value, jnp.nan), jnp.stack([v.all() for v in valid])

        @functools.wraps(formula)
        def call(*args: P.args, **kwargs: P.kwargs) -> Array:
            values = signature.bind(*args, **kwargs).arguments
            arrays, dtype = _as_arrays(name, specs, values)
            _check_shapes(name, specs, arrays)
            traced = any(isinstance(array, Tracer) for array in arrays.values())
            if _CHECKED.get() and traced:
                for key, spec in specs.items():
                    message = f"{name}: `{key}` should be {spec.should_be}."
                    arrays[key] = eqx.error_if(arrays[key], ~spec.valid(arrays[key]), message)
            value, flags = compiled(arrays)
            if not traced and not isinstance(flags, Tracer) and not np.all(flags):
                key = list(specs)[int(np.argmin(np.asarray(flags)))]
                raise ValueError(_first_invalid(name, specs[key], key, arrays[key]))
            return value.astype(dtype)

        return call

    return decorate
