"""KL of stationary Gaussian signals, by their spectra or their autoregressive form."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Float
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._stable import log1p_deficit
from vikl.kl._normal import normal_formula
from vikl.losses._rows import Number


def spectral_kl(spectrum_p: ArrayInput, spectrum_q: ArrayInput) -> Float[Array, "..."]:
    """KL rate of two stationary Gaussian signals of mean zero, in nats per sample.

    `(1/4π) ∫ (S_p/S_q - 1 - log S_p/S_q) dω` over one period, the limit of KL(p‖q) of n samples
    divided by n (Itakura and Saito's distortion, halved). The integral is the mean over the grid,
    which converges geometrically for smooth spectra.

    Args:
        spectrum_p: power spectral density of p on `n` frequencies spaced equally over a whole
            period (`2π k/n`, k = 0, ..., n - 1, in radians per sample), last axis; positive. Any
            unit, the same for both.
        spectrum_q: the same of q; batch axes broadcast.

    Returns:
        One rate for each pair.

    Raises:
        TypeError: if an array is not floating.
        ValueError: on shapes that do not fit; outside jit, if a density is not positive and finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.losses import spectral_kl
        >>> print(round(float(spectral_kl(jnp.ones(8), jnp.full(8, 2.0))), 5))  # white noises
        0.09657

    References:
        Pinsker (1964), Information and information stability of random variables and processes.
    """
    p, dtype_p = _checks.floating("spectrum_p", spectrum_p)
    q, dtype_q = _checks.floating("spectrum_q", spectrum_q)
    p, q = _checks.last_axis("spectrum_p", p, -1), _checks.last_axis("spectrum_q", q, -1)
    p, q = _checks.broadcast_pair(("spectrum_p", "spectrum_q"), p, q)
    valid = _checks.both(_positive("spectrum_p", p), _positive("spectrum_q", q))
    x = (p - q) / q
    near = jnp.abs(x) < 0.5
    ratio = jnp.where(near, 1, p / q)
    terms = jnp.where(near, log1p_deficit(jnp.where(near, x, 0)), ratio - 1 - jnp.log(ratio))
    rate = jnp.mean(terms, -1) / 2
    return _checks.finish(rate, valid, np.e, jnp.promote_types(dtype_p, dtype_q))


def _positive(name: str, x: Float[Array, "..."]) -> _checks.Valid:
    good = (x > 0) & jnp.isfinite(x)
    if not _checks.is_concrete(x):
        return jnp.all(good, -1) if x.ndim else good
    if not np.all(good):
        worst = np.asarray(x)[~np.asarray(good)].ravel()[0]
        raise ValueError(
            f"`{name}` should be positive and finite; got {float(worst):.6g}. Do use powers, not "
            "decibels or amplitudes, and floor empty bands."
        )
    return None


def noise_kl(snr: ArrayInput) -> Float[Array, "..."]:
    """KL of a Gaussian signal from what is received when white noise is added to it, per sample.

    KL(N(0, s)‖N(0, s (1 + r))) with r = 1/snr: `(log(1 + r) - r / (1 + r)) / 2`, for any power s
    of the signal. Right in float32 also at high ratios, where it tends to `1 / (4 snr^2)`.

    Args:
        snr: ratio of the power of the signal to that of the noise, positive (`10 ** (dB / 10)`).

    Returns:
        The divergences, in nats per sample, elementwise.

    Raises:
        TypeError: if `snr` is not floating.
        ValueError: if it is empty; outside jit, if it is not positive.

    Examples:
        >>> import jax.numpy as jnp, numpy as np
        >>> from vikl.losses import noise_kl
        >>> print(np.round(np.asarray(noise_kl(jnp.array([0.1, 1.0, 10.0]))), 5))
        [0.7444  0.09657 0.0022 ]

    References:
        Kullback (1959), Information theory and statistics.
    """
    x, dtype = _checks.floating("snr", snr)
    if _checks.is_concrete(x) and not np.all(np.asarray(x) > 0):
        worst = float(np.asarray(x)[~(np.asarray(x) > 0)].ravel()[0])
        raise ValueError(
            f"`snr` should be positive; got {worst:.6g}. Do give a ratio of powers; from decibels, "
            "`10 ** (decibels / 10)`."
        )
    good = x > 0
    x = jnp.where(good, x, 1)
    clear = x > 1
    share = 1 / (1 + jnp.where(clear, x, 2))
    loud = jnp.where(clear, 1, x)
    nats = jnp.where(clear, log1p_deficit(-share), jnp.log1p(1 / loud) - 1 / (1 + loud)) / 2
    return jnp.where(good, nats, jnp.nan).astype(dtype)


def autoregressive_spectrum(
    coefficients: ArrayInput, scale: Number, num_frequencies: int = 1024
) -> Float[Array, " num_frequencies"]:
    """Power spectral density of `x_t = sum_k a_k x_(t-k) + scale * e_t`, e white of variance 1.

    `scale^2 / |1 - sum_k a_k exp(-i k ω)|^2` at `ω = 2π j / num_frequencies` radians per sample;
    its mean over the grid tends to the variance of x.

    Args:
        coefficients: `a_1, ..., a_order`, a vector; empty for white noise.
        scale: standard deviation of the innovations, positive.
        num_frequencies: points over a whole period.

    Returns:
        The density at each frequency, in squared units of x.

    Raises:
        TypeError: if `coefficients` are not floating.
        ValueError: outside jit, if they are not stationary, or `scale` is not positive.

    Examples:
        >>> import numpy as np
        >>> from vikl.losses import autoregressive_spectrum
        >>> print(np.round(np.asarray(autoregressive_spectrum([0.5], 1.0, 4)), 3))
        [4.    0.8   0.444 0.8  ]

    References:
        Brockwell and Davis (1991), Time series: theory and methods, section 4.4.
    """
    a, sd, reflection = _checked("coefficients", coefficients, "scale", scale)
    turn = np.outer(
        2 * np.pi * np.arange(num_frequencies) / num_frequencies, np.arange(1, a.size + 1)
    )
    even = 1 - jnp.asarray(np.cos(turn), a.dtype) @ a
    odd = jnp.asarray(np.sin(turn), a.dtype) @ a
    sound = jnp.all(jnp.abs(reflection) < 1) & (sd > 0)
    return jnp.where(sound, sd * sd / (even * even + odd * odd), jnp.nan)


def autoregressive_kl(
    coefficients_p: ArrayInput,
    scale_p: Number,
    coefficients_q: ArrayInput,
    scale_q: Number,
) -> Float[Array, ""]:
    """KL rate of two stationary Gaussian autoregressive processes, in nats per sample, exactly.

    `KL(N(0, scale_p)‖N(0, scale_q)) + c' G c / (2 scale_q^2)`: c the difference of the
    coefficients (zero-padded to one length), G the autocovariance matrix of p. Both terms are
    non-negative, so that neighbours keep their digits, and no frequency grid is needed, however
    near a pole is to the unit circle. `spectral_kl` of the two spectra is the same number.

    Args:
        coefficients_p: `a_1, ..., a_order` of `x_t = sum_k a_k x_(t-k) + scale e_t` under p.
        scale_p: standard deviation of the innovations under p, positive.
        coefficients_q: of q; the order may differ; empty for white noise.
        scale_q: under q.

    Returns:
        The rate, a scalar; vmap for batches.

    Raises:
        TypeError: if coefficients are not floating.
        ValueError: on coefficients that are not vectors; outside jit, if a process is not
            stationary or a scale is not positive. Inside jit the result is NaN then.

    Examples:
        >>> from vikl.losses import autoregressive_kl
        >>> print(round(float(autoregressive_kl([0.9], 1.0, [0.5], 1.0)), 4))  # 0.16 / 0.38
        0.4211

    References:
        Brockwell and Davis (1991), Time series: theory and methods, sections 5.2 and 10.8.
    """
    a, sd_p, reflection_p = _checked("coefficients_p", coefficients_p, "scale_p", scale_p)
    b, sd_q, reflection_q = _checked("coefficients_q", coefficients_q, "scale_q", scale_q)
    dtype = jnp.promote_types(a.dtype, b.dtype)
    order = max(a.size, b.size)
    c = _padded(a.astype(dtype), order) - _padded(b.astype(dtype), order)
    sd_p, sd_q = sd_p.astype(dtype), sd_q.astype(dtype)
    covariances = _autocovariances(reflection_p.astype(dtype), sd_p, order)
    lags = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    mean_square = c @ (covariances[lags] @ c) if order else jnp.zeros((), dtype)
    zero = jnp.zeros((), dtype)
    rate = normal_formula(zero, sd_p, zero, sd_q) + mean_square / (2 * sd_q * sd_q)
    stationary = jnp.all(jnp.abs(reflection_p) < 1) & jnp.all(jnp.abs(reflection_q) < 1)
    return jnp.where(stationary & (sd_p > 0) & (sd_q > 0), rate, jnp.nan)


def _checked(name: str, given: Any, scale_name: str, scale: Any) -> tuple[Array, Array, Array]:
    """Return the coefficients, the scale and the reflection coefficients, checked outside jit."""
    a = jnp.asarray(given) if np.size(given) else jnp.zeros((0,), float)
    a = _checks.floating(name, a)[0] if a.size else a
    if a.ndim != 1:
        raise ValueError(f"`{name}` should be a vector; got shape {a.shape}. Do vmap over batches.")
    sd = jnp.asarray(scale, a.dtype)
    if sd.ndim != 0:
        raise ValueError(f"`{scale_name}` should be one number; got shape {sd.shape}. Do vmap.")
    reflection = _reflection(a)
    if _checks.is_concrete(sd) and not (np.isfinite(sd) and sd > 0):
        raise ValueError(
            f"`{scale_name}` should be positive and finite; got {float(sd):.6g}. Do give a "
            "standard deviation."
        )
    if _checks.is_concrete(reflection) and not np.all(np.abs(reflection) < 1):
        raise ValueError(
            f"`{name}` should be those of a stationary process (all roots of 1 - sum a_k z^k "
            f"outside the unit circle); got {np.asarray(a).tolist()}. Do difference the signal, "
            "or fit with Yule-Walker or Burg's method, which give stationary ones."
        )
    return a, sd, reflection


def _padded(a: Array, order: int) -> Array:
    return jnp.concatenate([a, jnp.zeros(order - a.size, a.dtype)])


def _reflection(a: Float[Array, " order"]) -> Float[Array, " order"]:
    """Reflection coefficients by Levinson's recursion downwards: all within (-1, 1) or unstable."""
    found = []
    for _ in range(a.size):
        k, rest = a[-1], a[:-1]
        found.append(k)
        a = (rest + k * rest[::-1]) / (1 - k * k)
    return jnp.stack(found[::-1]) if found else a


def _autocovariances(reflection: Array, sd: Array, count: int) -> Array:
    """Covariances at lags 0 to count - 1, by Levinson's recursion upwards."""
    shrink = (1 - reflection) * (1 + reflection)
    variance = sd * sd / jnp.prod(shrink)
    covariances, error, a = [variance], variance, jnp.zeros((0,), sd.dtype)
    for lag in range(1, count):
        past = jnp.stack(covariances[::-1])[: a.size]
        k = reflection[lag - 1] if lag <= reflection.size else jnp.zeros((), sd.dtype)
        covariances.append(k * error + (a @ past if a.size else 0))
        if lag <= reflection.size:
            a = jnp.concatenate([a - k * a[::-1], k[None]])
            error = error * shrink[lag - 1]
    return jnp.stack(covariances)
