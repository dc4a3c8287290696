"""Where the values of `divergence_cases` come from: mpmath, by definition.

`python tests/test_divergences_reference.py` prints `VALUES` again, in about a minute: integrals and
sums of the definitions with 40 digits (never the closed forms under test), except for the Dirichlet
and the full normal, whose textbook forms are evaluated with 40 digits. Run as a test, some rows are
computed afresh.
"""

import math
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from divergence_cases import PAIRS, TEXTBOOK, TOTAL_COUNT, VALUES, key, rows


def _density(mp, family, parameters):
    """(log density or log pmf, points to split at; None: a list of outcomes)."""
    a = [mp.mpf(v) for v in parameters]
    log, inf = mp.log, mp.inf
    if family == "normal":
        m, s = a
        steps = [m + k * s for k in range(-40, 41, 2)]
        return (lambda x: -(((x - m) / s) ** 2) / 2 - log(s) - log(2 * mp.pi) / 2), steps
    if family == "log_normal":
        inner, steps = _density(mp, "normal", parameters)
        return (lambda x: inner(log(x)) - log(x)), [mp.exp(t) for t in steps]
    if family == "half_normal":
        (s,) = a
        return (lambda x: -((x / s) ** 2) / 2 - log(s) + log(2 / mp.pi) / 2), [
            k * s for k in range(0, 30)
        ]
    if family == "laplace":
        m, s = a
        return (lambda x: -abs(x - m) / s - log(2 * s)), [m + k * s for k in range(-140, 141, 4)]
    if family == "exponential":
        return _density(mp, "gamma", (1, parameters[0]))
    if family == "gamma":
        c, r = a
        points = [0, *(mp.mpf(2) ** k for k in range(-8, 8)), 200]
        return (lambda x: c * log(r) + (c - 1) * log(x) - r * x - mp.loggamma(c)), points
    if family == "inverse_gamma":
        inner, points = _density(mp, "gamma", parameters)
        return (lambda x: inner(1 / x) - 2 * log(x)), [1 / t for t in points[:0:-1]] + [inf]
    if family == "beta":
        c, d = a
        constant = log(mp.beta(c, d))
        f = lambda x: (c - 1) * log(x) + (d - 1) * log(1 - x) - constant
        return f, [0, mp.mpf(1) / 8, mp.mpf(1) / 2, mp.mpf(7) / 8, 1]
    return _mass(mp, family, a), None


def _mass(mp, family, a):
    log = mp.log
    safe = lambda x: log(x) if x > 0 else -mp.inf
    if family == "poisson":
        return [k * log(a[0]) - a[0] - mp.loggamma(k + 1) for k in range(160)]
    if family == "geometric":
        return [k * log(1 - a[0]) + log(a[0]) for k in range(700)]
    if family == "bernoulli":
        return [log(1 - a[0]), log(a[0])]
    if family == "binomial":
        n = TOTAL_COUNT
        return [log(mp.binomial(n, k) * a[0] ** k * (1 - a[0]) ** (n - k)) for k in range(n + 1)]
    return [safe(x) for x in a]


def _integral(mp, p, q, f):
    """The sum or integral of f(log p, log q)."""
    if p[1] is None:
        return mp.fsum(f(x, y) for x, y in zip(p[0], q[0], strict=True))
    points = sorted({*map(mp.mpf, p[1]), *map(mp.mpf, q[1])})
    return mp.quad(lambda x: f(p[0](x), q[0](x)), points)


def _textbook(mp, family, p, q, t):
    """`log integral p^t q^(1-t)`, or the entropy of p for t = None."""
    if family == "dirichlet":
        a, b = [mp.mpf(v) for v in p], [mp.mpf(v) for v in q]
        log_beta = lambda c: mp.fsum(mp.loggamma(x) for x in c) - mp.loggamma(mp.fsum(c))
        if t is None:
            total = mp.fsum(a)
            inner = mp.fsum((x - 1) * mp.psi(0, x) for x in a)
            return log_beta(a) + (total - len(a)) * mp.psi(0, total) - inner
        m = [t * x + (1 - t) * y for x, y in zip(a, b, strict=True)]
        return log_beta(m) - t * log_beta(a) - (1 - t) * log_beta(b)
    lp, lq = (mp.matrix([[mp.mpf(v) for v in r] for r in x[1]]) for x in (p, q))
    sp, sq = lp * lp.T, lq * lq.T
    if t is None:
        return mp.log(mp.det(2 * mp.pi * mp.e * sp)) / 2
    d = mp.matrix([mp.mpf(x) - mp.mpf(y) for x, y in zip(p[0], q[0], strict=True)])
    mixed = (1 - t) * sp + t * sq
    if mp.det(mixed) <= 0 or mixed[0, 0] <= 0:
        return mp.inf
    quadratic = (d.T * mp.inverse(mixed) * d)[0]
    logs = mp.log(mp.det(mixed)) - (1 - t) * mp.log(mp.det(sp)) - t * mp.log(mp.det(sq))
    return -t * (1 - t) / 2 * quadratic - logs / 2


def _log_power(mp, family, p, q, t):
    """`log integral p^t q^(1-t)`, +inf where it diverges."""
    if family in TEXTBOOK:
        return _textbook(mp, family, p, q, t)
    if not _converges(family, p, q, t):
        return mp.inf
    x, y = _density(mp, family, p), _density(mp, family, q)

    def term(a, b):
        if mp.inf in (-a, -b):
            one = (t == 0 and a == -mp.inf) or (t == 1 and b == -mp.inf)
            blow = (a == -mp.inf and t < 0) or (b == -mp.inf and t > 1)
            return mp.inf if blow else (mp.exp(b if t == 0 else a) if one else mp.mpf(0))
        return mp.exp(t * a + (1 - t) * b)

    return mp.log(_integral(mp, x, y, term))


def _converges(family, p, q, t):
    """Whether the integral exists, where that is a matter of tails."""
    if family in ("normal", "log_normal"):
        return (1 - t) * p[1] ** 2 + t * q[1] ** 2 > 0
    if family == "half_normal":
        return t / p[0] ** 2 + (1 - t) / q[0] ** 2 > 0
    if family == "laplace":
        return t / p[1] + (1 - t) / q[1] > 0
    if family in ("gamma", "inverse_gamma", "beta", "exponential"):
        return all(t * a + (1 - t) * b > 0 for a, b in zip(p, q, strict=True))
    if family == "geometric":
        return t * math.log(1 - p[0]) + (1 - t) * math.log(1 - q[0]) < 0
    return True


def _kl(mp, family, p, q):
    x, y = _density(mp, family, p), _density(mp, family, q)

    def term(a, b):
        if a == -mp.inf:
            return mp.mpf(0)
        return mp.inf if b == -mp.inf else mp.exp(a) * (a - b)

    return _integral(mp, x, y, term)


def _mixture_kl(mp, family, p, q, share):
    """KL(p || (1 - share) p + share q)."""
    x, y = _density(mp, family, p), _density(mp, family, q)

    def term(a, b):
        if a == -mp.inf:
            return mp.mpf(0)
        m = (1 - share) * mp.exp(a) + share * mp.exp(b)
        return mp.exp(a) * (a - mp.log(m))

    return _integral(mp, x, y, term)


def _wasserstein(mp, family, p, q):
    if family == "multivariate_normal":
        lp, lq = (mp.matrix([[mp.mpf(v) for v in r] for r in x[1]]) for x in (p, q))
        d = [mp.mpf(x) - mp.mpf(y) for x, y in zip(p[0], q[0], strict=True)]
        sp, sq = lp * lp.T, lq * lq.T
        cross = lq.T * sp * lq  # tr of its root, 2 x 2: sqrt(tr + 2 sqrt(det))
        root = mp.sqrt(cross[0, 0] + cross[1, 1] + 2 * mp.sqrt(mp.det(cross)))
        trace = sum(s[i, i] for s in (sp, sq) for i in (0, 1))
        return mp.sqrt(sum(x * x for x in d) + trace - 2 * root)
    a, b = [mp.mpf(v) for v in p], [mp.mpf(v) for v in q]
    quantile = {
        "normal": lambda c, u: c[0] + c[1] * mp.sqrt(2) * mp.erfinv(2 * u - 1),
        "half_normal": lambda c, u: c[0] * mp.sqrt(2) * mp.erfinv(u),
        "exponential": lambda c, u: -mp.log(1 - u) / c[0],
        "laplace": lambda c, u: c[0] + c[1] * (mp.log(2 * u) if u < 0.5 else -mp.log(2 * (1 - u))),
    }[family]
    points = [0, mp.mpf(1) / 4, mp.mpf(1) / 2, mp.mpf(3) / 4, 1]
    return mp.sqrt(mp.quad(lambda u: (quantile(a, u) - quantile(b, u)) ** 2, points))


def _variation(mp, family, p, q):
    x, y = _density(mp, family, p), _density(mp, family, q)
    if x[1] is None:
        return _integral(mp, x, y, lambda a, b: abs(mp.exp(a) - mp.exp(b))) / 2
    (m, s), (n, r) = ([mp.mpf(v) for v in c] for c in (p, q))
    a, b = 1 / r**2 - 1 / s**2, m / s**2 - n / r**2
    c = n**2 / (2 * r**2) - m**2 / (2 * s**2) + mp.log(r / s)
    roots = sorted((-b + sign * mp.sqrt(b * b - 2 * a * c)) / a for sign in (1, -1))
    mass = lambda u, v: mp.ncdf(roots[1], u, v) - mp.ncdf(roots[0], u, v)
    return abs(mass(m, s) - mass(n, r))


def reference(mp, name, arguments, pair):
    """One value of the table."""
    family, p, q = PAIRS[pair]
    power = lambda t: _log_power(mp, family, p, q, mp.mpf(t))
    if name == "renyi_divergence":
        return power(arguments[0]) / (mp.mpf(arguments[0]) - 1)
    if name == "alpha_divergence" and arguments[0] in (0.0, 1.0):
        return _kl(mp, family, *((p, q) if arguments[0] else (q, p)))
    if name == "alpha_divergence":
        t = mp.mpf(arguments[0])
        return (1 - mp.exp(power(t))) / (t * (1 - t))
    half = name in ("squared_hellinger_distance", "bhattacharyya_distance")
    if half:
        value = power(0.5)
        return -value if name.startswith("bhatt") else 1 - mp.exp(value)
    if name == "entropy" and family in TEXTBOOK:
        return _textbook(mp, family, p, q, None)
    x = _density(mp, family, p) if family not in TEXTBOOK else None
    surprise = lambda a, b: mp.mpf(0) if a == -mp.inf else -mp.exp(a) * b
    return {
        "chi_squared_divergence": lambda: mp.exp(power(2)) - 1,
        "entropy": lambda: _integral(mp, x, x, surprise),
        "cross_entropy": lambda: _integral(mp, x, _density(mp, family, q), surprise),
        "jeffreys_divergence": lambda: _kl(mp, family, p, q) + _kl(mp, family, q, p),
        "skew_kl_divergence": lambda: _mixture_kl(mp, family, p, q, mp.mpf(arguments[0])),
        "jensen_shannon_divergence": lambda: _shannon(mp, family, p, q, arguments),
        "total_variation_distance": lambda: _variation(mp, family, p, q),
        "wasserstein2_distance": lambda: _wasserstein(mp, family, p, q),
    }[name]()


def _shannon(mp, family, p, q, arguments):
    v, w = (mp.mpf(x) for x in (arguments[0] if arguments else (0.5, 0.5)))
    return v * _mixture_kl(mp, family, p, q, w) + w * _mixture_kl(mp, family, q, p, v)


def main():
    """Print the table of values."""
    import mpmath

    mpmath.mp.dps = 40
    print("VALUES = {")
    for name, arguments, pair in rows():
        value = reference(mpmath.mp, name, arguments, pair)
        text = str(float(value)) if mpmath.isinf(value) else mpmath.nstr(value, 25)
        print(f'    "{key(name, arguments, pair)}": "{text}",')
    print("}")


@pytest.mark.parametrize(
    "row",
    [
        ("renyi_divergence", (2.0,), "gamma"),
        ("jensen_shannon_divergence", (), "categorical"),
        ("alpha_divergence", (-0.5,), "categorical"),
        ("wasserstein2_distance", (), "multivariate_normal"),
        ("total_variation_distance", (), "normal"),
    ],
    ids=lambda row: f"{row[0]}-{row[2]}",
)
def test_the_table_is_what_the_definitions_give(row):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(30):
        assert float(reference(mpmath.mp, *row)) == pytest.approx(
            float(VALUES[key(*row)]), rel=1e-14
        )


if __name__ == "__main__":
    main()
