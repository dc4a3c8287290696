"""The two-type registry: `kl_divergence(p, q)` looks its rule up by the classes of p and q.

Rules are found along the two classes' resolution orders and the most specific wins. It is a
registry of vikl's own; that of NumPyro is neither read nor written. The rules for NumPyro's
distributions register themselves the first time a NumPyro distribution is met, so `import vikl`
does not import NumPyro.
"""

from collections.abc import Callable
from typing import Any

from .. import _lazy
from .._typing import Array

Rule = Callable[[Any, Any], Array]

_RULES: dict[tuple[type, type], Rule] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Rule], Rule]:
    """Register the decorated function as KL(p‖q) for instances of the two classes.

    Args:
        type_p: the class of p; subclasses inherit the rule unless they have their own.
        type_q: the class of q.

    Raises:
        ValueError: if the very same pair of classes is registered already.
        TypeError: if an argument is not a class.

    >>> import jax.numpy as jnp
    >>> import vikl
    >>> class Coin:
    ...     pass
    >>> @vikl.register_kl(Coin, Coin)
    ... def coin_from_coin(p, q):
    ...     return jnp.zeros(())
    >>> float(vikl.kl_divergence(Coin(), Coin()))
    0.0
    """
    for name, cls in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(cls, type):
            raise TypeError(f"register_kl: `{name}` should be a class; got {cls!r}.")

    def decorate(rule: Rule) -> Rule:
        if (known := _RULES.get((type_p, type_q))) is not None:
            raise ValueError(
                f"register_kl: the pair ({type_p.__qualname__}, {type_q.__qualname__}) is already "
                f"registered by {known.__module__}.{known.__qualname__}; a pair has one rule. "
                f"Register a subclass instead."
            )
        _RULES[type_p, type_q] = rule
        return rule

    return decorate


def _load_numpyro_rules() -> None:
    # late, because they import numpyro, which `import vikl` must not
    from . import _numpyro_pairs, _numpyro_structure  # noqa: F401


def registered_kl_pairs() -> tuple[tuple[type, type], ...]:
    """Return all registered pairs of classes, in a fixed order, those of NumPyro included.

    This imports all of vikl, as a class's rules are registered by the file that defines it.

    >>> import vikl
    >>> ("Normal", "Normal") in [(p.__name__, q.__name__) for p, q in vikl.registered_kl_pairs()]
    True
    """
    _load_numpyro_rules()
    _lazy.load_everything("vikl")
    name = lambda cls: (cls.__module__, cls.__qualname__)
    return tuple(sorted(_RULES, key=lambda pair: (name(pair[0]), name(pair[1]))))


def _is_numpyro(cls: type) -> bool:
    """Whether a class is NumPyro's, derives from one, or is a container of a product of them."""
    roots = {base.__module__.split(".")[0] for base in cls.__mro__}
    return "numpyro" in roots or issubclass(cls, dict | tuple)


def find_kl_rule(type_p: type, type_q: type) -> Rule | None:
    """Return the most specific rule for the pair, or None.

    Raises:
        TypeError: if two rules fit and neither is more specific in both arguments.
    """
    if _is_numpyro(type_p) or _is_numpyro(type_q):
        _load_numpyro_rules()
    rank_p = {cls: i for i, cls in enumerate(type_p.__mro__)}
    rank_q = {cls: i for i, cls in enumerate(type_q.__mro__)}
    fitting = [pair for pair in _RULES if pair[0] in rank_p and pair[1] in rank_q]
    best = [
        (a, b)
        for a, b in fitting
        if all(rank_p[a] <= rank_p[c] and rank_q[b] <= rank_q[d] for c, d in fitting)
    ]
    if not fitting:
        return None
    if not best:
        names = ", ".join(f"({a.__qualname__}, {b.__qualname__})" for a, b in fitting)
        raise TypeError(
            f"kl_divergence: ambiguous for ({type_p.__qualname__}, {type_q.__qualname__}): {names} "
            f"all fit, none is the most specific. Register the exact pair with "
            f"`vikl.register_kl({type_p.__qualname__}, {type_q.__qualname__})`."
        )
    return _RULES[best[0]]


def kl_divergence(p: Any, q: Any) -> Array:
    """KL(p‖q) = E_p[log p − log q] in nats, in closed form (or by a fixed, accurate quadrature).

    Batches broadcast, event dimensions are summed over: the result has the broadcast of the two
    batch shapes. It is differentiable in the parameters of both, and exactly zero, with zero
    gradient, where they agree. It is +inf where p puts mass where q has none.

    Args:
        p: a distribution, of NumPyro or of a class given to `vikl.register_kl`; or a tuple or dict
            of distributions, which is their product.
        q: a distribution with the same event shape.

    Raises:
        NotImplementedError: if the pair of classes has no rule; the message names alternatives.
        ValueError: outside jit, for invalid parameters and for event shapes that differ.

    >>> import vikl
    >>> import numpyro.distributions as dist
    >>> round(float(vikl.kl_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0))), 6)
    0.5

    Source: Kullback and Leibler (1951), "On information and sufficiency".
    """
    rule = find_kl_rule(type(p), type(q))
    if rule is None:
        names = f"{type(p).__qualname__}, {type(q).__qualname__}"
        raise NotImplementedError(
            f"kl_divergence: no closed form is registered for ({names}). Estimate it with "
            f"`vikl.estimate_kl(p, q, key=...)`, bound it with "
            f"`vikl.divergences.kl_mixture_bounds(p, q)` if both are mixtures, or add the closed "
            f"form with `vikl.register_kl({names})`."
        )
    shape_p, shape_q = getattr(p, "event_shape", ()), getattr(q, "event_shape", ())
    if shape_p != shape_q:
        raise ValueError(
            f"kl_divergence: p and q should have the same event shape; got {shape_p} for `p` "
            f"({type(p).__qualname__}), {shape_q} for `q` ({type(q).__qualname__}). Event shapes "
            f"are never broadcast; make batch dimensions events with `.to_event`."
        )
    return rule(p, q)
