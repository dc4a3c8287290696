"""All that this room knows of numpyro: named distributions become families of plain arrays.

`describe(p)` gives a `Form`: the family's name, its parameters as floating arrays at one batch
shape, how many batch axes are independent factors of the event, and a transform that both sides
must share. Shapes are read from the parameters and not from `batch_shape`, which goes stale under
`jax.vmap`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vikl._doors import require
from vikl._typing import Array, Bool, PRNGKey

Params = dict[str, Array]
Valid = Bool[Array, "..."] | None


@dataclasses.dataclass(frozen=True)
class Form:
    """A distribution as arrays."""

    family: str
    params: Params
    factors: int  # how many of the last batch axes are independent factors of the event
    transform: str  # "" or the bijection that was applied to the draws
    valid: Valid  # where the parameters are in their domain; None when looked at and right
    dtype: Any  # of the parameters as given; None if all were Python numbers
    total_count: Any = None  # of the binomial


# numpyro class -> (family, the names of its parameters, how many event axes each has, transform)
_PLAIN = {
    "Normal": ("normal", {"loc": 0, "scale": 0}, ""),
    "LogNormal": ("normal", {"loc": 0, "scale": 0}, "exp"),
    "MultivariateNormal": ("multivariate_normal", {"loc": 1, "scale_tril": 2}, ""),
    "Gamma": ("gamma", {"concentration": 0, "rate": 0}, ""),
    "InverseGamma": ("gamma", {"concentration": 0, "rate": 0}, "reciprocal"),
    "Exponential": ("exponential", {"rate": 0}, ""),
    "Beta": ("beta", {"concentration1": 0, "concentration0": 0}, ""),
    "Dirichlet": ("dirichlet", {"concentration": 1}, ""),
    "Poisson": ("poisson", {"rate": 0}, ""),
    "GeometricProbs": ("geometric", {"probs": 0}, ""),
    "GeometricLogits": ("geometric", {"logits": 0}, ""),
    "BernoulliProbs": ("bernoulli", {"probs": 0}, ""),
    "BernoulliLogits": ("bernoulli", {"logits": 0}, ""),
    "BinomialProbs": ("binomial", {"probs": 0}, ""),
    "BinomialLogits": ("binomial", {"logits": 0}, ""),
    "CategoricalProbs": ("categorical", {"probs": 1}, ""),
    "CategoricalLogits": ("categorical", {"logits": 1}, ""),
    "Laplace": ("laplace", {"loc": 0, "scale": 0}, ""),
    "Logistic": ("logistic", {"loc": 0, "scale": 0}, ""),
    "Gumbel": ("gumbel", {"loc": 0, "scale": 0}, ""),
    "HalfNormal": ("half_normal", {"scale": 0}, ""),
    "VonMises": ("von_mises", {"loc": 0, "concentration": 0}, ""),
    "Uniform": ("uniform", {"low": 0, "high": 0}, ""),
}


def _float_array(side: str, name: str, value: Any) -> Array:
    """Return a parameter as a floating array (weakly typed if it was a Python number)."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        if not isinstance(value, int):
            raise TypeError(
                f"`{side}.{name}` should be floating; got dtype {array.dtype}. "
                "Do make the distribution from floating-point numbers."
            )
        array = jnp.asarray(float(value))
    if array.size == 0:
        raise ValueError(
            f"`{side}.{name}` should have at least one entry; got shape {array.shape}. "
            "Do not call this on empty batches."
        )
    return array


def compute_dtype(dtype: Any) -> Any:
    """Return the dtype to compute in: at least float32."""
    if dtype is None:
        return jnp.result_type(float)
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def _arrays(side: str, p: Any, names: Iterable[str]) -> tuple[Params, Any]:
    """Parameters in the dtype to compute in, and the dtype they were given in."""
    values = {name: _float_array(side, name, getattr(p, name)) for name in names}
    strong = [x for x in values.values() if not x.weak_type]
    dtype = jnp.result_type(*strong) if strong else None
    return {name: x.astype(compute_dtype(dtype)) for name, x in values.items()}, dtype


_RULES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "loc": ("finite", jnp.isfinite),
    "low": ("finite", jnp.isfinite),
    "high": ("finite", jnp.isfinite),
    "logits": ("a number, not NaN", lambda x: x == x),
    "scale_tril": (
        "lower triangular with a positive diagonal",
        lambda x: (
            jnp.all((x == jnp.tril(x)) & jnp.isfinite(x), (-2, -1))
            & jnp.all(jnp.diagonal(x, axis1=-2, axis2=-1) > 0, -1)
        ),
    ),
}  # every other parameter: positive and finite


def _rule(family: str, name: str) -> tuple[str, Callable[[Array], Array]]:
    if name == "probs" and family == "categorical":

        def simplex(x: Array) -> Array:
            slack = max(1e-5, 8 * float(jnp.finfo(x.dtype).eps) * x.shape[-1] ** 0.5)
            return jnp.all(x >= 0, -1) & (jnp.abs(jnp.sum(x, -1) - 1) <= slack)

        return "non-negative and sum to one", simplex
    if name == "probs":
        return "in [0, 1]", lambda x: (x >= 0) & (x <= 1)
    if name == "rate" and family == "poisson":
        return "non-negative and finite", lambda x: (x >= 0) & (x < jnp.inf)
    return _RULES.get(name, ("positive and finite", lambda x: (x > 0) & (x < jnp.inf)))


def _check(side: str, family: str, params: Params, axes: dict[str, int]) -> Valid:
    """Raise on parameters out of their domain; where they are traced, say which rows are right."""
    valid = None
    for name, value in params.items():
        words, holds = _rule(family, name)
        if not isinstance(value, Tracer):
            with jax.ensure_compile_time_eval():  # a constant of a function under jit: look at it
                good = np.asarray(holds(value))
            if not good.all():
                bad = np.asarray(value)[~good] if good.shape == value.shape else value
                raise ValueError(
                    f"`{side}.{name}` should be {words}; got {np.ravel(bad)[:4].tolist()}. "
                    "Do correct the parameter where the distribution is made."
                )
            continue
        good = holds(value)
        extra = axes[name] - (value.ndim - good.ndim)
        good = jnp.all(good, tuple(range(-extra, 0))) if extra else good
        valid = good if valid is None else jnp.logical_and(*jnp.broadcast_arrays(valid, good))
    return valid


def describe(p: Any, side: str) -> Form:
    """Return the `Form` of the numpyro distribution `p`, which the messages call `side`."""
    dist = require("numpyro.distributions")
    if not isinstance(p, dist.Distribution):
        raise TypeError(
            f"`{side}` should be a numpyro distribution; got {type(p).__name__}. "
            "Do pass e.g. `numpyro.distributions.Normal(0.0, 1.0)`; arrays belong in `vikl.info`."
        )
    if isinstance(p, dist.Independent):
        base = describe(p.base_dist, side)
        return dataclasses.replace(base, factors=base.factors + p.reinterpreted_batch_ndims)
    if isinstance(p, dist.ExpandedDistribution):
        return _expand(describe(p.base_dist, side), tuple(p.batch_shape))
    if isinstance(p, dist.LowRankMultivariateNormal):
        return _low_rank(p, side)
    if isinstance(p, dist.Chi2):
        arrays, dtype = _arrays(side, p, ["df"])
        params = {"concentration": arrays["df"] / 2, "rate": jnp.full_like(arrays["df"], 0.5)}
        return Form("gamma", params, 0, "", _check(side, "gamma", arrays, {"df": 0}), dtype)
    name = type(p).__name__
    if name not in _PLAIN or type(p) is not getattr(dist, name, None):
        return Form("", {}, 0, "", None, None)
    family, axes, transform = _PLAIN[name]
    params, dtype = _arrays(side, p, axes)
    valid = _check(side, family, params, axes)
    params = _broadcast(params, axes)
    count = getattr(p, "total_count", None) if family == "binomial" else None
    return Form(family, params, 0, transform, valid, dtype, count)


def event_axes(family: str) -> dict[str, int]:
    """How many event axes each parameter of the family has."""
    return {k: v for name, axes, _ in _PLAIN.values() if name == family for k, v in axes.items()}


def _broadcast(params: Params, axes: dict[str, int], shape: tuple[int, ...] = ()) -> Params:
    """All parameters at one batch shape."""
    batch = {k: v.shape[: v.ndim - axes[k]] for k, v in params.items()}
    whole = jnp.broadcast_shapes(shape, *batch.values())
    return {k: jnp.broadcast_to(v, whole + v.shape[len(batch[k]) :]) for k, v in params.items()}


def _expand(form: Form, shape: tuple[int, ...]) -> Form:
    if not form.family:
        return form
    params = _broadcast(form.params, event_axes(form.family), shape)
    return dataclasses.replace(form, params=params)


def _low_rank(p: Any, side: str) -> Form:
    """Return the low-rank normal as a full one (only KL does without the d x d matrix)."""
    arrays, dtype = _arrays(side, p, ["loc", "cov_factor", "cov_diag"])
    factor = arrays.pop("cov_factor")
    loc, diagonal = arrays.values()
    valid = _check(side, "multivariate_normal", arrays, {"loc": 1, "cov_diag": 1})
    cov = factor @ jnp.swapaxes(factor, -1, -2)
    diagonal = jnp.broadcast_to(diagonal, cov.shape[:-1])
    cov = cov + diagonal[..., None] * jnp.broadcast_to(
        jnp.eye(cov.shape[-1], dtype=cov.dtype), cov.shape
    )
    params = {"loc": loc, "scale_tril": jnp.linalg.cholesky(cov)}
    params = _broadcast(params, event_axes("multivariate_normal"))
    return Form("multivariate_normal", params, 0, "", valid, dtype)


def coordinates(p: Any) -> Any:
    """Return the distribution of one coordinate: what `Independent` and `expand` are made of."""
    dist = require("numpyro.distributions")
    while isinstance(p, (dist.Independent, dist.ExpandedDistribution)):
        p = p.base_dist
    return p


def lenient() -> contextlib.AbstractContextManager[Any]:
    """Numpyro's own code promotes dtypes and ranks; ours does not, and need not be lenient."""
    stack = contextlib.ExitStack()
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    return stack


def sample(p: Any, key: PRNGKey, num: int) -> Array:
    """Independent draws of p, on a new first axis."""
    with lenient():
        return p.sample(key, (num,))


def log_prob(p: Any, x: Array) -> Array:
    """Log density or probability of draws."""
    with lenient():
        return p.log_prob(x)


def in_support(p: Any, x: Array, like: Array) -> Array:
    """Whether the draws are possible under p, which numpyro's `log_prob` does not look at.

    Supports of vectors (a simplex, positive definite matrices) are not checked: they hold only to
    rounding.
    """
    with lenient():
        return _in_support(p.support, x, like)


def _in_support(constraint: Any, x: Array, like: Array) -> Array:
    base = getattr(constraint, "base_constraint", constraint)
    if base.event_dim:
        return jnp.ones_like(like, dtype=bool)
    return jnp.broadcast_to(jnp.asarray(constraint(x)), like.shape)


def check_events(p: Any, q: Any) -> None:
    """Raise when p and q differ in their events, or their batches do not broadcast."""
    dist = require("numpyro.distributions")
    for side, d in (("p", p), ("q", q)):
        if not isinstance(d, dist.Distribution):
            describe(d, side)
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise ValueError(
            f"`p` and `q` should have events of the same shape; got {tuple(p.event_shape)} and "
            f"{tuple(q.event_shape)}. Do use `.to_event` or parameters of one length."
        )
    try:
        jnp.broadcast_shapes(tuple(p.batch_shape), tuple(q.batch_shape))
    except ValueError:
        raise ValueError(
            f"`p` and `q` should have batch shapes that broadcast; got {tuple(p.batch_shape)} and "
            f"{tuple(q.batch_shape)}. Do add axes of length 1 where they differ."
        ) from None


def type_name(p: Any) -> str:
    """Return the class of a distribution, with what it wraps."""
    base = getattr(p, "base_dist", None)
    name = type(p).__name__
    return name if base is None or name in _PLAIN else f"{name}({type_name(base)})"
