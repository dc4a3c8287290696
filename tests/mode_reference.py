"""Independent optima of divergences between two-mode targets and a normal, by NumPy and scipy.

Run `python tests/mode_reference.py > tests/mode_reference.json`. Nothing of vikl is used: each
divergence D_f(p‖q) = ∫ q f(u), u = p/q, is stationary where ∫ q s(x) (f(u) − u f′(u)) dx = 0 for
both scores s of q; the roots are found by scipy's hybrid Newton on a trapezoid grid, and the
smallest eigenvalue of the Jacobian tells minima from saddle points.
"""

import json

import numpy as np
from scipy import optimize, special

GRID = np.linspace(-20.0, 20.0, 6_001)


def normal(x, mu, sigma):
    return -0.5 * ((x - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)


def two_modes(weights, locs, scales):
    parts = [np.log(w) + normal(GRID, m, s) for w, m, s in zip(weights, locs, scales)]
    return special.logsumexp(parts, axis=0)


TARGETS = {
    "equal": two_modes((0.5, 0.5), (-2.0, 2.0), (0.5, 0.5)),
    "unequal": two_modes((0.7, 0.3), (-2.0, 2.5), (0.8, 0.6)),
    "close": two_modes((0.4, 0.6), (-1.0, 1.5), (0.6, 0.9)),
    # x = log y, y ~ Gamma(2, 1)
    "log-gamma": 2 * GRID - np.exp(GRID) - special.gammaln(2.0),
}

#: q f(u) and q (f(u) − u f′(u)), from log p, log q and w = log u
DIVERGENCES = {
    "forward_kl": (lambda p, q, w: np.exp(p) * w, lambda p, q, w: -np.exp(p)),
    "reverse_kl": (lambda p, q, w: -np.exp(q) * w, lambda p, q, w: np.exp(q) * (1 - w)),
    "js": (
        lambda p, q, w: 0.5 * (np.exp(p) * (w - _middle(w)) - np.exp(q) * _middle(w)),
        lambda p, q, w: -0.5 * np.exp(q) * _middle(w),
    ),
    "alpha_half": (
        lambda p, q, w: 4 * (np.exp(q) - np.exp((p + q) / 2)),
        lambda p, q, w: 4 * np.exp(q) - 2 * np.exp((p + q) / 2),
    ),
    "chi2_pq": (
        lambda p, q, w: np.exp(2 * p - q) - np.exp(q),
        lambda p, q, w: np.exp(q) - np.exp(2 * p - q),
    ),
    "chi2_qp": (
        lambda p, q, w: np.exp(2 * q - p) - np.exp(q),
        lambda p, q, w: 2 * np.exp(2 * q - p) - np.exp(q),
    ),
    "jeffreys": (
        lambda p, q, w: (np.exp(p) - np.exp(q)) * w,
        lambda p, q, w: np.exp(q) * (1 - w) - np.exp(p),
    ),
}
#: where the integral exists for no normal: p falls like e^(2x) to the left, like exp(−e^x) to the
#: right
SKIP = {("log-gamma", "chi2_pq"), ("log-gamma", "chi2_qp")}


def _middle(w):
    return np.logaddexp(w, 0.0) - np.log(2.0)


def integrate(values):
    return np.trapezoid(values, GRID)


def stationary(name, log_p, params):
    mu, sigma = params[0], np.exp(params[1])
    log_q = normal(GRID, mu, sigma)
    with np.errstate(over="ignore", invalid="ignore"):
        term = DIVERGENCES[name][1](log_p, log_q, log_p - log_q)
    z = (GRID - mu) / sigma
    # where q underflows so do its scores' shares; inf there means that the integral diverges
    return np.array([integrate(term * z / sigma), integrate(term * (z * z - 1))])


def value(name, log_p, params):
    log_q = normal(GRID, params[0], np.exp(params[1]))
    return integrate(DIVERGENCES[name][0](log_p, log_q, log_p - log_q))


def jacobian(name, log_p, params, step=1e-5):
    columns = [
        (stationary(name, log_p, params + step * e) - stationary(name, log_p, params - step * e))
        / (2 * step)
        for e in np.eye(2)
    ]
    return np.stack(columns, axis=1)


def minima(name, log_p):
    found = []
    for mu in (-2.0, 0.0, 2.3):
        for sigma in (0.6, 2.0):
            start = np.array([mu, np.log(sigma)])
            result = optimize.root(lambda v: stationary(name, log_p, v), start, tol=1e-13)
            residual = np.abs(stationary(name, log_p, result.x)).max()
            if not (residual < 1e-9 and abs(result.x[0]) < 5 and 0.1 < np.exp(result.x[1]) < 5):
                continue
            curvature = jacobian(name, log_p, result.x)
            if np.linalg.eigvalsh(curvature + curvature.T).min() <= 1e-6:
                continue
            if name == "chi2_qp" and not _exists(log_p, result.x):
                continue
            row = (*result.x, value(name, log_p, result.x))
            if all(np.abs(np.subtract(row, other)).max() > 1e-5 for other in found):
                found.append(row)
    found.sort(key=lambda row: row[2])
    return [{"mu": m, "sigma": float(np.exp(s)), "value": v} for m, s, v in found]


def _exists(log_p, params):
    """Whether q²/p falls towards the ends of the grid, where it must vanish."""
    integrand = 2 * normal(GRID, params[0], np.exp(params[1])) - log_p
    return integrand[0] < -50 and integrand[-1] < -50


if __name__ == "__main__":
    with np.errstate(over="ignore", invalid="ignore"):
        table = {
            target: {
                name: minima(name, log_p) for name in DIVERGENCES if (target, name) not in SKIP
            }
            for target, log_p in TARGETS.items()
        }
    print(json.dumps(table, indent=1))
