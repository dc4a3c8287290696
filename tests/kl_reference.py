"""Makes tests/kl_reference.json: divergences to 18 digits by mpmath, at float32 parameters.

Run `python -m tests.kl_reference` to make it again. Each kernel's parameters are listed in its own
order; the value is the integral or sum of p log(p/q), so it shares nothing with the kernels.
"""

import json
import pathlib

import mpmath as mp
import numpy as np

mp.mp.dps = 22
PATH = pathlib.Path(__file__).with_suffix(".json")
INF = mp.inf


def normal(m, s):
    return lambda x: -((x - m) ** 2) / (2 * s * s) - mp.log(s) - mp.log(2 * mp.pi) / 2


def gamma(a, b):
    return lambda x: a * mp.log(b) - mp.loggamma(a) + (a - 1) * mp.log(x) - b * x


def beta(a, b):
    constant = mp.loggamma(a + b) - mp.loggamma(a) - mp.loggamma(b)
    return lambda x: constant + (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x)


def laplace(m, s):
    return lambda x: -abs(x - m) / s - mp.log(2 * s)


def gumbel(m, s):
    # where the inner exponential passes e⁶⁰ the density is nothing; its digits would take for ever
    return lambda x: -(x - m) / s - mp.exp(min(-(x - m) / s, 60)) - mp.log(s)


def logistic(m, s):
    return lambda x: -abs(x - m) / s - 2 * mp.log1p(mp.exp(-abs(x - m) / s)) - mp.log(s)


def student_t(v, m, s):
    constant = mp.loggamma((v + 1) / 2) - mp.loggamma(v / 2) - mp.log(v * mp.pi) / 2 - mp.log(s)
    return lambda x: constant - (v + 1) / 2 * mp.log1p(((x - m) / s) ** 2 / v)


def weibull(k, s):
    return lambda x: mp.log(k / s) + (k - 1) * mp.log(x / s) - (x / s) ** k


def von_mises(m, k):
    constant = mp.log(2 * mp.pi * mp.besseli(0, k))
    return lambda x: k * mp.cos(x - m) - constant


def kumaraswamy(a, b):
    return lambda x: mp.log(a * b) + (a - 1) * mp.log(x) + (b - 1) * mp.log(1 - x**a)


def log_normal(m, s):
    return lambda x: normal(m, s)(mp.log(x)) - mp.log(x)


LINE, HALF, UNIT = [-INF, -5, -1, 0, 1, 5, INF], [0, 0.5, 1, 2, 5, INF], [0, 0.1, 0.5, 0.9, 1]
CIRCLE = [-mp.pi, -1, 0, 1, mp.pi]
#: (kernel, log density of p, of q, parameters of p, of q, break points)
CASES = [
    ("normal", normal, normal, (0.5, 1.4), (0.5005, 1.4007), LINE),
    ("normal", normal, normal, (0.5, 1.4), (-0.7, 0.6), LINE),
    ("gamma", gamma, gamma, (2.5, 1.2), (2.5025, 1.2), HALF),
    ("gamma", gamma, gamma, (0.7, 1.2), (3.5, 0.4), HALF),
    ("beta", beta, beta, (2.4, 3.9), (2.402, 3.895), UNIT),
    ("beta", beta, beta, (0.8, 1.7), (3.0, 2.2), UNIT),
    ("laplace", laplace, laplace, (0.5, 1.4), (-0.7, 0.6), [-INF, -0.7, 0.5, INF]),
    ("gumbel", gumbel, gumbel, (0.5, 1.4), (0.502, 1.397), LINE),
    ("gumbel", gumbel, gumbel, (0.5, 0.4), (-0.7, 0.6), LINE),
    ("weibull", weibull, weibull, (1.8, 0.9), (0.6, 2.5), HALF),
    ("von_mises", von_mises, von_mises, (0.5, 1.4), (-0.7, 4.0), CIRCLE),
    ("von_mises", von_mises, von_mises, (0.5, 9.4), (0.501, 9.39), CIRCLE),
    ("student_t", student_t, student_t, (3.6, -0.3, 0.6), (7.0, 0.6, 1.2), LINE),
    ("student_t", student_t, student_t, (6.2, 0.94, 1.26), (6.22, 0.941, 1.262), LINE),
    ("student_t_normal", student_t, normal, (6.5, 0.1, 0.9), (1.0, 2.1), LINE),
    ("normal_student_t", normal, student_t, (0.8, 1.4), (6.5, -0.4, 0.9), LINE),
    ("logistic", logistic, logistic, (0.5, 1.4), (-0.7, 0.6), LINE),
    ("normal_logistic", normal, logistic, (0.3, 0.7), (-0.2, 1.6), LINE),
    ("logistic_normal", logistic, normal, (0.3, 0.7), (-0.2, 1.6), LINE),
    ("kumaraswamy_beta", kumaraswamy, beta, (1.4, 2.1), (0.95, 2.6), UNIT),
    ("normal_laplace", normal, laplace, (-0.6, 0.6), (-0.9, 1.5), [-INF, -0.9, INF]),
    ("normal_gumbel", normal, gumbel, (0.2, 0.6), (-0.3, 0.7), LINE),
    ("gamma_normal", gamma, normal, (3.6, 0.8), (-0.3, 0.5), HALF),
    ("gamma_gumbel", gamma, gumbel, (5.6, 2.5), (-0.2, 0.7), HALF),
    ("gamma_log_normal", gamma, log_normal, (2.8, 1.5), (-0.3, 0.5), HALF),
    ("log_normal_gamma", log_normal, gamma, (-0.9, 0.35), (4.5, 0.5), HALF),
    ("weibull_gamma", weibull, gamma, (3.2, 0.7), (0.74, 0.56), HALF),
    ("beta_normal", beta, normal, (3.3, 2.0), (-0.2, 0.8), UNIT),
    ("beta_gamma", beta, gamma, (3.5, 3.4), (0.75, 3.8), UNIT),
]


def main() -> None:
    rows = []
    for name, family_p, family_q, p, q, points in CASES:
        p, q = ([float(np.float32(x)) for x in side] for side in (p, q))
        log_p, log_q = family_p(*map(mp.mpf, p)), family_q(*map(mp.mpf, q))

        def term(x, log_p=log_p, log_q=log_q):
            return mp.exp(log_p(x)) * (log_p(x) - log_q(x))

        value, error = mp.quad(term, points, error=True)
        if error > 1e-16 * value:
            raise ArithmeticError(f"{name} {p} {q}: quadrature error {error}")
        rows.append({"kernel": name, "parameters": [*p, *q], "kl": mp.nstr(value, 18)})
    PATH.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
