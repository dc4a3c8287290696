"""What the families made of gamma draws share: the draws, in logarithms, and Γ's functions.

Everything is written for large shapes too, where the textbook forms subtract nearly equal numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import digamma, gammaln

from .._typing import Array, PRNGKey
from ..kl._stable import STIRLING, horner

HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))
_CUBE_ROOT = 2000.0  # shapes above which gamma draws are differentiated by Wilson & Hilferty
_LOG_MOST = 10.0  # of a draw of such shapes: what is above has another slope
_LARGE = 8.0  # where the asymptotic series take over
_SERIES = STIRLING[:8]
_SLOPES = tuple((2 * k + 1) * c for k, c in enumerate(_SERIES))
_CURVES = tuple((2 * k + 1) * (2 * k + 2) * c for k, c in enumerate(_SERIES))


@jax.custom_jvp
def log_gamma_over_shape(key: PRNGKey, shape: Array) -> Array:
    """Return log(g/shape) of draws g ~ Gamma(shape, 1), implicitly differentiable.

    In logarithms, because a draw of small shape is often smaller than float32 can hold. The
    derivative that JAX has loses all digits for a large shape; there it is that of the draw of
    equal quantile by the cube root of Wilson & Hilferty, whose relative error is below 1/shape.
    """
    return jax.random.loggamma(key, shape) - jnp.log(shape)


@log_gamma_over_shape.defjvp
def _log_gamma_over_shape_jvp(primals: Any, tangents: Any) -> Any:
    key, shape = primals
    value = log_gamma_over_shape(key, shape)
    # JAX's own rule takes the elements one by one on a CPU, which is slow to compile
    small = jnp.minimum(shape, _CUBE_ROOT)
    log_g = jnp.minimum(value + jnp.log(shape), _LOG_MOST)
    g = jnp.maximum(jnp.exp(log_g), float(jnp.finfo(shape.dtype).tiny))
    near = jax.lax.random_gamma_grad(small, g)  # pyright: ignore[reportCallIssue]
    near = near / g - 1 / small
    third = jnp.where(shape > _CUBE_ROOT, value, 0.0) / 3
    far = 3 * (1 / (18 * shape) - 0.5 * jnp.expm1(third)) * jnp.exp(-third) / shape
    return value, jnp.where(shape > _CUBE_ROOT, far, near) * tangents[1]


def stirling_rest(a: Array) -> Array:
    """Return log Γ(a) − (a − ½) log a + a − ½ log 2π, which is about 1/(12 a)."""
    r = 1 / jnp.maximum(a, _LARGE)
    small = jnp.minimum(a, _LARGE)
    direct = gammaln(small) - (small - 0.5) * jnp.log(small) + small - HALF_LOG_2PI
    return jnp.where(a > _LARGE, r * horner(_SERIES, r * r), direct)


def log_minus_digamma(a: Array) -> Array:
    """Return log a − ψ(a), which is about 1/(2a) for a large a."""
    r = 1 / jnp.maximum(a, _LARGE)
    small = jnp.minimum(a, _LARGE)
    series = 0.5 * r + r * r * horner(_SLOPES, r * r)
    return jnp.where(a > _LARGE, series, jnp.log(small) - digamma(small))


def trigamma(a: Array) -> Array:
    """Return ψ′(a), a sum of positive terms but for a tiny tail."""
    shifts = int(_LARGE)
    r = 1 / (a + shifts)
    tail = r + 0.5 * r * r + r * r * r * horner(_CURVES, r * r)
    return tail + sum(((a + k) ** -2 for k in range(1, shifts)), a**-2)


# -- what `init` solves, once, by NumPy in float64


def concentrations_of(loc: Any, variance: Any) -> np.ndarray:
    """Return log α, shape (k, n), of Dirichlets whose sticks' logits have these moments.

    The logit of the share that part i takes of what the parts before it left has the mean
    ψ(α_i) − ψ(Σ_{j>i} α_j), which is to be `loc`[i], shape (k − 1, n); the sum of their variances
    is to be `variance`, shape (n,).
    """
    loc, wanted = np.asarray(loc, np.float64), np.log(np.asarray(variance, np.float64))
    last = 0.5 - wanted
    for _ in range(60):
        # the total falls with the power −1 to −2 of the concentration, so the error shrinks by 2/3
        logs, total = _chain(last, loc)
        last = last + (np.log(total) - wanted) / 1.5
    return logs


def _chain(last: np.ndarray, loc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log α with the last one given, from the last to the first, and the variances' sum."""
    logs, rest, total = [last], np.exp(last), np.zeros_like(last)
    for mean in loc[::-1]:
        log_alpha = _inverse_digamma(_digamma(rest) + mean)
        total = total + _trigamma(np.exp(log_alpha)) + _trigamma(rest)
        rest = rest + np.exp(log_alpha)
        logs.append(log_alpha)
    return np.stack(logs[::-1]), total


def concentration_of(variance: Any) -> np.ndarray:
    """Return log a with ψ′(a) = `variance`."""
    wanted = np.log(np.asarray(variance, np.float64))
    log_a = 0.5 - wanted
    for _ in range(60):
        log_a = log_a + (np.log(_trigamma(np.exp(log_a))) - wanted) / 1.5
    return log_a


def _inverse_digamma(value: np.ndarray) -> np.ndarray:
    """Return log x with ψ(x) = `value`, by Newton's method from Minka's start."""
    low = np.minimum(value, -2.22)
    x = np.where(value >= -2.22, np.exp(np.maximum(value, -2.22)) + 0.5, -1 / (low + 0.5772))
    for _ in range(8):
        x = x - (_digamma(x) - value) / _trigamma(x)
    return np.log(x)


_STEPS = np.arange(16.0)


def _digamma(x: np.ndarray) -> np.ndarray:
    r = 1 / (x + 16.0)
    series = -np.log(r) - 0.5 * r - r**2 * np.polyval(_SLOPES[::-1], r**2)
    return series - np.sum(1 / (x[..., None] + _STEPS), axis=-1)


def _trigamma(x: np.ndarray) -> np.ndarray:
    r = 1 / (x + 16.0)
    series = r + 0.5 * r**2 + r**3 * np.polyval(_CURVES[::-1], r**2)
    return series + np.sum((x[..., None] + _STEPS) ** -2, axis=-1)


def check_concrete(*values: Any) -> None:
    """Refuse tracers where `init` solves for its parameters outside JAX."""
    if any(isinstance(v, Tracer) for v in values):
        raise TypeError(
            "`init` of this family solves for its concentrations outside JAX, so `loc` and "
            "`scale` should be numbers, not traced; make the family outside `jit` and `vmap`, or "
            "give the class its arrays."
        )
