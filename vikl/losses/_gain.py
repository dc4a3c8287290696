"""What data taught: the divergence of a posterior from its prior."""

import math
from typing import Any

from vikl._typing import Array, Float
from vikl.info import _checks
from vikl.kl._registry import kl_divergence


def information_gain(
    posterior: Any, prior: Any, *, base: float | int = math.e
) -> Float[Array, "..."]:
    """Information gained in moving from the prior to the posterior: KL(posterior‖prior).

    It is never negative, it may be infinite (a posterior outside the prior's support), and its
    mean over data is the mutual information of parameter and data. For plain arrays of
    probabilities use `vikl.info.kl_divergence(posterior, prior)`.

    Args:
        posterior: a distribution known to `vikl.kl_divergence`, or a tuple or dict of independent
            ones.
        prior: the same for the prior.
        base: of the logarithm; `math.e` gives nats, 2 gives bits.

    Returns:
        The gain, of the batch's shape.

    Raises:
        NotImplementedError: if the pair has no closed form.
        ValueError: outside jit, for invalid parameters; if `base` is not positive or is 1.

    Examples:
        >>> import numpyro.distributions as dist
        >>> from vikl.losses import information_gain
        >>> posterior = dist.Beta(8.0, 4.0)  # 7 of 10, from a uniform prior
        >>> print(round(float(information_gain(posterior, dist.Beta(1.0, 1.0), base=2)), 4))
        0.9184

    References:
        Lindley (1956), On a measure of the information provided by an experiment.
    """
    return _checks.in_base(kl_divergence(posterior, prior), base)
