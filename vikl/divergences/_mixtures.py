"""Bounds on KL between mixtures, from the divergences of their components."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.divergences._numpyro_mixtures import parts
from vikl.divergences._orders import bhattacharyya_distance
from vikl.kl._registry import kl_divergence


class MixtureBounds(NamedTuple):
    """Lower and upper bound on KL(p || q), in nats.

    Attributes:
        lower: never above KL, at least 0.
        upper: never below KL.
    """

    lower: Float[Array, "*batch"]
    upper: Float[Array, "*batch"]


def _distance(a: Any, b: Any) -> Array | None:
    """Bhattacharyya distance, or None where the components have no closed form."""
    try:
        return bhattacharyya_distance(a, b)
    except NotImplementedError:
        return None


def kl_mixture_bounds(p: Any, q: Any) -> MixtureBounds:
    """Bounds on KL(p || q) of two mixtures from the divergences of their components.

    With weights w, v and components f, g of p and q, KL_ab = KL(f_a || g_b), and B the
    Bhattacharyya distance:

    upper = sum_a w_a [log sum_c w_c exp(-B(f_a, f_c)) - log sum_b v_b exp(-KL_ab)], by Jensen's
    inequality and a pairwise bound on p's entropy; or, if smaller and both have as many components,
    KL(w || v) + sum_a w_a KL_aa, by the chain rule.
    lower = the larger of 0, -2 log sum_ab sqrt(w_a v_b) exp(-B(f_a, g_b)), and
    sum_a w_a [log sum_c w_c exp(-KL(f_a || f_c)) - 2 log sum_b sqrt(v_b) exp(-B(f_a, g_b))].

    Where the components have no closed Bhattacharyya distance, B(f_a, f_c) counts as 0 and the
    lower bound is 0. Between the bounds, `vikl.estimate_kl` gives the value with a standard error.

    Args:
        p: a numpyro MixtureSameFamily.
        q: another, whose components have a registered KL from p's.

    Returns:
        The two bounds (nats), differentiable.

    Raises:
        TypeError: if p or q is not a MixtureSameFamily.
        NotImplementedError: if the components' classes have no closed-form KL.

    Examples:
        >>> import jax.numpy as jnp
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import kl_mixture_bounds
        >>> one = dist.Categorical(jnp.ones(1))
        >>> p = dist.MixtureSameFamily(one, dist.Normal(jnp.zeros(1), 1.0))
        >>> q = dist.MixtureSameFamily(one, dist.Normal(jnp.ones(1), 1.0))
        >>> print(kl_mixture_bounds(p, q).upper)
        0.5

    References:
        Hershey and Olsen (2007), Approximating the Kullback Leibler divergence between Gaussian
        mixture models; Kolchinsky and Tracey (2017), Estimating mixture entropy with pairwise
        distances.
    """
    log_w, rows = parts("p", p, -1)
    log_v, columns = parts("q", q, -2)
    others = parts("p", p, -2)[1]
    w = jnp.exp(log_w)
    pairs = kl_divergence(rows, columns)
    own_kl = kl_divergence(rows, others)
    sums = lambda exponents: jax.nn.logsumexp(exponents, -1)
    own = _distance(rows, others)
    entropy = jnp.zeros_like(log_w) if own is None else sums(log_w[..., None, :] - own)
    upper = (w * (entropy - sums(log_v[..., None, :] - pairs))).sum(-1)
    if log_w.shape[-1] == log_v.shape[-1]:
        matched = jnp.diagonal(pairs, axis1=-2, axis2=-1)
        chained = (w * (log_w - log_v + matched)).sum(-1)
        upper = jnp.minimum(upper, chained)
    lower = jnp.zeros_like(upper)
    between = _distance(rows, columns)
    if between is not None:
        affinity = 0.5 * log_v[..., None, :] - between
        joint = sums(sums(0.5 * log_w[..., :, None] + affinity))
        spread = (w * (sums(log_w[..., None, :] - own_kl) - 2.0 * sums(affinity))).sum(-1)
        lower = jnp.maximum(lower, jnp.maximum(-2.0 * joint, spread))
    return MixtureBounds(lower, upper)
