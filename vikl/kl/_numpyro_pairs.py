"""NumPyro's distributions, pair by pair: which kernel, with which of their attributes.

Loaded by the registry when the first NumPyro distribution is met, never by `import vikl`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist

from .._typing import Array
from . import _counts as counts
from . import _discrete as discrete
from . import _gamma as gammas
from . import _location_scale as location_scale
from . import _normal as normals
from ._low_rank import low_rank_normal
from ._registry import register_kl

#: The attributes a kernel takes, in its order, per class.
ATTRIBUTES: dict[type, tuple[str, ...]] = {
    dist.BernoulliLogits: ("logits",),
    dist.BernoulliProbs: ("probs",),
    dist.Beta: ("concentration1", "concentration0"),
    dist.BinomialLogits: ("total_count", "logits"),
    dist.BinomialProbs: ("total_count", "probs"),
    dist.CategoricalLogits: ("logits",),
    dist.CategoricalProbs: ("probs",),
    dist.Cauchy: ("loc", "scale"),
    dist.Dirichlet: ("concentration",),
    dist.Exponential: ("rate",),
    dist.Gamma: ("concentration", "rate"),
    dist.GeometricLogits: ("logits",),
    dist.GeometricProbs: ("probs",),
    dist.Gumbel: ("loc", "scale"),
    dist.HalfNormal: ("scale",),
    dist.InverseGamma: ("concentration", "rate"),
    dist.Kumaraswamy: ("concentration1", "concentration0"),
    dist.Laplace: ("loc", "scale"),
    dist.LogNormal: ("loc", "scale"),
    dist.Logistic: ("loc", "scale"),
    dist.NegativeBinomialLogits: ("total_count", "logits"),
    dist.NegativeBinomialProbs: ("total_count", "probs"),
    dist.Normal: ("loc", "scale"),
    dist.Pareto: ("scale", "alpha"),
    dist.Poisson: ("rate",),
    dist.StudentT: ("df", "loc", "scale"),
    dist.Uniform: ("low", "high"),
    dist.VonMises: ("loc", "concentration"),
    dist.Weibull: ("concentration", "scale"),
}


def _parameters(d: Any, cls: type) -> list[Any]:
    return [getattr(d, name) for name in ATTRIBUTES[cls]]


def pair(type_p: type, type_q: type, kernel: Callable[..., Array]) -> None:
    """Register `kernel(*attributes of p, *attributes of q)`."""

    @register_kl(type_p, type_q)
    def rule(p: Any, q: Any) -> Array:
        return kernel(*_parameters(p, type_p), *_parameters(q, type_q))

    rule.__qualname__ = kernel.__name__


for _cls, _kernel in {
    dist.BernoulliLogits: discrete.bernoulli_logits,
    dist.BernoulliProbs: discrete.bernoulli,
    dist.Beta: gammas.beta,
    dist.BinomialLogits: counts.binomial_logits,
    dist.BinomialProbs: counts.binomial,
    dist.CategoricalLogits: discrete.categorical_logits,
    dist.CategoricalProbs: discrete.categorical,
    dist.Cauchy: location_scale.cauchy,
    dist.Dirichlet: gammas.dirichlet,
    dist.Exponential: gammas.exponential,
    dist.Gamma: gammas.gamma,
    dist.GeometricLogits: counts.geometric_logits,
    dist.GeometricProbs: counts.geometric,
    dist.Gumbel: location_scale.gumbel,
    dist.HalfNormal: normals.half_normal,
    dist.InverseGamma: gammas.inverse_gamma,
    dist.Laplace: location_scale.laplace,
    dist.LogNormal: normals.log_normal,
    dist.NegativeBinomialLogits: counts.negative_binomial_logits,
    dist.NegativeBinomialProbs: counts.negative_binomial,
    dist.Normal: normals.normal,
    dist.Pareto: location_scale.pareto,
    dist.Poisson: counts.poisson,
    dist.Uniform: location_scale.uniform,
    dist.Weibull: location_scale.weibull,
}.items():
    pair(_cls, _cls, _kernel)

pair(dist.BernoulliProbs, dist.Poisson, counts.bernoulli_poisson)
pair(dist.BinomialProbs, dist.Poisson, counts.binomial_poisson)
pair(dist.Poisson, dist.BinomialProbs, counts.poisson_binomial)


def _location(d: Any) -> Array:
    return jnp.broadcast_to(d.loc, (*jnp.shape(d.loc)[:-1], *d.event_shape))


def _has_given_covariance(d: Any) -> bool:
    """Whether the covariance came first: computed on demand, it is stored after the factor."""
    names = list(vars(d))
    return "covariance_matrix" in names and names.index("covariance_matrix") < names.index(
        "scale_tril"
    )


@register_kl(dist.MultivariateNormal, dist.MultivariateNormal)
def _multivariate_normals(p: Any, q: Any) -> Array:
    if _has_given_covariance(p) and _has_given_covariance(q):
        return normals.multivariate_normal_covariance(
            _location(p), p.covariance_matrix, _location(q), q.covariance_matrix
        )
    return normals.multivariate_normal(_location(p), p.scale_tril, _location(q), q.scale_tril)


@register_kl(dist.LowRankMultivariateNormal, dist.LowRankMultivariateNormal)
def _low_rank_normals(p: Any, q: Any) -> Array:
    return low_rank_normal(
        _location(p), p.cov_factor, p.cov_diag, _location(q), q.cov_factor, q.cov_diag
    )


@register_kl(dist.MultivariateNormal, dist.LowRankMultivariateNormal)
def _multivariate_from_low_rank(p: Any, q: Any) -> Array:
    tril_q = normals.low_rank_tril(q.cov_factor, q.cov_diag)
    return normals.multivariate_normal(_location(p), p.scale_tril, _location(q), tril_q)


@register_kl(dist.LowRankMultivariateNormal, dist.MultivariateNormal)
def _low_rank_from_multivariate(p: Any, q: Any) -> Array:
    tril_p = normals.low_rank_tril(p.cov_factor, p.cov_diag)
    return normals.multivariate_normal(_location(p), tril_p, _location(q), q.scale_tril)


@register_kl(dist.Wishart, dist.Wishart)
@register_kl(dist.WishartCholesky, dist.WishartCholesky)
def _wisharts(p: Any, q: Any) -> Array:
    base_p = p.base_dist if isinstance(p, dist.Wishart) else p
    base_q = q.base_dist if isinstance(q, dist.Wishart) else q
    return gammas.wishart(
        base_p.concentration, base_p.scale_tril, base_q.concentration, base_q.scale_tril
    )
