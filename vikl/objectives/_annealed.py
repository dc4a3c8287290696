"""Reverse KL with schedules: β on the KL term, a temperature on the target."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from .._typing import Array, PRNGKey, Scalar, Vector
from ..estimators import (
    AnalyticKL,
    ClosedFormEntropy,
    DoublyReparameterized,
    Estimator,
    HessianControlVariate,
)
from ..families import Family
from ..target import Target
from ._base import Objective, check_num_samples, evaluate, initial_state
from ._weighted import check_general

#: a number, or a function of the step such as an optax schedule
Schedule = Callable[[Array], Array] | float


class AnnealedKL(Objective):
    """β_t E_q[log q − log prior] − E_q[log likelihood]/T_t, the step t counted in the state.

    With β_t = T_t = 1 the negative ELBO. β rising from below 1 lets q follow the likelihood before
    the prior pulls (KL warm-up); a temperature T falling to 1 flattens the target first, so that
    q can cross between modes. For a target without a prior of its own the whole log density
    counts as the likelihood: the loss is β E_q[log q] − E_q[log p̃]/T, and β T is what matters.

    The record has `elbo`, the plain one, at β = T = 1: a lower bound whatever the schedule says,
    and `loss` = −`elbo`, so that fits are compared by it; `beta` and `temperature` say where the
    schedules are. A fit that ends before they reach 1 is not a fit to the target.

    Args:
        beta: a number, or a function of the step, such as
            `optax.linear_schedule(0.0, 1.0, 1000)`; not negative.
        temperature: likewise, positive.
        estimator: any of vikl.estimators that takes a general integrand; default `Pathwise()`.
        num_samples: draws from q for one gradient.

    Raises:
        TypeError: a schedule that is neither a number nor a function, or an estimator with a
            closed form.
        ValueError: a number out of range.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vikl
        >>> target = vikl.Target.from_density(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(2))
        >>> objective = AnnealedKL(temperature=optax.linear_schedule(10.0, 1.0, 200))
        >>> post = vikl.fit(target, vikl.families.MeanFieldNormal, objective, optax.adam(0.05),
        ...                 key=jax.random.key(0), num_steps=600)
        >>> [float(post.history["temperature"][i]) > 1.01 for i in (0, -1)]
        [True, False]

    References:
        Bowman et al. (2016), Generating sentences from a continuous space.
        Rose (1998), Deterministic annealing.
        Mandt, McInerney, Abrol, Ranganath & Blei (2016), Variational tempering.
    """

    beta: Schedule = eqx.field(static=True)
    temperature: Schedule = eqx.field(static=True)
    estimator: Estimator
    num_samples: int = eqx.field(static=True)

    def __init__(
        self,
        beta: Schedule = 1.0,
        temperature: Schedule = 1.0,
        estimator: Estimator | None = None,
        num_samples: int = 8,
    ):
        self.beta = _check_schedule(beta, "beta", least=0.0)
        self.temperature = _check_schedule(temperature, "temperature", least=1e-12)
        known = (AnalyticKL, ClosedFormEntropy, DoublyReparameterized, HessianControlVariate)
        self.estimator = check_general(estimator, known, "AnnealedKL")
        self.num_samples = check_num_samples(num_samples)

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the loss at step 0."""
        return evaluate(self, jnp.zeros((), jnp.int32), family, target, key)[:2]

    def prepare(self, target: Target) -> "AnnealedKL":
        """Return itself."""
        return self

    def gradients_per_step(self) -> int:
        """Return the number of draws."""
        return self.num_samples


@initial_state.register
def _(objective: AnnealedKL, family: Family, target: Target, key: PRNGKey) -> Array:
    return jnp.zeros((), jnp.int32)


@evaluate.register
def _(
    objective: AnnealedKL, carried: Array, family: Family, target: Target, key: PRNGKey
) -> tuple[Scalar, dict[str, Scalar], Array]:
    beta = _at(objective.beta, carried, target.dtype)
    temperature = _at(objective.temperature, carried, target.dtype)

    def annealed(x: Vector, log_q: Scalar) -> Scalar:
        if target.prior is None:
            return beta * log_q - target.log_density(x) / temperature
        prior = stop_gradient(target.prior).log_prob(x)
        return beta * (log_q - prior) - target.log_likelihood(x) / temperature

    def plain(x: Vector, log_q: Scalar) -> Scalar:
        return target.log_density(x) - log_q

    args = (family, key, objective.num_samples)
    surrogate, _ = objective.estimator.expectation(annealed, *args)
    held = stop_gradient(family)
    elbo = objective.estimator.expectation(plain, held, *args[1:])[1].mean()
    aux = {"loss": -elbo, "elbo": elbo, "beta": beta, "temperature": temperature}
    return surrogate, jax.tree.map(stop_gradient, aux), carried + 1


def _at(schedule: Schedule, step: Array, dtype: Any) -> Array:
    with jax.numpy_dtype_promotion("standard"):  # schedules mix integers and floats
        return jnp.asarray(schedule(step) if callable(schedule) else schedule, dtype)


def _check_schedule(schedule: Any, name: str, least: float) -> Schedule:
    if callable(schedule):
        return schedule  # pyright: ignore[reportReturnType]
    if isinstance(schedule, bool) or not isinstance(schedule, (int, float)):
        raise TypeError(
            f"`{name}` should be a number or a function of the step; got {schedule!r}. Use for "
            "example `optax.linear_schedule(0.1, 1.0, 1000)`."
        )
    if not least <= schedule < float("inf"):
        raise ValueError(f"`{name}` should be at least {least:g} and finite; got {schedule}.")
    return float(schedule)
