"""Targets from NumPyro models (the only place that knows numpyro's inference utilities)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._doors import require
from .._typing import PyTree, Scalar, Vector
from ._layout import Layout, layout_of
from ._problem import Problem
from ._supports import Support, parse_support


class NumpyroProblem(Problem):
    """A NumPyro model: latent sites are the parameters, its arguments are the data."""

    model: Callable
    layout: Layout = eqx.field(static=True)
    #: the supports of the latent sites by name, None for one that vikl has no name for
    site_supports: tuple[tuple[str, Support | None], ...] = eqx.field(static=True)

    def _sites(self, x: Vector) -> dict[str, Any]:
        return self.layout.constrain(x)[0]  # all real here: numpyro applies the supports itself

    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Return the log joint at unconstrained sites, log Jacobians included."""
        args, kwargs = data
        energy = require("numpyro.infer.util").potential_energy
        return -jnp.asarray(
            energy(self.model, args, kwargs, self._sites(x)), dtype=self.layout.dtype
        )

    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return constrained latent sites and deterministic sites by name."""
        args, kwargs = data
        constrain = require("numpyro.infer.util").constrain_fn
        return constrain(self.model, args, kwargs, self._sites(x), return_deterministic=True)

    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the flat vector of the latent sites (deterministic ones are ignored)."""
        args, kwargs = data
        latent = {leaf.name: values[leaf.name] for leaf in self.layout.leaves}
        raw = require("numpyro.infer.util").unconstrain_fn(self.model, args, kwargs, latent)
        return self.layout.unconstrain(raw)


def numpyro_problem(model: Callable, args: tuple, kwargs: dict) -> NumpyroProblem:
    """Trace a NumPyro model once, find its latent sites and describe them.

    Raises:
        TypeError: `model` is not callable, or has a discrete latent site.
        ValueError: the model raises, has no latent site, or subsamples its data.
    """
    if not callable(model):
        raise TypeError(
            f"`model` should be a NumPyro model (a function); got {model!r} of type "
            f"{type(model).__name__}. Pass the function, and its arguments after it."
        )
    trace = _trace(model, args, kwargs)
    latent = {
        name: site
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    _check_sites(trace, latent)
    values = {name: site["value"] for name, site in latent.items()}
    unconstrain = require("numpyro.infer.util").unconstrain_fn
    shapes = jax.eval_shape(lambda v: unconstrain(model, args, kwargs, v), values)
    supports = tuple((name, _support_of(site["fn"].support)) for name, site in latent.items())
    return NumpyroProblem(model=model, layout=layout_of(shapes, None), site_supports=supports)


def _support_of(constraint: Any) -> Support | None:
    while hasattr(constraint, "base_constraint"):  # of independent coordinates
        constraint = constraint.base_constraint
    try:
        return parse_support(constraint, "a site")
    except ValueError:
        return None


def _trace(model: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    handlers = require("numpyro.handlers")
    try:
        seeded = handlers.seed(model, jax.random.key(0))
        return handlers.trace(seeded).get_trace(*args, **kwargs)
    except Exception as error:
        raise ValueError(
            f"`model` raised {type(error).__name__} when run with the given arguments: {error}. "
            "Check that `Target.from_numpyro(model, *args, **kwargs)` gets what the model takes."
        ) from error


def _check_sites(trace: dict[str, Any], latent: dict[str, Any]) -> None:
    if not latent:
        raise ValueError(
            "`model` should have at least one latent sample site; got "
            f"{list(trace) or 'no sites'}. Do not condition on every site."
        )
    for name, site in trace.items():
        if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
            raise ValueError(
                f"`model` subsamples the plate {name!r} ({site['args'][1]} of {site['args'][0]} "
                "rows), which would make the log density random. Give it all rows."
            )
    for name, site in latent.items():
        if site["fn"].support.is_discrete:
            raise TypeError(
                f"`model` has the discrete latent site {name!r} ({type(site['fn']).__name__}), "
                "which has no gradient. Sum it out of the model, for example with "
                "`numpyro.distributions.MixtureSameFamily`."
            )
