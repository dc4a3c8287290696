"""The best full-rank normal for the eight schools: where a perfect reverse-KL fit would end.

    python examples/reference/eight_schools_best_normal.py   # seconds; writes the .json beside it

The model is the one of `first_fit.py`: x = (mu, log tau, theta_trans), a normal q(x), and the
ELBO E_q[log p(x)] + entropy(q). Given log tau, theta = mu + tau theta_trans is linear in the rest,
so E_q of the log likelihood is a moment of products of normals and exponentials of normals and
has a closed form; the half-Cauchy prior of tau is an integral over one dimension. Nothing is drawn
and nothing of vikl is used: the ELBO is exact to quadrature, and BFGS in float64 climbs it from
several starts. Quantiles of theta are roots of one-dimensional integrals.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from scipy import optimize, special, stats

jax.config.update("jax_enable_x64", True)
EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
STD_ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
DIM, MU, LOG_TAU, TRANS = 10, 0, 1, slice(2, 10)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(201)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def unpack(params):
    """Return mean and Cholesky factor of q; the diagonal is on the log scale."""
    mean, lower = params[:DIM], jnp.zeros((DIM, DIM))
    lower = lower.at[np.tril_indices(DIM, -1)].set(params[2 * DIM :])
    return mean, lower + jnp.diag(jnp.exp(params[DIM : 2 * DIM]))


def theta_moments(mean, cov):
    """Return E theta and E theta^2 of each school under q.

    E[e^{a h} f(x)] = E[e^{a h}] E'[f(x)], where x has its mean moved by a cov(x, h).
    """
    h, var_h = mean[LOG_TAU], cov[LOG_TAU, LOG_TAU]
    scale = [jnp.exp(a * h + 0.5 * a**2 * var_h) for a in (0, 1, 2)]
    mu = [mean[MU] + a * cov[MU, LOG_TAU] for a in (0, 1, 2)]
    trans = [mean[TRANS] + a * cov[TRANS, LOG_TAU] for a in (0, 1, 2)]
    first = mu[0] + scale[1] * trans[1]
    second = mu[0] ** 2 + cov[MU, MU]
    second += 2 * scale[1] * (mu[1] * trans[1] + cov[MU, TRANS])
    second += scale[2] * (trans[2] ** 2 + jnp.diag(cov)[TRANS])
    return first, second


def elbo(params):
    """Return E_q[log p] + entropy(q) in nats, exact."""
    mean, lower = unpack(params)
    cov = lower @ lower.T
    first, second = theta_moments(mean, cov)
    square = EFFECT**2 - 2 * EFFECT * first + second
    log_2pi = np.log(2 * np.pi)
    value = jnp.sum(-0.5 * square / STD_ERROR**2 - np.log(STD_ERROR) - 0.5 * log_2pi)
    value += -0.5 * (mean[MU] ** 2 + cov[MU, MU]) / 25.0 - np.log(5.0) - 0.5 * log_2pi
    trans = mean[TRANS] ** 2 + jnp.diag(cov)[TRANS]
    value += jnp.sum(-0.5 * trans - 0.5 * log_2pi)
    log_tau = mean[LOG_TAU] + jnp.sqrt(cov[LOG_TAU, LOG_TAU]) * NODES
    value -= WEIGHTS @ jnp.log1p(jnp.exp(2 * log_tau) / 25.0) + np.log(5.0 * np.pi)
    value += mean[LOG_TAU]  # the Jacobian of tau = exp(log tau)
    return value + params[DIM : 2 * DIM].sum() + 0.5 * DIM * (1 + log_2pi)


def climb(start):
    """Return the optimum that is reached from `start` and its gradient's largest entry."""
    minus = jax.jit(jax.value_and_grad(lambda p: -elbo(p)))
    found = optimize.minimize(
        lambda p: tuple(np.asarray(v, np.float64) for v in minus(p)),
        start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000},
    )  # fmt: skip
    return found.x, -float(found.fun), float(np.abs(found.jac).max())


def theta_quantile(mean, cov, school, level):
    """Return the quantile of theta[school]: given log tau, theta is normal."""
    keep = [MU, 2 + school]
    sd = np.sqrt(cov[LOG_TAU, LOG_TAU])
    slope = cov[keep, LOG_TAU] / sd
    rest = cov[np.ix_(keep, keep)] - np.outer(slope, slope)
    design = np.stack([np.ones_like(NODES), np.exp(mean[LOG_TAU] + sd * NODES)])
    center = np.sum(design * (mean[keep][:, None] + slope[:, None] * NODES), axis=0)
    spread = np.sqrt(np.einsum("in,ij,jn->n", design, rest, design))
    return optimize.brentq(
        lambda c: WEIGHTS @ special.ndtr((c - center) / spread) - level, -200, 200, xtol=1e-10
    )


def rows_of(mean, cov):
    """Return mean, sd, 5 % and 95 % of every named parameter under q."""
    sd = np.sqrt(np.diag(cov))

    def normal(i):
        return [mean[i], sd[i], *stats.norm.ppf([0.05, 0.95], mean[i], sd[i])]

    s = sd[LOG_TAU]
    tau_mean = np.exp(mean[LOG_TAU] + 0.5 * s**2)
    tau = [tau_mean, tau_mean * np.sqrt(np.expm1(s**2)), *np.exp(normal(LOG_TAU)[2:])]
    rows = {"mu": normal(MU), "tau": tau} | {f"theta_trans[{i}]": normal(2 + i) for i in range(8)}
    first, second = (np.asarray(v) for v in theta_moments(mean, cov))
    for i in range(8):
        ends = [theta_quantile(mean, cov, i, level) for level in (0.05, 0.95)]
        rows[f"theta[{i}]"] = [first[i], np.sqrt(second[i] - first[i] ** 2), *ends]
    columns = ("mean", "sd", "5%", "95%")
    return {k: {c: float(f"{v:.8g}") for c, v in zip(columns, r)} for k, r in rows.items()}


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    size = 2 * DIM + DIM * (DIM - 1) // 2
    starts = [np.zeros(size)] + [0.5 * rng.standard_normal(size) for _ in range(4)]
    ends = [climb(start) for start in starts]
    for _, value, slope in ends:
        print(f"ELBO {value:.10f}, largest gradient {slope:.1e}")
    params, value, slope = max(ends, key=lambda end: end[1])
    mean, lower = (np.asarray(v) for v in unpack(params))
    rows = rows_of(mean, lower @ lower.T)
    for name, row in rows.items():
        print(f"{name:<16}" + "".join(f"{v:11.5f}" for v in row.values()))
    about = {
        "what": "The full-rank normal on (mu, log tau, theta_trans) of greatest ELBO for the eight "
        "schools of first_fit.py, its moments and quantiles on the scale of the parameters.",
        "how": f"Exact ELBO, BFGS in float64 (jax {jax.__version__}, scipy {scipy.__version__}), "
        f"{len(starts)} starts, largest gradient {slope:.0e}, by examples/reference/"
        "eight_schools_best_normal.py.",
    }
    unconstrained = {
        "mean": [float(f"{v:.8g}") for v in mean],
        "sd": [float(f"{v:.8g}") for v in np.sqrt(np.diag(lower @ lower.T))],
        "lower": [[float(f"{v:.8g}") for v in row] for row in lower],
    }
    out = {"about": about, "elbo": value, "unconstrained": unconstrained, "parameters": rows}
    args.out.write_text(json.dumps(out, indent=1) + "\n")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
