"""Estimates with a standard error: KL and any f-divergence, by sampling."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vikl._compile import compile_once
from vikl._typing import Array, Bool, Float, PRNGKey
from vikl.divergences import _draws, _numpyro
from vikl.divergences import _generators as generators
from vikl.divergences._estimators import K1, AbstractEstimator, mean_and_error
from vikl.divergences._generators import Generator
from vikl.divergences._tails import tail_index

Gradient = Literal["stop", "pathwise", "score"] | None


class Estimate(eqx.Module):
    """An estimated divergence.

    Attributes:
        value: the estimate, in nats.
        std_error: its standard error; `value +- 1.96 std_error` covers the truth about 95 times
        of 100
            where `variance_is_finite`.
        variance_is_finite: whether the standard error means anything.
        method: how it was made, in words.

    Example:
        >>> import jax, numpyro.distributions as dist, vikl
        >>> p, q = dist.Normal(0.0, 1.0), dist.Normal(0.5, 1.0)  # KL(p‖q) = 0.125
        >>> found = vikl.estimate_kl(p, q, key=jax.random.key(0))
        >>> bool(found.std_error < 0.02), bool(found.variance_is_finite)
        (True, True)
    """

    value: Float[Array, "..."]
    std_error: Float[Array, "..."]
    variance_is_finite: Bool[Array, "..."]
    method: str = eqx.field(static=True)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        parts = (self.value, self.std_error, self.variance_is_finite)
        if any(isinstance(x, Tracer) for x in parts):
            return f"Estimate(traced, shape {self.value.shape}; {self.method})"
        value, error = np.asarray(self.value), np.asarray(self.std_error)
        if value.ndim:
            numbers = f"shape {value.shape}, largest std_error {error.max():.2g}"
        else:
            numbers = f"{value:.6g} ± {error:.2g} nats"
        doubt = "" if np.all(self.variance_is_finite) else "; the variance looks infinite"
        return f"Estimate({numbers}; {self.method}{doubt})"


_SEALED = (
    "The value of `estimate_kl` has no gradient of its own: the derivative of a sampled k1 or k3 "
    "is not an estimate of the derivative of KL. Do pass gradient='pathwise' or gradient='score' "
    "for a gradient estimate, or gradient='stop' to monitor the value with gradient zero."
)


@jax.custom_jvp
def _sealed(x: Array) -> Array:
    return x


@_sealed.defjvp
def _sealed_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    raise TypeError(_SEALED)


def _surrogate(p: Any, q: Any, key: PRNGKey, num_samples: int, gradient: str) -> Array:
    """Return a scalar whose derivative is an unbiased estimate of that of KL(p || q)."""
    p = _draws.expand(p, q)
    if gradient == "pathwise":
        if not p.has_rsample:
            raise NotImplementedError(
                f"The pathwise gradient needs reparameterised draws; `p` of type "
                f"{_numpyro.type_name(p)} has none. Do use gradient='score'."
            )
        return jnp.mean(_draws.log_ratio(p, q, _numpyro.sample(p, key, num_samples)), 0)
    x = jax.lax.stop_gradient(_numpyro.sample(p, key, num_samples))
    d = jax.lax.stop_gradient(_draws.log_ratio(p, q, x))
    others = (jnp.sum(d, 0, keepdims=True) - d) / (
        num_samples - 1
    )  # a baseline without its own draw
    return jnp.mean((d - others) * _numpyro.log_prob(p, x) - _numpyro.log_prob(q, x), 0)


_jitted_surrogate = eqx.filter_jit(_surrogate)


def _attach(value: Array, p: Any, q: Any, key: PRNGKey, num_samples: int, gradient: str) -> Array:
    if gradient not in ("pathwise", "score"):
        raise ValueError(
            f"`gradient` should be None, 'stop', 'pathwise' or 'score'; got {gradient!r}. "
            "Do choose 'pathwise' for reparameterised draws, else 'score'."
        )
    if isinstance(p, (list, tuple)):
        raise NotImplementedError(
            "Gradients of lists of factors are not implemented. Do sum over the factors."
        )
    surrogate = _jitted_surrogate(p, q, jax.random.fold_in(key, 1), num_samples, gradient)
    return jax.lax.stop_gradient(value - surrogate) + surrogate


def _check_key(key: Any) -> None:
    if not isinstance(key, jax.Array):
        raise TypeError(
            f"`key` should be a JAX PRNG key; got {key!r}. Do make one by `jax.random.key(0)`."
        )


def _check_count(num_samples: int) -> None:
    if num_samples < 4:
        raise ValueError(
            f"`num_samples` should be at least 4, for a standard error; got {num_samples}. "
            "Do use a few thousand."
        )


def _traceable(p: Any) -> Any:
    """Python numbers as arrays, so that other parameters do not mean another compilation."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, float) else x, p)


@eqx.filter_jit
def _run(
    estimator: AbstractEstimator, p: Any, q: Any, key: PRNGKey, num_samples: int
) -> tuple[Array, Array, Array, str]:
    return estimator.estimate(p, q, key, num_samples)


def estimate_kl(
    p: Any,
    q: Any,
    *,
    key: PRNGKey,
    num_samples: int = 4096,
    estimator: AbstractEstimator | None = None,
    gradient: Gradient = None,
) -> Estimate:
    """Monte Carlo estimate of `KL(p || q) = E_p[log p - log q]` with an honest standard error.

    The value and its gradient are separate estimates. Differentiating the value of a sampled k1
    or k3 would give the wrong gradient silently, so by default it raises; choose `gradient` to
    say what is wanted.

    Args:
        p: a numpyro distribution to draw from (or a list of factors, for `RaoBlackwellized`).
        q: one on the same space; batches broadcast, each batch entry has its own draws.
        key: of the draws.
        num_samples: how many draws.
        estimator: `K1()` (default), `K2`, `K3`, `ControlVariate`, `Antithetic`, `QuasiMonteCarlo`
        or
            `RaoBlackwellized`.
        gradient: None: differentiating raises; "stop": gradient zero; "pathwise": through
            reparameterised draws; "score": score function with a leave-one-out baseline. The last
            two use draws of their own, as many again.

    Returns:
        An `Estimate` (nats), one value for each batch entry.

    Raises:
        TypeError: if an argument is not a numpyro distribution, or on differentiating with
            gradient=None.
        ValueError: if a parameter is out of its domain, shapes do not fit or `num_samples` is too
            small.
        NotImplementedError: if the estimator or the gradient cannot be had for `p`.

    Warns:
        UserWarning: outside jit, if the estimator has infinite variance (exactly known for
        normals and
            exponential families, else judged by the tail of the ratios).

    Examples:
        >>> import jax, numpyro.distributions as dist
        >>> from vikl.divergences import estimate_kl
        >>> p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)
        >>> result = estimate_kl(p, q, key=jax.random.key(0))
        >>> abs(float(result.value) - 0.5) < 5 * float(result.std_error)
        True

    References:
        Schulman (2020), Approximating KL divergence; Owen (2023), Practical quasi-Monte Carlo
        integration.
    """
    _check_key(key)
    _check_count(num_samples)
    if not isinstance(p, (list, tuple)):
        _numpyro.describe(p, "p")
        _numpyro.describe(q, "q")
        _numpyro.check_events(p, q)
    estimator = K1() if estimator is None else estimator
    p, q = _traceable(p), _traceable(q)
    value, error, finite, words = _run(estimator, p, q, key, num_samples)
    if gradient is None:
        value = _sealed(value)
    elif gradient == "stop":
        value = jax.lax.stop_gradient(value)
    else:
        value = _attach(value, p, q, key, num_samples, gradient)
        words = f"{words}; {gradient} gradient"
    error, finite = jax.lax.stop_gradient((error, finite))
    _warn(finite, words)
    return Estimate(value, error, finite, words)


def _warn(finite: Array, words: str) -> None:
    if not isinstance(finite, Tracer) and not bool(jnp.all(finite)):
        warnings.warn(
            f"The variance of this estimate looks infinite ({words}): its standard error means "
            "nothing. Use `K1()`, or exchange what is sampled.",
            UserWarning,
            stacklevel=3,
        )


def estimate_divergence(
    p: Any,
    q: Any,
    generator: Generator | Callable[[Array], Array],
    *,
    key: PRNGKey,
    num_samples: int = 4096,
) -> Estimate:
    """Monte Carlo estimate of the f-divergence `E_q f(p/q)` of any two distributions.

    Half of the draws are from p and half from q, weighted as draws of their mixture, so that no
    ratio exceeds 2 and every term is non-negative: a bounded f (Jensen-Shannon, Hellinger, total
    variation) has a bounded error. The value is not differentiable (it raises, as in
    `estimate_kl`).

    Args:
        p: a numpyro distribution that can be sampled.
        q: one on the same space; batches broadcast.
        generator: a member of `vikl.generators`, or a plain function of u = p/q.
        key: of the draws.
        num_samples: how many draws in all.

    Returns:
        An `Estimate`, in the units of f.

    Raises:
        TypeError: if an argument is not a numpyro distribution, or on differentiating.
        ValueError: if a parameter is out of its domain, shapes do not fit or `num_samples` is too
            small.

    Warns:
        UserWarning: outside jit, if the tail of the terms looks too heavy for a variance.

    Examples:
        >>> import jax, numpyro.distributions as dist
        >>> from vikl.divergences import estimate_divergence, generators
        >>> p, q = dist.StudentT(3.0), dist.Normal(0.0, 1.0)
        >>> estimate = estimate_divergence(p, q, generators.jensen_shannon(), key=jax.random.key(0))
        >>> bool(estimate.std_error < 0.01)
        True

    References:
        Csiszár (1967); Owen and Zhou (2000), Safe and effective importance sampling.
    """
    _check_key(key)
    _check_count(num_samples)
    _numpyro.describe(p, "p")
    _numpyro.describe(q, "q")
    _numpyro.check_events(p, q)
    if not isinstance(generator, Generator):
        generator = generators.from_function(generator)
    run = _compiled_mixture if generator.compiles else _sample_mixture
    half = num_samples // 2
    value, error, finite = run(generator.parts, _traceable(p), _traceable(q), key, half)
    words = f"{generator.name}, {half} draws of each of p and q"
    error, finite = jax.lax.stop_gradient((error, finite))
    _warn(finite, words)
    return Estimate(_sealed(value), error, finite, words)


def _sample_mixture(
    parts: tuple[Any, ...], p: Any, q: Any, key: PRNGKey, half: int
) -> tuple[Array, Array, Array]:
    """Value, standard error and whether the variance is finite, half of the draws from each."""
    generator = Generator("", *parts)
    p, q = _draws.expand(p, q), _draws.expand(q, p)
    keys = jax.random.split(key)
    w = [
        _draws.log_ratio(p, q, _numpyro.sample(d, k, half)) for d, k in ((p, keys[0]), (q, keys[1]))
    ]
    terms = [_mixture_terms(generator, x) for x in w]
    means, errors = zip(*(mean_and_error(t) for t in terms), strict=True)
    value = (means[0] + means[1]) / 2
    error = jnp.sqrt(errors[0] ** 2 + errors[1] ** 2) / 2
    # a bounded f has bounded terms, whose tail needs no look
    finite = jnp.isfinite(jnp.asarray(generator.at_zero + generator.at_infinity))
    heavy = jnp.zeros(value.shape, bool)
    for t in terms:
        heavy = heavy | (tail_index(jnp.log(jnp.maximum(t, jnp.finfo(t.dtype).tiny))) >= 0.5)
    return value, error, jnp.isfinite(error) & (jnp.broadcast_to(finite, heavy.shape) | ~heavy)


_compiled_mixture = compile_once(_sample_mixture)


def _mixture_terms(generator: Generator, w: Array) -> Array:
    """`q f(p/q) / ((p + q)/2)` from w = log p - log q."""
    total = jnp.logaddexp(w, jnp.zeros_like(w))  # log((p + q) / q)
    log2 = float(np.log(2.0))
    finite = jnp.isfinite(w)
    safe = jnp.where(finite, w, 0)
    log_p = jnp.where(finite, log2 - jnp.logaddexp(-safe, jnp.zeros_like(w)), log2)
    log_q = jnp.where(finite, log2 - jnp.where(finite, total, 0), log2)
    return generator.of(log_p, log_q, w)
