"""NumPyro's distributions, pair by pair: which kernel, with which of their attributes.

Loaded by the registry when the first NumPyro distribution is met, never by `import vikl`.
"""

# numpyro types its lazy attributes as unions with shapes:
# pyright: reportArgumentType=false

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist

from .._typing import Array
from . import _circular as circular
from . import _counts as counts
from . import _discrete as discrete
from . import _gamma as gammas
from . import _location_scale as location_scale
from . import _logistic as logistic
from . import _mixed as mixed
from . import _mixed_gamma as mixed_gamma
from . import _mixed_normal as mixed_normal
from . import _normal as normals
from . import _student as student
from . import _truncated as truncated
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

pair(dist.Beta, dist.Exponential, mixed_gamma.beta_exponential)
pair(dist.Beta, dist.Gamma, mixed_gamma.beta_gamma)
pair(dist.Beta, dist.Normal, mixed_normal.beta_normal)
pair(dist.Beta, dist.Uniform, mixed.beta_uniform)
pair(dist.Exponential, dist.Gamma, mixed.exponential_gamma)
pair(dist.Exponential, dist.Gumbel, mixed.exponential_gumbel)
pair(dist.Exponential, dist.Normal, mixed_normal.exponential_normal)
pair(dist.Exponential, dist.Weibull, mixed_gamma.exponential_weibull)
pair(dist.Gamma, dist.Exponential, mixed.gamma_exponential)
pair(dist.Gamma, dist.Gumbel, mixed.gamma_gumbel)
pair(dist.Gamma, dist.InverseGamma, mixed_gamma.gamma_inverse_gamma)
pair(dist.Gamma, dist.LogNormal, mixed.gamma_log_normal)
pair(dist.Gamma, dist.Normal, mixed_normal.gamma_normal)
pair(dist.Gumbel, dist.Normal, mixed_normal.gumbel_normal)
pair(dist.HalfNormal, dist.Exponential, mixed_gamma.half_normal_exponential)
pair(dist.InverseGamma, dist.Gamma, mixed_gamma.inverse_gamma_gamma)
pair(dist.Kumaraswamy, dist.Beta, truncated.kumaraswamy_beta)
pair(dist.Laplace, dist.Normal, mixed_normal.laplace_normal)
pair(dist.LogNormal, dist.Gamma, mixed_gamma.log_normal_gamma)
pair(dist.Logistic, dist.Logistic, logistic.logistic)
pair(dist.Logistic, dist.Normal, logistic.logistic_normal)
pair(dist.Normal, dist.Gumbel, mixed_normal.normal_gumbel)
pair(dist.Normal, dist.Laplace, mixed_normal.normal_laplace)
pair(dist.Normal, dist.Logistic, logistic.normal_logistic)
pair(dist.Normal, dist.StudentT, student.normal_student_t)
pair(dist.Pareto, dist.Exponential, mixed_gamma.pareto_exponential)
pair(dist.Pareto, dist.Gamma, mixed_gamma.pareto_gamma)
pair(dist.Pareto, dist.Normal, mixed_normal.pareto_normal)
pair(dist.StudentT, dist.Normal, student.student_t_normal)
pair(dist.StudentT, dist.StudentT, student.student_t)
pair(dist.Uniform, dist.Beta, mixed.uniform_beta)
pair(dist.Uniform, dist.Exponential, mixed_gamma.uniform_exponential)
pair(dist.Uniform, dist.Gamma, mixed_gamma.uniform_gamma)
pair(dist.Uniform, dist.Gumbel, mixed.uniform_gumbel)
pair(dist.Uniform, dist.Normal, mixed_normal.uniform_normal)
pair(dist.VonMises, dist.VonMises, circular.von_mises)
pair(dist.Weibull, dist.Exponential, mixed_gamma.weibull_exponential)
pair(dist.Weibull, dist.Gamma, mixed_gamma.weibull_gamma)


@register_kl(dist.Normal, dist.Cauchy)
def _normal_cauchy(p: Any, q: Any) -> Array:
    return student.normal_student_t(p.loc, p.scale, 1.0, q.loc, q.scale)


@register_kl(dist.StudentT, dist.Cauchy)
def _student_t_cauchy(p: Any, q: Any) -> Array:
    return student.student_t(p.df, p.loc, p.scale, 1.0, q.loc, q.scale)


@register_kl(dist.Cauchy, dist.StudentT)
def _cauchy_student_t(p: Any, q: Any) -> Array:
    return student.student_t(1.0, p.loc, p.scale, q.df, q.loc, q.scale)


def _bounds(d: Any) -> tuple[Any, Any, Any, Any]:
    """Parameters of a truncated normal of any of NumPyro's classes, or of a plain normal."""
    base = getattr(d, "base_dist", d)
    if not isinstance(base, dist.Normal):
        raise NotImplementedError(
            f"kl_divergence: no closed form is registered for a truncated "
            f"{type(base).__qualname__}. Estimate it with `vikl.estimate_kl(p, q, key=...)`."
        )
    return base.loc, base.scale, getattr(d, "low", -jnp.inf), getattr(d, "high", jnp.inf)


def _truncated_normals(p: Any, q: Any) -> Array:
    return truncated.truncated_normal(*_bounds(p), *_bounds(q))


TRUNCATED = (
    dist.TwoSidedTruncatedDistribution,
    dist.LeftTruncatedDistribution,
    dist.RightTruncatedDistribution,
)
for _cls in TRUNCATED:
    register_kl(_cls, dist.Normal)(_truncated_normals)
    register_kl(dist.Normal, _cls)(_truncated_normals)
    for _other in TRUNCATED:
        register_kl(_cls, _other)(_truncated_normals)

# Supports: p puts mass where q has none, whatever the parameters.
LINE = (dist.Normal, dist.Laplace, dist.Cauchy, dist.Gumbel, dist.Logistic, dist.StudentT)
HALF_LINE = (
    dist.Exponential, dist.Gamma, dist.HalfNormal, dist.InverseGamma, dist.LogNormal, dist.Weibull
)  # fmt: skip
INTERVAL = (dist.Beta, dist.Kumaraswamy, dist.Uniform)


def _impossible(p: Any, q: Any) -> Array:
    """+inf of the broadcast batch shape, NaN where a parameter is."""
    parameters = [
        getattr(d, name)
        for d in (p, q)
        for cls in type(d).__mro__
        for name in ATTRIBUTES.get(cls, ())
    ]
    nothing = sum(jnp.asarray(x, float) * 0.0 for x in parameters)
    shape = jnp.broadcast_shapes(p.batch_shape, q.batch_shape)
    return jnp.broadcast_to(jnp.where(jnp.isnan(nothing), jnp.nan, jnp.inf), shape)


for _sources, _targets in (
    (LINE, (*HALF_LINE, dist.Pareto, *INTERVAL)),
    (HALF_LINE, (dist.Pareto, *INTERVAL)),
    ((dist.Pareto,), INTERVAL),
    ((dist.Cauchy,), (dist.Normal, dist.Laplace, dist.Logistic, dist.Gumbel)),
):
    for _cls in _sources:
        for _other in _targets:
            register_kl(_cls, _other)(_impossible)


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
