"""Random parameters for every pair: typical, nearly equal, of extreme scale, and on the boundary.

`draw(pair, tag, rng)` gives (p, q), dicts of Python floats that are exact float32 numbers (lists
for vectors), as tests/kl_adapter.py takes them. "Nearly equal" moves all or one of the parameters
by a relative 1e-3, 1e-5 or 1e-7, or by some units in the last place.
"""

import numpy as np

TAGS = ("typical", "near_equal", "extreme_scale", "boundary")
FAMILIES: dict[str, dict[str, str]] = {
    "Normal": {"loc": "real", "scale": "scale"},
    "LogNormal": {"loc": "real", "scale": "log_scale"},
    "Laplace": {"loc": "real", "scale": "scale"},
    "Gumbel": {"loc": "real", "scale": "scale"},
    "Logistic": {"loc": "real", "scale": "scale"},
    "Cauchy": {"loc": "real", "scale": "scale"},
    "StudentT": {"df": "df", "loc": "real", "scale": "scale"},
    "TruncatedNormal": {"loc": "real", "scale": "scale", "low": "low", "high": "high"},
    "HalfNormal": {"scale": "scale"},
    "Gamma": {"concentration": "shape", "rate": "scale"},
    "InverseGamma": {"concentration": "shape", "scale": "scale"},
    "Chi2": {"df": "df"},
    "Exponential": {"rate": "scale"},
    "Weibull": {"concentration": "power", "scale": "scale"},
    "Pareto": {"scale": "scale", "alpha": "shape"},
    "Beta": {"concentration1": "shape", "concentration0": "shape"},
    "Kumaraswamy": {"concentration1": "shape", "concentration0": "shape"},
    "ContinuousBernoulli": {"probs": "open"},
    "Uniform": {"low": "low", "high": "high"},
    "VonMises": {"loc": "angle", "concentration": "shape"},
    "Poisson": {"rate": "rate"},
    "Bernoulli": {"probs": "prob"},
    "BernoulliLogits": {"logits": "logit"},
    "Binomial": {"total_count": "count", "probs": "prob"},
    "BinomialLogits": {"total_count": "count", "logits": "logit"},
    "Geometric": {"probs": "open"},
    "GeometricLogits": {"logits": "logit"},
    "NegativeBinomial": {"total_count": "count", "probs": "open"},
    "NegativeBinomialLogits": {"total_count": "count", "logits": "logit"},
    "Dirichlet": {"concentration": "shapes"},
    "Categorical": {"probs": "simplex"},
    "CategoricalLogits": {"logits": "logits"},
    "MVNDiag": {"loc": "reals", "scale_diag": "scales"},
    "MVN": {"loc": "reals", "scale_tril": "tril"},
    "MVNCov": {"loc": "reals", "covariance_matrix": "covariance"},
    "LowRankMVN": {"loc": "reals", "cov_factor": "factor", "cov_diag": "scales"},
    "Wishart": {"df": "wishart_df", "scale_tril": "tril"},
}
SAME = [f"{name}-{name}" for name in FAMILIES if name not in ("Kumaraswamy",)]
MIXED = """
MVN-LowRankMVN LowRankMVN-MVN MVN-MVNDiag MVNDiag-MVN MVNDiag-LowRankMVN LowRankMVN-MVNDiag
Chi2-Gamma Gamma-Chi2 Exponential-Gamma Gamma-Exponential Weibull-Gamma Weibull-Exponential
Exponential-Weibull Uniform-Normal Gumbel-Normal Normal-Gumbel Gamma-Normal Exponential-Gumbel
Beta-Normal Beta-Gamma Uniform-Beta Uniform-Gumbel LogNormal-Gamma Gamma-LogNormal
Bernoulli-Poisson Normal-Laplace Laplace-Normal Exponential-Normal Gamma-Gumbel Beta-Uniform
Beta-Exponential Uniform-Gamma Uniform-Exponential HalfNormal-Exponential Binomial-Poisson
Pareto-Exponential Pareto-Normal Pareto-Gamma InverseGamma-Gamma Gamma-InverseGamma Logistic-Normal
Normal-Logistic Normal-Cauchy Normal-StudentT StudentT-Normal StudentT-Cauchy Cauchy-StudentT
Kumaraswamy-Beta TruncatedNormal-Normal Normal-TruncatedNormal ContinuousBernoulli-Uniform
Uniform-ContinuousBernoulli Poisson-Binomial Cauchy-Normal Normal-Uniform Normal-Gamma
Exponential-Uniform
""".split()
PAIRS = SAME + MIXED
UNIT_Q = ("Beta", "ContinuousBernoulli")
HALF_LINE_Q = ("Gamma", "Exponential")


def exact(value):
    """The nearest float32 numbers, as Python floats."""
    return np.asarray(value, np.float32).astype(float).tolist()


def _log_uniform(rng, low, high, size=None):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def _number(kind, rng, wide, n):
    """One parameter; `wide`: decades that an extreme one may lie from the usual."""
    far = 10.0 ** rng.uniform(-wide, wide) if wide else 1.0
    if kind in ("real", "angle"):
        return rng.normal(0, 1.5) * (far if kind == "real" else 1.0)
    if kind in ("scale", "rate"):
        return _log_uniform(rng, 0.2, 4.0) * far
    if kind == "log_scale":
        return _log_uniform(rng, 0.2, 1.5) * min(far, 3.0)
    if kind == "power":
        return _log_uniform(rng, 0.5, 4.0) * 10.0 ** rng.uniform(-1, 1) ** (1 if wide else 9)
    if kind in ("shape", "df"):
        return _log_uniform(rng, 0.3, 12.0) * far
    if kind == "count":
        return float(rng.integers(1, 300) if not wide else int(_log_uniform(rng, 1, 1e6)))
    if kind in ("prob", "open"):
        x = rng.beta(1.5, 1.5)
        if wide:
            x = rng.choice([x, 10.0 ** -rng.uniform(1, 20), 1 - 2.0 ** -rng.integers(2, 24)])
        return np.clip(x, 1e-30, 1 - 2.0**-24)
    if kind == "logit":
        return rng.normal(0, 2) if not wide else rng.uniform(-90, 90)
    if kind == "reals":
        return rng.normal(0, 1.5, n) * far
    if kind == "scales":
        return _log_uniform(rng, 0.3, 3.0, n) * 10.0 ** rng.uniform(-wide, wide, n)
    if kind == "shapes":
        return _log_uniform(rng, 0.3, 12.0, n) * 10.0 ** rng.uniform(-wide, wide, n)
    if kind == "logits":
        z = rng.normal(0, 1.5, n) + rng.choice([0.0, 100.0, -30.0])
        return z * 30 if wide else z
    if kind == "wishart_df":
        return n - 1 + _log_uniform(rng, 0.3, 12.0) * (10.0 ** rng.uniform(-1, 4) if wide else 1.0)
    if kind == "simplex":
        return _dyadic(rng.dirichlet(np.full(n, 0.15 if wide else 1.5)))
    if kind == "factor":
        return rng.normal(0, 0.7, (n, 1 + n // 4))
    return _tril(rng, n, wide, kind)


def _tril(rng, n, wide, kind):
    lower = np.tril(rng.normal(0, 0.5, (n, n)), -1) + np.diag(_log_uniform(rng, 0.4, 2.0, n))
    if wide:
        lower *= 10.0 ** rng.uniform(-1.5, 1.5, (n, 1))
    if kind == "tril":
        return lower
    lower *= 2.0 if not wide else 1.0
    covariance = exact(lower @ lower.T)  # symmetric also after rounding
    return np.maximum(covariance, np.swapaxes(covariance, 0, 1))


def _dyadic(x, bits=22):
    """Probabilities in steps of 2^−bits that sum to one without rounding."""
    steps = np.round(np.asarray(x) * 2**bits)
    steps[np.argmax(steps)] += 2**bits - steps.sum()
    return steps / 2**bits


def _ends(name, other, rng, wide):
    """Bounds of a uniform or truncated normal, mostly inside what the other distribution covers."""
    if other in UNIT_Q:
        return np.sort(rng.uniform(0, 1, 2)) if rng.random() < 0.8 else (0.0, 1.0)
    if other in HALF_LINE_Q:
        low = rng.choice([0.0, rng.exponential()])
        return low, low + rng.exponential() * (10.0 ** rng.uniform(-wide, wide) if wide else 1.0)
    center, width = rng.normal(), _log_uniform(rng, 0.3, 5.0)
    if wide:
        center, width = center * 10.0 ** rng.uniform(-1, 1), width * 10.0 ** rng.uniform(-2, 1.5)
    low, high = center - width, center + width
    if name == "TruncatedNormal" and rng.random() < 0.4:
        low, high = (low, np.inf) if rng.random() < 0.5 else (-np.inf, high)
    return low, high


def _side(name, other, rng, wide, n):
    d = {k: _number(kind, rng, wide, n) for k, kind in FAMILIES[name].items()
         if kind not in ("low", "high")}  # fmt: skip
    if "low" in FAMILIES[name]:
        d["low"], d["high"] = _ends(name, other, rng, wide)
    return d


def _near(name, p, rng):
    """A q close to p."""
    step = 10.0 ** -int(rng.choice([3, 5, 7])) if rng.random() < 0.75 else 2.0 ** -int(
        rng.integers(8, 22))  # fmt: skip
    moving = [k for k, kind in FAMILIES[name].items() if kind not in ("count", "low", "high")]
    if rng.random() < 0.4 and len(moving) > 1:
        moving = [str(rng.choice(moving))]
    q = dict(p)
    for k in moving:
        x = np.asarray(p[k])
        factor = 1 + step * rng.uniform(-1, 1, x.shape)
        q[k] = x * factor
        if FAMILIES[name][k] == "simplex":
            q[k] = _dyadic(x * factor)
        elif FAMILIES[name][k] == "covariance":
            q[k] = x * (0.5 * (factor + factor.T))
        elif FAMILIES[name][k] in ("prob", "open"):
            q[k] = min(float(q[k]), 1 - 2.0**-24)
    return q


def _edge(pair, p, q, rng):
    """Move one side to a boundary of what is allowed."""
    names = pair.split("-")
    if names[0] == names[1] and rng.random() < 0.4:
        return p, p
    side, d = (names[0], dict(p)) if rng.random() < 0.5 else (names[1], dict(q))
    first = d.keys() == p.keys() and side == names[0] and d == p
    for k, kind in FAMILIES[side].items():
        if kind == "prob":
            d[k] = rng.choice([0.0, 1.0])
        elif kind == "logit" and (side, k) != ("GeometricLogits", "logits"):
            d[k] = rng.choice([-np.inf, np.inf]) if side != "NegativeBinomialLogits" else -np.inf
        elif kind == "rate":
            d[k] = 0.0
        elif kind == "simplex":
            rest = max(len(d[k]) - 2, 1)
            hole = np.array([0.0, 0.25, *[0.75 / rest] * rest])[: len(d[k])]
            d[k] = np.eye(len(d[k]))[0] if rng.random() < 0.3 else _dyadic(hole)
        elif kind == "logits":
            d[k] = np.where(np.arange(len(d[k])) == 0, -np.inf, d[k])
        elif kind in ("shape", "df") and rng.random() < 0.5:
            d[k] = float(rng.choice([1.0, 2.0, 0.5]))
        elif kind == "low":
            d["low"], d["high"] = (0.0, 1.0) if side == "Uniform" else (-np.inf, np.inf)
    return (d, q) if first else (p, d)


def draw(pair, tag, rng, dim=None):
    """Parameters of p and q (see the module); vectors of length `dim`, or any of four."""
    names = pair.split("-")
    n = int(rng.choice([2, 3, 5, 10])) if dim is None else dim
    wide = 0 if tag != "extreme_scale" else int(rng.choice([2, 4, 6]))
    p = _side(names[0], names[1], rng, wide, n)
    q = _side(names[1], names[0], rng, wide, n)
    if "total_count" in p and "total_count" in q:
        q["total_count"] = p["total_count"]
    if names == ["TruncatedNormal"] * 2 and rng.random() < 0.8:
        q["low"], q["high"] = p["low"], p["high"]
        if rng.random() < 0.3:
            q["low"], q["high"] = p["low"] - 0.5, p["high"] + rng.exponential()
    if names == ["Uniform"] * 2 or names == ["Pareto"] * 2:
        first = next(iter(FAMILIES[names[0]]))
        if rng.random() < 0.85:
            q[first] = p[first] - abs(p[first]) * rng.exponential()
            q[first] = q[first] if names[0] == "Uniform" else min(abs(q[first]) + 1e-30, p[first])
            if names[0] == "Uniform":
                q["high"] = p["high"] + rng.exponential()
    if tag == "near_equal" and names[0] == names[1]:
        if rng.random() < 0.35:  # large parameters, where textbook forms cancel most
            p = {k: (np.asarray(v) * 10.0 ** rng.uniform(1, 4) if FAMILIES[names[0]][k] in
                     ("shape", "shapes", "rate", "df") else v) for k, v in p.items()}  # fmt: skip
        q = _near(names[0], {k: np.asarray(exact(v)) for k, v in p.items()}, rng)
        if names[0] == "Pareto":
            q["scale"] = min(float(q["scale"]), float(exact(p["scale"])))
    p, q = ({k: exact(v) for k, v in d.items()} for d in (p, q))
    if tag == "boundary":
        p, q = ({k: exact(v) for k, v in d.items()} for d in _edge(pair, p, q, rng))
    return p, q
