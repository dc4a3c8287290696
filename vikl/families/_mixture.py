"""Mixtures of normals."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import log_ndtr, logsumexp
from jax.scipy.stats import norm

from .._typing import Array, Float, PRNGKey, Scalar, Vector
from ._base import Family, check_loc, check_scale, components, cov, from_noise, mean
from ._full_rank import FullRankNormal
from ._mean_field import HALF_LOG_2PI, MeanFieldNormal

_SPREAD = 0.8  # of the first standard deviation lies between the components of `init`


class NormalMixture(Family):
    """q(x) = Σ_k w_k N(x | loc_k, L_k L_kᵀ), w = softmax(logits): a mixture of normals.

    Covers several modes where one normal must choose. Mean and covariance are exact; the entropy
    has no closed form. A draw picks a component and is differentiable in all parameters, the
    weights included, by implicit differentiation of the conditional distribution functions
    (Figurnov et al., 2018), which costs a triangular solve; `vikl.estimators.Stratified` draws
    from every component instead and needs none.

    Args:
        logits: unnormalised log weights, shape (k,).
        loc: means of the components, shape (k, dim), unconstrained space.
        log_diagonal: logarithms of the diagonals of the L_k, shape (k, dim).
        lower: the parts of the L_k below the diagonal, shape (k, dim, dim), or None where the
            components are independent in each coordinate.

    References:
        Jaakkola & Jordan (1998), Improving the mean field approximation via the use of mixture
        distributions.
        Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """

    logits: Float[Array, " k"]
    loc: Float[Array, "k dim"]
    log_diagonal: Float[Array, "k dim"]
    lower: Float[Array, "k dim dim"] | None

    reparameterized: ClassVar[bool] = True

    @staticmethod
    def init(
        loc: Array, scale: Any = 1.0, num_components: int = 4, full: bool = False
    ) -> "NormalMixture":
        """Make one with mean `loc` (dim,), sds `scale`, and equal weights.

        The components are spread about `loc` (the same way each time), so that they can part.

        Args:
            loc: the mean of the mixture, shape (dim,).
            scale: the standard deviations of the mixture, a scalar or (dim,).
            num_components: how many normals.
            full: whether each has a covariance of its own, or independent coordinates.

        Raises:
            ValueError: `scale` is not positive, or `num_components` is not.

        Example:
            >>> q = NormalMixture.init(jnp.zeros(3), 2.0, num_components=5)
            >>> q.loc.shape, bool(jnp.allclose(mean(q), 0.0, atol=1e-6))
            ((5, 3), True)
        """
        loc = jnp.asarray(loc)
        check_loc(loc)
        check_scale(scale, loc.shape, "scale")
        if num_components < 1:
            raise ValueError(f"`num_components` should be at least 1; got {num_components}.")
        spread = np.random.default_rng(0).standard_normal((num_components, loc.shape[0]))
        spread -= spread.mean(axis=0)
        spread *= 0.0 if num_components == 1 else _SPREAD / np.sqrt((spread**2).mean(axis=0))
        rest = 1.0 if num_components == 1 else np.sqrt(1.0 - _SPREAD**2)
        scales = jnp.broadcast_to(jnp.asarray(scale, loc.dtype), loc.shape)
        locs = loc[None] + jnp.asarray(spread, loc.dtype) * scales[None]
        log_diagonal = jnp.broadcast_to(jnp.log(scales * rest)[None], locs.shape)
        shape = (num_components, loc.shape[0], loc.shape[0])
        lower = jnp.zeros(shape, loc.dtype) if full else None
        return NormalMixture(jnp.zeros(num_components, loc.dtype), locs, log_diagonal, lower)

    @staticmethod
    def from_components(weights: Array, loc: Array, scale: Array) -> "NormalMixture":
        """Make one of weights (k,), means (k, dim), and sds (k, dim) or Cholesky (k, dim, dim).

        Example:
            >>> q = NormalMixture.from_components(
            ...     jnp.array([0.7, 0.3]), jnp.array([[-2.0], [2.5]]), jnp.array([[0.8], [0.6]]))
            >>> print(f"{mean(q)[0]:.2f}")
            -0.65
        """
        loc, scale = jnp.asarray(loc), jnp.asarray(scale)
        logits = jnp.log(jnp.asarray(weights, loc.dtype))
        if scale.ndim == 2:
            return NormalMixture(logits, loc, jnp.log(scale), None)
        diagonal = jnp.diagonal(scale, axis1=1, axis2=2)
        return NormalMixture(logits, loc, jnp.log(diagonal), jnp.tril(scale, -1))

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.loc.shape[1]

    @property
    def weights(self) -> Float[Array, " k"]:
        """The weights of the components, which sum to one."""
        return jax.nn.softmax(self.logits)

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw, implicitly differentiable, and its log density."""
        choice_key, noise_key = jax.random.split(key)
        k = jax.random.categorical(choice_key, stop_gradient(self.logits))
        noise = jax.random.normal(noise_key, (self.dim,), self.loc.dtype)
        chosen = jax.tree.map(lambda v: stop_gradient(v[k]), components(self)[1])
        x = _implicit(self, from_noise(chosen, noise))
        return x, self.log_prob(x)

    def log_prob(self, x: Vector) -> Scalar:
        """Return log Σ_k w_k N(x | loc_k, L_k L_kᵀ)."""
        terms = _log_normal(_standardise(self, x), self.log_diagonal)
        return logsumexp(jax.nn.log_softmax(self.logits) + jnp.sum(terms, axis=1))


def _standardise(family: NormalMixture, x: Vector) -> Float[Array, "k dim"]:
    """Return L_k⁻¹ (x − loc_k) for each component."""
    away = x[None] - family.loc
    if family.lower is None:
        return away * jnp.exp(-family.log_diagonal)
    diagonal = jax.vmap(jnp.diag)(jnp.exp(family.log_diagonal))
    tril = jnp.tril(family.lower, -1) + diagonal
    return jax.vmap(lambda l, v: solve_triangular(l, v, lower=True))(tril, away)


def _log_normal(z: Array, log_diagonal: Array) -> Array:
    return -0.5 * z * z - log_diagonal - HALF_LOG_2PI


def _implicit(family: NormalMixture, x: Vector) -> Vector:
    """Return x with the derivative −J⁻¹ ∂F/∂φ of the draw that keeps its quantiles F.

    F_i(x) is the distribution function of x_i given x_1 ... x_{i−1}. Its rows are divided by the
    conditional density, and taken from the nearer tail, so that nothing cancels far out.
    """

    def pieces(family: NormalMixture, x: Vector) -> tuple[Array, Array, Array]:
        z = _standardise(family, x)
        terms = _log_normal(z, family.log_diagonal)
        before = jnp.cumsum(terms, axis=1) - terms
        log_share = jax.nn.log_softmax(family.logits[:, None] + before, axis=0)
        return z, terms, log_share

    z, terms, log_share = pieces(family, x)
    below = jnp.sum(jnp.exp(log_share) * norm.cdf(z), axis=0)
    side = stop_gradient(jnp.where(below < 0.5, 1.0, -1.0).astype(x.dtype))
    log_density = stop_gradient(logsumexp(log_share + terms, axis=0))

    def quantile(family: NormalMixture, x: Vector) -> Vector:
        z, _, log_share = pieces(family, x)
        tail = log_share + log_ndtr(side[None] * z)
        return side * jnp.sum(jnp.exp(tail - log_density[None]), axis=0)

    held = stop_gradient(family)
    jacobian = jax.jacfwd(lambda x: quantile(held, x))(x)
    change = quantile(family, x)
    step = solve_triangular(
        stop_gradient(jacobian), change - stop_gradient(change), lower=True, unit_diagonal=True
    )
    return x - step


@components.register
def _(family: NormalMixture) -> tuple[Array, Family]:
    if family.lower is None:
        return family.weights, jax.vmap(MeanFieldNormal)(family.loc, family.log_diagonal)
    parts = jax.vmap(FullRankNormal)(family.loc, family.log_diagonal, family.lower)
    return family.weights, parts


@mean.register
def _(family: NormalMixture) -> Array:
    return family.weights @ family.loc


@cov.register
def _(family: NormalMixture) -> Array:
    weights, parts = components(family)
    within = jnp.tensordot(weights, jax.vmap(cov)(parts), 1)
    away = family.loc - mean(family)[None]
    return within + (away.T * weights[None]) @ away
