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
# # KL from the ground up
#
# One number, four disguises: the bits that a wrong code wastes, the regret of a wrong model, what
# data teach, and the gap below the evidence that variational inference closes.
# Every formula here is a call, and every call prints a number that you can check by hand.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import optax

import vikl
from vikl import info

plt.rcParams.update({"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False})
BLUE, RUST, GREY = "#0B3C6F", "#C8561B", "#8A8A8A"

# %% [markdown]
# ## 1. Surprise
#
# An outcome of probability $p$ carries the information $-\log p$: nothing for a certain one, more
# for a rarer one. A computer that boots with probability 0.7, fails with 0.2 and explodes with 0.1:

# %%
computer = jnp.array([0.7, 0.2, 0.1])
for outcome, surprise in zip(("boots", "fails", "explodes"), info.information(computer)):
    print(f"{outcome:<9}{surprise:.4f} nats")
print(f"on average, the entropy: {info.entropy(computer):.4f} nats")

# %% [markdown]
# *A kind word on rounding.* You may meet 0.804 for this entropy: it is the sum of summands that
# were rounded first (0.252 + 0.322 + 0.230). The sum of the numbers themselves is 0.8018.
#
# ## 2. Codes: entropy, cross-entropy, KL
#
# With logarithms to base 2 the same numbers are lengths of code words, in bits. The weather is
# sunny, cloudy or rainy with $p = (0.6, 0.3, 0.1)$; someone built a code for
# $q = (0.3, 0.3, 0.4)$.

# %%
p, q = jnp.array([0.6, 0.3, 0.1]), jnp.array([0.3, 0.3, 0.4])
entropy, cross = info.entropy(p, base=2), info.cross_entropy(p, q, base=2)
print(f"H(p)      = {entropy:.4f} bits, the best mean length")
print(f"H(p, q)   = {cross:.4f} bits, with the code for q")
print(f"KL(p||q)  = {info.kl_divergence(p, q, base=2):.4f} bits wasted (exactly 2/5)")
print(f"KL(q||p)  = {info.kl_divergence(q, p, base=2):.4f} bits the other way round (exactly 1/2)")
for name, lengths in (
    ("Huffman's code for p", info.huffman_code_lengths(p)),
    ("Huffman's code for q", info.huffman_code_lengths(q)),
):
    mean = info.expected_code_length(p, lengths)
    print(f"{name}: words of {lengths.tolist()} bits, mean {mean:.2f} under p")

# %%
fig, ax = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
ax.barh(["right code", "wrong code"], [entropy, entropy], color=BLUE, label="entropy H(p)")
ax.barh(["wrong code"], [cross - entropy], left=[entropy], color=RUST, label="excess KL(p||q)")
ax.set_xlabel("mean length (bits for each day)")
ax.set_title("Cross-entropy is entropy plus KL", loc="left")
ax.set_xlim(0, 2.6)
ax.legend(frameon=False, loc="center right")
plt.show()

# %% [markdown]
# So $H(p, q) = H(p) + \mathrm{KL}(p \| q)$: **plus**, and $H(p)$, the entropy of the data, not
# $H(q)$ of the model. Slips here are easy to make and easy to catch, because KL is never negative.
# For the clicks $p = (0.2, 0.8)$, $q = (0.3, 0.7)$:

# %%
p, q = jnp.array([0.2, 0.8]), jnp.array([0.3, 0.7])
cross = info.cross_entropy(p, q)
kl = info.kl_divergence(p, q)
print(f"H(p, q) - H(p) = {cross - info.entropy(p):+.4f} nats, which is KL(p||q) = {kl:.4f}")
print(f"H(p, q) - H(q) = {cross - info.entropy(q):+.4f} nats: negative, so it cannot be a KL")

# %% [markdown]
# Nor need every $p_i$ be positive: $0 \log 0 = 0$. What is needed is $q_i > 0$ wherever $p_i > 0$;
# otherwise a word that will be sent has no code, and the excess is infinite.

# %%
label, guess = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.7, 0.2, 0.1])
print(
    f"KL(label||guess) = {info.kl_divergence(label, guess):.4f}, the loss -log 0.7 of a classifier"
)
print(f"KL(guess||label) = {info.kl_divergence(guess, label)}")

# %% [markdown]
# ## 3. Maximum likelihood is forward KL
#
# The log likelihood of data is, up to their own entropy, $-n\,\mathrm{KL}(\hat p \| q_\theta)$:
# the best fit has the code that wastes least on the data. For a normal the minimum is known,
# the mean and the standard deviation of the data.

# %%
data = jnp.array([1.2, -0.7, 0.3, 2.4, 1.1, 0.0, -1.5, 0.8])
fit = vikl.fit(
    lambda x: 0.0 * x,  # not used: samples are
    vikl.families.MeanFieldNormal,
    vikl.objectives.ForwardKL(samples=data),
    optax.adam(optax.cosine_decay_schedule(0.1, 400)),
    like=0.0,
    key=jax.random.key(0),
    num_steps=400,
    progress=False,
)
print(f"by minimising cross-entropy: mean {fit.mean[0]:.4f}, sd {fit.std[0]:.4f}")
print(f"closed form:                 mean {data.mean():.4f}, sd {data.std():.4f}")

# %%
means = jnp.linspace(-1.5, 2.5, 200)
nll = -dist.Normal(means[:, None], data.std()).log_prob(data).mean(1)
best = -dist.Normal(data.mean(), data.std()).log_prob(data).mean()
kl = vikl.kl_divergence(dist.Normal(data.mean(), data.std()), dist.Normal(means, data.std()))
fig, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
ax.plot(means, nll, color=BLUE, lw=2.5, label="mean negative log likelihood of q")
ax.plot(means, best + kl, color=RUST, ls=(0, (4, 3)), label="its minimum + KL(best||q)")
ax.plot(data, np.full(8, 1.5), "|", color=GREY, ms=12)
ax.set(xlabel="mean of q (units of the data)", ylabel="nats for each datum")
ax.set_title("The likelihood surface is a KL, moved up", loc="left")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 4. What data teach
#
# $\mathrm{KL}(\text{posterior} \| \text{prior})$ is what an update teaches. A coin of unknown bias,
# uniform prior, 7 heads in 10 tosses:

# %%
prior, posterior = dist.Beta(1.0, 1.0), dist.Beta(8.0, 4.0)
gain = vikl.kl_divergence(posterior, prior)
print(f"{gain:.4f} nats = {gain / np.log(2):.4f} bits from ten tosses")

# %% [markdown]
# Mind the order: the posterior comes first. "From" and "to" are best avoided, since people use
# them both ways; `kl_divergence(p, q)` names its arguments.
#
# ## 5. Direction matters
#
# KL is not symmetric, and which argument is the model decides what a poor model does. One normal
# for two modes: $\mathrm{KL}(p \| q)$ punishes $q$ where it misses mass of $p$, and covers;
# $\mathrm{KL}(q \| p)$ punishes $q$ where it puts mass that $p$ lacks, and, with modes as far apart
# as these, settles on one.

# %%
x = jnp.linspace(-6, 6, 1201)
log_p = jnp.logaddexp(
    dist.Normal(-2.0, 0.5).log_prob(x), dist.Normal(2.0, 0.5).log_prob(x)
) - jnp.log(2)
fits = {
    "minimises KL(p||q)": (0.0, 2.0616, BLUE, "-"),
    "minimises KL(q||p)": (2.0, 0.5004, RUST, "--"),
}
fig, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
ax.fill_between(x, jnp.exp(log_p), color="#DDDDDD", label="p")
for name, (mean, sd, color, style) in fits.items():
    log_q = dist.Normal(mean, sd).log_prob(x)
    step = x[1] - x[0]
    forward = jnp.sum(jnp.exp(log_p) * (log_p - log_q)) * step
    reverse = jnp.sum(jnp.exp(log_q) * (log_q - log_p)) * step
    print(f"{name}: KL(p||q) {forward:8.4f}, KL(q||p) {reverse:.4f} nats")
    ax.plot(x, jnp.exp(log_q), color=color, ls=style, lw=2, label=name)
ax.set(xlabel="x", ylabel="density")
ax.set_title("The same family, the two directions", loc="left")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 6. The ELBO
#
# Inference wants the posterior $p(z \mid x)$, but knows only $p(x, z)$. For any $q$,
#
# $$\log p(x) = \underbrace{E_q[\log p(x, z) - \log q(z)]}_{\text{ELBO}}
#   + \mathrm{KL}(q \| p(\cdot \mid x)).$$
#
# The left side does not depend on $q$: raising the ELBO lowers the KL. (In a derivation that writes
# the objective as $\int q \log (p/q)$, that integral is *minus* the KL: it is maximised.)
# With $z \sim N(0,1)$, $x \mid z \sim N(z, 1)$ and $x = 1$ all of it is known: the posterior is
# $N(1/2, 1/2)$ and $\log p(x) = -1.5155$.


# %%
def elbo(mean, sd):
    expected = -0.5 * ((1 - mean) ** 2 + sd**2) - 0.5 * jnp.log(2 * jnp.pi)
    return expected - vikl.kl_divergence(dist.Normal(mean, sd), dist.Normal(0.0, 1.0))


evidence = dist.Normal(0.0, jnp.sqrt(2.0)).log_prob(1.0)
means = jnp.linspace(-1, 2, 200)
bound = elbo(means, jnp.sqrt(0.5))
fig, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
ax.axhline(evidence, color=GREY)
ax.text(-1, evidence + 0.03, "log p(x)", va="bottom", color="0.35")
ax.plot(means, bound, color=BLUE, lw=2, label="ELBO")
ax.fill_between(means, bound, evidence, color=RUST, alpha=0.3, label="KL(q||posterior)")
ax.set(xlabel="mean of q", ylabel="nats", ylim=(-4, -1.2))
ax.set_title("What the ELBO lacks is a KL", loc="left")
ax.legend(frameon=False, loc="lower center")
plt.show()
print(f"log p(x)              {evidence:.4f}")
print(f"ELBO at the posterior {elbo(0.5, jnp.sqrt(0.5)):.4f}")
print(f"ELBO at the prior     {elbo(0.0, 1.0):.4f}")

# %% [markdown]
# And the same by `vikl.fit`, which needs no learning rate:

# %%
posterior = vikl.fit(
    lambda z: -0.5 * z**2 - 0.5 * (1 - z) ** 2 - jnp.log(2 * jnp.pi),
    like=0.0,
    key=jax.random.key(0),
    progress=False,
)
print(
    f"mean {posterior.mean[0]:.4f}, variance {posterior.std[0] ** 2:.4f}, ELBO {posterior.elbo:.4f}"
)

# %% [markdown]
# ## 7. Variational Bayes, factor by factor
#
# Before gradients there were sweeps. Let the data of section 3 come from a normal with unknown mean
# $\mu$ and precision $\tau$, flat priors on $\mu$ and $\log \tau$, and let $q$ be a product
# $q(\mu)\,q(\tau)$. With one factor held, the other that lowers
# $\mathrm{KL}(q \| \text{posterior})$ most is known: a normal, then a gamma, then the normal again.
# Where they end, $1/E[\tau]$ is the variance with $n - 1$ below, not the biased one of section 3.

# %%
x, n = np.asarray(data), len(data)
shape, rate = n / 2, 1.0  # of q(tau), to start with
for sweep in range(1, 7):
    before = dist.Gamma(shape, rate)
    variance = rate / (n * shape)  # of q(mu), whose mean is that of the data
    rate = 0.5 * (np.sum((x - x.mean()) ** 2) + n * variance)
    moved = vikl.kl_divergence(dist.Gamma(shape, rate), before)
    print(f"sweep {sweep}: 1/E[tau] {rate / shape:.5f}, q(tau) moved by {moved:.1e} nats")
print(f"variance of the data, n - 1 below: {x.var(ddof=1):.5f}")

# %% [markdown]
# From here: *A VAE, taken apart* puts a network where $q$ was; `examples/` has the rest. Two more
# slips that are easy to make are mended there: the loss of distillation is
# $+T^2\,\mathrm{KL}(\text{teacher} \| \text{student})$ (`distillation.py`), and "keep the KL below
# $\epsilon$" is the rule of TRPO, where PPO clips or adapts a penalty (`policies.py`).
#
# - Kullback and Leibler (1951), On information and sufficiency.
# - Shannon (1948), A mathematical theory of communication.
# - Attias (2000), A variational Bayesian framework for graphical models.
# - Bishop (2006), Pattern recognition and machine learning, chapters 1.6 and 10.1.
