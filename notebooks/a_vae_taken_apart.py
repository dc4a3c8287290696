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
# # A VAE, taken apart
#
# A variational autoencoder fits a model $p(x \mid z)$ with latents $z \sim N(0, I)$ and an encoder
# $q(z \mid x)$ by raising one number, the ELBO. Here we open it: what it is made of, what each
# part buys, how noisy its gradients are, and how far below the evidence it stands.
#
# Images are 8x8, black and white (scikit-learn's digits). All numbers are nats for each image: sums
# over pixels and latents, never means, or it would not be a bound.

# %%
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import optax
from sklearn.datasets import load_digits

from vikl import estimators, losses

QUICK = bool(os.environ.get("VIKL_QUICK"))  # the tests run a shorter version
plt.rcParams.update({"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False})
BLUE, RUST, GREY = "#0B3C6F", "#C8561B", "#8A8A8A"

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))
images = jnp.asarray(digits.data[order] >= 8, jnp.float32)
train, test = images[:1500], images[1500:]

# %% [markdown]
# ## 1. Networks and loss
#
# The networks are plain dictionaries of arrays; Equinox or Flax would do as well, since
# `vikl.losses` takes arrays. The loss has two parts:
#
# - the **distortion** $D = E_q[-\log p(x \mid z)]$: what is lost in reconstruction;
# - the **rate** $R = \mathrm{KL}(q(z \mid x) \| p(z))$: what the latents say about $x$, in nats.
#
# $\log p(x) \ge -D - R$. The loss is $D + \beta R$; only $\beta = 1$ makes it the negative ELBO.

# %%
LATENTS, HIDDEN = 8, 200


def init(key):
    """Return the parameters of encoder 64-200-16 and decoder 8-200-64."""
    sizes = {
        "enc1": (64, HIDDEN),
        "enc2": (HIDDEN, 2 * LATENTS),
        "dec1": (LATENTS, HIDDEN),
        "dec2": (HIDDEN, 64),
    }
    keys = jax.random.split(key, len(sizes))
    glorot = jax.nn.initializers.glorot_normal()
    return {n: (glorot(k, s), jnp.zeros(s[1])) for k, (n, s) in zip(keys, sizes.items())}


def net(params, first, second, x):
    h = jnp.tanh(x @ params[first][0] + params[first][1])
    return h @ params[second][0] + params[second][1]


def encode(params, x):
    loc, log_scale = jnp.split(net(params, "enc1", "enc2", x), 2, axis=-1)
    return loc, jnp.exp(log_scale)


def decode(params, z):
    return dist.Bernoulli(logits=net(params, "dec1", "dec2", z))


def parts(params, x, key, rate=lambda z, loc, scale: losses.rate(loc, scale)):
    """Return distortion (images,) and rate (images, latents)."""
    loc, scale = encode(params, x)
    z = loc + scale * jax.random.normal(key, loc.shape)
    return losses.distortion(x, decode(params, z)), rate(z, loc, scale)


# %% [markdown]
# Training is Adam on batches of 100, a scan inside a scan. We train three at once with `vmap`, at
# $\beta$ = 1/4, 1 and 4.

# %%
EPOCHS = 5 if QUICK else 150
BETAS = jnp.array([0.25, 1.0, 4.0])
adam = optax.adam(1e-3)


def fit(beta, key):
    def loss(params, x, key):
        return losses.vae_loss(*parts(params, x, key), beta=beta)

    def step(carry, batch):
        params, state = carry
        rows, key = batch
        (_, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params, train[rows], key)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), aux

    def epoch(carry, key):
        first, second = jax.random.split(key)
        rows = jax.random.permutation(first, 1500).reshape(15, 100)
        carry, aux = jax.lax.scan(step, carry, (rows, jax.random.split(second, 15)))
        return carry, jax.tree.map(jnp.mean, aux)

    params = init(key)
    keys = jax.random.split(key, EPOCHS)
    (params, _), record = jax.lax.scan(epoch, (params, adam.init(params)), keys)
    return params, record


fitted, record = jax.jit(jax.vmap(fit, in_axes=(0, None)))(BETAS, jax.random.key(0))
vae = jax.tree.map(lambda leaf: leaf[1], fitted)  # beta = 1
distortion, rate = parts(vae, test, jax.random.key(1))
d, r, bound = distortion.mean(), rate.sum(-1).mean(), losses.elbo(distortion, rate).mean()
print(f"test: distortion {d:.2f} + rate {r:.2f} = {d + r:.2f}, the negative ELBO ({-bound:.2f})")

# %%
fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
epochs = np.arange(1, EPOCHS + 1)
d, r = record["distortion"][1], record["rate"][1]
ax.stackplot(epochs, r, d, colors=(RUST, BLUE), alpha=0.75)
ax.text(0.97, 0.06, "rate", transform=ax.transAxes, ha="right", color="white", weight="bold")
ax.text(0.97, 0.28, "distortion", transform=ax.transAxes, ha="right", color="white", weight="bold")
ax.set(xscale="log", xlim=(1, EPOCHS), xlabel="epoch", ylabel="negative ELBO (nats for each image)")
ax.set_title(
    "The rate is an investment: it grows, and distortion falls by more", loc="left", fontsize=10
)
plt.show()

# %% [markdown]
# ## 2. What the latents say
#
# The rate is a sum over latents. A latent at rate 0 repeats the prior and says nothing: it has
# *collapsed*. With a larger $\beta$, a nat of rate has to buy $\beta$ nats of distortion.


# %%
def test_parts(params):
    distortion, rate = parts(params, test, jax.random.key(1))
    return distortion.mean(), rate.mean(0), losses.active_units(encode(params, test)[0]).sum()


all_distortion, all_rate, active = jax.vmap(test_parts)(fitted)
fig, (left, right) = plt.subplots(
    1, 2, figsize=(8.6, 3.2), layout="constrained", width_ratios=(1.4, 1)
)
for i, (beta, color, hatch) in enumerate(zip(BETAS, (GREY, BLUE, RUST), ("", "//", ".."))):
    height = np.sort(np.asarray(all_rate[i]))[::-1]
    where = np.arange(1, LATENTS + 1) + 0.27 * (i - 1)
    left.bar(
        where, height, 0.25, color=color, hatch=hatch, edgecolor="white", label=f"β = {beta:g}"
    )
    total = float(all_rate[i].sum())
    right.plot(total, all_distortion[i], "o", color=color, ms=8)
    right.annotate(f"β = {beta:g}\n{int(active[i])} active", (total, all_distortion[i]),
                   xytext=(8, 2), textcoords="offset points", fontsize=8)  # fmt: skip
left.set(xlabel="latent, sorted", ylabel="rate (nats for each image)")
left.set_ylim(0, 1.25 * float(all_rate.max()))
left.set_title("Rate of each latent", loc="left", fontsize=10)
left.legend(frameon=False, ncols=3, loc="upper right")
elbo = float(-(all_distortion[1] + all_rate[1].sum()))
line = np.array([0.3, 0.9]) * -elbo
right.axline((0, -elbo), slope=-1, color="0.7", lw=0.8)
right.margins(0.25)
right.set(xlabel="rate (nats)", ylabel="distortion (nats)")
right.set_title("β moves along a trade-off\n(line: equal ELBO)", loc="left", fontsize=10)
plt.show()

# %% [markdown]
# ## 3. Three gradients of one ELBO
#
# The rate can be the closed form, or its Monte Carlo estimate $\log q(z \mid x) - \log p(z)$ at the
# draw that the distortion uses, or that estimate with the parameters of $\log q$ held, *sticking
# the landing*. The three have the same mean gradient, and not the same noise.

# %%
RATES = {
    "closed form": lambda z, loc, scale: losses.rate(loc, scale),
    "Monte Carlo": losses.sampled_rate,
    "sticking the landing": functools.partial(
        losses.sampled_rate, estimator=estimators.StickingTheLanding()
    ),
}
batch, draws = train[:100], 20 if QUICK else 300


@jax.jit
def encoder_noise(key):
    """Return variances of the gradient over draws, summed over all encoder weights."""

    def gradient(key, rate):
        loss = lambda params: -losses.elbo(*parts(params, batch, key, rate)).mean()
        found = jax.grad(loss)(vae)
        return jnp.concatenate([leaf.ravel() for leaf in (*found["enc1"], *found["enc2"])])

    every = lambda key: {name: gradient(key, rate) for name, rate in RATES.items()}
    found = jax.lax.map(every, jax.random.split(key, draws))
    return {name: each.var(0).sum() for name, each in found.items()}


noise = encoder_noise(jax.random.key(2))
relative = {name: float(value / noise["closed form"]) for name, value in noise.items()}
for name, value in relative.items():
    print(f"{name:<22}{value:5.2f} times the closed form's variance")

# %%
fig, ax = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
ax.barh(list(relative), list(relative.values()), color=(BLUE, GREY, RUST))
ax.set_xlabel("variance of the encoder's gradient (closed form = 1)")
ax.set_title("Once trained, sticking the landing has the least noise", loc="left", fontsize=10)
plt.show()

# %% [markdown]
# "Take the closed form where there is one" is good advice against plain Monte Carlo, and only half
# of the advice: as $q$ comes near the posterior, the two noises in the held estimate cancel, and
# it wins by a factor of several. The end of a training differs less: by about the spread of seeds.
#
# ## 4. How far below the evidence
#
# $\log p(x)$ itself is unknown, but more draws approach it from below: with $K$ of them
# $\log \frac1K \sum_k p(x, z_k)/q(z_k \mid x)$ is a bound that grows with $K$.

# %%
K = 50 if QUICK else 500
loc, scale = encode(vae, test)


@jax.jit
def one(key):
    z = loc + scale * jax.random.normal(key, loc.shape)
    return losses.distortion(test, decode(vae, z)), losses.sampled_rate(z, loc, scale)


d, r = jax.lax.map(one, jax.random.split(jax.random.key(3), K))
ks = [k for k in (1, 2, 5, 10, 50, 100, 250, 500) if k <= K]
bounds = []
for k in ks:  # all K draws are used, in groups of k
    groups = K // k
    grouped = [a[: groups * k].reshape(groups, k, *a.shape[1:]) for a in (d, r)]
    bounds.append(float(jax.vmap(losses.importance_weighted_bound)(*grouped).mean()))
for k, value in zip(ks, bounds):
    print(f"K = {k:<5}{value:8.3f}")

# %%
fig, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
ax.plot(ks, bounds, "o-", color=BLUE)
ax.annotate("the ELBO", (1, bounds[0]), xytext=(12, 0), textcoords="offset points", va="center")
ax.set(xscale="log", xlabel="draws K", ylabel="bound on log p(x) (nats for each image)")
ax.set_title("More draws, a higher bound; flat means there", loc="left", fontsize=10)
plt.show()

# %% [markdown]
# ## 5. What it has learned


# %%
def page(rows):
    """Put images (rows, columns, 64) side by side."""
    rows = np.asarray(rows).reshape(len(rows), -1, 8, 8)
    rows = np.pad(rows, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.5)
    return rows.transpose(0, 2, 1, 3).reshape(rows.shape[0] * 9, -1)


ink = lambda z: jax.nn.sigmoid(decode(vae, z).logits)
prior = jax.random.normal(jax.random.key(4), (2, 14, LATENTS))
path = loc[0] + jnp.linspace(0, 1, 14)[:, None] * (loc[3] - loc[0])
fig, axes = plt.subplots(3, 1, figsize=(8.0, 4.6), layout="constrained", height_ratios=(2, 2, 1))
shown = (
    ("Test digits, above their reconstructions", [test[:14], ink(loc[:14])]),
    ("Decoded draws of the prior", ink(prior)),
    ("From one digit to another on a straight line of latents", [ink(path)]),
)
for ax, (title, rows) in zip(axes, shown):
    ax.imshow(page(np.stack(rows)), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, loc="left", fontsize=10)
    ax.axis("off")
plt.show()

# %% [markdown]
# Is a VAE blurry because of "the direction of its KL"? The two parts pull in different directions:
# in the space of images the decoder is fitted by maximum likelihood, which is *forward* KL and
# covers; in the space of latents the encoder is fitted by *reverse* KL, and hugs one posterior.
# Both are in the one number above. `examples/gan.py` does the same for GANs.
#
# - Kingma and Welling (2014), Auto-encoding variational Bayes.
# - Alemi et al. (2018), Fixing a broken ELBO.
# - Roeder, Wu and Duvenaud (2017), Sticking the landing.
# - Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
