"""The squashed policy of continuous control: a normal sent through tanh into a box."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from vikl._typing import Array, Float, PRNGKey
from vikl.kl._normal import diagonal_normal
from vikl.kl._registry import register_kl


class TanhNormal(eqx.Module):
    """Actions `tanh(u)`, u normal with independent coordinates: each action lies in (-1, 1).

    Its KL is that of the normals of u (`policy_kl`, `vikl.kl_divergence`): a bijection that both
    share drops out. Entropy and log density do see the squashing.

    Attributes:
        loc: mean of u, shape (..., actions).
        scale: standard deviation of u, positive, shape (..., actions).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from vikl.losses import TanhNormal, policy_kl
        >>> p = TanhNormal(jnp.array([0.0, 5.0]), jnp.array([1.0, 1.0]))
        >>> q = TanhNormal(jnp.array([0.1, 5.1]), jnp.array([1.0, 1.0]))
        >>> print(round(float(policy_kl(p, q)), 3))
        0.01
        >>> action, log_prob = p.sample_and_log_prob(jax.random.key(0))
        >>> bool((abs(action) <= 1).all()), log_prob.shape
        (True, ())

    References:
        Haarnoja, Zhou, Abbeel and Levine (2018), Soft actor-critic, appendix C.
    """

    loc: Float[Array, "*batch actions"]
    scale: Float[Array, "*batch actions"]

    def sample_and_log_prob(
        self, key: PRNGKey
    ) -> tuple[Float[Array, "*batch actions"], Float[Array, "*batch"]]:
        """One action and its log density, right also where tanh rounds to one; pathwise."""
        shape = jnp.broadcast_shapes(self.loc.shape, self.scale.shape)
        noise = jax.random.normal(key, shape, self.loc.dtype)
        u = self.loc + self.scale * noise
        return jnp.tanh(u), self._log_prob_at(u)

    def log_prob(self, action: Float[Array, "*batch actions"]) -> Float[Array, "*batch"]:
        """Log density of an action, which is first moved a rounding inside of -1 and 1.

        The way back through atanh has few digits near the walls: keep the log density that
        `sample_and_log_prob` returned.
        """
        most = 1 - float(jnp.finfo(action.dtype).eps)
        return self._log_prob_at(jnp.arctanh(jnp.clip(action, -most, most)))

    def _log_prob_at(self, u: Float[Array, "*batch actions"]) -> Float[Array, "*batch"]:
        z = (u - self.loc) / self.scale
        normal = -0.5 * z * z - jnp.log(self.scale) - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(u)^2) without cancellation
        slope = 2 * (math.log(2.0) - u - jax.nn.softplus(-2 * u))
        return jnp.sum(normal - slope, -1)


@register_kl(TanhNormal, TanhNormal)
def _tanh_normal(p: TanhNormal, q: TanhNormal) -> Array:
    return diagonal_normal(p.loc, p.scale, q.loc, q.scale)
