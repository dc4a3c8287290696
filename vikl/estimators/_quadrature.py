"""Deterministic expectations on a grid, for one or two dimensions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Float, PRNGKey, Scalar
from ..families import Family
from ._base import Draws, Estimator, Integrand, expectation_negative_elbo, weighted_expectation

_MOST_NODES = 4_000_000


class Quadrature(Estimator):
    """E_q[f] = ∫ q f by the trapezoid rule on a fixed grid: no noise at all, for low dimensions.

    For smooth integrands that vanish at the ends the rule converges faster than any power of
    the spacing: some ten nodes for each standard deviation of the narrower of p and q are exact
    to rounding (in float64). The grid must reach wherever p or q has mass, since nothing outside
    it counts; the key and the objective's `num_samples` are not used.

    Args:
        lower: the lower end in each coordinate, unconstrained, a number or shape (dim,).
        upper: the upper end.
        num_nodes: points in each coordinate; their number to the power dim are evaluated.

    Raises:
        ValueError: the ends are not in order, or there are too many points.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)
        >>> objective = vikl.objectives.ReverseKL(Quadrature(-12.0, 12.0, 200))
        >>> q = vikl.families.MeanFieldNormal.init(jnp.ones(1))
        >>> print(f"{objective(q, target, jax.random.key(0))[1]['elbo']:.5f}")  # ½ log 2π − ½
        0.41894

    References:
        Trefethen & Weideman (2014), The exponentially convergent trapezoidal rule.
    """

    lower: tuple[float, ...] | float = eqx.field(static=True)
    upper: tuple[float, ...] | float = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True)

    def strata(self, num_samples: int) -> tuple[int, ...]:
        """Return nothing: no draw is held."""
        return ()

    def __init__(self, lower: Any, upper: Any, num_nodes: int = 2001):
        low, high = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        if not (low < high).all() or not np.isfinite(high - low).all():
            raise ValueError(
                f"`lower` should be below `upper`, both finite; got {lower} and {upper}. Give the "
                "ends of a box that holds nearly all mass of p and of q."
            )
        if num_nodes < 2:
            raise ValueError(f"`num_nodes` should be at least 2; got {num_nodes}.")
        self.lower, self.upper = (
            v.item() if v.ndim == 0 else tuple(v.tolist()) for v in (low, high)
        )
        self.num_nodes = num_nodes

    def expectation(
        self, integrand: Integrand, family: Family, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Float[Array, " n"]]:
        """Return the integral, and its terms times their number, whose mean it is."""
        return weighted_expectation(self.draws(family, key, num_samples), integrand)

    def draws(self, family: Family, key: PRNGKey, num_samples: int) -> Draws:
        """Return the grid, weighted by the spacing times q."""
        del key, num_samples
        dtype = jnp.result_type(*jax.tree.leaves(eqx.filter(family, eqx.is_inexact_array)))
        x, log_volume = self._grid(family.dim)
        x = jnp.asarray(x, dtype)
        log_q = jax.vmap(family.log_prob)(x)
        return Draws(x, log_q, log_q + jnp.asarray(log_volume, dtype))

    def negative_elbo(
        self, family: Family, target: Any, key: PRNGKey, num_samples: int
    ) -> tuple[Scalar, Scalar]:
        """Return the negative ELBO, integrated."""
        return expectation_negative_elbo(self, family, target, key, num_samples)

    def _grid(self, dim: int) -> tuple[np.ndarray, float]:
        """Return the nodes (n, dim) and the logarithm of the volume that each stands for."""
        if self.num_nodes**dim > _MOST_NODES:
            raise ValueError(
                f"`num_nodes` to the power of the dimension should be at most {_MOST_NODES}; got "
                f"{self.num_nodes} in {dim} dimensions. Use Pathwise()."
            )
        low, high = (np.broadcast_to(np.asarray(v), (dim,)) for v in (self.lower, self.upper))
        axes = [np.linspace(a, b, self.num_nodes) for a, b in zip(low, high)]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, dim)
        return nodes, float(np.sum(np.log((high - low) / (self.num_nodes - 1))))
