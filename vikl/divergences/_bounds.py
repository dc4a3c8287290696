"""Variational lower bounds on divergences from a critic's values at draws of p and of q."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vikl._typing import Array, Float
from vikl.divergences import _generators as generators
from vikl.divergences._generators import Generator


def _check(critic_p: Array, critic_q: Array, called: str = "critic") -> None:
    for name, critic in ((f"{called}_p", critic_p), (f"{called}_q", critic_q)):
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


def f_divergence_bound(
    log_ratio_p: Float[Array, "*batch n"],
    log_ratio_q: Float[Array, "*batch m"],
    generator: Generator | Callable[[Array], Array],
) -> Float[Array, "*batch"]:
    """Lower bound on an f-divergence, `E_p T - E_q f*(T)`, with the critic `T = f'(r)`.

    The critic is given as a guess w of log p/q, such as the logit of a discriminator of p against
    q, and r = e^w: so T is where the convex conjugate f* is finite, whatever the network puts out.
    Tight at w = log p/q, for every f. Bias: none, for a critic that does not depend on the draws,
    and its minibatch gradient is unbiased. Maximise it in the critic; a generator of q's draws
    minimises it (f-GAN). With `generators.kl()` it is `nwj_bound` at T = 1 + w, with
    `generators.jensen_shannon()` log 2 minus the cross-entropy of the discriminator.

    Args:
        log_ratio_p: w at draws of p, on the last axis.
        log_ratio_q: w at draws of q.
        generator: a member of `vikl.generators`, or a plain convex function of u = p/q that jax
            can differentiate twice.

    Returns:
        The estimate of the bound, in the units of f, differentiable in w. Values of w beyond 78
        nats either way (630 in float64) count as that, so that no critic makes it NaN.

    Raises:
        TypeError: if an array is not floating.
        ValueError: if there are no draws.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.divergences import f_divergence_bound, generators
        >>> p, q = jnp.array([0.0, 0.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 1.0, 1.0])  # draws
        >>> log_ratio = lambda x: jnp.log(jnp.where(x == 0, 3.0, 1 / 3))
        >>> print(f"{f_divergence_bound(log_ratio(p), log_ratio(q), generators.kl()):.4f}")
        0.5493

    References:
        Nguyen, Wainwright and Jordan (2010), Estimating divergence functionals and the likelihood
        ratio by convex risk minimization;
        Nowozin, Cseke and Tomioka (2016), f-GAN.
    """
    _check(log_ratio_p, log_ratio_q, "log_ratio")
    if not isinstance(generator, Generator):
        generator = generators.from_function(generator)
    slope, _ = _slope_and_conjugate(log_ratio_p, generator)
    _, conjugate = _slope_and_conjugate(log_ratio_q, generator)
    return jnp.mean(slope, -1) - jnp.mean(conjugate, -1)


def _slope_and_conjugate(w: Array, generator: Generator) -> tuple[Array, Array]:
    """`f'(u)` and `f*(f'(u)) = u f'(u) - f(u)` at u = e^w."""
    most = -0.9 * math.log(jnp.finfo(w.dtype).tiny)
    # not `clip`, whose slope of 0 times an infinite one would be NaN
    w = jnp.where(jnp.abs(w) < most, w, jax.lax.stop_gradient(most * jnp.sign(w)))
    if generator.tangent is not None:
        return generator.tangent(w)
    # low(w) = f(e^w) below 0; above it high(v) = e^v f(e^-v) at v = -w
    below = w <= 0
    down, up = jnp.where(below, w, 0), jnp.where(below, 0, -w)
    low, low_slope = jax.jvp(generator.low, (down,), (jnp.ones_like(w),))
    high, high_slope = jax.jvp(generator.high, (up,), (jnp.ones_like(w),))
    slope = jnp.where(below, jnp.exp(-down) * low_slope, high - high_slope)
    conjugate = jnp.where(below, low_slope - low, -jnp.exp(-up) * high_slope)
    return slope, conjugate
