# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Mode-covering and mode-seeking
#
# One target, one family, two directions of the Kullback–Leibler divergence, and two very different
# answers. This notebook finds every optimum exactly, by integration on a grid, and then shows what
# goes wrong when the same is done by Monte Carlo without care.

# %%
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy.optimize import minimize

import vikl
from vikl.estimators import DefensiveMixture, Quadrature
from vikl.families import MeanFieldNormal
from vikl.objectives import ForwardKL, Jeffreys, JensenShannon, Renyi, ReverseKL

QUICK = "VIKL_QUICK" in os.environ
STEPS = 300 if QUICK else 2000

# %% [markdown]
# ## A target with two unequal modes
#
# p = 0.7 N(−2, 0.8²) + 0.3 N(2.5, 0.6²), and q a normal N(μ, σ²).


# %%
def log_p(x):
    parts = [(0.7, -2.0, 0.8), (0.3, 2.5, 0.6)]
    terms = [jnp.log(w) + jax.scipy.stats.norm.logpdf(x, m, s) for w, m, s in parts]
    return jax.scipy.special.logsumexp(jnp.stack(terms))


target = vikl.Target.from_density(log_p, 0.0)
grid = Quadrature(-16.0, 16.0, 1601)
x = np.linspace(-6, 6, 401)
p = np.exp(np.asarray(jax.vmap(log_p)(jnp.asarray(x))))


def normal(mu, sigma):
    return MeanFieldNormal.init(jnp.array([mu]), sigma)


@eqx.filter_jit
def value_and_grad(objective, v):
    def loss(v):
        q = MeanFieldNormal(v[:1], v[1:])
        return objective(q, target, jax.random.key(0))[0]

    return jax.value_and_grad(loss)(v)


def optimum(objective, mu, sigma):
    """Descend without noise from a start; return mean, sd and the loss."""

    def of(v):
        value, gradient = value_and_grad(objective, jnp.asarray(v, jnp.result_type(float)))
        return float(value), np.asarray(gradient, np.float64)

    found = minimize(of, [mu, np.log(sigma)], jac=True, method="L-BFGS-B")
    return found.x[0], np.exp(found.x[1]), found.fun


# %% [markdown]
# ## Every optimum
#
# From three starts (left mode, right mode, broad) each divergence is minimised. Reverse KL settles
# on the mode where it starts, with a value near −log of the mode's weight (0.357 and 1.204).
# Forward KL has one optimum, with the mean and the sd of p. The symmetric ones lie between, and
# which of their optima is the best depends on the target.

# %%
divergences = {
    "reverse KL(q‖p)": ReverseKL(grid),
    "Jensen–Shannon": JensenShannon(estimator=grid),
    "Jeffreys": Jeffreys(grid),
    "forward KL(p‖q)": Renyi(1.0, "p||q", grid),
}
starts = {"left": (-2.2, 0.7), "right": (2.3, 0.7), "broad": (-0.5, 2.0)}
found = {}
for name, objective in divergences.items():
    found[name] = {where: optimum(objective, *start) for where, start in starts.items()}
    for where, (mu, sigma, value) in found[name].items():
        print(f"{name:16s} from the {where:5s}: mean {mu:6.3f}, sd {sigma:.3f}, value {value:.4f}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), sharey=True, layout="constrained")
for ax, (name, ends) in zip(axes, found.items()):
    ax.fill_between(x, p, color="0.85")
    for (mu, sigma, _), style in zip(ends.values(), ("--", "-.", ":")):
        q = np.exp(-0.5 * ((x - mu) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        ax.plot(x, q, style, color="black")
    ax.set(title=name, xlabel="x")
axes[0].set_ylabel("density")
figure.suptitle("Where each divergence ends from three starts (grey: the target)")

# %% [markdown]
# ## The same by Monte Carlo: forward KL that is not
#
# Forward KL needs expectations under p. Importance sampling from q itself cannot see what q does
# not reach: from a narrow start it is mode-seeking, and its weights look *better* than those of the
# right fit. vikl looks wider at the end and says so in the status.

# %%
adam = optax.adam(optax.cosine_decay_schedule(0.03, STEPS))
wide = normal(0.0, 4.0)
for name, objective in {
    "from q alone": ForwardKL(num_samples=128),
    "half from a wide proposal": ForwardKL(proposal=wide, num_samples=128),
}.items():
    fit = vikl.fit(
        target,
        normal(-2.0, 0.5),
        objective,
        adam,
        key=jax.random.key(0),
        num_steps=STEPS,
        progress=False,
    )
    ess = fit.history["ess"][-1]
    print(f"{name}: mean {fit.mean[0]:.3f}, sd {fit.std[0]:.3f}, effective draws {ess:.0f} of 128")
    print(f"    {fit.status}: {fit.stopped_because}")

# %% [markdown]
# ## Jensen–Shannon with a defensive mixture
#
# The same trap waits for every divergence with an expectation under p. `DefensiveMixture` draws
# half of its points from a wide proposal and weights them right.

# %%
objective = JensenShannon(estimator=DefensiveMixture(wide), num_samples=256)
fit = vikl.fit(
    target,
    normal(0.0, 2.5),
    objective,
    adam,
    key=jax.random.key(1),
    num_steps=STEPS,
    progress=False,
)
mu, sigma, value = found["Jensen–Shannon"]["broad"]
print(f"by draws: mean {fit.mean[0]:.3f}, sd {fit.std[0]:.3f}; exact: {mu:.3f}, {sigma:.3f}")
