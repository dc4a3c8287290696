"""Targets in whitened coordinates, and the way of a family back."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PRNGKey, PyTree, Scalar, Vector
from ..families import Family, FullRankNormal, MeanFieldNormal, cov, mean
from ..fitting._natural import Moments
from ..target import Target
from ..target._layout import Layout
from ..target._problem import Problem
from ._normals import conditional_sds


class Affine(Family):
    """The distribution of x = loc + scale u with u ~ `inner`: what a fit in u is in x.

    `scale` is lower triangular (dim, dim), or (dim,) for a diagonal.
    """

    inner: Family
    loc: Array
    scale: Array

    reparameterized: ClassVar[bool] = False  # its loc and scale are not for training

    @property
    def dim(self) -> int:
        """The length of a draw."""
        return self.inner.dim

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Vector, Scalar]:
        """Return one draw and its log density."""
        u, log_prob = self.inner.sample_and_log_prob(key)
        return self.loc + _times(self.scale, u), log_prob - _log_det(self.scale)

    def log_prob(self, x: Vector) -> Scalar:
        """Return log q(x)."""
        return self.inner.log_prob(_solve(self.scale, x - self.loc)) - _log_det(self.scale)


@mean.register
def _(family: Affine) -> Array:
    return family.loc + _times(family.scale, mean(family.inner))


@cov.register
def _(family: Affine) -> Array:
    matrix = family.scale if family.scale.ndim == 2 else jnp.diag(family.scale)
    return matrix @ cov(family.inner) @ matrix.T


def _times(scale: Array, u: Array) -> Array:
    return scale @ u if scale.ndim == 2 else scale * u


def _solve(scale: Array, x: Array) -> Array:
    if scale.ndim == 2:
        return jax.scipy.linalg.solve_triangular(scale, x, lower=True)
    return x / scale


def _log_det(scale: Array) -> Scalar:
    diagonal = jnp.diagonal(scale) if scale.ndim == 2 else scale
    return jnp.sum(jnp.log(diagonal))


class Whitened(Problem):
    """The log density of u where x = loc + scale u; the data are (target, loc, scale)."""

    layout: Layout = eqx.field(static=True)

    def log_density(self, x: Vector, data: PyTree) -> Scalar:
        """Return log p(loc + scale u) + log det scale: its normaliser is that of the target."""
        target, loc, scale = data
        return target.log_density(loc + _times(scale, x)) + _log_det(scale)

    def constrain(self, x: Vector, data: PyTree) -> PyTree:
        """Return the named, constrained values at u."""
        target, loc, scale = data
        return target.constrain(loc + _times(scale, x))

    def unconstrain(self, values: PyTree, data: PyTree) -> Vector:
        """Return the u of named, constrained values."""
        target, loc, scale = data
        return _solve(scale, target.unconstrain(values) - loc)


class Coordinates(eqx.Module):
    """x = loc + scale u."""

    loc: Array
    scale: Array

    @staticmethod
    def of(q: Moments, kind: type[Family], dtype: np.dtype) -> "Coordinates":
        """Make those in which the normal `q` is standard, or nearly, for a family of this class.

        A full-rank family keeps its class under any linear map; others under a diagonal one.
        """
        if kind is FullRankNormal:
            lower = np.linalg.qr(q.scale.T)[1].T
            scale = lower * np.where(np.diagonal(lower) < 0, -1.0, 1.0)
        elif kind is MeanFieldNormal:
            scale = conditional_sds(q.scale)
        else:
            scale = np.linalg.norm(q.scale, axis=1)
        return Coordinates(*(jnp.asarray(v.astype(dtype)) for v in (q.mean, scale)))

    def target(self, target: Target) -> Target:
        """Return the target in u, starting at its origin."""
        data = (target, self.loc, self.scale)
        return Target(Whitened(target.problem.layout), data, jnp.zeros_like(self.loc))

    def back(self, family: Family) -> Family:
        """Return the family of u as one of x."""
        return _back(family, self.loc, self.scale)


@functools.singledispatch
def _back(family: Any, loc: Array, scale: Array) -> Family:
    return Affine(family, loc, scale)


@_back.register
def _(family: FullRankNormal, loc: Array, scale: Array) -> Family:
    matrix = scale if scale.ndim == 2 else jnp.diag(scale)
    return FullRankNormal.from_moments(loc + matrix @ family.loc, matrix @ family.scale_tril)


@_back.register
def _(family: MeanFieldNormal, loc: Array, scale: Array) -> Family:
    return MeanFieldNormal(loc + scale * family.loc, family.log_scale + jnp.log(scale))
