"""Adapter from the reference cases' (pair, parameters) to `vikl.kl_divergence` and its gradient.

Float32 unless VIKL_KL_DTYPE=float64. One compiled function per pair and shape; VIKL_KL_MODE=eager
runs without jit around it, VIKL_KL_MODE=vmap compiles a batch of two.
"""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import vikl

DTYPE = os.environ.get("VIKL_KL_DTYPE", "float32")
MODE = os.environ.get("VIKL_KL_MODE", "jit")
if DTYPE == "float64":
    jax.config.update("jax_enable_x64", True)


def _family(name: str):
    return lambda **parameters: getattr(dist, name)(**parameters)


MAKERS = {
    "BernoulliLogits": dist.BernoulliLogits,
    "Bernoulli": dist.BernoulliProbs,
    "BinomialLogits": dist.BinomialLogits,
    "Binomial": dist.BinomialProbs,
    "CategoricalLogits": dist.CategoricalLogits,
    "Categorical": dist.CategoricalProbs,
    "GeometricLogits": dist.GeometricLogits,
    "Geometric": dist.GeometricProbs,
    "NegativeBinomialLogits": dist.NegativeBinomialLogits,
    "NegativeBinomial": dist.NegativeBinomialProbs,
    "InverseGamma": lambda concentration, scale: dist.InverseGamma(concentration, scale),
    "MVNDiag": lambda loc, scale_diag: dist.Normal(loc, scale_diag).to_event(1),
    "MVN": lambda loc, scale_tril: dist.MultivariateNormal(loc, scale_tril=scale_tril),
    "MVNCov": lambda loc, covariance_matrix: dist.MultivariateNormal(loc, covariance_matrix),
    "LowRankMVN": dist.LowRankMultivariateNormal,
    "Wishart": lambda df, scale_tril: dist.Wishart(df, scale_tril=scale_tril),
    "TruncatedNormal": lambda loc, scale, low, high: dist.TruncatedNormal(
        loc, scale, low=low, high=high
    ),
}
#: The registered class of a family, where its maker is not that class.
CLASSES = {
    "InverseGamma": dist.InverseGamma,
    "MVNDiag": dist.Independent,
    "MVN": dist.MultivariateNormal,
    "MVNCov": dist.MultivariateNormal,
    "Wishart": dist.Wishart,
    "TruncatedNormal": dist.TwoSidedTruncatedDistribution,
}
#: Families that NumPyro lacks: (kernel, parameter order) by pair.
KERNELS = {
    "ContinuousBernoulli-ContinuousBernoulli": ("continuous_bernoulli", ("probs",), ("probs",)),
    "ContinuousBernoulli-Uniform": ("continuous_bernoulli_uniform", ("probs",), ("low", "high")),
    "Uniform-ContinuousBernoulli": ("uniform_continuous_bernoulli", ("low", "high"), ("probs",)),
}


def classes(pair: str) -> tuple[type, ...]:
    """The registered classes of a pair of families."""
    return tuple(
        CLASSES.get(name) or MAKERS.get(name) or getattr(dist, name) for name in pair.split("-")
    )


def divergence(pair: str, p: dict, q: dict):
    """KL of the named pair, of arrays."""
    if pair in KERNELS:
        name, names_p, names_q = KERNELS[pair]
        if not hasattr(vikl.kl, name):
            raise NotImplementedError(pair)
        return getattr(vikl.kl, name)(*[p[n] for n in names_p], *[q[n] for n in names_q])
    make_p, make_q = (MAKERS.get(n) or _family(n) for n in pair.split("-"))
    return vikl.kl_divergence(make_p(**p), make_q(**q))


def _second_of_two(function):
    """Run a function as the second of a compiled batch."""
    batched = jax.jit(jax.vmap(function))

    def run(*arguments):
        pairs = jax.tree.map(lambda x: jnp.stack([x, x]), arguments)
        return jax.tree.map(lambda x: x[1], batched(*pairs))

    return run


RUNS = {"jit": jax.jit, "eager": lambda function: function, "vmap": _second_of_two}


@functools.cache
def _compiled(pair: str, order: int):
    function = functools.partial(divergence, pair)
    return RUNS[MODE](function if order == 0 else jax.grad(function, argnums=(0, 1)))


def _arrays(parameters: dict) -> dict:
    return {k: jnp.asarray(np.asarray(v, DTYPE)) for k, v in parameters.items()}


def kl(pair: str, p: dict, q: dict) -> float:
    return float(_compiled(pair, 0)(_arrays(p), _arrays(q)))


def grad(pair: str, p: dict, q: dict) -> dict:
    moves = _compiled(pair, 1)(_arrays(p), _arrays(q))
    return {
        side: {k: np.asarray(v).tolist() for k, v in move.items()}
        for side, move in zip("pq", moves, strict=True)
    }
