"""Supports by name, and numpyro's bijections onto them (the only place that knows them)."""

import dataclasses
from typing import Any

from .._doors import require

_ALIASES = {
    "ordered": "ordered_vector",
    "lower_triangular_positive": "lower_cholesky",
    "negative": "less_than",
}
_SINGLETONS = (
    "real",
    "positive",
    "nonnegative",
    "unit_interval",
    "simplex",
    "ordered_vector",
    "positive_ordered_vector",
    "lower_cholesky",
    "positive_definite",
    "corr_cholesky",
    "corr_matrix",
    "softplus_positive",
    "softplus_lower_cholesky",
    "circular",
)
_BOUNDED = {"interval": 2, "open_interval": 2, "greater_than": 1, "less_than": 1}


def known_supports() -> tuple[str, ...]:
    """Return the names that `support=` accepts."""
    return (*_SINGLETONS, *_BOUNDED, *_ALIASES)


@dataclasses.dataclass(frozen=True)
class Support:
    """A named set of values, hashable, so that it can be part of a compiled function's key."""

    name: str = "real"
    bounds: tuple[float, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether the map to the unconstrained space is the identity."""
        return self.name == "real"

    def constraint(self) -> Any:
        """Return numpyro's constraint object of this support."""
        constraint = getattr(require("numpyro.distributions.constraints"), self.name)
        return constraint(*self.bounds) if self.bounds else constraint

    def bijection(self) -> Any:
        """Return numpyro's map from the unconstrained space onto this support."""
        return require("numpyro.distributions.transforms").biject_to(self.constraint())

    def unconstrained_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, before the map, of a value of shape `shape`."""
        return shape if self.is_real else tuple(self.bijection().inverse_shape(shape))


def parse_support(value: Any, where: str) -> Support:
    """Turn a name, a `(name, bound, ...)` tuple or a numpyro constraint into a `Support`.

    `where` names the leaf in messages.
    """
    if value is None:
        return Support()
    if isinstance(value, Support):
        return value
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return _parse_named(value, where)
    if hasattr(value, "feasible_like"):  # duck-typed: numpyro is not imported just to ask
        return _parse_constraint(value, where)
    raise TypeError(_unknown(value, where))


def _unknown(value: Any, where: str) -> str:
    return (
        f"`support` for {where} should be one of {', '.join(known_supports())}, a tuple such as "
        f"('interval', 0.0, 5.0), or a numpyro constraint; got {value!r}. "
        "Use `support=None` for values on the whole real line."
    )


def _parse_named(value: tuple, where: str) -> Support:
    name, bounds = _ALIASES.get(value[0], value[0]), value[1:]
    if value[0] == "negative":
        bounds = (0.0,)
    if name not in _SINGLETONS and name not in _BOUNDED:
        raise ValueError(_unknown(value if bounds else value[0], where))
    if len(bounds) != _BOUNDED.get(name, 0):
        raise ValueError(
            f"`support` {name!r} for {where} takes {_BOUNDED.get(name, 0)} bounds; got {bounds!r}. "
            f"Write for example ({name!r}{', 0.0, 1.0'[: 5 * _BOUNDED.get(name, 0)]})."
        )
    bounds = tuple(float(b) for b in bounds)
    if len(bounds) == 2 and not bounds[0] < bounds[1]:
        raise ValueError(
            f"`support` {name!r} for {where} should have its lower bound below its upper; "
            f"got {bounds!r}. Swap or correct them."
        )
    return Support(name, bounds)


def _parse_constraint(value: Any, where: str) -> Support:
    constraints = require("numpyro.distributions.constraints")
    for name in _SINGLETONS:
        if type(value) is type(getattr(constraints, name, None)):
            return Support(name)
    for name in _BOUNDED:
        if type(value) is getattr(constraints, name, None):
            given = [getattr(value, b) for b in ("lower_bound", "upper_bound") if hasattr(value, b)]
            try:
                return _parse_named((name, *given), where)
            except TypeError:
                break  # array bounds: refused below
    raise ValueError(
        f"`support` for {where} is the numpyro constraint {value!r}, which vikl does not map "
        f"(it knows {', '.join(known_supports())}, with scalar bounds). Use one of these, or write "
        "the change of variables and its log Jacobian into the log density."
    )
