"""Policies that may not move far: one constraint, KL, kept in four ways.

    python examples/policies.py           # numbers, and a figure into figures/
    python examples/policies.py --quick   # fewer steps

On a bandit with three arms: the exact best policy within a KL ball, for both directions of KL;
TRPO's natural-gradient step, whose quadratic model oversteps the ball until the line search
shortens it; and a penalty with PPO's adaptive coefficient, which only hovers around the target.
Then what happens to the KL of a language model when its sampled estimate is differentiated the
wrong way.

"Keep KL ≤ ε" is the rule of TRPO. PPO has no such constraint: it clips, or adapts a penalty.
"""

import functools
import itertools
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from _common import BLUE, EDGE, GREEN, INK, ORANGE, PURPLE, beside, heading, options, panels, save

import vikl
from vikl import losses
from vikl.estimators import K1, K2, K3

OLD = jnp.array([0.2, 0.3, 0.5])
ADVANTAGES = jnp.array([1.0, 0.0, -0.4])
RADIUS = 0.01


#: direction of the ball: how it is written; multiplier, policy and π·A by 40-digit root finding
EXACT = {
    "new||old": ("KL(π‖old)", 0.2548807285, (0.2556082506, 0.2971480148, 0.4472437345),
                 0.0767107568),
    "old||new": ("KL(old‖π)", 0.3135509396, (0.2577787985, 0.2943686354, 0.4478525661),
                 0.0786377720),
}  # fmt: skip


def one_step():
    """Print the exact steps and TRPO's beside their references."""
    for direction, (words, multiplier, policy, value) in EXACT.items():
        exact = losses.tilted_policy(OLD, ADVANTAGES, RADIUS, direction=direction)
        heading(f"the exact step: max π·A with {words} ≤ 0.01")
        beside("multiplier β", float(exact.multiplier), multiplier)
        for i, reference in enumerate(policy):
            beside(f"probability of arm {i + 1}", float(exact.probabilities[i]), reference)
        beside("π·A", float(np.dot(exact.probabilities, ADVANTAGES)), value)
    step = trpo(jnp.log(OLD), RADIUS)
    heading("TRPO's step with KL(old‖π) ≤ 0.01")
    beside("KL of the whole natural-gradient step: too far", float(step.proposed_kl), 0.0105264829)
    print(f"{'KL after the line search':<52}{float(step.kl):>13.6f}{'≤ 0.01':>13}")
    print(f"  ({step.status})")
    team = [((0.2, 0.8), (0.3, 0.7)), ((0.8, 0.2), (0.6, 0.4)), ((0.6, 0.3, 0.1), (0.3, 0.3, 0.4))]

    old, new = ([dist.Categorical(jnp.array(pair[i])) for pair in team] for i in (0, 1))
    beside("KL of three independent agents: the sum", float(losses.policy_kl(old, new)),
           0.3945071866)  # fmt: skip


def surrogate(logits):
    return -jax.nn.softmax(logits) @ ADVANTAGES


@jax.jit
def trpo(logits, radius):
    """One step of TRPO on the bandit."""
    still = jax.lax.stop_gradient(logits)
    return losses.trust_region_step(
        surrogate, lambda z: vikl.kl.categorical_logits(still, z), logits, max_kl=radius
    )


@jax.jit
def penalised(logits, state, inner=40, rate=0.5):
    """Lower the loss plus a penalty on KL(old‖new) by gradient steps, and adapt the penalty."""
    moved = lambda z: vikl.kl.categorical_logits(logits, z)
    slope = jax.grad(lambda z: surrogate(z) + state.coefficient * moved(z))
    new = jax.lax.fori_loop(0, inner, lambda _, z: z - rate * slope(z), logits)
    return new, PENALTY.update(state, moved(new)), -surrogate(new), moved(new)


PENALTY = losses.AdaptivePenalty(target=RADIUS)


def runs(num_steps):
    """Return expected advantage and KL(old‖new) of every update, (updates, 2), for each method."""

    def by_tilt(policy):
        found = losses.tilted_policy(policy, ADVANTAGES, RADIUS, direction="old||new")
        return found.probabilities, (np.dot(found.probabilities, ADVANTAGES), found.kl)

    def by_trpo(z):
        step = trpo(z, RADIUS)
        return step.params, (-step.loss, step.kl)

    def by_penalty(carry):
        z, state, value, moved = penalised(*carry)
        return (z, state), (value, moved)

    starts = {
        "exact step": (by_tilt, OLD),
        "TRPO": (by_trpo, jnp.log(OLD)),
        "PPO, adaptive penalty": (by_penalty, (jnp.log(OLD), PENALTY.init(1.0))),
    }
    found = {}
    for name, (update, carry) in starts.items():
        rows = []
        for _ in range(num_steps):
            carry, row = update(carry)
            rows.append([float(x) for x in row])
        found[name] = np.array(rows)
    return found


# --- KL per token: value and gradient ---

TEXTS = jnp.array(list(itertools.product(range(3), repeat=2)))
REFERENCE = jnp.array([[0.5, -0.2, 0.3], [0.0, 0.4, -0.3], [1.0, 0.0, 0.2], [-0.5, 0.3, 0.0]])


def log_probs(params):
    """Log p of both tokens of every text of two tokens over three words."""
    table = jax.nn.log_softmax(params, -1)
    return jnp.stack([table[0][TEXTS[:, 0]], table[1 + TEXTS[:, 0], TEXTS[:, 1]]], -1)


#: A reward for each text, and what KL to the reference costs.
REWARD = jnp.array([0.0, 0.3, -0.5, 1.0, -0.2, 0.1, -1.0, 0.4, 0.8])
PRICE = 0.5
WAYS = {
    "derivative of k1: zero in mean": lambda p, q: K1().values(p - q),
    "derivative of k3: the other direction": lambda p, q: K3().values(p - q),
    "token_kl, gradient='score'": lambda p, q: losses.token_kl(p, q, value=K3(), gradient="score"),
    "token_kl, gradient='sequence'": lambda p, q: losses.token_kl(
        p, q, value=K3(), gradient="sequence"
    ),
}


def worth(params):
    """Return the mean reward less the price of KL(policy‖reference) of whole texts, exactly."""
    p, q = log_probs(params), log_probs(REFERENCE)
    return (jnp.exp(p.sum(-1)) * (REWARD - PRICE * (p - q).sum(-1))).sum()


def best_worth():
    """Return the most there is: the policy is the reference times exp(reward / price)."""
    return PRICE * jax.scipy.special.logsumexp(log_probs(REFERENCE).sum(-1) + REWARD / PRICE)


@functools.partial(jax.jit, static_argnums=0)
def learn(num_steps, rate=1.0):
    """Climb by the mean gradient over all texts; return what is lacking after each step, by way."""
    q = log_probs(REFERENCE)

    def loss(params, weights, way):
        p = log_probs(params)
        return (weights * (PRICE * way(p, q).sum(-1) - REWARD * p.sum(-1))).sum()

    def step(params, _):
        for name, way in WAYS.items():
            weights = jnp.exp(log_probs(params[name]).sum(-1))
            slope = jax.grad(loss)(params[name], weights, way)
            params = params | {name: params[name] - rate * slope}
        return params, {name: best_worth() - worth(p) for name, p in params.items()}

    return jax.lax.scan(step, dict.fromkeys(WAYS, REFERENCE), length=num_steps)[1]


def spread():
    """Print bias and spread of the three values beside the published ones, by quadrature."""
    heading("estimates of KL(N(0, 1)‖N(0.1, 1)) = 0.005 from one draw")
    references = ((0.0, 20.0), (0.0025, 1.4177), (0.0, 1.4166))

    @jax.jit
    def moments():
        x = jnp.linspace(-9, 9, 20_001)
        weight = jnp.exp(-0.5 * x**2) / jnp.exp(-0.5 * x**2).sum()
        d = 0.005 - 0.1 * x  # log p − log q
        values = jnp.stack([member.values(d) for member in (K1(), K2(), K3())])
        mean = values @ weight
        return mean, jnp.sqrt((values - mean[:, None]) ** 2 @ weight)

    for name, mean, sd, (bias, deviation) in zip(("k1", "k2", "k3"), *moments(), references):
        beside(f"{name}: bias / KL", float(mean) / 0.005 - 1, bias, digits=4)
        beside(f"{name}: standard deviation / KL", float(sd) / 0.005, deviation, digits=4)


def draw(found, ways, folder):
    figure, axes = panels(4, width=15.5, height=3.7)
    step = trpo(jnp.log(OLD), RADIUS)
    length = jnp.linspace(0.0, 2.0, 100)
    whole = 0.2672612419 * ADVANTAGES  # for logits the natural gradient is the advantage itself
    tilts = jax.nn.softmax(jnp.log(OLD) + length[:, None] * whole, -1)
    axes[0].plot(length, RADIUS * length**2, color=BLUE, ls="--", label="quadratic model")
    axes[0].plot(length, vikl.info.kl_divergence(OLD, tilts), color=ORANGE, label="KL(old‖new)")
    axes[0].plot(1, float(step.proposed_kl), "X", color=ORANGE, ms=9, label="whole step: outside")
    shortened = 0.8 ** int(step.num_backtracks)
    axes[0].plot(shortened, float(step.kl), "o", color=ORANGE, ms=7, label="after the line search")
    axes[0].axhline(RADIUS, color=INK, ls=":", lw=1)
    axes[0].text(0.02, RADIUS * 1.04, "ε", va="bottom")
    axes[0].set(xlabel="length of the step (1: the whole one)", ylabel="KL (nats)")
    axes[0].set_title("TRPO: the quadratic model oversteps ε")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0.05, 1.0))
    looks = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."))
    for (name, rows), (color, style) in zip(found.items(), looks):
        updates = np.arange(1, len(rows) + 1)
        axes[1].plot(updates, rows[:, 0], color=color, ls=style, label=name)
        axes[2].plot(updates, rows[:, 1], color=color, ls=style, label=name)
    axes[1].axhline(1.0, color=EDGE, ls=":")
    axes[1].text(25, 0.985, "greedy policy", ha="right", va="top", fontsize=8)
    axes[1].set(xlabel="update", ylabel="expected advantage π·A")
    axes[1].set_title("All three reach the best arm")
    axes[1].legend(loc="lower right")
    axes[2].axhline(RADIUS, color=INK, ls=":", lw=1)
    axes[2].set_yscale("log")
    axes[2].set(xlabel="update", ylabel="KL(old‖new) of the update (nats)", ylim=(1e-4, 1))
    axes[2].text(len(updates), RADIUS * 1.08, "target ε", ha="right", va="bottom", fontsize=8)
    axes[2].set_title("TRPO stays below ε; a penalty hovers around it")
    styles = ((EDGE, ":"), (PURPLE, "-."), (BLUE, "--"), (GREEN, "-"))
    for (name, curve), (color, style) in zip(ways.items(), styles):
        axes[3].plot(curve, color=color, ls=style, label=name, lw=1.6)
    axes[3].set_yscale("log")
    axes[3].set(xlabel="step", ylabel="worth lacking (nats of reward)", ylim=(1e-6, 3))
    axes[3].set_title("Differentiating an estimate of KL is not enough")
    axes[3].legend(loc="lower left", fontsize=7)
    save(figure, folder, "policies")


def main(argv=None):
    args = options(__doc__, argv)
    one_step()
    spread()
    found = runs(15 if args.quick else 25)
    print("\nafter all updates: expected advantage, largest KL of an update / ε")
    for name, rows in found.items():
        print(f"  {name:<26}{rows[-1, 0]:.4f}   {rows[:, 1].max() / RADIUS:.3f}")
    ways = {name: np.asarray(curve) for name, curve in learn(60 if args.quick else 600).items()}
    print(
        "\na language model of two tokens, reward − 0.5 KL(policy‖reference): short of the best by"
    )
    for name, curve in ways.items():
        print(f"  {name:<42}{curve[0]:.4f} at first, {curve[-1]:.5f} at last")
    try:
        losses.token_kl(jnp.zeros(2), jnp.zeros(2), value=K3(), gradient="autodiff")
    except ValueError as refusal:
        words = str(refusal)
        print("\nthe second is refused by token_kl, which says:")
        print(textwrap.indent(textwrap.fill(words, 94), "  "))
    draw(found, ways, args.out)


if __name__ == "__main__":
    main()
