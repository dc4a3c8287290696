"""KL per token between a language model's policy and a reference, from the tokens it wrote."""

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.divergences import K1, K2, K3
from vikl.divergences._estimators import AbstractEstimator, AbstractMember
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.losses._rows import Mask, mask_of

_SEALED = (
    "The value of `token_kl` has no gradient of its own: the derivative of a sampled k1 or k3 is "
    "not an estimate of the derivative of KL. Do pass gradient='score' (per token) or "
    "gradient='sequence' (of the whole text) in a loss, or gradient='stop' in a reward."
)
_WRONG = {
    "K1": (
        "The derivative of k1 = log p - log q is the score alone, whose mean is zero: it is noise, "
        "and holds the policy nowhere."
    ),
    "K3": (
        "The derivative of k3 is (1 - q/p) times the score, whose mean is the gradient of "
        "KL(reference‖policy), the other direction, with the variance of q/p."
    ),
}


@jax.custom_jvp
def _sealed(x: Array) -> Array:
    return x


@_sealed.defjvp
def _sealed_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    raise TypeError(_SEALED)


def token_kl(
    log_probs: ArrayInput,
    reference_log_probs: ArrayInput,
    *,
    value: AbstractEstimator | None = None,
    gradient: str | None = None,
    behaviour_log_probs: ArrayInput | None = None,
    where: Mask = None,
) -> Float[Array, "..."]:
    """Estimates of KL(policy‖reference) at each token that the policy drew.

    Value and gradient are chosen apart, because the derivative of a good estimate of a divergence
    need not estimate the divergence's derivative. With d = log p - log q at a token:

    value: `K1()` is d, unbiased; `K2()` is d²/2, biased but of low variance; `K3()` (the default)
    is q/p - 1 + d, unbiased, never negative.

    gradient: `"score"` has the derivative `d ∇log p`: unbiased for KL at each token given the
    text before it. `"sequence"` has `(d here + d of all tokens after) ∇log p`, summed over tokens
    unbiased for KL of whole texts: it also counts where a token leads. `"stop"` has none, for a
    penalty in the reward (then the policy gradient does the same work). None, the default, gives
    a value that raises when it is differentiated. `"autodiff"` is refused for `K1` (its mean is
    zero) and `K3` (it is of the other direction); for `K2` it is the same as `"score"`.

    With all logits at hand `vikl.kl.categorical_logits(policy, reference)` is exact at each
    token, without noise, and its derivative is right.

    Args:
        log_probs: log p of the tokens drawn, shape (..., tokens), differentiable.
        reference_log_probs: log q of the same tokens; no gradient flows into it.
        value: which estimate, from `vikl.estimators`.
        gradient: which derivative.
        behaviour_log_probs: if an older policy drew the tokens, its log probabilities: each token
            is weighed by p over them (not with `"sequence"`).
        where: booleans of the same shape: False for prompts and padding, which cost 0.

    Returns:
        One number for each token, in nats; average with `vikl.losses.masked_mean`.

    Raises:
        TypeError: if an array is not floating, or a value without a gradient is differentiated.
        ValueError: on unequal shapes, for a combination that is wrong, with the reason, and
            outside jit on NaN.

    Examples:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from vikl.losses import token_kl
        >>> log_p, log_q = jnp.log(jnp.array([0.5, 0.2])), jnp.log(jnp.array([0.25, 0.2]))
        >>> print(np.round(np.asarray(token_kl(log_p, log_q)), 4))
        [0.1931 0.    ]
        >>> loss = lambda x: token_kl(x, log_q, gradient="score").sum()
        >>> print(np.round(np.asarray(jax.grad(loss)(log_p)), 4))
        [0.6931 0.    ]

    References:
        Schulman (2020), Approximating KL divergence; Tang and Munos (2025), On a few pitfalls in
        KL divergence gradient estimation for RL.
    """
    member = _checked_member(value, gradient, behaviour_log_probs is not None)
    p, q, mu, mask, dtype = _tokens(log_probs, reference_log_probs, behaviour_log_probs, where)
    score = p - jax.lax.stop_gradient(p)  # zero, with the derivative of log p
    still, q = jax.lax.stop_gradient(p), jax.lax.stop_gradient(q)
    d = jnp.where(mask, still - q, 0)
    ratio = jnp.exp(jnp.where(mask, still - jax.lax.stop_gradient(mu), 0))
    found = ratio * member.values(d)
    if gradient is None:
        found = _sealed(found + score)
    elif gradient == "sequence":
        later = jnp.flip(jnp.cumsum(jnp.flip(d, -1), -1), -1)
        found = found + later * score
    elif gradient != "stop":
        found = found + ratio * d * score
    return jnp.where(mask, found, 0).astype(dtype)


def _tokens(log_probs, reference_log_probs, behaviour_log_probs, where):
    """Return the three log probabilities of one shape, cleaned where masked out, mask, dtype."""
    p, dtype = _checks.floating("log_probs", log_probs)
    names = ("reference_log_probs", "behaviour_log_probs")
    others = []
    for name, given in zip(names, (reference_log_probs, behaviour_log_probs)):
        array = p if given is None else _checks.floating(name, given)[0]
        if array.shape != p.shape:
            raise ValueError(
                f"`{name}` should have the shape of `log_probs`, {p.shape}; got {array.shape}. Do "
                "gather the log probabilities of the tokens drawn."
            )
        others.append(array.astype(p.dtype))
    mask = mask_of(where, p.shape)
    clean = [jnp.where(mask, x, 0) for x in (p, *others)]
    for name, x in zip(("log_probs", *names), clean):
        _checks.not_nan(name, x)
    return *clean, mask, dtype


def _checked_member(
    value: AbstractEstimator | None, gradient: str | None, off_policy: bool
) -> AbstractMember:
    """Return the value's estimate; raise, with the reason, for what does not go together."""
    member = K3() if value is None else value
    if not isinstance(member, K1 | K2 | K3):
        raise ValueError(
            f"`value` should be `vikl.estimators.K1()`, `K2()` or `K3()`; got {member!r}. Do "
            "choose K3 for a value that is never negative."
        )
    if gradient not in (None, "stop", "score", "sequence", "autodiff"):
        raise ValueError(
            f"`gradient` should be None, 'stop', 'score' or 'sequence'; got {gradient!r}. Do "
            "choose 'score' in a loss and 'stop' in a reward."
        )
    kind = type(member).__name__
    if gradient == "autodiff" and kind in _WRONG:
        raise ValueError(
            f"`gradient` should not be 'autodiff' with {kind}. {_WRONG[kind]} Do pass 'score', "
            f"which keeps the value of {kind} and has the gradient of KL(policy‖reference)."
        )
    if gradient == "sequence" and off_policy:
        raise ValueError(
            "`gradient` should not be 'sequence' with `behaviour_log_probs`: it would need the "
            "ratio of whole texts, not of tokens. Do pass 'score', or draw from the policy."
        )
    return member
