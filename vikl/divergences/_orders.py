"""The orders 2 and 1/2 by their own names: chi-squared, Hellinger, Bhattacharyya."""

from typing import Any

from vikl._typing import Array, Float
from vikl.divergences._power import alpha_divergence, renyi_divergence


def chi_squared_divergence(p: Any, q: Any) -> Float[Array, "..."]:
    """Pearson's chi-squared divergence, `E_q (p/q - 1)^2 = integral p^2/q - 1`.

    It is the variance under q of the importance weights p/q.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.

    Returns:
        One number for each batch entry; `+inf` where the integral diverges (the tails of p are too
        heavy for q).

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: if there is no closed form; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import chi_squared_divergence
        >>> p, q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)
        >>> print(round(float(chi_squared_divergence(p, q)), 4))
        1.7183

    References:
        Nielsen and Nock (2014), On the chi square and higher-order chi distances.
    """
    return 2 * alpha_divergence(p, q, 2.0)


def squared_hellinger_distance(p: Any, q: Any) -> Float[Array, "..."]:
    """Squared Hellinger distance `1 - integral sqrt(p q)`, between 0 and 1.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.

    Returns:
        One number for each batch entry; symmetric in p and q.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: if there is no closed form; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import squared_hellinger_distance
        >>> d = squared_hellinger_distance(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))
        >>> print(round(float(d), 4))
        0.1175

    References:
        Hellinger (1909); Pardo (2005), Statistical inference based on divergence measures.
    """
    return alpha_divergence(p, q, 0.5) / 4


def bhattacharyya_distance(p: Any, q: Any) -> Float[Array, "..."]:
    """Bhattacharyya distance `-log integral sqrt(p q)`, half the Rényi divergence of order 1/2.

    Args:
        p: a numpyro distribution.
        q: one of the same family; batches broadcast.

    Returns:
        One number (nats) for each batch entry; symmetric; `+inf` where p and q do not overlap.

    Raises:
        TypeError: if an argument is not a numpyro distribution.
        ValueError: if a parameter is out of its domain or shapes do not fit.
        NotImplementedError: if there is no closed form; the message names `estimate_divergence`.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.divergences import bhattacharyya_distance
        >>> print(bhattacharyya_distance(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)))
        0.125

    References:
        Bhattacharyya (1943), On a measure of divergence between two statistical populations.
    """
    return renyi_divergence(p, q, 0.5) / 2
