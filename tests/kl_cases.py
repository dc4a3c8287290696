"""KL_PAIRS: one row per registered pair, which enrols it in every law of tests/test_kl_laws.py.

A row holds two constructors that take no arguments and give NumPyro distributions of scalar (or
smallest) event, with parameters far enough apart that a Monte Carlo check means something, and
whether KL is infinite. `p()` twice is the pair "p = q" when both classes are the same.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist

import vikl
from tests.kl_adapter import KERNELS, classes


class Pair(NamedTuple):
    p: Callable[[], Any]
    q: Callable[[], Any]
    infinite: bool = False
    sampled: bool = True  # whether Monte Carlo with log_prob is a check


def array(values: Any) -> Any:
    return jnp.asarray(values, float)


TRIL_P = [[1.0, 0.0], [0.3, 0.8]]
TRIL_Q = [[1.3, 0.0], [-0.2, 1.1]]

P: dict[type, Callable[[], Any]] = {
    dist.BernoulliLogits: lambda: dist.BernoulliLogits(array(0.4)),
    dist.BernoulliProbs: lambda: dist.BernoulliProbs(array(0.3)),
    dist.Beta: lambda: dist.Beta(array(2.0), array(3.0)),
    dist.BinomialLogits: lambda: dist.BinomialLogits(array(0.4), 7),
    dist.BinomialProbs: lambda: dist.BinomialProbs(array(0.4), 7),
    dist.CategoricalLogits: lambda: dist.CategoricalLogits(array([0.1, 0.5, -0.4])),
    dist.CategoricalProbs: lambda: dist.CategoricalProbs(array([0.25, 0.25, 0.5])),
    dist.Cauchy: lambda: dist.Cauchy(array(0.2), array(0.8)),
    dist.Delta: lambda: dist.Delta(array(0.3)),
    dist.Dirichlet: lambda: dist.Dirichlet(array([1.5, 2.0, 3.0])),
    dist.ExpandedDistribution: lambda: dist.Normal(array(0.2), array(0.8)).expand((2,)),
    dist.Exponential: lambda: dist.Exponential(array(1.3)),
    dist.Gamma: lambda: dist.Gamma(array(2.5), array(1.5)),
    dist.GeometricLogits: lambda: dist.GeometricLogits(array(0.3)),
    dist.GeometricProbs: lambda: dist.GeometricProbs(array(0.4)),
    dist.Gumbel: lambda: dist.Gumbel(array(0.2), array(0.8)),
    dist.HalfNormal: lambda: dist.HalfNormal(array(0.9)),
    dist.Independent: lambda: dist.Normal(array([0.2, -0.3]), array([0.8, 1.2])).to_event(1),
    dist.InverseGamma: lambda: dist.InverseGamma(array(3.5), array(2.0)),
    dist.Kumaraswamy: lambda: dist.Kumaraswamy(array(1.4), array(2.2)),
    dist.Laplace: lambda: dist.Laplace(array(0.2), array(0.8)),
    dist.LeftTruncatedDistribution: lambda: dist.TruncatedNormal(array(0.2), array(0.8), low=0.0),
    dist.LogNormal: lambda: dist.LogNormal(array(0.2), array(0.6)),
    dist.Logistic: lambda: dist.Logistic(array(0.2), array(0.8)),
    dist.LowRankMultivariateNormal: lambda: dist.LowRankMultivariateNormal(
        array([0.2, -0.3]), array([[0.5], [0.7]]), array([0.6, 0.9])
    ),
    dist.MaskedDistribution: lambda: dist.Normal(array(0.2), array(0.8)).mask(True),
    dist.MultivariateNormal: lambda: dist.MultivariateNormal(
        array([0.2, -0.3]), scale_tril=array(TRIL_P)
    ),
    dist.NegativeBinomialLogits: lambda: dist.NegativeBinomialLogits(array(3.0), array(0.2)),
    dist.NegativeBinomialProbs: lambda: dist.NegativeBinomialProbs(array(3.0), array(0.4)),
    dist.Normal: lambda: dist.Normal(array(0.2), array(0.8)),
    dist.Pareto: lambda: dist.Pareto(array(1.2), array(4.5)),
    dist.Poisson: lambda: dist.Poisson(array(2.5)),
    dist.RightTruncatedDistribution: lambda: dist.TruncatedNormal(array(0.2), array(0.8), high=1.5),
    dist.StudentT: lambda: dist.StudentT(array(5.0), array(0.2), array(0.8)),
    dist.TransformedDistribution: lambda: dist.TransformedDistribution(
        dist.Normal(array(0.2), array(0.8)), dist.transforms.ExpTransform()
    ),
    dist.TwoSidedTruncatedDistribution: lambda: dist.TruncatedNormal(
        array(0.2), array(0.8), low=0.0, high=1.5
    ),
    dist.Uniform: lambda: dist.Uniform(array(0.1), array(0.9)),
    dist.VonMises: lambda: dist.VonMises(array(0.2), array(2.0)),
    dist.Weibull: lambda: dist.Weibull(array(1.2), array(1.6)),
    dist.Wishart: lambda: dist.Wishart(array(4.0), scale_tril=array(TRIL_P)),
    dist.WishartCholesky: lambda: dist.WishartCholesky(array(4.0), scale_tril=array(TRIL_P)),
    dict: lambda: {"a": dist.Normal(array(0.2), array(0.8)), "b": dist.Poisson(array(2.5))},
    tuple: lambda: (dist.Normal(array(0.2), array(0.8)), dist.Poisson(array(2.5))),
}

Q: dict[type, Callable[[], Any]] = P | {
    dist.BernoulliLogits: lambda: dist.BernoulliLogits(array(-0.5)),
    dist.BernoulliProbs: lambda: dist.BernoulliProbs(array(0.6)),
    dist.Beta: lambda: dist.Beta(array(1.5), array(2.5)),
    dist.BinomialLogits: lambda: dist.BinomialLogits(array(-0.3), 7),
    dist.BinomialProbs: lambda: dist.BinomialProbs(array(0.6), 7),
    dist.CategoricalLogits: lambda: dist.CategoricalLogits(array([0.6, 0.0, 0.1])),
    dist.CategoricalProbs: lambda: dist.CategoricalProbs(array([0.5, 0.25, 0.25])),
    dist.Cauchy: lambda: dist.Cauchy(array(-0.3), array(1.2)),
    dist.Dirichlet: lambda: dist.Dirichlet(array([2.5, 1.0, 2.0])),
    dist.ExpandedDistribution: lambda: dist.Normal(array(-0.3), array(1.2)).expand((2,)),
    dist.Exponential: lambda: dist.Exponential(array(0.8)),
    dist.Gamma: lambda: dist.Gamma(array(1.5), array(0.9)),
    dist.GeometricLogits: lambda: dist.GeometricLogits(array(-0.3)),
    dist.GeometricProbs: lambda: dist.GeometricProbs(array(0.6)),
    dist.Gumbel: lambda: dist.Gumbel(array(-0.3), array(1.2)),
    dist.HalfNormal: lambda: dist.HalfNormal(array(1.4)),
    dist.Independent: lambda: dist.Normal(array([0.0, 0.1]), array([1.1, 0.9])).to_event(1),
    dist.InverseGamma: lambda: dist.InverseGamma(array(2.5), array(1.4)),
    dist.Laplace: lambda: dist.Laplace(array(-0.3), array(1.2)),
    dist.LeftTruncatedDistribution: lambda: dist.TruncatedNormal(array(0.5), array(1.1), low=-0.5),
    dist.LogNormal: lambda: dist.LogNormal(array(-0.1), array(0.9)),
    dist.Logistic: lambda: dist.Logistic(array(-0.3), array(1.2)),
    dist.LowRankMultivariateNormal: lambda: dist.LowRankMultivariateNormal(
        array([0.0, 0.1]), array([[0.3], [-0.4]]), array([0.9, 0.7])
    ),
    dist.MaskedDistribution: lambda: dist.Normal(array(-0.3), array(1.2)).mask(True),
    dist.MultivariateNormal: lambda: dist.MultivariateNormal(
        array([0.0, 0.1]), scale_tril=array(TRIL_Q)
    ),
    dist.NegativeBinomialLogits: lambda: dist.NegativeBinomialLogits(array(3.0), array(-0.4)),
    dist.NegativeBinomialProbs: lambda: dist.NegativeBinomialProbs(array(3.0), array(0.6)),
    dist.Normal: lambda: dist.Normal(array(-0.3), array(1.2)),
    dist.Pareto: lambda: dist.Pareto(array(0.9), array(3.5)),
    dist.Poisson: lambda: dist.Poisson(array(3.5)),
    dist.RightTruncatedDistribution: lambda: dist.TruncatedNormal(array(0.5), array(1.1), high=2.0),
    dist.StudentT: lambda: dist.StudentT(array(8.0), array(-0.3), array(1.2)),
    dist.TransformedDistribution: lambda: dist.TransformedDistribution(
        dist.Normal(array(-0.3), array(1.2)), dist.transforms.ExpTransform()
    ),
    dist.TwoSidedTruncatedDistribution: lambda: dist.TruncatedNormal(
        array(0.5), array(1.1), low=-0.5, high=2.0
    ),
    dist.Uniform: lambda: dist.Uniform(array(-0.5), array(1.5)),
    dist.VonMises: lambda: dist.VonMises(array(-0.3), array(1.2)),
    dist.Weibull: lambda: dist.Weibull(array(1.5), array(1.1)),
    dist.Wishart: lambda: dist.Wishart(array(5.0), scale_tril=array(TRIL_Q)),
    dist.WishartCholesky: lambda: dist.WishartCholesky(array(5.0), scale_tril=array(TRIL_Q)),
    dict: lambda: {"a": dist.Normal(array(-0.3), array(1.2)), "b": dist.Poisson(array(3.5))},
    tuple: lambda: (dist.Normal(array(-0.3), array(1.2)), dist.Poisson(array(3.5))),
}

#: The classes whose parameters fit any support: both ends of the table agree on the values.
LINE = (dist.Normal, dist.Laplace, dist.Cauchy, dist.Gumbel, dist.Logistic, dist.StudentT)
HALF_LINE = (
    dist.Exponential, dist.Gamma, dist.HalfNormal, dist.InverseGamma, dist.LogNormal, dist.Weibull
)  # fmt: skip
INTERVAL = (dist.Beta, dist.Kumaraswamy, dist.Uniform)
LEFT, RIGHT = dist.LeftTruncatedDistribution, dist.RightTruncatedDistribution
BOTH = dist.TwoSidedTruncatedDistribution
INFINITE = {
    *((p, q) for p in LINE for q in (*HALF_LINE, dist.Pareto, *INTERVAL)),
    *((p, q) for p in HALF_LINE for q in (dist.Pareto, *INTERVAL)),
    *((dist.Pareto, q) for q in INTERVAL),
    *((dist.Cauchy, q) for q in (dist.Normal, dist.Laplace, dist.Logistic, dist.Gumbel)),
    *((dist.Normal, q) for q in (LEFT, RIGHT, BOTH)),
    (LEFT, RIGHT), (RIGHT, LEFT), (LEFT, BOTH), (RIGHT, BOTH), (dist.Poisson, dist.BinomialProbs),
}  # fmt: skip
FINITE = {
    *((cls, cls) for cls in P if cls not in (dist.Delta, dist.Kumaraswamy)),
    *((dist.BernoulliProbs, q) for q in (dist.Poisson,)),
    (dist.BinomialProbs, dist.Poisson),
    *((dist.Beta, q) for q in (dist.Exponential, dist.Gamma, dist.Normal, dist.Uniform)),
    *((dist.Exponential, q) for q in (dist.Gamma, dist.Gumbel, dist.Normal, dist.Weibull)),
    *((dist.Gamma, q) for q in (dist.Exponential, dist.Gumbel, dist.InverseGamma)),
    *((dist.Gamma, q) for q in (dist.LogNormal, dist.Normal)),
    *((p, dist.Normal) for p in (dist.Gumbel, dist.Laplace, dist.Logistic, dist.StudentT)),
    (dist.HalfNormal, dist.Exponential), (dist.InverseGamma, dist.Gamma),
    (dist.Kumaraswamy, dist.Beta), (dist.LogNormal, dist.Gamma),
    *((dist.Normal, q) for q in (dist.Cauchy, dist.Gumbel, dist.Laplace, dist.Logistic)),
    (dist.Normal, dist.StudentT), (dist.StudentT, dist.Cauchy), (dist.Cauchy, dist.StudentT),
    *((dist.Pareto, q) for q in (dist.Exponential, dist.Gamma, dist.Normal)),
    *((dist.Uniform, q) for q in (dist.Beta, dist.Exponential, dist.Gamma, dist.Gumbel)),
    (dist.Uniform, dist.Normal), (dist.Weibull, dist.Exponential), (dist.Weibull, dist.Gamma),
    *((p, dist.Normal) for p in (LEFT, RIGHT, BOTH)), (BOTH, LEFT), (BOTH, RIGHT),
    (dist.MultivariateNormal, dist.LowRankMultivariateNormal),
    (dist.LowRankMultivariateNormal, dist.MultivariateNormal),
    (dist.Independent, dist.MultivariateNormal), (dist.MultivariateNormal, dist.Independent),
    (dist.Independent, dist.LowRankMultivariateNormal),
    (dist.LowRankMultivariateNormal, dist.Independent),
}  # fmt: skip
#: Rules on a base class: any member will do.
STRUCTURAL = {
    (dist.Delta, dist.Distribution): Pair(P[dist.Delta], Q[dist.Normal]),
    (dist.Delta, dist.ExpandedDistribution): Pair(P[dist.Delta], Q[dist.ExpandedDistribution]),
    (dist.ExpandedDistribution, dist.Distribution): Pair(
        P[dist.ExpandedDistribution], Q[dist.Normal]
    ),
    (dist.Distribution, dist.ExpandedDistribution): Pair(
        P[dist.Normal], Q[dist.ExpandedDistribution]
    ),
}
_UNSAMPLED = (dict, tuple, dist.Wishart, dist.WishartCholesky)  # by their own tests


def _row(pair: tuple[type, type], infinite: bool) -> Pair:
    p, q = pair
    return Pair(P[p], Q[q], infinite, not infinite and p not in _UNSAMPLED)


def identifier(pair: tuple[type, type]) -> str:
    return "-".join(cls.__name__ for cls in pair)


KL_PAIRS: dict[tuple[type, type], Pair] = {
    **{pair: _row(pair, False) for pair in sorted(FINITE, key=identifier)},
    **{pair: _row(pair, True) for pair in sorted(INFINITE, key=identifier)},
    **STRUCTURAL,
}


def referenced() -> set[tuple[type, ...]]:
    """Pairs whose values and slopes tests/test_kl_reference.py compares with many digits."""
    rows = json.loads(pathlib.Path(__file__).with_name("kl_reference.json").read_text())
    return {classes(row["pair"]) for row in rows if "slopes" in row and row["pair"] not in KERNELS}


def missing_rows(rows: Any) -> set:
    """Pairs of NumPyro's and Python's own classes that lack a row, and rows too many."""
    registered = {
        pair
        for pair in vikl.registered_kl_pairs()
        if all(cls.__module__.split(".")[0] in ("numpyro", "builtins") for cls in pair)
    }
    return registered ^ set(rows)
