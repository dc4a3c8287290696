"""`Target`: what we approximate."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PyTree, Scalar, Vector
from ._layout import element_names
from ._numpyro import numpyro_problem
from ._problem import Problem, density_problem
from ._rows import rows_problem

_SMALL_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class Target(eqx.Module):
    """An unnormalised log density on flat, unconstrained space, its data, and its names.

    Build one with `Target.from_density` or `Target.from_numpyro`. A target is a pytree whose
    array leaves (the data) are traced: fitting a second target that differs only in the values
    of its data does not recompile.
    """

    problem: Problem
    data: PyTree
    start: Array
    prior: PyTree = None

    @staticmethod
    def from_density(
        log_density: Callable,
        like: PyTree,
        support: Any = None,
        data: PyTree = None,
        prior: Any = None,
        *,
        batch_size: int | None = None,
        log_prior: Callable | None = None,
    ) -> "Target":
        """Make a target of a plain JAX function and an example of its parameters.

        With x = (x_1, ..., x_d) in the unconstrained space and θ = b(x) the bijection onto the
        supports, the target's log density is log p(θ) + log |det ∂b/∂x|: `log_density` is the
        density of the constrained values, and the Jacobian is added here.

        Args:
            log_density: `log_density(values)`, or `log_density(values, data)` where `data` is
                given; `values` has the structure of `like`. Returns log p up to a constant, in
                nats, a real scalar. With `prior`, it is the log likelihood.
            like: an example of the constrained parameters: a scalar, an array, a dict, any
                pytree of floating-point arrays (or `jax.ShapeDtypeStruct`s). Values that lie
                inside their support are the starting point; others give the shape only.
            support: where each leaf lives: a name (`"positive"`, `"unit_interval"`, `"simplex"`,
                `"ordered"`, `"lower_cholesky"`, ...), `("interval", 0.0, 5.0)`, or a numpyro
                constraint; one for all leaves, a pytree like `like`, or a dict that names some
                keys. None is the whole real line.
            data: a pytree handed on to `log_density`; its arrays are traced.
            prior: a family (for example `MeanFieldNormal`) on the flat unconstrained space. Then
                `log_density` is the log likelihood, the log density is the sum of both, and the
                analytic form of the ELBO is available.
            batch_size: rows of a minibatch. Then every array of `data` has one row for each
                observation, `log_density(values, rows)` is the log likelihood of any rows, summed
                over them, and the automatic method looks at `batch_size` of them at a time and
                weighs them up itself.
            log_prior: with `batch_size`: `log_prior(values)`, the log prior in nats.

        Raises:
            TypeError: not a function; integer leaves; a complex, integer or missing result; an
                unknown support.
            ValueError: the function raises or returns an array; a support that does not fit.

        Example:
            >>> import jax.numpy as jnp
            >>> from jax.scipy.stats import gamma
            >>> target = Target.from_density(
            ...     lambda v: gamma.logpdf(v["rate"], 3.0), like={"rate": 1.0}, support="positive"
            ... )
            >>> target.dim, target.names
            (1, ('rate',))
        """
        data = _as_arrays(data)
        problem: Problem
        if batch_size is not None:
            problem = rows_problem(log_density, like, support, data, batch_size, log_prior)
        elif log_prior is not None:
            raise ValueError(
                "`log_prior` goes with `batch_size`, which is None. Add it to the log density."
            )
        else:
            problem = density_problem(log_density, like, support, data)
        if prior is not None:
            _check_prior(prior, problem.layout.dim)
        start = jax.device_put(problem.layout.start(like))  # compiles nothing
        return Target(problem, data, start, prior)

    @staticmethod
    def from_numpyro(model: Callable, *args: Any, **kwargs: Any) -> "Target":
        """Make a target of a NumPyro model and its arguments.

        Array arguments are traced data, so a second data set of the same shapes does not
        recompile; Python numbers stay static (they may set plate sizes). Draws come back as a
        dict of the latent sites, constrained, with the deterministic sites computed.

        Raises:
            TypeError: not a function, or a discrete latent site.
            ValueError: the model raises, has no latent site, or subsamples a plate.

        Example:
            >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
            >>> def model(y):
            ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
            ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
            >>> Target.from_numpyro(model, jnp.array([1.0, 2.0])).names
            ('mu',)
        """
        data = _as_arrays((args, kwargs))
        problem = numpyro_problem(model, *data)
        return Target(problem, data, jnp.zeros(problem.layout.dim, problem.layout.dtype))

    @property
    def dim(self) -> int:
        """The number of unconstrained coordinates."""
        return self.problem.layout.dim

    @property
    def dtype(self) -> np.dtype:
        """The floating-point type of the flat vector."""
        return np.dtype(self.problem.layout.dtype)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each unconstrained coordinate, such as `theta[3]`."""
        return self.problem.layout.names

    def log_density(self, x: Vector) -> Scalar:
        """Return log p(b(x)) + log |det ∂b/∂x| at the flat `x`, up to a constant, in nats."""
        value = self.problem.log_density(x, self.data)
        return value if self.prior is None else value + self.prior.log_prob(x)

    def log_likelihood(self, x: Vector) -> Scalar:
        """Return the log density less the log prior, where a prior was given."""
        if self.prior is None:
            raise ValueError(
                "`target` has no prior, so its log likelihood is not known apart. Give one: "
                "`Target.from_density(log_likelihood, like=..., prior=...)`."
            )
        return self.problem.log_density(x, self.data)

    def constrain(self, x: Vector) -> PyTree:
        """Return the named, constrained values at the flat vector `x`."""
        return self.problem.constrain(x, self.data)

    def unconstrain(self, values: PyTree) -> Vector:
        """Return the flat vector of named, constrained values."""
        return self.problem.unconstrain(values, self.data)


def named_elements(values: PyTree) -> dict[str, np.ndarray]:
    """Split a pytree of stacked draws `(n, ...)` into named columns `(n,)`.

    Names are the paths of the leaves, with indices: `{"theta": (n, 8)}` gives `theta[0]` to
    `theta[7]`.
    """
    columns = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]:
        leaf = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        flat = leaf.reshape(leaf.shape[0], -1)
        columns |= dict(zip(element_names(name, leaf.shape[1:]), flat.T))
    return columns


def _as_arrays(data: PyTree) -> PyTree:
    """Make NumPy arrays JAX arrays (traced); leave Python numbers and other things static."""
    return jax.tree.map(lambda v: _as_array(v) if isinstance(v, np.ndarray) else v, data)


def _as_array(values: np.ndarray) -> Array:
    """Make a NumPy array JAX's, and refuse what JAX would change on the way.

    Raises:
        TypeError: text or objects.
        ValueError: numbers that do not fit the 32 bits that JAX would give them.
    """
    if values.dtype.kind not in "biufc" and values.dtype.name not in _SMALL_FLOATS:
        raise TypeError(
            f"`data` should hold arrays of numbers; got one of dtype {values.dtype} and shape "
            f"{values.shape}. Turn text and objects into numbers first."
        )
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = jnp.asarray(values)
    if found.dtype != values.dtype:
        again = np.asarray(found)
        lost = again != values if values.dtype.kind in "iu" else np.isinf(again) & ~np.isinf(values)
        if lost.any():
            raise ValueError(
                f"`data` should fit {found.dtype}, which is what JAX makes of {values.dtype}; got "
                f"{values[lost].ravel()[0]}. Rescale it, or switch on 64-bit numbers by "
                "`jax.config.update('jax_enable_x64', True)`."
            )
    return found


def _check_prior(prior: Any, dim: int) -> None:
    if not (hasattr(prior, "log_prob") and hasattr(prior, "dim")):
        raise TypeError(
            f"`prior` should be a vikl family on the flat space; got {type(prior).__name__}. "
            "Use for example `vikl.families.MeanFieldNormal.init(jnp.zeros(dim), 1.0)`, or write "
            "the log prior into the log density."
        )
    if prior.dim != dim:
        raise ValueError(
            f"`prior` should have the dimension of the target, {dim}; got {prior.dim}. "
            "It lives on the flat unconstrained vector."
        )
