"""Variational lower bounds on KL from the values of a critic at draws of p and of q."""

import math

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float


def _check(critic_p: Array, critic_q: Array) -> None:
    for name, critic in (("critic_p", critic_p), ("critic_q", critic_q)):
        if not jnp.issubdtype(critic.dtype, jnp.floating):
            raise TypeError(
                f"`{name}` should be floating; got dtype {critic.dtype}. Do use `.astype(float)`."
            )
        if critic.ndim == 0 or critic.shape[-1] == 0:
            raise ValueError(
                f"`{name}` should have the draws on its last axis; got shape {critic.shape}. "
                "Do pass the critic at many draws."
            )


def donsker_varadhan_bound(
    critic_p: Float[Array, "*batch n"], critic_q: Float[Array, "*batch m"]
) -> Float[Array, "*batch"]:
    """Donsker-Varadhan lower bound on KL(p || q), `E_p T - log E_q exp(T)`.

    Tight at `T = log p/q + constant`. Bias: the log of a mean over m draws is too small on average
    (Jensen), so the estimate lies above the bound by about `Var_q(exp T) / (2 m (E_q exp T)^2)`;
    with a critic fitted to the same draws it is larger still. It cannot see much more than log m
    nats, and its minibatch gradient is biased for the same reason.

    Args:
        critic_p: T at draws of p, on the last axis.
        critic_q: T at draws of q.

    Returns:
        The estimate of the bound (nats), differentiable in T.

    Raises:
        TypeError: if an array is not floating.
        ValueError: if there are no draws.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.divergences import donsker_varadhan_bound
        >>> print(donsker_varadhan_bound(jnp.array([1.0, 1.0]), jnp.array([0.0, 0.0])))
        1.0

    References:
        Donsker and Varadhan (1983), Asymptotic evaluation of certain Markov process expectations;
        McAllester and Stratos (2020), Formal limitations on the measurement of mutual information.
    """
    _check(critic_p, critic_q)
    log_mean = jax.nn.logsumexp(critic_q, -1) - math.log(critic_q.shape[-1])
    return jnp.mean(critic_p, -1) - log_mean


def nwj_bound(
    critic_p: Float[Array, "*batch n"], critic_q: Float[Array, "*batch m"]
) -> Float[Array, "*batch"]:
    """Lower bound of Nguyen, Wainwright and Jordan on KL(p || q), `E_p T - E_q exp(T - 1)`.

    Tight at `T = 1 + log p/q`. Bias: none, for a critic that does not depend on the draws, and its
    minibatch gradient is unbiased; but never above Donsker-Varadhan for the same T, and its
    variance is that of p/q under q, which grows like exp(KL).

    Args:
        critic_p: T at draws of p, on the last axis.
        critic_q: T at draws of q.

    Returns:
        The estimate of the bound (nats), differentiable in T.

    Raises:
        TypeError: if an array is not floating.
        ValueError: if there are no draws.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.divergences import nwj_bound
        >>> print(nwj_bound(jnp.array([2.0, 2.0]), jnp.array([1.0, 1.0])))
        1.0

    References:
        Nguyen, Wainwright and Jordan (2010), Estimating divergence functionals and the likelihood
        ratio by convex risk minimization.
    """
    _check(critic_p, critic_q)
    return jnp.mean(critic_p, -1) - jnp.mean(jnp.exp(critic_q - 1), -1)
