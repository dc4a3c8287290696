"""f-divergences: exact sums over finite outcomes, fixed quadrature for densities on a line."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vikl._compile import compile_lightly
from vikl._typing import Array, Float
from vikl.divergences import _finite, _quadrature
from vikl.divergences import _generators as generators
from vikl.divergences._generators import Generator
from vikl.divergences._pairs import Pair, pair, unsupported
from vikl.kl._registry import kl_divergence


@functools.partial(jax.jit, static_argnums=(1, 2))
def _compiled(two: Pair, make: Callable[..., Generator], args: tuple[Any, ...]) -> Array | None:
    return _evaluate(two, make(*args))


def _evaluate(two: Pair, generator: Generator) -> Array | None:
    """Return the divergence by a sum or by quadrature; None where neither is accurate."""
    if two.factors:
        return None
    rows = _finite.rows(two)
    if rows is not None:
        return two.finish(jnp.sum(generator.of(*rows), -1))
    if _quadrature.integrable(two, generator.kink):
        return two.finish(_quadrature.integrate(two, generator))
    return None


@compile_lightly
def _compiled_parts(two: Pair, parts: tuple[Any, ...]) -> Array | None:
    return _evaluate(two, Generator("", *parts))


def _named(p: Any, q: Any, make: Callable[..., Generator], *args: Any) -> Array:
    """Return a divergence of this room; compiled once for each family and shape."""
    generator = make(*args)
    two = pair(f"The {generator.name}", p, q)
    # the number of trials must be a number to enumerate the outcomes, so no jit there
    value = _evaluate(two, generator) if two.family == "binomial" else _compiled(two, make, args)
    if value is None:
        raise unsupported(f"The {generator.name}", p, q)
    return value


def f_divergence(
    p: Any, q: Any, generator: Generator | Callable[[Array], Array]
) -> Float[Array, "..."]:
    """Return the f-divergence `E_q f(p/q)` of a convex generator f with f(1) = 0.

    An exact sum for finitely many outcomes; fixed quadrature (about 1e-9 in float64 for smooth f)
    for two normal, Laplace, logistic or log-normal distributions.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.
        generator: a member of `vikl.generators`, or a plain elementwise function of
            u = p/q that jax can differentiate.

    Returns:
        One number for each batch entry; in the units of f (nats if f has natural logarithms).

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: for other families; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import f_divergence, generators
        >>> p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)
        >>> print(round(float(f_divergence(p, q, generators.kl())), 4))
        0.5

    References:
        Csiszár (1967), Information-type measures of difference of probability distributions.
    """
    if not isinstance(generator, Generator):
        generator = generators.from_function(generator)
    two = pair(f"The {generator.name}", p, q)
    if generator.compiles and two.family != "binomial":
        value = _compiled_parts(two, generator.parts)
    else:
        value = _evaluate(two, generator)
    if value is None:
        raise unsupported(f"The {generator.name}", p, q)
    return value


def jensen_shannon_divergence(
    p: Any, q: Any, weights: tuple[float, float] = (0.5, 0.5)
) -> Float[Array, "..."]:
    """Jensen-Shannon divergence `w0 KL(p || m) + w1 KL(q || m)` with the mixture `m = w0 p + w1 q`.

    Args:
        p: a numpyro distribution: finite outcomes, or normal, Laplace, logistic, log-normal.
        q: one of the same family; batches broadcast.
        weights: of p and q in the mixture; they sum to one.

    Returns:
        One number (nats) for each batch entry, between 0 and the entropy of the weights (log 2).

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain, shapes do not fit, or the weights do not
        sum
            to one.
        NotImplementedError: for other families; the message names `estimate_divergence`.

    Examples:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> from vikl.divergences import jensen_shannon_divergence
        >>> p, q = dist.Categorical(jnp.array([1.0, 0.0])), dist.Categorical(jnp.array([0.0, 1.0]))
        >>> print(round(float(jensen_shannon_divergence(p, q)), 4))
        0.6931

    References:
        Lin (1991), Divergence measures based on the Shannon entropy.
    """
    first, second = weights
    return _named(p, q, generators.jensen_shannon, (float(first), float(second)))


def skew_kl_divergence(p: Any, q: Any, weight: float = 0.5) -> Float[Array, "..."]:
    """Skew KL divergence `KL(p || (1 - weight) p + weight q)`, finite for every p and q.

    Args:
        p: a numpyro distribution: finite outcomes, or normal, Laplace, logistic, log-normal.
        q: one of the same family; batches broadcast.
        weight: of q in the mixture, in [0, 1]; 1 gives KL(p || q).

    Returns:
        One number (nats) for each batch entry; at most `-log(1 - weight)`.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain, shapes do not fit, or the weight is not in
            [0, 1].
        NotImplementedError: for other families; the message names `estimate_divergence`.

    Examples:
        >>> import jax.numpy as jnp, numpyro.distributions as dist
        >>> from vikl.divergences import skew_kl_divergence
        >>> p, q = dist.Categorical(jnp.array([1.0, 0.0])), dist.Categorical(jnp.array([0.0, 1.0]))
        >>> print(round(float(skew_kl_divergence(p, q, 0.5)), 4))
        0.6931

    References:
        Lee (1999), Measures of distributional similarity.
    """
    return _named(p, q, generators.skew_kl, float(weight))


def total_variation_distance(p: Any, q: Any) -> Float[Array, "..."]:
    """Total variation distance, half the integral of |p - q|, between 0 and 1.

    Its gradient is right to first order; at p = q there is none, and 0 is returned.

    Args:
        p: a numpyro distribution: finite outcomes, normal or log-normal.
        q: one of the same family; batches broadcast.

    Returns:
        One number for each batch entry; symmetric.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: for other families; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import total_variation_distance
        >>> d = total_variation_distance(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))
        >>> print(round(float(d), 4))
        0.3829

    References:
        Devroye, Mehrabian and Reddad (2018), The total variation distance between high-dimensional
        Gaussians.
    """
    return _named(p, q, generators.total_variation)


def jeffreys_divergence(p: Any, q: Any) -> Float[Array, "..."]:
    """Jeffreys divergence `KL(p || q) + KL(q || p)`.

    Args:
        p: a numpyro distribution.
        q: another; both directions must be registered with `vikl.kl`.

    Returns:
        One number (nats) for each batch entry; symmetric.

    Raises:
        NotImplementedError: if a direction has no closed form; the message names `estimate_kl`.
        ValueError: if a parameter is out of its domain or shapes do not fit.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import jeffreys_divergence
        >>> print(jeffreys_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)))
        1.0

    References:
        Jeffreys (1946), An invariant form for the prior probability in estimation problems.
    """
    return kl_divergence(p, q) + kl_divergence(q, p)
