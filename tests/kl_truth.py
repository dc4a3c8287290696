"""Divergences by mpmath, by formulas that share nothing with vikl's.

`kl(pair, p, q)` is −H(p) − E_p[log q] by the textbook, at so many digits that no cancellation
matters; where there is no elementary form, tanh-sinh integration. `by_integration(pair, p, q)` is
the integral of p log(p/q) itself, slow, from the densities alone: it checks the formulas.
Parameters are those of the adapter's pairs (tests/kl_adapter.py), as mpmath numbers or lists.
"""

import types
from typing import Any

import mpmath as mp

mp.mp.dps = 110
INF, HALF = mp.inf, mp.mpf(1) / 2
LOG_2PI = mp.log(2 * mp.pi)
ns = types.SimpleNamespace


def psi(order, x):
    return mp.psi(order, x)


def log0(x):
    return mp.log(x) if x > 0 else mp.mpf(0)


def normal_tail(x):
    return mp.erfc(x / mp.sqrt(2)) / 2


def shape_of(x):
    """Density of the standard normal."""
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi) if abs(x) != INF else mp.mpf(0)


# ---- p: entropy, and the expectations that a q may ask for


def _normal(loc, scale):
    def absdev(m):
        d = (loc - m) / scale
        return scale * (mp.sqrt(2 / mp.pi) * mp.exp(-d * d / 2) + d * mp.erf(d / mp.sqrt(2)))

    return ns(
        entropy=(LOG_2PI + 1) / 2 + mp.log(scale), mean=loc, var=scale**2, absdev=absdev,
        laplace=lambda b: mp.exp(-loc / b + (scale / b) ** 2 / 2), low=-INF, high=INF,
    )  # fmt: skip


def _log_normal(loc, scale):
    return ns(
        entropy=(LOG_2PI + 1) / 2 + mp.log(scale) + loc, elog=loc, varlog=scale**2,
        mean=mp.exp(loc + scale**2 / 2), low=0, high=INF,
    )  # fmt: skip


def _gamma(concentration, rate):
    a, b = concentration, rate
    return ns(
        entropy=a - mp.log(b) + mp.loggamma(a) + (1 - a) * psi(0, a), mean=a / b, var=a / b**2,
        elog=psi(0, a) - mp.log(b), varlog=psi(1, a), einv=b / (a - 1) if a > 1 else INF,
        power=lambda k: mp.exp(mp.loggamma(a + k) - mp.loggamma(a) - k * mp.log(b)),
        laplace=lambda s: mp.exp(-a * mp.log1p(1 / (b * s))), low=0, high=INF,
    )  # fmt: skip


def _inverse_gamma(concentration, scale):
    a, b = concentration, scale
    return ns(
        entropy=a + mp.log(b) + mp.loggamma(a) - (1 + a) * psi(0, a), einv=a / b, low=0, high=INF,
        elog=mp.log(b) - psi(0, a), varlog=psi(1, a), mean=b / (a - 1) if a > 1 else INF,
    )  # fmt: skip


def _weibull(concentration, scale):
    k, l = concentration, scale
    power = lambda j: l**j * mp.gamma(1 + j / k)
    return ns(
        entropy=mp.euler * (1 - 1 / k) + mp.log(l / k) + 1, elog=mp.log(l) - mp.euler / k,
        power=power, mean=power(mp.mpf(1)), low=0, high=INF,
    )  # fmt: skip


def _half_normal(scale):
    return ns(
        entropy=mp.log(mp.pi / 2) / 2 + mp.log(scale) + HALF, mean=scale * mp.sqrt(2 / mp.pi),
        var=scale**2 * (1 - 2 / mp.pi), low=0, high=INF,
        elog=mp.log(scale) - (mp.euler + mp.log(2)) / 2,
    )  # fmt: skip


def _pareto(scale, alpha):
    mean = alpha * scale / (alpha - 1) if alpha > 1 else INF
    var = scale**2 * alpha / ((alpha - 1) ** 2 * (alpha - 2)) if alpha > 2 else INF
    return ns(
        entropy=mp.log(scale / alpha) + 1 + 1 / alpha, elog=mp.log(scale) + 1 / alpha,
        mean=mean, var=var, low=scale, high=INF,
    )  # fmt: skip


def _beta(concentration1, concentration0):
    a, b = concentration1, concentration0
    n = a + b
    log_b = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(n)
    return ns(
        entropy=log_b - (a - 1) * psi(0, a) - (b - 1) * psi(0, b) + (n - 2) * psi(0, n),
        mean=a / n, var=a * b / n**2 / (n + 1), elog=psi(0, a) - psi(0, n),
        elog1m=psi(0, b) - psi(0, n), low=0, high=1,
    )  # fmt: skip


def _kumaraswamy(concentration1, concentration0):
    a, b = concentration1, concentration0
    elog = (psi(0, mp.mpf(1)) - psi(0, b + 1)) / a

    def elog1m():
        # with x = (1 − e^(−t/b))^(1/a), t a standard exponential
        def term(t):
            if t > 80 * b:  # 1 − x is e^(−t/b) / a to all digits
                return mp.exp(-t) * (-t / b - mp.log(a))
            return mp.exp(-t) * mp.log(-mp.expm1(mp.log(-mp.expm1(-t / b)) / a))

        with mp.workdps(40):
            points = {b * mp.mpf(10) ** k for k in (-12, -6, -3, -1, 0, 1)} | {80 * b, 1, 5, 25}
            points = [0, *sorted(x for x in points if x < 110), 110]
            return mp.quad(term, points)

    entropy = -mp.log(a * b) - (a - 1) * elog + (b - 1) / b
    return ns(entropy=entropy, elog=elog, elog1m=elog1m, low=0, high=1)


def _laplace(loc, scale):
    absdev = lambda m: abs(loc - m) + scale * mp.exp(-abs(loc - m) / scale)
    return ns(
        entropy=1 + mp.log(2 * scale), mean=loc, var=2 * scale**2, absdev=absdev, low=-INF, high=INF
    )


def _gumbel(loc, scale):
    return ns(
        entropy=mp.log(scale) + mp.euler + 1, mean=loc + mp.euler * scale,
        var=(mp.pi * scale) ** 2 / 6, low=-INF, high=INF,
        laplace=lambda b: mp.exp(-loc / b + mp.loggamma(1 + scale / b)),
    )  # fmt: skip


def _logistic(loc, scale):
    return ns(entropy=mp.log(scale) + 2, mean=loc, var=(mp.pi * scale) ** 2 / 3, low=-INF, high=INF)


def _student_t(df, loc, scale):
    psis = psi(0, (df + 1) / 2) - psi(0, df / 2)
    log_b = mp.loggamma(df / 2) - mp.loggamma((df + 1) / 2) + mp.log(mp.pi) / 2
    return ns(
        entropy=(df + 1) / 2 * psis + mp.log(df) / 2 + log_b + mp.log(scale), mean=loc,
        var=scale**2 * df / (df - 2) if df > 2 else INF, low=-INF, high=INF,
    )  # fmt: skip


def _uniform(low, high):
    w = high - low
    xlogx = lambda x: x * log0(x)
    fits = low >= 0
    return ns(
        entropy=mp.log(w), mean=(low + high) / 2, var=w**2 / 12, low=low, high=high,
        elog=(xlogx(high) - xlogx(low)) / w - 1 if fits else None,
        elog1m=(xlogx(1 - low) - xlogx(1 - high)) / w - 1 if fits and high <= 1 else None,
        laplace=lambda b: b * (mp.exp(-low / b) - mp.exp(-high / b)) / w,
    )  # fmt: skip


def _tilt(probs):
    log_odds = mp.log(probs) - mp.log1p(-probs)
    if log_odds == 0:
        return mp.mpf(0), HALF
    log_c = mp.log(log_odds / (mp.expm1(log_odds)))
    return log_c, 1 / -mp.expm1(-log_odds) - 1 / log_odds


def _continuous_bernoulli(probs):
    log_c, mean = _tilt(probs)
    log_odds = mp.log(probs) - mp.log1p(-probs)
    return ns(entropy=-log_c - log_odds * mean, mean=mean, low=0, high=1)


def truncated(loc, scale, low=-INF, high=INF):
    """Log of the mass between the bounds, and the two first moments about the location."""
    a, b = (low - loc) / scale, (high - loc) / scale
    mass = normal_tail(a) - normal_tail(b) if a > 0 else normal_tail(-b) - normal_tail(-a)
    first = (shape_of(a) - shape_of(b)) / mass
    ends = (a * shape_of(a) if low > -INF else 0) - (b * shape_of(b) if high < INF else 0)
    return mp.log(mass), scale * first, scale**2 * (1 + ends / mass)


def _truncated_normal(loc, scale, low, high):
    log_mass, first, second = truncated(loc, scale, low, high)
    return ns(
        entropy=LOG_2PI / 2 + mp.log(scale) + log_mass + second / (2 * scale**2), mean=loc + first,
        var=second - first**2, low=low, high=high,
    )  # fmt: skip


# ---- q: −E[log q] by the expectations of p


def _cross_gamma(p, a, b):
    return mp.loggamma(a) - a * mp.log(b) - (a - 1) * p.elog + b * p.mean


def _cross_beta(p, concentration1, concentration0):
    a, b = concentration1, concentration0
    elog1m = p.elog1m if b != 1 else 0
    elog1m = elog1m() if callable(elog1m) else elog1m
    log_b = mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b)
    return log_b - (a - 1) * p.elog - (b - 1) * elog1m


def _cross_normal(p, loc, scale, low=-INF, high=INF):
    if p.var == INF:
        return INF
    log_mass = truncated(loc, scale, low, high)[0] if low > -INF or high < INF else 0
    square = (p.var + (p.mean - loc) ** 2) / (2 * scale**2)
    return LOG_2PI / 2 + mp.log(scale) + log_mass + square


def _cross_tilt(p, probs):
    log_odds = mp.log(probs) - mp.log1p(-probs)
    return -_tilt(probs)[0] - log_odds * p.mean


CROSS = {
    "Normal": _cross_normal,
    "TruncatedNormal": _cross_normal,
    "HalfNormal": lambda p, scale: _cross_normal(p, 0, scale) - mp.log(2),
    "LogNormal": lambda p, loc, scale: LOG_2PI / 2 + mp.log(scale) + p.elog
    + (p.varlog + (p.elog - loc) ** 2) / (2 * scale**2),
    "Gamma": lambda p, concentration, rate: _cross_gamma(p, concentration, rate),
    "Exponential": lambda p, rate: _cross_gamma(p, mp.mpf(1), rate),
    "Chi2": lambda p, df: _cross_gamma(p, df / 2, HALF),
    "InverseGamma": lambda p, concentration, scale: mp.loggamma(concentration)
    - concentration * mp.log(scale) + (concentration + 1) * p.elog + scale * p.einv,
    "Weibull": lambda p, concentration, scale: concentration * mp.log(scale)
    - mp.log(concentration) - (concentration - 1) * p.elog
    + p.power(concentration) * scale**-concentration,
    "Beta": _cross_beta,
    "Uniform": lambda p, low, high: mp.log(high - low),
    "Laplace": lambda p, loc, scale: mp.log(2 * scale) + p.absdev(loc) / scale,
    "Gumbel": lambda p, loc, scale: mp.log(scale) + (p.mean - loc) / scale
    + mp.exp(loc / scale) * p.laplace(scale),
    "Pareto": lambda p, scale, alpha: (alpha + 1) * p.elog - mp.log(alpha) - alpha * mp.log(scale),
    "ContinuousBernoulli": _cross_tilt,
}  # fmt: skip
P = {
    "Normal": _normal, "LogNormal": _log_normal, "Gamma": _gamma, "InverseGamma": _inverse_gamma,
    "Exponential": lambda rate: _gamma(mp.mpf(1), rate), "Weibull": _weibull,
    "Chi2": lambda df: _gamma(df / 2, HALF), "HalfNormal": _half_normal, "Pareto": _pareto,
    "Beta": _beta, "Kumaraswamy": _kumaraswamy, "Laplace": _laplace, "Gumbel": _gumbel,
    "Logistic": _logistic, "StudentT": _student_t, "Uniform": _uniform,
    "ContinuousBernoulli": _continuous_bernoulli, "TruncatedNormal": _truncated_normal,
    "Cauchy": lambda loc, scale: _student_t(mp.mpf(1), loc, scale),
}  # fmt: skip
SUPPORT = {
    "Uniform": lambda q: (q["low"], q["high"]), "TruncatedNormal": lambda q: (q["low"], q["high"]),
    "Beta": lambda q: (0, 1), "ContinuousBernoulli": lambda q: (0, 1),
    "Pareto": lambda q: (q["scale"], INF),
} | dict.fromkeys(
    ("Gamma", "Exponential", "Chi2", "InverseGamma", "Weibull", "HalfNormal", "LogNormal"),
    lambda q: (0, INF),
)  # fmt: skip


def by_moments(name_p, name_q, p, q):
    expectations = P[name_p](**p)
    low, high = SUPPORT.get(name_q, lambda q: (-INF, INF))(q)
    if expectations.low < low or expectations.high > high:
        return INF
    return CROSS[name_q](expectations, **q) - expectations.entropy


def exact(value: Any) -> Any:
    """Return a parameter as mpmath numbers."""
    return [exact(v) for v in value] if isinstance(value, list) else mp.mpf(value)
