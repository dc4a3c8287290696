"""Forward KL: maximum likelihood from samples of p, or self-normalised importance sampling."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient

from .._typing import Array, PRNGKey, PyTree, Scalar
from ..families import Family, as_family
from ..target import Target
from ._base import Objective, check_num_samples, late, verdict
from ._pareto import FEWEST, pareto_smooth
from ._unseen import unseen_share
from ._weighted import effective_sample_size, mixture_draws, tempered_to

FEWEST_EFFECTIVE = 5.0  # draws: below, a self-normalised average means little (Owen 2013)
_COLLAPSED = "not inclusive any more"
_TEMPERED = 0.99


class ForwardKL(Objective):
    """KL(p‖q) up to the constant −H[p]: the cross-entropy −E_p[log q(x)].

    Inclusive, mode-covering: q must be wide where p is not small; a normal q ends with the mean
    and covariance of p.

    Two ways to take the expectation under p:

    - `samples` of p (constrained values, stacked on a leading axis): then this is maximum
      likelihood, and needs no log density. `batch_size` of them are drawn for each step.
    - otherwise self-normalised importance sampling: draws from the mixture ½ q + ½ `proposal`
      (or from q alone where there is none), weights w ∝ p̃/mixture, the largest of them smoothed
      by a Pareto tail, that sum to one, and the loss −Σ w log q. It is biased for few draws, and
      it cannot see what its draws never reach: from a narrow q alone, "forward KL" becomes
      mode-seeking, with weights that look fine. Give a wide `proposal`. The record has `ess`, the
      effective sample size 1/Σ w² of the plain weights, between 1 and `num_samples`, and `khat`,
      the Pareto shape of their tail (above 0.7 they are not to be trusted); where the weights
      collapse the fit's status is `not inclusive any more`.

    With `ess_target` the weights are tempered: each step fits the target p̃^τ · mixture^(1−τ) with
    the largest τ ≤ 1 (`temperature` in the record) at which the effective sample size is that
    share of the draws. Far away q moves towards p by steps that the draws support, and τ reaches
    1 as q comes near; if it does not, the status says that the fit is not that of p.

    Args:
        samples: pytree like the target's parameters with a leading axis, or None.
        proposal: a family that covers p, held fixed; for importance sampling only.
        num_samples: draws for one gradient by importance sampling.
        batch_size: samples for one gradient; None takes all of them.
        ess_target: the effective sample size to keep by tempering, as a share of `num_samples`
            between 0 and 1; None does not temper.

    Raises:
        ValueError: `num_samples` or `batch_size` is not positive, or samples and a proposal are
            both given; at the start of a fit, samples that do not fit the target.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vikl
        >>> data = 3.0 + 2.0 * jax.random.normal(jax.random.key(1), (1000,))
        >>> target = vikl.Target.from_density(lambda x: -0.5 * x**2, 0.0)  # not used: samples are
        >>> post = vikl.fit(target, vikl.families.MeanFieldNormal, ForwardKL(samples=data),
        ...                 optax.adam(0.1), key=jax.random.key(0), num_steps=300)
        >>> bool(abs(post.mean[0] - data.mean()) < 0.02), bool(abs(post.std[0] - data.std()) < 0.02)
        (True, True)

    References:
        Kullback & Leibler (1951), On information and sufficiency.
        Owen (2013), Monte Carlo theory, methods and examples, chapter 9.
        Hesterberg (1995), Weighted average importance sampling and defensive mixtures.
        Vehtari, Simpson, Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling.
        Neal (2001), Annealed importance sampling.
    """

    samples: PyTree
    proposal: Family | None
    num_samples: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    ess_target: float | None = eqx.field(static=True)
    flat: Array | None = None

    def __init__(
        self,
        samples: PyTree = None,
        proposal: Any = None,
        num_samples: int = 64,
        batch_size: int | None = None,
        ess_target: float | None = None,
    ):
        if samples is not None and proposal is not None:
            raise ValueError(
                "`samples` and `proposal` exclude each other: with samples of p no proposal is "
                "drawn from. Give one of them."
            )
        if proposal is not None:
            proposal = as_family(proposal, "proposal")
        self.samples, self.proposal = samples, proposal
        self.num_samples = check_num_samples(num_samples)
        self.batch_size = None if batch_size is None else _check_batch(batch_size)
        if ess_target is not None and not 0 < ess_target < 1:
            raise ValueError(
                f"`ess_target` should lie between 0 and 1, a share of the draws; got {ess_target}."
            )
        self.ess_target = ess_target
        self.flat = None

    def __call__(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        """Return the cross-entropy and, by importance sampling, the effective sample size."""
        if self.samples is not None:
            flat = _flatten(self.samples, target) if self.flat is None else self.flat
            return self._from_samples(flat, family, key)
        return self._from_weights(family, target, key)

    def _from_samples(
        self, flat: Array, family: Family, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        if self.batch_size is not None and self.batch_size < flat.shape[0]:
            rows = jax.random.randint(key, (self.batch_size,), 0, flat.shape[0])
            flat = flat[rows]
        loss = -jnp.mean(jax.vmap(family.log_prob)(flat))
        return loss, {"loss": loss}

    def _from_weights(
        self, family: Family, target: Target, key: PRNGKey
    ) -> tuple[Scalar, dict[str, Scalar]]:
        x, log_mixture = mixture_draws(stop_gradient(family), self.proposal, key, self.num_samples)
        log_ratio = stop_gradient(jax.vmap(target.log_density)(x) - log_mixture)
        aux = {"ess": effective_sample_size(log_ratio)}
        if self.num_samples >= FEWEST:
            aux["khat"] = pareto_smooth(log_ratio)[1]
        if self.ess_target is not None:
            aux["temperature"] = tempered_to(log_ratio, self.ess_target)
            log_ratio = log_ratio * aux["temperature"]
        # a draw outside the support has weight zero; nan stays nan and is reported by the loop
        weights = jnp.exp(pareto_smooth(log_ratio)[0])
        loss = -jnp.sum(weights * jax.vmap(family.log_prob)(x))
        return loss, {"loss": loss} | aux

    def prepare(self, target: Target) -> "ForwardKL":
        """Check the samples or the proposal against the target; flatten the samples once."""
        if self.proposal is not None and self.proposal.dim != target.dim:
            raise ValueError(
                f"`proposal` should have the dimension of the target, {target.dim}; "
                f"got {self.proposal.dim}."
            )
        if self.samples is None:
            return self
        flat = _flatten(self.samples, target)
        if not bool(jnp.isfinite(flat).all()):
            raise ValueError(
                "`samples` should be finite and inside the support; got "
                f"{int((~jnp.isfinite(flat).all(axis=1)).sum())} of {flat.shape[0]} rows that are "
                "not. Remove them."
            )
        return eqx.tree_at(lambda o: o.flat, self, flat, is_leaf=lambda v: v is None)

    def gradients_per_step(self) -> int:
        """Return the evaluations of the log density (they are not differentiated)."""
        return 0 if self.samples is not None else self.num_samples


@verdict.register
def _(
    objective: ForwardKL, family: Family, target: Target, history: dict[str, np.ndarray]
) -> tuple[str, str] | None:
    ess, temperature = late(history, "ess"), late(history, "temperature")
    advice = "give ForwardKL a wider `proposal` or more `num_samples`"
    if temperature is not None and temperature < _TEMPERED:
        return _COLLAPSED, (
            f"the target was still tempered, to the power {temperature:.2g}, at the end: q is not "
            f"fitted to p itself; {advice}, or take more steps"
        )
    if ess is not None and ess < FEWEST_EFFECTIVE:
        return _COLLAPSED, (
            f"the effective sample size fell to {ess:.1f} draws: the fit is not inclusive any "
            f"more; {advice}"
        )
    if objective.samples is None and objective.proposal is None:
        share = unseen_share(family, target)
        if share:
            return _COLLAPSED, (
                f"the target has about {100 * share:.0f} % of its mass where no draw of q went, "
                f"so the fit is not inclusive, however fine its weights look; {advice}"
            )
    return None


def _check_batch(batch_size: Any) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"`batch_size` should be a whole number, at least 1, or None; got {batch_size!r}."
        )
    return batch_size


def _flatten(samples: PyTree, target: Target) -> Array:
    """Turn stacked constrained samples into an (n, dim) array, or say what does not fit."""
    shapes = jax.tree.map(np.shape, samples)
    try:
        samples = jax.tree.map(lambda v: jnp.asarray(v, target.dtype), samples)
        flat = jax.vmap(target.unconstrain)(samples)
        fits = flat.ndim == 2 and flat.shape[0] > 0 and flat.shape[1] == target.dim
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(_misfit(shapes, target)) from error
    if not fits:
        raise ValueError(_misfit(shapes, target))
    return flat


def _misfit(shapes: PyTree, target: Target) -> str:
    return (
        f"`samples` should have the structure of the target's parameters with one more leading "
        f"axis ({', '.join(target.names)}: {target.dim} unconstrained coordinates); got shapes "
        f"{shapes}. Stack the draws along axis 0."
    )
