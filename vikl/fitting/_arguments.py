"""What the arguments of `fit` must be: every message names the argument, what came, what to do."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import families, objectives
from .._memory import check_memory
from .._typing import PRNGKey, PyTree
from ..families import Family, FullRankNormal, MeanFieldNormal
from ..target import Target
from ._at_home import check_at_home
from ._journal import Journal

FULL_RANK_UP_TO = 1000  # parameters; beyond, the automatic method is low-rank plus diagonal


class Options(NamedTuple):
    """What every way to fit takes from the call."""

    num_steps: int | None
    num_starts: int | None
    progress: bool | None
    callback: Callable | None
    checkpoint: str | Path | None
    max_seconds: float | None
    journal: Journal | None
    key: PRNGKey
    judge_key: PRNGKey


def check_key(key: Any) -> PRNGKey:
    """Return the key as a typed key, or say what is wrong with it.

    Raises:
        TypeError: not a single JAX key.
    """
    advice = "Make one by `jax.random.key(0)`."
    if not isinstance(key, jax.Array):
        raise TypeError(f"`key` should be a JAX PRNG key; got {key!r}. {advice}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape != ():
            raise TypeError(f"`key` should be one key; got an array of shape {key.shape}. {advice}")
        return key
    if key.shape != (2,) or key.dtype != jnp.uint32:
        raise TypeError(
            f"`key` should be a JAX PRNG key; got an array of dtype {key.dtype} and shape "
            f"{key.shape}. {advice}"
        )
    return jax.random.wrap_key_data(key)


def as_target(target: Any, like: PyTree, support: Any, data: PyTree) -> Target:
    """Return the target, made of a plain log density where that is what was given."""
    if isinstance(target, Target):
        given = {"like": like, "support": support, "data": data}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"`{name}` belongs to a plain log density; `target` is a Target and has its "
                    f"own. Leave it out, or give it to `Target.from_density`."
                )
        return target
    if not callable(target):
        raise TypeError(
            f"`target` should be a Target or a log density (a function); got {target!r} of type "
            f"{type(target).__name__}."
        )
    if like is None:
        raise ValueError(
            "`like` is needed with a plain log density: an example of its parameters, such as "
            "`like=jnp.zeros(3)` or `like={'mu': 0.0, 'tau': 1.0}`."
        )
    return Target.from_density(target, like, support, data)


def check_counts(**counts: Any) -> None:
    """Refuse counts that are neither None nor positive whole numbers."""
    for name, value in counts.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(
                f"`{name}` should be a whole number, at least 1, or None; got {value!r}. "
                "None leaves it to the evidence."
            )


def check_path(path: Any, name: str) -> None:
    """Refuse what is no path."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"`{name}` should be the path of a file; got {path!r}.")


def check_run(max_seconds: Any, checkpoint: Any, progress: Any, callback: Any = None) -> None:
    """Refuse a budget that is no time, a path that is none, a bar neither on nor off, no function.

    Raises:
        TypeError: one of another kind.
        ValueError: a negative or NaN budget.
    """
    if max_seconds is not None:
        if isinstance(max_seconds, bool) or not isinstance(max_seconds, (int, float, np.number)):
            raise TypeError(f"`max_seconds` should be a number of seconds; got {max_seconds!r}.")
        if not max_seconds >= 0:
            raise ValueError(f"`max_seconds` should be 0 or more; got {max_seconds}.")
    if checkpoint is not None:
        check_path(checkpoint, "checkpoint")
    if progress not in (None, True, False):
        raise TypeError(f"`progress` should be True, False or None; got {progress!r}.")
    if callback is not None and not callable(callback):
        raise TypeError(
            f"`callback` should be a function of a Snapshot, or None; got {callback!r}. "
            "Return True from it to stop the fit."
        )


def check_family_memory(kind: Any, dim: int, itemsize: int) -> None:
    """Refuse a dense covariance that no memory of this machine can hold."""
    if kind is FullRankNormal:
        advice = "Use `vikl.families.MeanFieldNormal`."
        needed = 3 * dim**2 * itemsize  # the factor, its gradient and a copy
        check_memory(needed, "family", f"FullRankNormal of {dim:,} parameters", advice)


def check_draws(num_samples: Any, dim: int) -> None:
    """Refuse a number of draws that is none, or that no memory can hold."""
    if num_samples is None:
        raise ValueError("`num_samples` should be a whole number, at least 1; got None.")
    check_counts(num_samples=num_samples)
    advice = "Ask for fewer at a time, with a new key for each call."
    check_memory(8.0 * num_samples * (dim + 4), "num_samples", num_samples, advice)


def is_plain_reverse_kl(objective: Any) -> bool:
    """Return whether the objective is what the automatic method minimises anyway."""
    plain = objectives.ReverseKL
    return isinstance(objective, plain) and objective == plain()


def has_natural_gradient(family: Any) -> bool:
    """Return whether the automatic method can fit this family."""
    kind = family if isinstance(family, type) else type(family)
    return family is None or kind in (
        FullRankNormal, MeanFieldNormal, families.LowRankNormal, families.NormalMixture,
    )  # fmt: skip


def automatic_family(target: Target, family: Any) -> tuple[type[Family], Family | None]:
    """Return the class to fit, and the instance to start from where one was given."""
    if family is None:
        return FullRankNormal, None
    if isinstance(family, type):
        check_family_memory(family, target.dim, target.dtype.itemsize)
        return family, None
    return type(family), initial_family(target, family)


def initial_family(target: Target, family: Any) -> Family:
    """Return the instance to start from.

    Raises:
        TypeError: not a family.
        ValueError: a family of another dimension.
    """
    if family is None:
        family = FullRankNormal if target.dim <= FULL_RANK_UP_TO else families.LowRankNormal
    if isinstance(family, type) and hasattr(family, "sample_and_log_prob"):
        check_family_memory(family, target.dim, target.dtype.itemsize)
        init = getattr(family, "init", None)
        if init is None:
            raise TypeError(
                f"`family` {family.__name__} has no `init(loc, scale)`; give an instance of it."
            )
        family = families.as_family(init(target.start, 1.0))
        check_at_home(family, target)
        return family
    if isinstance(family, type) or not hasattr(family, "sample_and_log_prob"):
        raise TypeError(
            f"`family` should be a class or an instance of vikl.families, or a pytree with "
            f"`sample_and_log_prob`; got {family!r}. Use for example "
            "`vikl.families.FullRankNormal`."
        )
    family = families.as_family(family)
    if family.dim != target.dim:
        raise ValueError(
            f"`family` should have the dimension of the target, {target.dim} "
            f"({', '.join(target.names[:6])}{', ...' if target.dim > 6 else ''}); got "
            f"{family.dim}. Initialise it with `init(jnp.zeros({target.dim}))`, or give the class."
        )
    for path, leaf in jax.tree_util.tree_flatten_with_path(family)[0]:
        if eqx.is_inexact_array(leaf) and not np.isfinite(np.asarray(leaf, np.float64)).all():
            raise ValueError(
                f"`family` should have finite parameters; got NaN or infinity in "
                f"{type(family).__name__}{jax.tree_util.keystr(path)}. Start from "
                f"`{type(family).__name__}.init(...)`, or from a fit that went well."
            )
    check_at_home(family, target)
    return jax.tree.map(lambda v: v.astype(target.dtype) if eqx.is_inexact_array(v) else v, family)


def check_start(target: Target, start: np.ndarray, value: float, gradient: np.ndarray) -> None:
    """Refuse a log density that is nan or +inf at the start, or whose gradient is nan there.

    Raises:
        ValueError: with the value, the coordinates concerned, and what to do.
    """
    if np.isnan(value) or value == np.inf:
        raise ValueError(
            f"`log_density` is {value} at the start {_short(start)} (unconstrained). Find where "
            "it divides by zero or takes the log of a negative number, give `like` another "
            "value, or declare a `support`."
        )
    bad = ~np.isfinite(gradient)
    if np.isfinite(value) and bad.any():
        names = [name for name, flag in zip(target.names, bad) if flag]
        raise ValueError(
            f"`log_density` is {value:.6g} at the start {_short(start)} but its gradient is "
            f"{gradient[bad][0]} for {', '.join(names[:5])}. A branch that is not taken can do "
            "this (`jnp.where` around sqrt or log): make the untaken branch finite too."
        )


def _short(x: np.ndarray) -> str:
    return np.array2string(np.asarray(x), precision=4, threshold=8)
