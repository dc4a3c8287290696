"""`vikl.fit_amortized`: one fit for all data sets, from simulations of the model."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._compile import compile_once, record_compiles
from .._typing import Array, PRNGKey, PyTree
from ..families import Encoder, Family
from ..objectives import AmortizedForwardKL
from ..target import Target
from ..target._simulated import simulated_target
from ._arguments import check_counts, check_draws, check_key, check_run, initial_family
from ._loop import Loop
from ._posterior import Posterior
from ._status import Ending
from ._stochastic import StochasticGradient
from ._weigh import weigh

_LOOKS = 1000  # pairs behind scales, start and checks
_DRAWS = 2000  # behind ELBO and k-hat of a posterior
_DEFAULT_STEPS = 5000
_DEFAULT_BUDGET = 100_000  # steps, where standing still ends the run
_LEARNING_RATE = 5e-3


@dataclasses.dataclass(frozen=True, repr=False)
class Amortized:
    """A fitted q(z | data) for every data set of a model, and the record of how it was fitted.

    `vikl.fit_amortized` makes it.

    Args:
        target: the latents by name and support; it has no log density.
        encoder: the fitted pytree, `encoder(data) -> family` on the flat unconstrained space.
        ending: the status, why the fit stopped, and what happened on the way.
        history: columns of the record, `step` and `loss` in nats among them.
        data_shapes: the shapes of one data set.
        num_simulations: joint draws that were made.
        compile_seconds: spent compiling.
        run_seconds: spent otherwise.

    Example:
        >>> import jax, vikl
        >>> def simulate(key):
        ...     z, noise = jax.random.normal(key, (2, 1))
        ...     return {"z": z}, z + noise
        >>> fitted = vikl.fit_amortized(simulate, key=jax.random.key(0), num_steps=200)
        >>> fitted.sample(jax.random.key(1), jax.numpy.ones(1), 5)["z"].shape
        (5, 1)
    """

    target: Target
    encoder: Any
    ending: Ending
    history: dict[str, np.ndarray]
    data_shapes: PyTree
    num_simulations: int
    compile_seconds: float
    run_seconds: float

    @property
    def status(self) -> str:
        """How the fit ended, in a few fixed words."""
        return self.ending.status

    @property
    def stopped_because(self) -> str:
        """Why it stopped and what happened on the way."""
        return "; ".join((self.ending.because, *self.ending.notes))

    def given(self, data: PyTree) -> Family:
        """Return q(z | data), a family on the flat unconstrained vector.

        Raises:
            ValueError: `data` is not like what the simulator makes.
        """
        return _apply(self.encoder, _like_simulated(data, self.data_shapes))

    def sample(self, key: PRNGKey, data: PyTree, num_samples: int = 1000) -> PyTree:
        """Return named, constrained draws of q(z | data), stacked on a leading axis."""
        check_draws(num_samples, self.target.dim)
        keys = jax.random.split(check_key(key), num_samples)
        return _sample(self.target, self.given(data), keys)

    def posterior(self, target: Target, data: PyTree, key: PRNGKey) -> Posterior:
        """Return q(z | data) as a posterior of a target that has a log density.

        It has an ELBO, k-hat, `check` and `resample`, which say whether the encoder is right for
        this data set, and correct it where it is nearly so.

        Args:
            target: the model given this very data set: its log joint density as a function of
                latents of the same names and supports.
            data: the data set, as the encoder takes it.
            key: a JAX PRNG key.

        Raises:
            ValueError: `target` has other latents, or `data` is not like what was simulated.
        """
        if not isinstance(target, Target) or target.names != self.target.names:
            got = list(target.names) if isinstance(target, Target) else type(target).__name__
            raise ValueError(
                f"`target` should be a Target with the latents {list(self.target.names)}; got "
                f"{got}. Make it by `vikl.Target.from_density(log_joint, like=..., data=data)`."
            )
        family = self.given(data)
        weighted = weigh(target, family, check_key(key), _DRAWS)
        return Posterior(target, family, self.ending, self.history, weighted, 0, 0.0, 0.0)

    def __repr__(self) -> str:
        loss = self.history.get("loss", np.zeros(0))
        last = f"{loss[-1]:.4f}" if len(loss) else "none"
        return (
            f"Amortized: {type(self.encoder).__name__}, {self.target.dim} latents: {self.status}\n"
            f"  loss E[-log q(z|data)] {last} nats, from {self.num_simulations} simulations\n"
            f"  stopped because {self.stopped_because}\n"
            f"  {self.compile_seconds:.2f} s compiling, {self.run_seconds:.2f} s running\n"
            "  .given(data) is q(z | data); .posterior(target, data, key) says if to believe it"
        )


def fit_amortized(
    simulate: Callable,
    encoder: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    *,
    key: PRNGKey,
    support: Any = None,
    num_samples: int = 64,
    num_steps: int | None = None,
    progress: bool | None = None,
    callback: Callable | None = None,
    checkpoint: str | Path | None = None,
    max_seconds: float | None = None,
) -> Amortized:
    """Fit q(z | data) for all data sets at once, from draws of latents and data alone.

    Minimises `vikl.objectives.AmortizedForwardKL`, E_{p(z, data)}[−log q(z | data)], by fresh
    simulations in each step: the sleep phase of wake-sleep, which needs no log density. Then a
    posterior for any data set costs one call of the encoder.

    Args:
        simulate: `simulate(key) -> (latents, data)`, one joint draw, a pure JAX function. Latents
            are a pytree of floating-point arrays, constrained; data a pytree of arrays.
        encoder: a pytree with `encoder(data) -> family`, in which every inexact array is trained;
            or a class or instance of a family, for an `Encoder` (a network) around it. None is
            the family that `fit` would take. With a class, or None, q starts at the moments of
            the prior.
        optimizer: any optax gradient transformation; None is Adam with cosine decay.
        key: a JAX PRNG key. The same key gives the same bits.
        support: where the latents live, as for `Target.from_density`.
        num_samples: joint draws for one gradient.
        num_steps: how many steps. None is 5,000; with an optimizer, until the loss stands still.
        progress: as for `fit`, and so are the next three.
        callback: as for `fit`.
        checkpoint: as for `fit`.
        max_seconds: as for `fit`.

    Raises:
        TypeError: `simulate` is not a function, or the encoder is not one.
        ValueError: `simulate` does not return a pair, or draws what is not finite or outside the
            support; the encoder returns no family of the latents' dimension.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> def simulate(key):  # z ~ N(0, 1), y | z ~ N(z, 1): z | y is N(y/2, 1/2)
        ...     z, noise = jax.random.normal(key, (2, 1))
        ...     return z, z + noise
        >>> fitted = vikl.fit_amortized(simulate, key=jax.random.key(0), num_steps=1500)
        >>> q = fitted.given(jnp.array([2.0]))
        >>> bool(abs(q.loc[0] - 1.0) < 0.1)
        True

    References:
        Hinton, Dayan, Frey & Neal (1995), The wake-sleep algorithm for unsupervised neural
        networks.
    """
    began = time.monotonic()
    key = check_key(key)
    check_counts(num_steps=num_steps)
    check_run(max_seconds, checkpoint, progress, callback)
    with record_compiles() as compiles:
        target, shapes = simulated_target(simulate, support)
        objective = AmortizedForwardKL(simulate, num_samples)
        look_key, net_key, key = jax.random.split(key, 3)
        flat, data = _look(target, objective, jax.random.split(look_key, _LOOKS))
        _check_draws(target, flat, data)
        encoder = _check_encoder(encoder, target, flat, data, net_key)
        stop_on_plateau = num_steps is None and optimizer is not None
        steps = num_steps or (_DEFAULT_BUDGET if optimizer is not None else _DEFAULT_STEPS)
        if optimizer is None:
            optimizer = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))
        loop = Loop(
            StochasticGradient(objective, optimizer), target, encoder, key, num_steps=steps,
            stop_on_plateau=stop_on_plateau, progress=progress, callback=callback,
            checkpoint=checkpoint, max_seconds=max_seconds,
        )  # fmt: skip
        state, ending, history = loop.go()
    seconds = time.monotonic() - began - compiles.seconds
    return Amortized(
        target, state.family, ending, history, shapes, _LOOKS + loop.steps_taken * num_samples,
        compiles.seconds, seconds,
    )  # fmt: skip


@compile_once
def _look(target: Target, objective: AmortizedForwardKL, keys: Array) -> tuple[Array, PyTree]:
    def one(key: PRNGKey) -> tuple[Array, PyTree]:
        latents, data = objective.simulate(key)
        return target.unconstrain(latents), data

    return jax.vmap(one)(keys)


@compile_once
def _apply(encoder: Any, data: PyTree) -> Family:
    return encoder(data)


@compile_once
def _sample(target: Target, family: Family, keys: Array) -> PyTree:
    return jax.vmap(lambda key: target.constrain(family.sample_and_log_prob(key)[0]))(keys)


def _check_draws(target: Target, flat: Array, data: PyTree) -> None:
    bad = np.atleast_1d(~np.isfinite(np.asarray(flat)).all(axis=0))
    if bad.any():
        names = ", ".join(name for name, is_bad in zip(target.names, bad) if is_bad)
        raise ValueError(
            f"`simulate` should draw finite latents inside the support; got others for {names}. "
            "Correct it, or the `support`."
        )
    for leaf in jax.tree.leaves(data):
        if not np.isfinite(np.asarray(leaf, np.float64)).all():
            raise ValueError(
                "`simulate` should draw finite data; got NaN or infinity in an array of shape "
                f"{leaf.shape[1:]}. Encode what is missing as a number and a flag."
            )


def _check_encoder(encoder: Any, target: Target, flat: Array, data: PyTree, key: PRNGKey) -> PyTree:
    """Return the encoder, made about a family where that is what was given, or say what is wrong.

    Raises:
        TypeError: neither.
        ValueError: it does not return a family of the target's dimension.
    """
    about_prior = encoder is None or isinstance(encoder, type)
    if about_prior or isinstance(encoder, Family):
        base = initial_family(target, encoder)
        if about_prior:
            center, scale = np.asarray(flat).mean(axis=0), np.asarray(flat).std(axis=0)
            loc = jnp.asarray(center, target.dtype)
            scale = np.where(scale > 0, scale, 1.0)
            base = type(base).init(loc, jnp.asarray(scale, target.dtype))  # pyright: ignore[reportAttributeAccessIssue]
        return Encoder.init(base, data, key=key)
    if not callable(encoder):
        raise TypeError(
            f"`encoder` should be a pytree with `encoder(data) -> family`, or a family; got "
            f"{encoder!r}. Use for example `vikl.families.FullRankNormal`."
        )
    if not jax.tree.leaves(eqx.filter(encoder, eqx.is_inexact_array)):
        raise TypeError(
            f"`encoder` should be a pytree with arrays to train; {encoder!r} has none. Keep them "
            "as fields of an `equinox.Module` with `__call__`."
        )
    one = jax.tree.map(lambda v: v[0], data)
    try:
        found = eqx.filter_eval_shape(encoder, one)
    except Exception as error:
        raise ValueError(
            f"`encoder` raised {type(error).__name__} when called with one data set: {error}. It "
            "gets what `simulate` returns second."
        ) from error
    if not isinstance(found, Family) or found.dim != target.dim:
        got = f"one of dimension {found.dim}" if isinstance(found, Family) else repr(found)
        raise ValueError(
            f"`encoder` should return a family of dimension {target.dim} ({list(target.names)}, "
            f"unconstrained); got {got}. Use for example `MeanFieldNormal(loc, log_scale)`."
        )
    return encoder


def _like_simulated(data: PyTree, shapes: PyTree) -> PyTree:
    try:
        data = jax.tree.map(lambda spec, v: jnp.asarray(v, spec.dtype), shapes, data)
        same = jax.tree.map(lambda spec, v: spec.shape == v.shape, shapes, data)
    except (TypeError, ValueError):
        same = False
    if not all(jax.tree.leaves(same)):
        raise ValueError(
            "`data` should be one data set like those that `simulate` makes, of the shapes "
            f"{jax.tree.map(lambda spec: spec.shape, shapes)}; got "
            f"{jax.tree.map(np.shape, data)}. Use `jax.vmap` over the encoder for several."
        )
    return data
