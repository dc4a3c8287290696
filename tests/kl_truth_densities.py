"""Integrals of p log(p/q) by mpmath, from log densities alone.

Where there is no elementary form they are the truth, elsewhere they check tests/kl_truth.py.
"""

import functools
from typing import Any

import mpmath as mp

from tests.kl_truth import LOG_2PI, P, exact


def student_log(z, df):
    return -(df + 1) / 2 * mp.log1p(z * z / df)


def student_constant(df, scale):
    return mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(df * mp.pi) / 2 - mp.log(scale)


LINE_DENSITIES = {
    "Normal": lambda x, loc, scale: -(((x - loc) / scale) ** 2) / 2 - LOG_2PI / 2 - mp.log(scale),
    "Logistic": lambda x, loc, scale: -abs(x - loc) / scale
    - 2 * mp.log1p(mp.exp(-abs(x - loc) / scale)) - mp.log(scale),
    "StudentT": lambda x, df, loc, scale: student_log((x - loc) / scale, df)
    + student_constant(df, scale),
    "Cauchy": lambda x, loc, scale: -mp.log(mp.pi * scale) - mp.log1p(((x - loc) / scale) ** 2),
}  # fmt: skip
DIGITS = 34  # of the integrals


def by_quadrature(name_p, name_q, p, q):
    """E_p[log p − log q] on the line, in the variable t of x = loc_p + scale_p sinh t."""
    log_p = functools.partial(LINE_DENSITIES[name_p], **p)
    log_q = functools.partial(LINE_DENSITIES[name_q], **q)
    with mp.workdps(DIGITS):
        loc, scale = p["loc"], p["scale"]
        df = p.get("df", mp.mpf(1) if name_p == "Cauchy" else None)
        digits = DIGITS * mp.log(10)
        reach = digits if name_p == "Logistic" else mp.sqrt(2 * digits)
        if df is not None:  # where the tail (1 + z²/df)^(−df/2) holds nothing any more
            reach = mp.sqrt(df * mp.expm1(2 * (digits + 4) / df))
        end = mp.asinh(reach)
        cuts = {mp.mpf(0), end, -end}
        for width in (-30, -3, -mp.mpf(3) / 10, 0, mp.mpf(3) / 10, 3, 30):
            cuts.add(mp.asinh((q["loc"] + width * q["scale"] - loc) / scale))
            cuts.add(mp.asinh(width))
        cuts |= {end * k / 4 for k in range(-3, 4)}
        cuts = sorted(c for c in cuts if -end <= c <= end)

        def term(t):
            x = loc + scale * mp.sinh(t)
            a = log_p(x)
            return mp.exp(a) * (a - log_q(x)) * scale * mp.cosh(t)

        return mp.quad(term, cuts)


QUADRATURE = {
    ("StudentT", "StudentT"), ("Normal", "StudentT"), ("Normal", "Cauchy"), ("StudentT", "Cauchy"),
    ("Cauchy", "StudentT"), ("Logistic", "Logistic"), ("Normal", "Logistic"),
}  # fmt: skip


def _gamma(x, concentration, rate):
    a, b = concentration, rate
    return a * mp.log(b) - mp.loggamma(a) + (a - 1) * mp.log(x) - b * x


def _beta(x, concentration1, concentration0):
    a, b = concentration1, concentration0
    constant = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    return constant + (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x)


def _weibull(x, concentration, scale):
    k, z = concentration, x / scale
    return mp.log(k / scale) + (k - 1) * mp.log(z) - z**k


def _gumbel(x, loc, scale):
    z = (x - loc) / scale
    return -z - mp.exp(min(-z, 10**6)) - mp.log(scale)  # beyond, there is nothing but digits


def _continuous_bernoulli(x, probs):
    z = mp.log(probs / (1 - probs))
    return z * x - (mp.log(mp.expm1(z) / z) if z != 0 else 0)


def _truncated(x, loc, scale, low, high):
    mass = mp.ncdf((high - loc) / scale) - mp.ncdf((low - loc) / scale)
    return LINE_DENSITIES["Normal"](x, loc, scale) - mp.log(mass)


LOG_DENSITIES = LINE_DENSITIES | {
    "Gamma": _gamma,
    "Exponential": lambda x, rate: _gamma(x, mp.mpf(1), rate),
    "Chi2": lambda x, df: _gamma(x, df / 2, mp.mpf(1) / 2),
    "InverseGamma": lambda x, concentration, scale: _gamma(1 / x, concentration, scale)
    - 2 * mp.log(x),
    "LogNormal": lambda x, loc, scale: LINE_DENSITIES["Normal"](mp.log(x), loc, scale) - mp.log(x),
    "HalfNormal": lambda x, scale: LINE_DENSITIES["Normal"](x, 0, scale) + mp.log(2),
    "Weibull": _weibull,
    "Pareto": lambda x, scale, alpha: mp.log(alpha / x) + alpha * mp.log(scale / x),
    "Beta": _beta,
    "Kumaraswamy": lambda x, concentration1, concentration0: mp.log(concentration1)
    + mp.log(concentration0) + (concentration1 - 1) * mp.log(x)
    + (concentration0 - 1) * mp.log1p(-(x**concentration1)),
    "Laplace": lambda x, loc, scale: -abs(x - loc) / scale - mp.log(2 * scale),
    "Gumbel": _gumbel,
    "Uniform": lambda x, low, high: -mp.log(high - low),
    "ContinuousBernoulli": _continuous_bernoulli,
    "TruncatedNormal": _truncated,
}  # fmt: skip


def unbounded(low, high):
    """Return x(t), log x′(t) and t(x) of a map from the line, on which poles at ends are tails."""
    if mp.isinf(low):
        return lambda t: t, lambda t: mp.mpf(0), lambda x: x
    if mp.isinf(high):
        return lambda t: low + mp.exp(t), lambda t: t, lambda x: mp.log(x - low)
    width = high - low
    return (
        lambda t: low + width / (1 + mp.exp(-t)),
        lambda t: mp.log(width) - t - 2 * mp.log1p(mp.exp(-t)),
        lambda x: mp.log((x - low) / (high - x)),
    )


def by_integration(pair, p, q):
    """KL as an integral over p's support, and the integrator's estimate of its error."""
    name_p, name_q = pair.split("-")
    p, q = ({k: exact(v) for k, v in d.items()} for d in (p, q))
    low, high = P[name_p](**p).low, P[name_p](**p).high
    with mp.workdps(60):  # next to an end of a bounded support x needs them
        at, log_slope, back = unbounded(low, high)
        cuts: list[Any] = [low, high]
        for d in (p, q):  # where the densities bend
            center, scale = d.get("loc", mp.mpf(0)), d.get("scale", mp.mpf(1))
            cuts += [center + k * scale for k in (-10, -3, -1, 0, 1, 3, 10)]
            cuts += [k * scale for k in (mp.mpf("0.01"), mp.mpf("0.1"), mp.mpf("0.5"))]
        if high == 1:
            cuts += [mp.mpf("0.001"), mp.mpf("0.999"), mp.mpf("0.9")]
        inside = [back(c) for c in set(cuts) if low < c < high]
        cuts = sorted({-mp.inf, mp.inf, *inside})

        def term(t):
            x = at(t)
            if not low < x < high:
                return mp.mpf(0)
            a = LOG_DENSITIES[name_p](x, **p)
            mass = a + log_slope(t)
            return mp.exp(mass) * (a - LOG_DENSITIES[name_q](x, **q)) if mass > -200 else mp.mpf(0)

        return mp.quad(term, cuts, error=True, maxdegree=9)
