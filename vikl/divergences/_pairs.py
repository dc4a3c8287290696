"""Two distributions as one problem on arrays: a common family, dtype and batch shape."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from vikl._typing import Array
from vikl.divergences import _numpyro
from vikl.divergences._numpyro import Form, Params, Valid


class Pair(eqx.Module):
    """Parameters of p and q of one family, at one batch shape; a pytree, to go into jit."""

    family: str = eqx.field(static=True)
    p: Params
    q: Params
    factors: int = eqx.field(static=True)
    valid: Valid
    dtype: Any = eqx.field(static=True)
    transform: str = eqx.field(static=True, default="")
    total_count: Any = None

    def swapped(self) -> "Pair":
        """Return the pair (q, p)."""
        return dataclasses.replace(self, p=self.q, q=self.p)

    def total(self, values: Array) -> Array:
        """Sum over the independent factors of the event."""
        return jnp.sum(values, tuple(range(-self.factors, 0))) if self.factors else values

    def finish(self, values: Array) -> Array:
        """NaN where a traced parameter was out of its domain; in the dtype of the input."""
        if self.valid is not None:
            valid = self.valid
            if self.factors and valid.ndim >= self.factors:
                valid = jnp.all(valid, tuple(range(-self.factors, 0)))
            values, valid = jnp.broadcast_arrays(values, valid)
            values = jnp.where(valid, values, jnp.nan)
        return values.astype(self.dtype)

    def as_bernoulli(self) -> "Pair":
        """One trial of a binomial."""
        return dataclasses.replace(self, family="bernoulli", total_count=None)


def unsupported(what: str, p: Any, q: Any) -> NotImplementedError:
    """Return the error for a pair without a closed form."""
    return NotImplementedError(
        f"{what} has no closed form here for `p` of type {_numpyro.type_name(p)} and `q` of type "
        f"{_numpyro.type_name(q)}. Do use `vikl.estimate_divergence(p, q, generator, "
        "key=key)`, a Monte Carlo estimate with a standard error."
    )


def pair(what: str, p: Any, q: Any) -> Pair:
    """Return the `Pair` of two numpyro distributions, or raise what `unsupported` says."""
    a, b = _numpyro.describe(p, "p"), _numpyro.describe(q, "q")
    _numpyro.check_events(p, q)
    if not a.family or not b.family:
        raise unsupported(what, p, q)
    a, b = _common_family(a, b)
    if a.family != b.family or a.transform != b.transform or a.factors != b.factors:
        raise unsupported(what, p, q)
    if a.family in ("bernoulli", "categorical", "binomial"):
        a, b = _common_parameters(a), _common_parameters(b)
        if set(a.params) != set(b.params):
            a, b = _as_logits(a), _as_logits(b)
    if a.family == "geometric":
        a, b = _as_probs(a), _as_probs(b)
    given = [d for d in (a.dtype, b.dtype) if d is not None]
    dtype = jnp.result_type(*given) if given else jnp.result_type(float)
    params_p, params_q = _align(a.family, a.params, b.params, _numpyro.compute_dtype(dtype))
    valid = _both(a.valid, b.valid)
    if a.family == "binomial":
        valid = _both(valid, _equal_counts(a, b))
    return Pair(a.family, params_p, params_q, a.factors, valid, dtype, a.transform, a.total_count)


def _both(a: Valid, b: Valid) -> Valid:
    if a is None or b is None:
        return b if a is None else a
    return jnp.logical_and(*jnp.broadcast_arrays(a, b))


def _common_family(a: Form, b: Form) -> tuple[Form, Form]:
    """Raise the special case to the general one where the two differ."""
    families = {a.family, b.family}
    if families == {"exponential", "gamma"}:
        return _as_gamma(a), _as_gamma(b)
    if families == {"normal", "multivariate_normal"}:
        return _as_dense(a), _as_dense(b)
    return a, b


def _as_gamma(form: Form) -> Form:
    if form.family == "gamma":
        return form
    rate = form.params["rate"]
    params = {"concentration": jnp.ones_like(rate), "rate": rate}
    return dataclasses.replace(form, family="gamma", params=params)


def _as_dense(form: Form) -> Form:
    if form.family != "normal" or form.factors != 1:
        return form
    loc, scale = form.params["loc"], form.params["scale"]
    eye = jnp.eye(scale.shape[-1], dtype=scale.dtype)
    tril = scale[..., None] * jnp.broadcast_to(eye, scale.shape + eye.shape[-1:])
    valid = form.valid if form.valid is None else jnp.all(form.valid, -1)
    return dataclasses.replace(
        form,
        family="multivariate_normal",
        params={"loc": loc, "scale_tril": tril},
        factors=0,
        valid=valid,
    )


def _common_parameters(form: Form) -> Form:
    """Two outcomes as a row of two: (no, yes)."""
    if form.family == "categorical":
        return form
    (name, x), *_ = form.params.items()
    no = jnp.zeros_like(x) if name == "logits" else 1 - x
    return dataclasses.replace(form, params={name: jnp.stack([no, x], -1)})


def _as_logits(form: Form) -> Form:
    if "logits" in form.params:
        return form
    x = form.params["probs"]
    positive = x > 0
    logits = jnp.where(positive, jnp.log(jnp.where(positive, x, 1)), -jnp.inf)
    return dataclasses.replace(form, params={"logits": logits})


def _as_probs(form: Form) -> Form:
    if "probs" in form.params:
        return form
    return dataclasses.replace(form, params={"probs": jax.nn.sigmoid(form.params["logits"])})


def _equal_counts(a: Form, b: Form) -> Valid:
    """Raise when the numbers of trials differ; say where, when they are traced."""
    equal = jnp.equal(*jnp.broadcast_arrays(*(jnp.asarray(f.total_count) for f in (a, b))))
    if isinstance(equal, Tracer):
        return equal
    if not bool(jnp.all(equal)):
        raise ValueError(
            f"`p.total_count` and `q.total_count` should be equal; got {a.total_count} and "
            f"{b.total_count}. Do use `vikl.estimate_divergence` for unequal counts."
        )
    return None


def _align(family: str, p: Params, q: Params, dtype: Any) -> tuple[Params, Params]:
    """Both sets of parameters at one dtype and batch shape."""
    axes = _numpyro.event_axes(family)
    if family in ("bernoulli", "binomial"):
        axes = {"probs": 1, "logits": 1}
    batch = [v.shape[: v.ndim - axes[k]] for d in (p, q) for k, v in d.items()]
    shape = jnp.broadcast_shapes(*batch)

    def raised(params: Params) -> Params:
        return {
            k: jnp.broadcast_to(v.astype(dtype), shape + v.shape[v.ndim - axes[k] :])
            for k, v in params.items()
        }

    return raised(p), raised(q)
