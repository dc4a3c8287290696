"""Many small posteriors of one shape at once: the automatic method as one pure JAX function."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from .._compile import compile_once
from .._typing import Array, Bool, Float, Matrix, PRNGKey, PyTree, Scalar, Vector
from ..families import FullRankNormal
from ..target import Target
from ._arguments import check_counts, check_key

_CLIMBS = 30  # Newton steps at most
_SPREAD = 2.0
_LENGTHS = 8  # of a line search, halved from one to the next
_COARSE_ROUNDS, _FINE_ROUNDS = 6, 4
_SETTLED = 0.04  # nats that one more step would win
_LOG_2PI = float(np.log(2 * np.pi))


class ManyFits(eqx.Module):
    """Fits of many targets: every array has a leading axis, one row for each.

    Args:
        family: the fitted normals, stacked; `jax.vmap` over it scores and samples.
        elbo: evidence lower bounds from fresh draws, nats.
        elbo_std_error: their standard errors.
        gain: what one more natural-gradient step promises, nats.
        converged: finite, and `gain` below 0.04 nats.
        num_gradients: gradients of the log density for each fit (a Hessian counts dim), at most.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(
        ...     lambda x, y: -0.5 * jnp.sum((y - x) ** 2), jnp.zeros(1), data=jnp.zeros(4)
        ... )
        >>> vikl.fit_many(target, jnp.ones((3, 4)), key=jax.random.key(0))
        ManyFits(3 normals, 3 converged)
    """

    family: FullRankNormal
    elbo: Float[Array, " n"]
    elbo_std_error: Float[Array, " n"]
    gain: Float[Array, " n"]
    converged: Bool[Array, " n"]
    num_gradients: int = eqx.field(static=True)

    def __repr__(self) -> str:
        done = int(np.sum(np.asarray(self.converged)))
        return f"ManyFits({len(self.elbo)} normals, {done} converged)"


class _Normal(NamedTuple):
    """A normal and what draws from it said: ELBO, whitened gradients of mean and covariance."""

    mean: Vector
    scale: Matrix
    elbo: Scalar
    error: Scalar
    step: Vector
    bend: Matrix


def fit_many(
    target: Target,
    data: PyTree,
    *,
    key: PRNGKey,
    num_starts: int = 2,
    num_draws: int | None = None,
) -> ManyFits:
    """Fit a full-rank normal to each of many targets that differ in their data, in one program.

    Newton steps from `num_starts` points climb to modes; natural-gradient steps from the one with
    the most evidence, on fixed draws, never lower the ELBO. One `vmap`: for small models this is
    a hundred times faster than a loop over `vikl.fit`. It has no second opinion and no k-hat;
    look at `converged`, and fit what is in doubt by `vikl.fit`.

    Args:
        target: one of them, made with one example of the data.
        data: the data of all, of the structure of `target.data`, each array with one more axis,
            in front.
        key: a JAX PRNG key.
        num_starts: climbs for each target.
        num_draws: draws of one step, even; None is 64, or 8 dim where that is more.

    Raises:
        TypeError: `target` is not a `Target` with data.
        ValueError: `data` does not fit `target.data`, or its arrays disagree on how many there are.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> def log_density(x, y):
        ...     return -0.5 * jnp.sum((y - x) ** 2)
        >>> target = vikl.Target.from_density(log_density, jnp.zeros(1), data=jnp.zeros(4))
        >>> y = jnp.arange(3.0)[:, None] + jnp.zeros((3, 4))
        >>> fits = vikl.fit_many(target, y, key=jax.random.key(0))
        >>> print(jnp.round(fits.family.loc[:, 0], 3), fits.converged)
        [0. 1. 2.] [ True  True  True]

    References:
        Lin, Schmidt & Khan (2020), Handling the positive-definite constraint in the Bayesian
        learning rule.
    """
    key = check_key(key)
    check_counts(num_starts=num_starts, num_draws=num_draws)
    num = _check_data(target, data)
    draws = num_draws or max(64, 8 * target.dim)
    draws += draws % 2
    keys = jax.random.split(key, num)
    family, *rest = _fit_all(target, data, keys, num_starts, draws)
    count = num_starts * _CLIMBS * (target.dim + _LENGTHS + 1)
    count += draws // 2 * (_COARSE_ROUNDS + 1) + draws * (_FINE_ROUNDS + 2)
    return ManyFits(family, *rest, num_gradients=count)


def _check_data(target: Any, data: PyTree) -> int:
    if not isinstance(target, Target) or target.data is None:
        raise TypeError(
            f"`target` should be a Target with data; got {type(target).__name__}"
            f"{'' if not isinstance(target, Target) else ' without'}. Make it by "
            "`Target.from_density(log_density, like, data=one_example)`."
        )
    one, many = jax.tree.structure(target.data), jax.tree.structure(data)
    if one != many:
        raise ValueError(
            f"`data` should have the structure of `target.data`, {one}; got {many}. Stack the "
            "examples with `jax.tree.map(lambda *v: jnp.stack(v), *examples)`."
        )
    shapes = [np.shape(v) for v in jax.tree.leaves(data)]
    singles = [np.shape(v) for v in jax.tree.leaves(target.data)]
    fits = all(s[1:] == one and len(s) == len(one) + 1 for s, one in zip(shapes, singles))
    if not fits or len({s[0] for s in shapes if s}) != 1 or not shapes[0][0]:
        raise ValueError(
            f"`data` should have the arrays of `target.data`, of shapes {singles}, each with one "
            f"more axis in front, as long in all; got shapes {shapes}. Pad what is ragged and give "
            "the log density a mask."
        )
    return shapes[0][0]


@compile_once
def _fit_all(target: Target, data: PyTree, keys: Array, num_starts: int, draws: int) -> tuple:
    def one(data, key):
        mine = eqx.tree_at(lambda t: t.data, target, data)
        return natural_gradient(mine, key, num_starts, draws)

    return jax.vmap(one)(data, keys)


def natural_gradient(
    target: Target, key: PRNGKey, num_starts: int = 2, num_draws: int = 64
) -> tuple[FullRankNormal, Scalar, Scalar, Scalar, Bool[Array, ""]]:
    """Fit one target by a pure function that `jit` and `vmap` take.

    Returns:
        The normal, its ELBO and its standard error from fresh draws, the gain that one more step
        promises, and whether it converged.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum((x - 1) ** 2), jnp.zeros(2))
        >>> q, elbo, *_ = eqx.filter_jit(natural_gradient)(target, jax.random.key(0))
        >>> print(f"{q.loc[0]:.2f} {elbo:.2f}")  # log Z = log 2π
        1.00 1.84
    """
    keys = jax.random.split(key, 4)
    dim, dtype = target.dim, target.dtype
    spread = jax.random.uniform(keys[0], (num_starts, dim), dtype, -_SPREAD, _SPREAD)
    x, scale, evidence = jax.vmap(lambda x: _climb(target, x))(
        target.start[None].astype(dtype) + spread.at[0].set(0.0)
    )
    best = jnp.argmax(jnp.where(jnp.isfinite(evidence), evidence, -jnp.inf))
    mean, scale = x[best], scale[best]
    for key, draws, rounds in (
        (keys[1], num_draws // 2, _COARSE_ROUNDS), (keys[2], num_draws, _FINE_ROUNDS)
    ):  # fmt: skip
        q = _ascend(target, mean, scale, _noise(key, draws, dim, dtype), rounds)
        mean, scale = q.mean, q.scale
    gain = 0.5 * jnp.sum(q.step**2) + 0.25 * jnp.sum(q.bend**2)
    fresh = _look(target, mean, scale, _noise(keys[3], num_draws, dim, dtype))
    finite = jnp.isfinite(fresh.elbo) & jnp.isfinite(mean).all() & jnp.isfinite(scale).all()
    tril = jnp.linalg.cholesky(scale @ scale.T)
    family = FullRankNormal.from_moments(mean, tril)
    return family, fresh.elbo, fresh.error, gain, finite & (gain < _SETTLED)


def _climb(target: Target, x: Vector) -> tuple[Vector, Matrix, Scalar]:
    """Return a mode, the scale of its curvature, and the Laplace estimate of the log evidence."""
    value_and_grad = jax.value_and_grad(target.log_density)
    lengths = 0.5 ** jnp.arange(_LENGTHS, dtype=x.dtype)

    def whitening(x):
        hessian = jax.hessian(target.log_density)(x)
        ok = jnp.isfinite(hessian).all()
        values, vectors = jnp.linalg.eigh(jnp.where(ok, -hessian, jnp.eye(len(x), dtype=x.dtype)))
        values = jnp.maximum(jnp.abs(values), 1e-6 * jnp.max(jnp.abs(values)) + 1e-30)
        return vectors / jnp.sqrt(values)[None]

    def body(carry):
        x, value, _, i = carry
        scale = whitening(x)
        value, gradient = value_and_grad(x)
        step = scale @ (scale.T @ jnp.where(jnp.isfinite(gradient), gradient, 0.0))
        values = jax.vmap(lambda length: target.log_density(x + length * step))(lengths)
        values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
        best = jnp.argmax(values)
        better = values[best] > value
        new = jnp.where(better, x + lengths[best] * step, x)
        return new, value, better & (step @ gradient > 1e-3), i + 1

    start = (x, target.log_density(x), jnp.asarray(True), jnp.asarray(0))
    x, _, _, _ = jax.lax.while_loop(lambda c: c[2] & (c[3] < _CLIMBS), body, start)
    scale = whitening(x)
    evidence = target.log_density(x) + jnp.linalg.slogdet(scale)[1]
    return x, scale, evidence


def _noise(key: PRNGKey, num: int, dim: int, dtype: Any) -> Float[Array, "num dim"]:
    """Return antithetic rows of exactly unit covariance, where there are enough of them."""
    half = jax.random.normal(key, (num // 2, dim), dtype)
    if num // 2 >= 2 * dim:
        root = jnp.linalg.cholesky(half.T @ half / (num // 2))
        half = solve_triangular(root, half.T, lower=True).T
    return jnp.concatenate([half, -half])


def _look(target: Target, mean: Vector, scale: Matrix, noise: Array) -> _Normal:
    x = mean[None] + noise @ scale.T
    values, gradients = jax.vmap(jax.value_and_grad(target.log_density))(x)
    residual = gradients @ scale + noise
    bend = noise.T @ residual / len(noise)
    elbo = values.mean() + jnp.linalg.slogdet(scale)[1] + 0.5 * len(mean) * (1 + _LOG_2PI)
    half = len(noise) // 2
    error = jnp.std((values[:half] + values[half:]) / 2) / np.sqrt(half)
    return _Normal(mean, scale, elbo, error, residual.mean(0), (bend + bend.T) / 2)


def _ascend(target: Target, mean: Vector, scale: Matrix, noise: Array, rounds: int) -> _Normal:
    """Take steps on fixed draws; one that lowers the ELBO is taken back and a quarter tried."""
    eye = jnp.eye(len(mean), dtype=mean.dtype)
    longest = 1.5 * np.sqrt(len(mean))

    def body(_, carry):
        best, rate = carry
        # positive definite whatever the bend: Lin, Schmidt & Khan (2020)
        bend = rate * best.bend
        root = jnp.linalg.cholesky(eye - bend + 0.5 * bend @ bend)
        move = jax.scipy.linalg.cho_solve((root, True), rate * best.step)
        move = move * jnp.minimum(1.0, longest / jnp.maximum(jnp.linalg.norm(move), 1e-30))
        new_scale = solve_triangular(root, best.scale.T, lower=True).T
        new = _look(target, best.mean + best.scale @ move, new_scale, noise)
        fine = jnp.isfinite(new.step).all() & jnp.isfinite(new.bend).all()
        ok = fine & (new.elbo > best.elbo - 1e-3)
        best = jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, best)
        return best, jnp.where(ok, jnp.minimum(2 * rate, 1.0), rate / 4)

    first = _look(target, mean, scale, noise)
    return jax.lax.fori_loop(0, rounds, body, (first, jnp.ones((), mean.dtype)))[0]
