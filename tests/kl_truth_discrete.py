"""Divergences by mpmath, second part: counts, classes, directions, matrices, and `kl` of all pairs.

See tests/kl_truth.py. Matrices are lists of rows.
"""

from collections.abc import Callable
from typing import Any

import mpmath as mp

from tests.kl_truth import INF, by_moments, exact, psi
from tests.kl_truth_densities import QUADRATURE, by_quadrature


def _term(p, q):
    if p == 0:
        return mp.mpf(0)
    return p * (mp.log(p) - mp.log(q)) if q > 0 else INF


def _odds(logits):
    """Probabilities of success and of failure, each to full relative precision."""
    if abs(logits) == INF:
        return (mp.mpf(1), mp.mpf(0)) if logits > 0 else (mp.mpf(0), mp.mpf(1))
    return 1 / (1 + mp.exp(-logits)), 1 / (1 + mp.exp(logits))


def _trial(d):
    return (d["probs"], 1 - d["probs"]) if "probs" in d else _odds(d["logits"])


def _one(p, q):
    (p1, p0), (q1, q0) = _trial(p), _trial(q)
    return _term(p1, q1) + _term(p0, q0)


def _times(number, one):
    return mp.mpf(0) if one == 0 or number == 0 else number * one


def _softmax(logits):
    top = max(logits)
    weights = [mp.exp(z - top) if z > -INF else mp.mpf(0) for z in logits]
    return [w / mp.fsum(weights) for w in weights]


def _classes(p, q):
    return mp.fsum(map(_term, p, q)) if all(b > 0 or a == 0 for a, b in zip(p, q)) else INF


def _poisson(p, q):
    rate, other = p["rate"], q["rate"]
    return _term(rate, other) - rate + other if other > 0 or rate == 0 else INF


def _binomial_poisson(p, q):
    n, prob, rate = int(p["total_count"]), p["probs"], q["rate"]
    if rate == 0:
        return mp.mpf(0) if prob == 0 or n == 0 else INF
    if prob == 0 or n == 0:
        return rate
    total = mp.mpf(0)
    log_n, logs = mp.loggamma(n + 1), (mp.log(prob), mp.log1p(-prob) if prob < 1 else mp.mpf(0))
    center, spread = n * prob, 24 * mp.sqrt(n * prob * (1 - prob)) + 60
    first, last = max(0, int(center - spread)), min(n, int(center + spread) + 1)
    if prob == 1:
        first = last = n
    log_choose = log_n - mp.loggamma(first + 1) - mp.loggamma(n - first + 1)
    for k in range(first, last + 1):
        log_p = log_choose + k * logs[0] + (n - k) * logs[1]
        # log p − log q; the k! of both cancels
        gap = log_n - mp.loggamma(n - k + 1) + k * logs[0] + (n - k) * logs[1]
        total += mp.exp(log_p) * (gap - k * mp.log(rate) + rate)
        log_choose += mp.log(mp.mpf(max(n - k, 1)) / (k + 1))
    return total


def _bernoulli_poisson(p, q):
    prob, rate = p["probs"], q["rate"]
    if rate == 0:
        return mp.mpf(0) if prob == 0 else INF
    return _term(prob, rate) + _term(1 - prob, mp.mpf(1)) + rate


def _von_mises(p, q):
    def log_i0(k):
        return mp.log(mp.besseli(0, k)) if k < 1e4 else mp.log(besseli_scaled(0, k)) + k

    kp, kq = p["concentration"], q["concentration"]
    mean = besseli_scaled(1, kp) / besseli_scaled(0, kp) if kp > 0 else mp.mpf(0)
    angle = mp.cos(p["loc"] - q["loc"])
    return log_i0(kq) - log_i0(kp) + mean * (kp - kq * angle)


def besseli_scaled(order, x):
    """exp(−x) I(x), by the asymptotic series where it has enough digits."""
    if x < 1000:
        return mp.besseli(order, x) * mp.exp(-x)
    total, term, k = mp.mpf(1), mp.mpf(1), 0
    while abs(term) > mp.mpf(10) ** -105:
        k += 1
        term *= -(4 * mp.mpf(order) ** 2 - (2 * k - 1) ** 2) / (k * 8 * x)
        total += term
        if k > 2 * x:
            break
    return total / mp.sqrt(2 * mp.pi * x)


def _dirichlet(p, q):
    a, b = p["concentration"], q["concentration"]
    value = mp.loggamma(mp.fsum(a)) - mp.loggamma(mp.fsum(b))
    for x, y in zip(a, b):
        value += mp.loggamma(y) - mp.loggamma(x) + (x - y) * (psi(0, x) - psi(0, mp.fsum(a)))
    return value


# ---- matrices: plain lists, triangular algebra


def _cholesky(matrix):
    n = len(matrix)
    lower = [[mp.mpf(0)] * n for _ in range(n)]
    for j in range(n):
        lower[j][j] = mp.sqrt(matrix[j][j] - mp.fdot(lower[j][:j], lower[j][:j]))
        for i in range(j + 1, n):
            lower[i][j] = (matrix[i][j] - mp.fdot(lower[i][:j], lower[j][:j])) / lower[j][j]
    return lower


def _solve(lower, right):
    """lower⁻¹ right, for a vector."""
    x = []
    for i, row in enumerate(lower):
        x.append((right[i] - mp.fdot(row[:i], x)) / row[i])
    return x


def _factor(d):
    if "scale_tril" in d:
        return [[x if j <= i else mp.mpf(0) for j, x in enumerate(r)] for i, r in
                enumerate(d["scale_tril"])]  # fmt: skip
    if "covariance_matrix" in d:
        return _cholesky(d["covariance_matrix"])
    n = len(d["loc"])
    if "scale_diag" in d:
        return [[d["scale_diag"][i] if i == j else mp.mpf(0) for j in range(n)] for i in range(n)]
    w = d["cov_factor"]
    cov = [[mp.fdot(w[i], w[j]) + (d["cov_diag"][i] if i == j else 0) for j in range(n)]
           for i in range(n)]  # fmt: skip
    return _cholesky(cov)


def _columns(matrix):
    return [list(column) for column in zip(*matrix)]


def _multivariate(p, q):
    n = len(p["loc"])
    lower_p, lower_q = _factor(p), _factor(q)
    whitened = [_solve(lower_q, column) for column in _columns(lower_p)]
    shift = _solve(lower_q, [a - b for a, b in zip(p["loc"], q["loc"])])
    trace = mp.fsum(mp.fdot(c, c) for c in whitened)
    log_det = mp.fsum(mp.log(lower_q[i][i] / lower_p[i][i]) for i in range(n))
    return log_det + (trace - n + mp.fdot(shift, shift)) / 2


def _wishart(p, q):
    n, a, b = len(p["scale_tril"]), p["df"], q["df"]
    lower_p, lower_q = _factor(p), _factor(q)
    whitened = [_solve(lower_q, column) for column in _columns(lower_p)]
    trace = mp.fsum(mp.fdot(c, c) for c in whitened)
    log_det = 2 * mp.fsum(mp.log(lower_q[i][i] / lower_p[i][i]) for i in range(n))
    gammas = mp.fsum(mp.loggamma((b - i) / 2) - mp.loggamma((a - i) / 2) for i in range(n))
    slopes = mp.fsum(psi(0, (a - i) / 2) for i in range(n))
    return (b * log_det + a * (trace - n) + (a - b) * slopes) / 2 + gammas


def _counts(number):
    """KL of one trial times `number(p)`, +inf where p is certain to go on for ever."""
    return lambda p, q: _times(number(p), _one(p, q))


_geometric = _counts(lambda p: 1 / _trial(p)[0] if _trial(p)[0] > 0 else INF)
_binomial = _counts(lambda p: p["total_count"])
_negative = _counts(lambda p: p["total_count"] / _trial(p)[1] if _trial(p)[1] > 0 else INF)
OTHER: dict[str, Callable[..., Any]] = {
    "Bernoulli-Bernoulli": _one, "BernoulliLogits-BernoulliLogits": _one,
    "Binomial-Binomial": _binomial, "BinomialLogits-BinomialLogits": _binomial,
    "Geometric-Geometric": _geometric, "GeometricLogits-GeometricLogits": _geometric,
    "NegativeBinomial-NegativeBinomial": _negative,
    "NegativeBinomialLogits-NegativeBinomialLogits": _negative,
    "Categorical-Categorical": lambda p, q: _classes(p["probs"], q["probs"]),
    "CategoricalLogits-CategoricalLogits": lambda p, q: _classes(
        _softmax(p["logits"]), _softmax(q["logits"])
    ),
    "Poisson-Poisson": _poisson, "Binomial-Poisson": _binomial_poisson,
    "Bernoulli-Poisson": _bernoulli_poisson, "VonMises-VonMises": _von_mises,
    "Dirichlet-Dirichlet": _dirichlet, "Wishart-Wishart": _wishart,
    "Poisson-Binomial": lambda p, q: INF if p["rate"] > 0
    else -q["total_count"] * mp.log1p(-q["probs"]),
    "Cauchy-Cauchy": lambda p, q: mp.log(
        (p["scale"] + q["scale"]) ** 2 + (p["loc"] - q["loc"]) ** 2
    )
    - mp.log(4 * p["scale"] * q["scale"]),
}  # fmt: skip
MULTIVARIATE = ("MVNDiag", "MVN", "MVNCov", "LowRankMVN")


def kl(pair, p, q):
    """KL of the named pair, as an mpmath number of some 30 digits."""
    p, q = ({k: exact(v) for k, v in d.items()} for d in (p, q))
    name_p, name_q = names = tuple(pair.split("-"))
    if name_p in MULTIVARIATE:
        return _multivariate(p, q)
    if name_p in ("Cauchy", "StudentT") and name_q in ("Normal", "Laplace", "Logistic"):
        if name_p == "Cauchy" or p["df"] <= (2 if name_q == "Normal" else 1):
            return INF
    if pair in OTHER:
        return OTHER[pair](p, q)
    if names in QUADRATURE:
        return by_quadrature(name_p, name_q, p, q)
    return by_moments(name_p, name_q, p, q)


def gradient(pair, p, q, names):
    """Slopes of KL by central differences; `names`: (side, parameter) to differentiate."""
    relative = mp.mpf(10) ** (-12 if tuple(pair.split("-")) in QUADRATURE else -30)
    if pair == "Kumaraswamy-Beta":
        relative = mp.mpf(10) ** -13
    result = {"p": {}, "q": {}}
    for side, name in names:
        result[side][name] = _slopes(pair, p, q, side, name, relative)
    return result


def _slopes(pair, p, q, side, name, relative):
    sides = {"p": p, "q": q}

    def moved(value, path, change):
        if not path:
            return change(mp.mpf(value))
        return [moved(v, path[1:], change) if i == path[0] else v for i, v in enumerate(value)]

    def slope(path):
        x = sides[side][name]
        for i in path:
            x = x[i]
        h = relative * (abs(mp.mpf(x)) if x != 0 else 1)
        ends = []
        for sign in (1, -1):
            value = moved(sides[side][name], path, lambda v, s=sign: v + s * h)
            ends.append(kl(pair, *({**d, name: value} if s == side else d
                                   for s, d in sides.items())))  # fmt: skip
        return (ends[0] - ends[1]) / (2 * h)

    def every(value, path):
        if isinstance(value, list):
            return [every(v, (*path, i)) for i, v in enumerate(value)]
        if name == "scale_tril" and path[1] > path[0]:
            return mp.mpf(0)
        if name == "covariance_matrix" and path[1] != path[0]:  # half of that of both entries
            return slope((max(path), min(path))) / 2
        return slope(path)

    return every(sides[side][name], ())
