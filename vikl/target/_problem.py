"""The contract of a target's problem, and the one made of a plain log density."""

import re
import types
import weakref
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._compile import settings
from .._typing import PyTree, Scalar, Vector
from ._layout import Layout, layout_of

_ARRAYS = (np.ndarray, np.generic, jax.Array)
#: Functions that were looked at, and with which shapes.
_CHECKED: weakref.WeakKeyDictionary[Callable, set] = weakref.WeakKeyDictionary()


class Problem(eqx.Module):
    """A log density on flat space, given its data, and the way to named values and back."""

    layout: eqx.AbstractVar[Layout]

    @abstractmethod
    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Return the log density at the flat vector `x`, log Jacobian included."""

    @abstractmethod
    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return the named, constrained values at `x`."""

    @abstractmethod
    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the flat vector of named, constrained values."""


class DensityProblem(Problem):
    """A plain function of a pytree of constrained values."""

    function: Callable
    layout: Layout = eqx.field(static=True)
    has_data: bool = eqx.field(static=True)

    def evaluate(self, values: PyTree, data: PyTree) -> Any:
        """Call the user's function, unchecked."""
        return self.function(values, data) if self.has_data else self.function(values)

    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Return the function's value plus the log Jacobian of the supports."""
        values, log_det = self.layout.constrain(x)
        return jnp.asarray(self.evaluate(values, data)).astype(self.layout.dtype) + log_det

    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return the pytree the user's function takes."""
        return self.layout.constrain(x)[0]

    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the flat vector of such a pytree."""
        return self.layout.unconstrain(values)


def density_problem(
    log_density: Callable, like: PyTree, support: Any, data: PyTree
) -> DensityProblem:
    """Check a plain log density against its example and wrap it.

    Raises:
        TypeError: `log_density` is not callable or returns something that is not a real number.
        ValueError: it raises, or returns an array that is not a scalar.
    """
    if not callable(log_density):
        raise TypeError(
            f"`log_density` should be a function of the parameters; got {log_density!r} of type "
            f"{type(log_density).__name__}. Pass the function itself, not its value."
        )
    problem = DensityProblem(
        function=log_density, layout=layout_of(like, support), has_data=data is not None
    )
    check_output(problem, data, "log_density")
    return problem


def check_output(problem: DensityProblem, data: PyTree, name: str) -> None:
    """Trace the user's function, without computing anything, and look at what it returns.

    Twice: a function that reads a random generator, a counter or the clock gives two programs, and
    a fit would compare values of different densities. Once that is seen, a repeat call with the
    same function and the same shapes is not looked at again: it is not traced again to run either.
    """
    layout = problem.layout
    call_of = (layout, *_shapes(data), settings())
    checked = _CHECKED.setdefault(problem.function, set()) if _is_kept(problem.function) else set()
    if call_of in checked:
        return
    x = jax.ShapeDtypeStruct((layout.dim,), layout.dtype)
    traced, static = eqx.partition(data, eqx.is_array)

    def call(x, traced):
        return problem.evaluate(layout.constrain(x)[0], eqx.combine(traced, static))

    try:
        (out, first), (_, second) = (_program(call, x, traced) for _ in range(2))
    except Exception as error:
        shapes = ", ".join(f"{leaf.name or 'x'}: {leaf.shape}" for leaf in layout.leaves)
        raise ValueError(
            f"`{name}` raised {type(error).__name__} when called with arrays of the shapes of "
            f"`like` ({shapes}): {error}. Make it a pure JAX function of "
            f"{'these and `data`' if problem.has_data else 'these'} (jax.numpy, no Python branches "
            "on values)."
        ) from error
    _check_scalar(out, name)
    if first != second:
        raise ValueError(
            f"`{name}` should be a pure function of its arguments; it gave two different programs "
            "when traced twice. It reads something that changes, such as a random generator, a "
            "counter or the clock: pass what it reads as `data`, or compute it once outside."
        )
    checked.add(call_of)


def _is_kept(function: Callable) -> bool:
    """Whether a callable is compared by identity: one that holds arrays has no hash, say."""
    return isinstance(function, types.FunctionType)


def _shapes(data: PyTree) -> tuple:
    """Return what a trace of a function of `data` depends on."""
    leaves, treedef = jax.tree.flatten(data)
    kinds = (jax.typeof(v) if eqx.is_array(v) else (type(v), repr(v)) for v in leaves)
    return treedef, *kinds


def _program(call: Callable, x: Any, traced: PyTree) -> tuple[Any, tuple[str, list[bytes]]]:
    """Return what a function returns, and its program and constants, as what can be compared."""
    seen = []

    def arrays_only(x, traced):
        seen.append(call(x, traced))
        return seen[0] if hasattr(seen[0], "dtype") else 0.0

    closed = jax.make_jaxpr(arrays_only)(x, traced)
    constants = [np.asarray(v).tobytes() for v in closed.consts if isinstance(v, _ARRAYS)]
    return seen[0], (re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)), constants)


def _check_scalar(out: Any, name: str) -> None:
    if isinstance(out, (float, np.floating)):
        return  # a constant: improper, which the fit reports
    if not hasattr(out, "dtype") or not hasattr(out, "shape"):
        raise TypeError(
            f"`{name}` should return one real number; got {type(out).__name__}: {out!r}. "
            "Return a scalar such as `logp.sum()`."
        )
    if out.shape != ():
        raise ValueError(
            f"`{name}` should return a scalar; got an array of shape {tuple(out.shape)}. "
            "Sum the terms: return `logp.sum()`, or take one parameter vector rather than a batch."
        )
    if not jnp.issubdtype(out.dtype, jnp.floating):
        advice = (
            "Take the real part where that is meant."
            if jnp.issubdtype(out.dtype, jnp.complexfloating)
            else "An integer has no gradient: compute in floating point."
        )
        raise TypeError(f"`{name}` should return a real float; got dtype {out.dtype}. {advice}")
