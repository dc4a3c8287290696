"""The tables of cases: one row for each public thing enrols it in every law of its kind.

`test_completeness.py` asserts that no public thing is without a row. Rows make their things
inside the test, so that their arrays are of the world (float32 or float64) the test runs in.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vikl import estimators, families, generators, methods, objectives
from vikl.target import Target


@dataclasses.dataclass(frozen=True)
class FamilyCase:
    """How to make a family of `dim` dimensions: the standard one, and a lopsided one.

    `lacks` names what it has no closed form for: `entropy`, `kl` (`kl to others`: but to its own
    kind), `from_noise`, or `sd` (the scale that `init` takes is not the standard deviation; `sds`:
    it gives the sum of the variances only).
    """

    standard: Callable[[int], families.Family]
    lopsided: Callable[[int], families.Family]
    lacks: frozenset[str] = frozenset()


def _loc(dim: int) -> jax.Array:
    return jnp.linspace(-0.7, 1.1, dim)


def _scales(dim: int) -> jax.Array:
    return jnp.linspace(0.6, 1.4, dim)


def _mean_field(dim: int) -> families.Family:
    return families.MeanFieldNormal.init(_loc(dim), _scales(dim))


def _full_rank(dim: int) -> families.Family:
    tril = jnp.tril(jnp.full((dim, dim), 0.4), -1) + jnp.diag(_scales(dim))
    return families.FullRankNormal.from_moments(_loc(dim), tril)


def _low_rank(dim: int) -> families.Family:
    factor = jnp.stack([jnp.linspace(0.4, -0.3, dim)] * min(dim, 2), axis=1)
    return families.LowRankNormal(_loc(dim), jnp.log(0.85 * _scales(dim)), factor)


def _mixture(dim: int) -> families.Family:
    loc = jnp.stack([_loc(dim), -1.2 * _loc(dim), jnp.full(dim, 0.5)])
    scale = 0.8 * jnp.stack([_scales(dim), 0.5 * _scales(dim)[::-1], _scales(dim)])
    return families.NormalMixture.from_components(jnp.array([0.5, 0.3, 0.2]), loc, scale)


def _full_mixture(dim: int) -> families.Family:
    tril = jnp.tril(jnp.full((dim, dim), 0.4), -1) + jnp.diag(_scales(dim))
    trils = jnp.stack([0.8 * tril, 0.5 * jnp.eye(dim)])
    loc = jnp.stack([_loc(dim), -_loc(dim)])
    return families.NormalMixture.from_components(jnp.array([0.7, 0.3]), loc, trils)


def _student_t(dim: int) -> families.Family:
    tril = jnp.asarray(np.tril(np.full((dim, dim), 0.3), -1), float)
    q = families.StudentT.init(_loc(dim), 0.8 * _scales(dim), df=12.0, full=True)
    return dataclasses.replace(q, lower=tril)


_NO_NORMAL = frozenset({"entropy", "kl", "from_noise"})
_CONSTRAINED = frozenset({"kl to others", "from_noise"})
FAMILIES = {
    "MeanFieldNormal": FamilyCase(
        lambda dim: families.MeanFieldNormal.init(jnp.zeros(dim)), _mean_field
    ),
    "FullRankNormal": FamilyCase(
        lambda dim: families.FullRankNormal.init(jnp.zeros(dim)), _full_rank
    ),
    "LowRankNormal": FamilyCase(
        lambda dim: families.LowRankNormal(
            jnp.zeros(dim), jnp.zeros(dim), jnp.zeros((dim, min(dim, 2)))
        ),
        _low_rank,
    ),
    "Blocks": FamilyCase(
        lambda dim: families.Blocks.init(jnp.zeros(dim), sizes=(1,) * dim),
        lambda dim: families.Blocks.init(_loc(dim), _scales(dim), sizes=(1,) * dim),
        frozenset({"kl"}),
    ),
    "NormalMixture": FamilyCase(
        lambda dim: families.NormalMixture.init(jnp.zeros(dim), num_components=3),
        _mixture,
        _NO_NORMAL,
    ),
    "NormalMixture-full": FamilyCase(
        lambda dim: families.NormalMixture.init(jnp.zeros(dim), num_components=2, full=True),
        _full_mixture,
        _NO_NORMAL,
    ),
    "StudentT": FamilyCase(
        lambda dim: families.StudentT.init(jnp.zeros(dim)),
        lambda dim: families.StudentT.init(_loc(dim), 0.7 * _scales(dim), df=12.0),
        frozenset({"kl", "from_noise", "sd"}),
    ),
    "StudentT-full": FamilyCase(
        lambda dim: families.StudentT.init(jnp.zeros(dim), full=True),
        _student_t,
        frozenset({"kl", "from_noise", "sd"}),
    ),
    "Gamma": FamilyCase(
        lambda dim: families.Gamma.init(jnp.zeros(dim)),
        lambda dim: families.Gamma.init(0.5 * _loc(dim), 0.8 * _scales(dim)),
        _CONSTRAINED,
    ),
    "Beta": FamilyCase(
        lambda dim: families.Beta.init(jnp.zeros(dim)),
        lambda dim: families.Beta.init(_loc(dim), 0.8 * _scales(dim)),
        _CONSTRAINED,
    ),
    "Dirichlet": FamilyCase(
        lambda dim: families.Dirichlet.init(jnp.zeros(dim)),
        lambda dim: families.Dirichlet.init(_loc(dim), 0.8 * _scales(dim)),
        _CONSTRAINED | {"sds"},
    ),
}
#: families with tests of their own: around what others make, or without moments
FOREIGN_FAMILIES = {
    "Flow": "test_flow.py",
    "Custom": "test_custom_family.py",
    "VonMises": "test_constrained_families.py",
}
#: the families that the laws of estimators and objectives are tested with: each program counts
NORMALS = {name: FAMILIES[name] for name in ("MeanFieldNormal", "FullRankNormal")}


@dataclasses.dataclass(frozen=True)
class EstimatorCase:
    """An estimator; the fewest draws it takes; whether it takes any integrand."""

    make: Callable[[], estimators.Estimator]
    fewest: int = 1
    general: bool = True
    #: the size of error in the mean gradient that is found, from so many replicates of two draws
    detects: float = 0.35
    replicates: int = 20_000
    #: the one family that it is for, beside the normals or instead of them
    family: str | None = None
    #: whether there is no noise at all
    exact: bool = False


ESTIMATORS = {
    "Pathwise": EstimatorCase(estimators.Pathwise),
    "StickingTheLanding": EstimatorCase(estimators.StickingTheLanding),
    "ClosedFormEntropy": EstimatorCase(estimators.ClosedFormEntropy, general=False),
    "AnalyticKL": EstimatorCase(estimators.AnalyticKL, general=False),
    "ScoreFunction": EstimatorCase(
        estimators.ScoreFunction, fewest=2, detects=0.6, replicates=60_000
    ),
    "Pathwise-mixture": EstimatorCase(estimators.Pathwise, family="NormalMixture"),
    "Pathwise-antithetic": EstimatorCase(
        lambda: estimators.Pathwise(estimators.AntitheticNoise()), fewest=2
    ),
    "Pathwise-Sobol": EstimatorCase(lambda: estimators.Pathwise(estimators.SobolNoise()), fewest=2),
    "StickingTheLanding-Sobol": EstimatorCase(
        lambda: estimators.StickingTheLanding(estimators.SobolNoise()), fewest=2
    ),
    "DoublyReparameterized": EstimatorCase(estimators.DoublyReparameterized, general=False),
    "HessianControlVariate": EstimatorCase(  # the target of the law is quadratic: no noise left
        estimators.HessianControlVariate, general=False, replicates=2, exact=True
    ),
    "Stratified": EstimatorCase(estimators.Stratified, fewest=3, family="NormalMixture"),
    "DefensiveMixture": EstimatorCase(
        lambda: estimators.DefensiveMixture(families.MeanFieldNormal.init(jnp.zeros(2), 2.0)),
        fewest=4,
        detects=0.6,
        replicates=60_000,
    ),
    "Quadrature": EstimatorCase(
        lambda: estimators.Quadrature(-14.0, 14.0, 101), replicates=2, exact=True
    ),
}


@dataclasses.dataclass(frozen=True)
class ObjectiveCase:
    """An objective of a normalised target q0 (a family), and whether it needs the log density."""

    make: Callable[[families.Family], objectives.Objective]
    uses_density: bool = True
    #: the size of error in the mean gradient at the target that is found
    detects: float = 0.2
    #: whether nothing is drawn
    exact: bool = False


class _Joint(eqx.Module):
    """Simulations of a model whose latents are those of a family and whose data say nothing."""

    latents: families.Family

    def __call__(self, key):
        return self.latents.sample_and_log_prob(key)[0], jnp.zeros(())


def _exact_samples(q: families.Family) -> jax.Array:
    """Return a sample whose mean and (1/n) covariance are those of q exactly."""
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * q.dim), axis=-1).reshape(-1, q.dim)
    return jax.vmap(lambda noise: families.from_noise(q, noise))(jnp.asarray(corners, float))


def _wide() -> estimators.Estimator:
    return estimators.DefensiveMixture(families.MeanFieldNormal.init(jnp.zeros(2), 2.0))


#: made once: a new generator compiles anew
_ALPHA = generators.alpha(0.3)
_DREG = estimators.DoublyReparameterized
_SCORE = estimators.ScoreFunction
OBJECTIVES = {
    "ReverseKL": [ObjectiveCase(lambda q: objectives.ReverseKL(num_samples=4))],
    "ForwardKL": [
        ObjectiveCase(lambda q: objectives.ForwardKL(num_samples=16)),
        ObjectiveCase(lambda q: objectives.ForwardKL(samples=_exact_samples(q)), False, exact=True),
    ],
    "FDivergence": [
        ObjectiveCase(lambda q: objectives.FDivergence(_ALPHA, num_samples=16)),
        ObjectiveCase(lambda q: objectives.FDivergence(_ALPHA, _DREG(), num_samples=16)),
    ],
    "JensenShannon": [
        ObjectiveCase(lambda q: objectives.JensenShannon(num_samples=16)),
        ObjectiveCase(lambda q: objectives.JensenShannon((0.3, 0.7), _wide(), num_samples=16)),
    ],
    "Jeffreys": [ObjectiveCase(lambda q: objectives.Jeffreys(_SCORE(), num_samples=16))],
    "SquaredHellinger": [ObjectiveCase(lambda q: objectives.SquaredHellinger(num_samples=16))],
    "Renyi": [
        ObjectiveCase(lambda q: objectives.Renyi(0.5, num_samples=16)),
        ObjectiveCase(lambda q: objectives.Renyi(2.0, "p||q", _DREG(), num_samples=16)),
        ObjectiveCase(lambda q: objectives.Renyi(1.0, "p||q", num_samples=16)),
        ObjectiveCase(lambda q: objectives.Renyi(1.0, estimator=_SCORE(), num_samples=16)),
    ],
    "ChiSquared": [
        ObjectiveCase(lambda q: objectives.ChiSquared(num_samples=16)),
        ObjectiveCase(lambda q: objectives.ChiSquared("q||p", _SCORE(), num_samples=16)),
    ],
    "ImportanceWeighted": [
        ObjectiveCase(lambda q: objectives.ImportanceWeighted(num_importance=5)),
        ObjectiveCase(lambda q: objectives.ImportanceWeighted(_DREG(), 5, 2)),
        ObjectiveCase(lambda q: objectives.ImportanceWeighted(_SCORE(), 5, 2)),
    ],
    "ScoreMatching": [ObjectiveCase(lambda q: objectives.ScoreMatching(num_samples=8))],
    "MarkovianScoreClimbing": [
        ObjectiveCase(lambda q: objectives.MarkovianScoreClimbing(num_samples=8, num_chains=2)),
    ],
    "AnnealedKL": [ObjectiveCase(lambda q: objectives.AnnealedKL(1.0, 1.0, num_samples=4))],
    "AmortizedForwardKL": [
        ObjectiveCase(lambda q: objectives.AmortizedForwardKL(_Joint(q), num_samples=8), False)
    ],
    "TailAdaptive": [ObjectiveCase(lambda q: objectives.TailAdaptive(num_samples=16))],
}


def normal_density(x, data):
    """Log density of a normal with mean and precision `data`, unnormalised."""
    loc, precision = data
    return -0.5 * (x - loc) @ (precision @ (x - loc))


def family_density(x, family):
    """Log density of a family, normalised: a target that is exactly q."""
    return family.log_prob(x)


def shifted_family_density(x, data):
    """Log density of a family plus a constant."""
    family, constant = data
    return family.log_prob(x) + constant


def family_target(family: families.Family) -> Target:
    """Return the target that is exactly this family."""
    return Target.from_density(family_density, jnp.zeros(family.dim), data=family)


def gaussian_parts(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the precision of a correlated normal of `dim` dimensions."""
    precision = np.eye(dim) * 2.0 + 0.5 * (np.ones((dim, dim)) - np.eye(dim))
    return np.linspace(1.0, -1.0, dim), precision


def gaussian_with_prior(dim: int) -> Target:
    """Return a normal likelihood (`gaussian_parts`) times a wide normal prior."""
    loc, precision = gaussian_parts(dim)
    return Target.from_density(
        normal_density,
        jnp.zeros(dim),
        data=(jnp.asarray(loc, float), jnp.asarray(precision, float)),
        prior=families.MeanFieldNormal.init(jnp.full(dim, 0.3), 1.5),
    )


#: the ways to make a target, each with a tiny one
TARGETS: dict[str, Callable[[], Target]] = {
    "from_density": lambda: gaussian_with_prior(2),
    "from_numpyro": lambda: Target.from_numpyro(numpyro_model, jnp.array([1.0, 2.0])),
}


def numpyro_model(y):
    """Two latent sites, one positive, a plate, and a deterministic site."""
    import numpyro
    import numpyro.distributions as dist

    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfNormal(2.0))
    numpyro.deterministic("ratio", mu / tau)
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, tau), obs=y)


@dataclasses.dataclass(frozen=True)
class SupportCase:
    """A support by name, bounds and shape, and the coordinates in which its density is taken."""

    shape: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()
    free: Callable[[Any], Any] = jnp.ravel
    promotes: bool = False  # numpyro's map relies on implicit type promotion


def _lower(matrix):
    return matrix[jnp.tril_indices(matrix.shape[0])]


def _below(matrix):
    return matrix[jnp.tril_indices(matrix.shape[0], -1)]


_LOWER_TRIANGLE = SupportCase((2, 2), free=_lower)
SUPPORTS = {
    "real": SupportCase(),
    "positive": SupportCase(),
    "nonnegative": SupportCase(),
    "softplus_positive": SupportCase(),
    "unit_interval": SupportCase((2,)),
    "circular": SupportCase(),
    "interval": SupportCase((), (-1.0, 5.0)),
    "open_interval": SupportCase((), (0.0, 5.0)),
    "greater_than": SupportCase((), (1.0,)),
    "less_than": SupportCase((), (1.0,)),
    "negative": SupportCase(),
    "simplex": SupportCase((3,), free=lambda v: v[:-1]),
    "ordered": SupportCase((3,)),
    "ordered_vector": SupportCase((3,)),
    "positive_ordered_vector": SupportCase((3,)),
    "lower_cholesky": _LOWER_TRIANGLE,
    "lower_triangular_positive": _LOWER_TRIANGLE,
    "softplus_lower_cholesky": _LOWER_TRIANGLE,
    "positive_definite": SupportCase((2, 2), free=_lower, promotes=True),
    "corr_cholesky": SupportCase((3, 3), free=_below),
    "corr_matrix": SupportCase((3, 3), free=_below, promotes=True),
}


def small_target(shift: float = 0.0) -> Target:
    """Return a 2-d correlated normal, the one target that the tests of the loop share."""
    loc, precision = gaussian_parts(2)
    data = (jnp.asarray(loc + shift, float), jnp.asarray(precision, float))
    return Target.from_density(normal_density, jnp.zeros(2), data=data)


def log_gamma_density(x, shape):
    return jnp.sum(shape * x - jnp.exp(x))


def skewed_target() -> Target:
    """Return two logarithms of gamma variables, on which the automatic method takes a while."""
    return Target.from_density(log_gamma_density, jnp.zeros(2), data=jnp.asarray([0.7, 3.0], float))


def normal_of(count: int) -> np.ndarray:
    """Return `count` points in the plane whose mean is 0 and covariance the identity, exactly."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclasses.dataclass(frozen=True)
class MethodCase:
    """A method with settings small enough for tests, and what it owes on a normal target.

    `finds` is "normal" (mean and covariance), "mean-field" (mean and conditional variances) or
    "mixture" (mean and covariance of a mixture). Errors are in sds, and as a share of sds.
    """

    make: Callable[[], methods.Method]
    finds: str = "normal"
    mean_off: float = 0.002
    sd_off: float = 0.002
    #: sds that the coordinates of the normal target are multiplied by
    sizes: tuple[float, float, float] = (1e-3, 1.0, 1e3)
    #: nats of ELBO that may be missing to the best normal on a regression
    gap: float = 0.1


METHODS = {
    "Laplace": MethodCase(methods.Laplace, gap=1.0),
    "BatchAndMatch": MethodCase(methods.BatchAndMatch),
    "GaussianScoreMatching": MethodCase(methods.GaussianScoreMatching),
    "DeterministicADVI": MethodCase(
        lambda: methods.DeterministicADVI(num_draws=60), finds="mean-field", sd_off=0.35
    ),
    "Pathfinder": MethodCase(
        lambda: methods.Pathfinder(num_paths=8),
        finds="mixture",
        mean_off=0.05,
        sd_off=0.1,
        sizes=(0.1, 1.0, 10.0),
    ),
    "StochasticVI": MethodCase(lambda: methods.StochasticVI(num_steps=400)),
}
