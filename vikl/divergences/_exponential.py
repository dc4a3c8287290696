"""Exponential families: their KL kernel and their path in natural parameters.

A family needs two things here. `kl(p, q)`, and `path(p, q, t)`: the member whose natural
parameter is `t eta_p + (1 - t) eta_q`, with where it exists. The power gap of any family then
follows from three KLs, because `log integral p^a q^(1-a)` is a Jensen gap of the log-normaliser,
and a Bregman divergence of the log-normaliser is a KL. With m the member at t = a:

    0 <= a <= 1:  R = KL(m || q) / a + KL(m || p) / (1 - a)
    a > 1:        R = (KL(p || q) + KL(p || m) / (a - 1)) / a

All terms are non-negative, and in the first form an error of m enters only at second order.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

import vikl.kl as kl
from vikl._typing import Array, Bool
from vikl.divergences._numpyro import Params
from vikl.divergences._power_kernels import Order, over

Path = tuple[Params, Bool[Array, "..."]]


@dataclasses.dataclass(frozen=True)
class ExponentialFamily:
    """A row of the table."""

    kl: Callable[[Params, Params], Array]
    path: Callable[[Params, Params, Order], Path]


def _linear(*names: str) -> Callable[[Params, Params, Order], Path]:
    """Families whose parameters are themselves natural, and positive."""

    def path(p: Params, q: Params, t: Order) -> Path:
        mixed = {k: q[k] + t * (p[k] - q[k]) for k in names}
        exists = jnp.ones_like(mixed[names[0]], dtype=bool)
        for value in mixed.values():
            exists = exists & (value > 0)
        return mixed, exists

    return path


def _dirichlet(p: Params, q: Params, t: Order) -> Path:
    mixed = q["concentration"] + t * (p["concentration"] - q["concentration"])
    return {"concentration": mixed}, jnp.all(mixed > 0, -1)


def _poisson(p: Params, q: Params, t: Order) -> Path:
    both = (p["rate"] > 0) & (q["rate"] > 0)
    rate_p, rate_q = jnp.where(both, p["rate"], 1), jnp.where(both, q["rate"], 1)
    rate = rate_q * jnp.exp(t * jnp.log1p((rate_p - rate_q) / rate_q))
    only_p = jnp.equal(t, 1) & jnp.ones_like(both)
    one_sided = jnp.where(only_p, p["rate"], jnp.where(jnp.equal(t, 0), q["rate"], 0))
    exists = both | ((p["rate"] == 0) & (t > 0)) | ((q["rate"] == 0) & (t < 1))
    outside = (t < 0) | (t > 1)
    blocked = jnp.where(t > 1, (q["rate"] == 0) & (p["rate"] > 0), False) & outside
    return {"rate": jnp.where(both, rate, one_sided)}, exists & ~blocked


def _geometric(p: Params, q: Params, t: Order) -> Path:
    """Natural parameter `log(1 - probs)`, which must stay negative."""
    inside = (p["probs"] < 1) & (q["probs"] < 1)
    eta_p = jnp.log1p(-jnp.where(inside, p["probs"], 0.5))
    eta_q = jnp.log1p(-jnp.where(inside, q["probs"], 0.5))
    eta = eta_q + t * (eta_p - eta_q)
    probs = jnp.where(inside, -jnp.expm1(eta), 1)
    return {"probs": probs}, (probs > 0)


def _half_normal(p: Params, q: Params, t: Order) -> Path:
    """Natural parameter `1 / scale^2`."""
    squared = (q["scale"] / p["scale"]) ** 2
    relative = 1 + t * (squared - 1)
    exists = relative > 0
    return {"scale": q["scale"] / jnp.sqrt(jnp.where(exists, relative, 1))}, exists


def _von_mises(p: Params, q: Params, t: Order) -> Path:
    """Natural parameter: the vector `concentration (cos loc, sin loc)`."""
    x = t * p["concentration"] * jnp.cos(p["loc"] - q["loc"]) + (1 - t) * q["concentration"]
    y = t * p["concentration"] * jnp.sin(p["loc"] - q["loc"])
    square = x**2 + y**2
    positive = square > 0
    length = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
    angle = jnp.arctan2(jnp.where(positive, y, 0), jnp.where(positive, x, 1))
    return {"loc": q["loc"] + angle, "concentration": length}, jnp.ones_like(positive)


FAMILIES: dict[str, ExponentialFamily] = {
    "exponential": ExponentialFamily(
        lambda p, q: kl.exponential(p["rate"], q["rate"]), _linear("rate")
    ),
    "gamma": ExponentialFamily(
        lambda p, q: kl.gamma(p["concentration"], p["rate"], q["concentration"], q["rate"]),
        _linear("concentration", "rate"),
    ),
    "beta": ExponentialFamily(
        lambda p, q: kl.beta(
            p["concentration1"], p["concentration0"], q["concentration1"], q["concentration0"]
        ),
        _linear("concentration1", "concentration0"),
    ),
    "dirichlet": ExponentialFamily(
        lambda p, q: kl.dirichlet(p["concentration"], q["concentration"]), _dirichlet
    ),
    "poisson": ExponentialFamily(lambda p, q: kl.poisson(p["rate"], q["rate"]), _poisson),
    "geometric": ExponentialFamily(lambda p, q: kl.geometric(p["probs"], q["probs"]), _geometric),
    "half_normal": ExponentialFamily(
        lambda p, q: kl.half_normal(p["scale"], q["scale"]), _half_normal
    ),
    "von_mises": ExponentialFamily(
        lambda p, q: kl.von_mises(p["loc"], p["concentration"], q["loc"], q["concentration"]),
        _von_mises,
    ),
}


def _safe_member(family: ExponentialFamily, p: Params, q: Params, a: Order) -> Path:
    """Return the member at t = a; that of q where there is none."""
    member, exists = family.path(p, q, a)

    def kept(name: str) -> Array:
        extra = member[name].ndim - exists.ndim
        mask = exists[..., None] if extra else exists
        return jnp.where(mask, member[name], q[name])

    return {name: kept(name) for name in member}, exists


def _two_kls(family: ExponentialFamily, of: Params, to: tuple[Params, Params]) -> Array:
    """`KL(of || to[0])` and `KL(of || to[1])` on a new first axis: one evaluation to compile."""
    first = {name: jnp.stack([x, x]) for name, x in of.items()}
    second = {name: jnp.stack([to[0][name], to[1][name]]) for name in of}
    return family.kl(first, second)


def gap(name: str, p: Params, q: Params, a: Array, regime: str | None) -> Array:
    """Return the power gap R of order a >= 1/2 of an exponential family.

    The regime is "inside" (a <= 1), "above" or, for an order known only at run time, None.
    """
    family = FAMILIES[name]
    m, exists = _safe_member(family, p, q, a)
    inside = above = jnp.zeros_like(exists, p[next(iter(p))].dtype)
    if regime != "above":
        to_q, to_p = _two_kls(family, m, (q, p))
        inside = over(to_q, a) + over(to_p, 1 - a)
    if regime != "inside":
        to_q, to_m = _two_kls(family, p, (q, m))
        above = (to_q + over(to_m, a - 1)) / a
    return jnp.where(exists, jnp.where(a <= 1, inside, above), jnp.inf)
