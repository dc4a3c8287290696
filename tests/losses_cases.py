"""The table of losses: one row for each public name of `vikl.losses` enrols it in the laws.

A row's arguments are unconstrained real arrays whose first axis is the batch (the call makes
probabilities of them where the loss wants those), so that one law can perturb any of them.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from vikl import generators, losses
from vikl.estimators import K1, K2, K3

BATCH, CLASSES = 4, 3
Call = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class LossCase:
    """A loss as a function of real arrays.

    call: from arrays (and `where`, if it takes masks) to one number for each row of the batch.
    arity: how many arrays, each of `shape`.
    divergence: never negative, and zero with zero gradient where all arguments are equal.
    masks: whether it takes `where`, of the shape of its result.
    raw: which arguments reach the loss as they are: NaN in them can be masked out, and equal ones
        cost exactly 0 (of others the compiler may round two copies differently).
    extreme: arguments of one row that are hard in float32, beside the ordinary ones.
    by_parts: whether its derivative is that of its value (false where they are chosen apart).
    reverse: whether it can be differentiated at all.
    strict: whether it runs under strict promotion (numpyro's code does not).
    """

    call: Call
    arity: int = 2
    shape: tuple[int, ...] = (BATCH, CLASSES)
    divergence: bool = True
    masks: bool = True
    raw: tuple[int, ...] = ()
    extreme: tuple[tuple[list[float], ...], ...] = ()
    by_parts: bool = True
    reverse: bool = True
    strict: bool = True


def _distil(generator: Callable[[], generators.Generator], temperature: float = 2.0) -> Call:
    return lambda a, b, **where: losses.distillation(
        a, b, temperature, divergence=generator(), **where
    )


def _with_labels(a, b, **where):
    labels = jnp.array([0, 2, 1, 0])[: a.shape[0]] if a.ndim == 2 else jnp.array(0)
    return losses.distillation(a, b, 3.0, labels=labels, label_weight=0.25, **where)


def _softmaxes(loss: Call) -> Call:
    return lambda a, b, **where: loss(jax.nn.softmax(a, -1), jax.nn.softmax(b, -1), **where)


def _normal(z: jax.Array) -> dist.Distribution:
    return dist.Normal(z, jnp.exp(0.3 * z)).to_event(1)


def _team(z: jax.Array) -> dict:
    return {"arm": _normal(z), "button": dist.Categorical(logits=z)}


def _squashed(z: jax.Array) -> losses.TanhNormal:
    return losses.TanhNormal(z, jnp.exp(0.3 * z))


def _policy(make: Callable) -> Call:
    return lambda a, b, **where: losses.policy_kl(make(a), make(b), **where)


def _tilted(a, b):
    p = jax.nn.softmax(a, -1)
    ball = losses.tilted_policy(p, b, 0.05, direction="old||new")
    return losses.tilted_policy(p, b, 0.05).gain + 3 * ball.gain


def _penalised(a):
    penalty = losses.AdaptivePenalty(target=0.01)
    return (penalty.init(1.0).coefficient.astype(a.dtype) * a * a).sum(-1)


def _gain(a, b):
    return losses.information_gain(_normal(a), _normal(b))


def _rowwise(function: Call) -> Call:
    """Apply a function of vectors to each row of a batch, or to the one row given."""
    return lambda *rows: jax.vmap(function)(*rows) if rows[0].ndim == 2 else function(*rows)


def _stable(z: jax.Array) -> jax.Array:
    return 0.3 * jnp.tanh(z)  # the sum of three of them is below 1: stationary


_autoregressive = _rowwise(
    lambda a, b: losses.autoregressive_kl(
        _stable(a), jnp.exp(0.2 * a[0]), _stable(b), jnp.exp(0.2 * b[0])
    )
)
_spectrum = _rowwise(
    lambda a: losses.autoregressive_spectrum(_stable(a), jnp.exp(0.2 * a[0]), 8).sum()
)


def _natural_step(a):
    """Return the loss after a step, of a quadratic model where everything is known."""
    return losses.trust_region_step(
        lambda v: (v * v).sum(), lambda v: 0.5 * ((v - jax.lax.stop_gradient(a)) ** 2).sum(), a
    ).loss


FAR = ([200.0, -300.0, 5.0], [-150.0, 250.0, 0.0])
NEAR = ([1.0, 2.0, 3.0], [1.00001, 2.0, 2.99998])
SHARP = ([0.0, 40.0, -80.0], [0.0, 39.0, -60.0])
LOGITS = (FAR, NEAR, SHARP)

LOSSES: dict[str, list[LossCase]] = {
    "distillation": [
        LossCase(_distil(generators.kl), raw=(0, 1), extreme=LOGITS),
        LossCase(_distil(generators.kl, 100.0), raw=(0, 1), extreme=LOGITS),
        LossCase(_distil(generators.reverse_kl), raw=(0, 1), extreme=LOGITS),
        LossCase(_distil(generators.jensen_shannon), raw=(0, 1), extreme=(NEAR, SHARP)),
        LossCase(_distil(lambda: generators.skew_kl(0.9)), raw=(0, 1), extreme=(NEAR, SHARP)),
        LossCase(
            _distil(lambda: generators.swapped(generators.skew_kl(0.9))),
            raw=(0, 1),
            extreme=(NEAR, SHARP),
        ),
        LossCase(_with_labels, divergence=False, raw=(0, 1), extreme=(FAR,)),
    ],
    "focal_kl": [
        LossCase(_softmaxes(losses.focal_kl), extreme=(([0.0, 5.0, -30.0], [0.0, 3.0, -20.0]),)),
        LossCase(_softmaxes(lambda p, q, **where: losses.focal_kl(p, q, 0.5, **where))),
    ],
    "focal_kl_from_logits": [
        LossCase(
            lambda a, b, **where: losses.focal_kl_from_logits(jax.nn.softmax(a, -1), b, **where),
            raw=(1,),
        )
    ],
    "naive_focal_kl": [LossCase(_softmaxes(losses.naive_focal_kl), divergence=False)],
    "policy_kl": [
        LossCase(_policy(_normal), strict=False),
        LossCase(_policy(_squashed), extreme=(([9.0, 0.0, 1.0], [9.0, 0.25, 1.0]),)),
        LossCase(_policy(_team), strict=False),
    ],
    "TanhNormal": [LossCase(lambda a: _squashed(a).log_prob(jnp.tanh(a)), 1, masks=False,
                            divergence=False)],
    "token_kl": [
        LossCase(
            lambda a, b, k=k, **where: losses.token_kl(a, b, value=k, gradient="score", **where),
            shape=(BATCH,), divergence=not isinstance(k, K1), by_parts=False, raw=(0, 1),
        )
        for k in (K1(), K2(), K3())
    ],
    "information_gain": [LossCase(_gain, masks=False, strict=False)],
    "tilted_policy": [LossCase(_tilted, masks=False, divergence=False)],
    "AdaptivePenalty": [LossCase(_penalised, 1, masks=False, divergence=False)],
    "trust_region_step": [
        LossCase(_rowwise(_natural_step), 1, masks=False, divergence=False, reverse=False)
    ],
    "autoregressive_kl": [LossCase(_autoregressive, masks=False)],
    "autoregressive_spectrum": [LossCase(_spectrum, 1, masks=False, divergence=False)],
    "spectral_kl": [
        LossCase(lambda a, b: losses.spectral_kl(jnp.exp(a), jnp.exp(b)), masks=False,
                 extreme=(([-20.0, 0.0, 15.0], [15.0, 1.0, -20.0]),))
    ],
    "noise_kl": [
        LossCase(lambda a: losses.noise_kl(jnp.exp(a)).sum(-1), 1, masks=False, divergence=False,
                 extreme=(([-30.0, 0.0, 20.0],),))
    ],
    "masked_mean": [
        LossCase(_rowwise(lambda a: losses.masked_mean(a * a)), 1, masks=False, divergence=False)
    ],
}  # fmt: skip

#: Names whose laws need networks and data, and have a file of tests of their own.
ELSEWHERE = {
    "active_units": "test_losses_vae.py",
    "distortion": "test_losses_vae.py",
    "elbo": "test_losses_vae.py",
    "importance_weighted_bound": "test_losses_vae.py",
    "rate": "test_losses_vae.py",
    "sampled_rate": "test_losses_vae.py",
    "vae_loss": "test_losses_vae.py",
}
#: What a loss returns: a public name, but not a loss.
RESULTS = {"TiltedPolicy", "TrustRegionStep"}


def arguments(case: LossCase, seed: int = 0) -> list[np.ndarray]:
    """Return ordinary arguments of a case, in float64."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.8, case.shape) for _ in range(case.arity)]
