"""Normalising flows of flowjax as families."""

from typing import Any, ClassVar

import equinox as eqx

from .._doors import require
from .._typing import PRNGKey, Scalar, Vector
from ._base import Family


class Flow(Family):
    """Any one-dimensional-event distribution of flowjax as a family: flows, trained by `vikl.fit`.

    The flow's own arrays are the parameters; what flowjax wraps (positive scales, weights that do
    not train) is unwrapped at each use. Neither mean, covariance nor entropy has a closed form:
    `posterior.sample` is the way to them.

    Args:
        distribution: an unconditional flowjax distribution of shape (dim,), such as
            `flowjax.flows.masked_autoregressive_flow(key, base_dist=..., invert=False)` or a
            `coupling_flow`. With `invert=True`, flowjax's default, sampling is slow (it inverts
            the network by search) and scoring is fast; reverse KL samples and scores its own
            draws, so it wants `invert=False`.

    Raises:
        TypeError: not a flowjax distribution.
        ValueError: a conditional one, or one whose shape is not (dim,).
        ImportError: flowjax is not installed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flowjax.distributions import Normal
        >>> q = Flow(Normal(jnp.zeros(2), jnp.ones(2)))
        >>> q.dim, f"{q.log_prob(jnp.zeros(2)):.4f}"
        (2, '-1.8379')

    References:
        Rezende & Mohamed (2015), Variational inference with normalizing flows.
        Ward (2024), FlowJAX: distributions and normalizing flows in JAX.
    """

    arrays: Any
    rest: Any = eqx.field(static=True)

    reparameterized: ClassVar[bool] = True

    def __init__(self, distribution: Any):
        kind = require("flowjax.distributions").AbstractDistribution
        if not isinstance(distribution, kind):
            raise TypeError(
                f"`distribution` should be a flowjax distribution; got "
                f"{type(distribution).__name__}. Make one by `flowjax.flows.coupling_flow`, or "
                "subclass `vikl.families.Family` for something else."
            )
        if distribution.cond_shape is not None or len(distribution.shape) != 1:
            raise ValueError(
                f"`distribution` should be unconditional and of shape (dim,); got shape "
                f"{distribution.shape} and conditioning shape {distribution.cond_shape}."
            )
        # functions and sizes apart, so that the leaves are arrays only
        self.arrays, self.rest = eqx.partition(distribution, eqx.is_array)

    @property
    def distribution(self) -> Any:
        """The flowjax distribution."""
        return eqx.combine(self.arrays, self.rest)

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.distribution.shape[0]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density, in one pass through the flow."""
        return _unwrapped(self).sample_and_log_prob(key)

    def log_prob(self, x: Vector) -> Scalar:
        """Return log q(x), by the inverse of the flow."""
        return _unwrapped(self).log_prob(x)


def _unwrapped(family: Flow) -> Any:
    return require("paramax").unwrap(family.distribution)
