"""Entropy of named distributions, and cross-entropy."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from vikl._typing import Array, Float
from vikl.divergences import _finite, _numpyro
from vikl.divergences._numpyro import Form, Params, Valid
from vikl.divergences._pairs import Pair, pair, unsupported
from vikl.info import _logits as logits
from vikl.info._stable import negative_xlogx
from vikl.kl._registry import kl_divergence

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def gamma_entropy(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """Entropy of Gamma(a, 1), `a + lgamma(a) + (1 - a) digamma(a)`; Stirling for large a."""
    large = a > 20
    big = jnp.where(large, a, 20)
    r = 1 / big**2
    # lgamma = (a - 1/2) log a - a + log(2 pi)/2 + s / a, digamma = log a - 1/(2a) - t / a^2
    s = 1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))
    t = 1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132)))
    tail = (s + (1 - 1 / big) * t) / big - 0.5 / big
    series = 0.5 * jnp.log(big) + _HALF_LOG_2PI + 0.5 + tail
    small = jnp.where(large, 1, a)
    return jnp.where(large, series, small + gammaln(small) + (1 - small) * digamma(small))


def _poisson(rate: Array) -> Array:
    """Return a sum of 160 terms up to rate 40, the asymptotic series above."""
    small = jnp.where(rate < 40, rate, 1)[..., None]
    k = jnp.broadcast_to(jnp.arange(160, dtype=rate.dtype), (*rate.shape, 160))
    positive = small > 0
    log_rate = jnp.log(jnp.where(positive, small, 1))
    log_p = k * log_rate - small - gammaln(k + 1)
    direct = jnp.where(positive[..., 0], -jnp.sum(jnp.exp(log_p) * log_p, -1), 0)
    big = jnp.where(rate < 40, 40, rate)
    r = 1 / big
    tail = r * (1 / 12 + r * (1 / 24 + r * (19 / 360 + r * (9 / 80 + r * 863 / 2520))))
    return jnp.where(rate < 40, direct, _HALF_LOG_2PI + 0.5 + 0.5 * jnp.log(big) - tail)


def _dirichlet(a: Array) -> Array:
    total = jnp.sum(a, -1)
    return jnp.sum(gamma_entropy(a), -1) - gamma_entropy(total) - (a.shape[-1] - 1) * digamma(total)


def _geometric(form: Form) -> Array:
    x = form.params["probs"] if "probs" in form.params else jax.nn.sigmoid(form.params["logits"])
    positive = x > 0
    safe = jnp.where(positive, x, 1)
    rest = 1 - safe
    both = negative_xlogx(safe) - rest * jnp.log1p(-jnp.where(rest > 0, safe, 0))
    return jnp.where(positive, both / safe, jnp.inf)


def _rows(form: Form) -> Array:
    """Bernoulli and categorical."""
    (name, x), *_ = form.params.items()
    if form.family == "bernoulli":
        x = jnp.stack([jnp.zeros_like(x) if name == "logits" else 1 - x, x], -1)
    if name == "probs":
        return jnp.sum(negative_xlogx(x), -1)
    log_p = logits.log_softmax(x)
    positive = log_p > -jnp.inf
    log_p = jnp.where(positive, log_p, 0)
    return -jnp.sum(jnp.where(positive, jnp.exp(log_p) * log_p, 0), -1)


def _von_mises(kappa: Array) -> Array:
    i0, i1 = jax.scipy.special.i0e(kappa), jax.scipy.special.i1e(kappa)
    return math.log(2 * math.pi) + jnp.log(i0) + kappa * (i0 - i1) / i0


_FORMULAS = {
    "normal": lambda f: jnp.log(f.params["scale"]) + _HALF_LOG_2PI + 0.5,
    "multivariate_normal": lambda f: (
        jnp.sum(jnp.log(jnp.diagonal(f.params["scale_tril"], axis1=-2, axis2=-1)), -1)
        + f.params["loc"].shape[-1] * (_HALF_LOG_2PI + 0.5)
    ),
    "gamma": lambda f: gamma_entropy(f.params["concentration"]) - jnp.log(f.params["rate"]),
    "exponential": lambda f: 1 - jnp.log(f.params["rate"]),
    "beta": lambda f: _dirichlet(
        jnp.stack([f.params["concentration1"], f.params["concentration0"]], -1)
    ),
    "dirichlet": lambda f: _dirichlet(f.params["concentration"]),
    "poisson": lambda f: _poisson(f.params["rate"]),
    "geometric": _geometric,
    "bernoulli": _rows,
    "categorical": _rows,
    "laplace": lambda f: 1 + jnp.log(2 * f.params["scale"]),
    "logistic": lambda f: 2 + jnp.log(f.params["scale"]),
    "gumbel": lambda f: 1 + 0.57721566490153286 + jnp.log(f.params["scale"]),
    "half_normal": lambda f: jnp.log(f.params["scale"]) + _HALF_LOG_2PI + 0.5 - math.log(2),
    "von_mises": lambda f: _von_mises(f.params["concentration"]),
    "uniform": lambda f: jnp.log(f.params["high"] - f.params["low"]),
}


def _of_transformed(form: Form) -> Array:
    """Entropy after a bijection: add the mean of log |dy/dx|."""
    base = _FORMULAS[form.family](form)
    if form.transform == "exp":
        return base + form.params["loc"]
    # y = 1/x of a gamma variable: log |dy/dx| = -2 log x
    a, rate = form.params["concentration"], form.params["rate"]
    return base - 2 * (digamma(a) - jnp.log(rate))


def entropy(p: Any) -> Float[Array, "..."]:
    """Entropy `-E_p log p` (differential entropy for densities, which may be negative).

    Args:
        p: a numpyro distribution.

    Returns:
        One number (nats) for each batch entry.

    Raises:
        TypeError: if `p` is not a numpyro distribution.
        ValueError: if a parameter is out of its domain.
        NotImplementedError: if there is no closed form; the message says how to estimate it.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import entropy
        >>> print(round(float(entropy(dist.Normal(0.0, 1.0))), 4))
        1.4189

    References:
        Cover and Thomas (2006), Elements of information theory, chapter 8.
    """
    form = _numpyro.describe(p, "p")
    if form.family == "binomial":
        return _binomial(p)
    if form.family not in _FORMULAS:
        fallback = getattr(p, "entropy", None)
        if form.family == "" and fallback is not None:
            try:
                return fallback()
            except NotImplementedError:
                pass
        raise NotImplementedError(
            f"The entropy has no closed form here for `p` of type {_numpyro.type_name(p)}. Do "
            "average `-p.log_prob(x)` over draws `x = p.sample(key, (num_samples,))`."
        )
    dtype = jnp.result_type(float) if form.dtype is None else form.dtype
    return _compiled(form.family, form.transform, form.factors, dtype, form.params, form.valid)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _compiled(
    family: str, transform: str, factors: int, dtype: Any, params: Params, valid: Valid
) -> Array:
    """Return the formula, once for each family and shape."""
    form = Form(family, params, factors, transform, valid, dtype)
    values = _of_transformed(form) if transform else _FORMULAS[family](form)
    two = Pair(family, params, params, factors, valid, dtype)
    return two.finish(two.total(values))


def _binomial(p: Any) -> Array:
    """Return a sum over the outcomes, when the number of trials is known."""
    two = pair("The entropy", p, p)
    rows = _finite.rows(two)
    if rows is None:
        raise unsupported("The entropy of a binomial with several or traced `total_count`", p, p)
    log_p = jnp.where(rows[0] > -jnp.inf, rows[0], 0)
    return two.finish(two.total(-jnp.sum(jnp.where(log_p < 0, jnp.exp(log_p) * log_p, 0), -1)))


def cross_entropy(p: Any, q: Any) -> Float[Array, "..."]:
    """Cross-entropy `-E_p log q = entropy(p) + KL(p || q)`.

    Args:
        p: a numpyro distribution.
        q: another; the pair must be registered with `vikl.kl`.

    Returns:
        One number (nats) for each batch entry; `+inf` where p has mass outside the support of q.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: if there is no closed form.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import cross_entropy
        >>> print(round(float(cross_entropy(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))), 4))
        1.9189

    References:
        Cover and Thomas (2006), Elements of information theory.
    """
    return entropy(p) + kl_divergence(p, q)
