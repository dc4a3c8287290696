"""Forward KL from simulations of the model, for all data sets at once: the sleep phase."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._typing import PRNGKey, PyTree, Scalar
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples


class AmortizedForwardKL(Objective):
    """E_{p(data)} KL(p(z | data) ‖ q(z | data)) up to a constant: E_{p(z, data)}[−log q(z | data)].

    Pairs of latents and data are drawn from the model, and q learns to tell the latents from the
    data: maximum likelihood, unbiased, with neither a log density nor weights. Inclusive: q
    covers the posterior of every data set that the model makes, each as well as its prior
    probability deserves, so data that the model hardly makes are served badly. The sleep phase
    of wake-sleep; neural posterior estimation. `vikl.fit_amortized` is the verb.

    What is fitted is an encoder, a pytree with `encoder(data) -> family` such as
    `vikl.families.Encoder`; a plain family stands for one that does not look at the data, and
    ends as near as it can be to the prior.

    Args:
        simulate: `simulate(key) -> (latents, data)`, one joint draw, a pure JAX function (or a
            callable pytree, whose arrays are traced). Latents are constrained values, like the
            target's parameters.
        num_samples: pairs for one gradient.

    Raises:
        TypeError: `simulate` is not a function.
        ValueError: `num_samples` is not positive.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> def simulate(key):
        ...     z, noise = jax.random.normal(key, (2, 1))
        ...     return z, z + noise
        >>> target = vikl.Target.from_density(lambda z: -0.5 * jnp.sum(z**2), jnp.zeros(1))
        >>> prior = vikl.families.MeanFieldNormal.init(jnp.zeros(1))
        >>> objective = AmortizedForwardKL(simulate, num_samples=20_000)
        >>> round(float(objective(prior, target, jax.random.key(0))[0]), 2)  # its entropy, 1.4189
        1.42

    References:
        Hinton, Dayan, Frey & Neal (1995), The wake-sleep algorithm for unsupervised neural
        networks.
        Papamakarios & Murray (2016), Fast ε-free inference of simulation models with Bayesian
        conditional density estimation.
    """

    simulate: Callable
    num_samples: int = eqx.field(static=True)

    def __init__(self, simulate: Callable, num_samples: int = 64):
        if not callable(simulate):
            raise TypeError(
                f"`simulate` should be a function of a key that returns (latents, data); got "
                f"{simulate!r} of type {type(simulate).__name__}."
            )
        self.simulate, self.num_samples = simulate, check_num_samples(num_samples)

    def __call__(
        self, family: Any, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the mean of −log q(z | data) over fresh pairs."""

        def one(key: PRNGKey) -> Scalar:
            latents, data = self.simulate(key)
            return -given(family, data).log_prob(target.unconstrain(latents))

        loss = jnp.mean(jax.vmap(one)(jax.random.split(key, self.num_samples)))
        return loss, {"loss": loss}

    def prepare(self, target: Target) -> "AmortizedForwardKL":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return 0: no log density is evaluated."""
        return 0


def given(encoder: Any, data: PyTree) -> Family:
    """Return q(z | data)."""
    return encoder if isinstance(encoder, Family) else encoder(data)
