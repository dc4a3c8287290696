"""GANs as divergence minimisation: the same normal fitted by KLs, Jensen-Shannon and GAN losses.

    python examples/gan.py           # tables here, a figure into figures/
    python examples/gan.py --quick   # the same with fewer and shorter fits

Targets are mixtures of two normals on a line, the model q is one normal, so that everything can be
computed by quadrature and every claim checked:

1. a critic's f-GAN bound: never above its f-divergence, equal to it at the true ratio;
2. the gradient of the non-saturating generator loss, E_q[-log D], is that of KL(q||p) - 2 JSD(q, p)
   at the optimal discriminator (Arjovsky & Bottou 2017), and of the saturating one that of 2 JSD;
3. the optima of each divergence, and where a generator and a trained discriminator end up: "GANs
   are mode-seeking" holds for some targets and losses, and not for others.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _gan_figure import draw_figure
from jax.scipy.stats import norm

from vikl.divergences import f_divergence_bound, generators

GRID = np.linspace(-12.0, 12.0, 1601)
TARGETS = {
    "equal modes": ((0.5, -2.0, 0.5), (0.5, 2.0, 0.5)),
    "unequal modes": ((0.7, -2.0, 0.8), (0.3, 2.5, 0.6)),
}
DIVERGENCES = {
    "forward KL(p||q)": generators.kl(),
    "reverse KL(q||p)": generators.reverse_kl(),
    "Jensen-Shannon": generators.jensen_shannon(),
}
#: what is minimised: how much of each divergence
OBJECTIVES = {
    "forward KL(p||q)": (1.0, 0.0, 0.0),
    "reverse KL(q||p)": (0.0, 1.0, 0.0),
    "Jensen-Shannon": (0.0, 0.0, 1.0),
    "non-saturating, exact": (0.0, 1.0, -2.0),  # KL(q||p) - 2 JSD
}
STARTS = ((-3.0, 0.5), (3.5, 0.5), (0.3, 3.0))
LOSSES = ("saturating", "non-saturating")


def log_p(x, target):
    """Return the log density of a mixture, given as rows of (weight, mean, sd)."""
    weight, mean, sd = jnp.asarray(target).T
    return jax.nn.logsumexp(jnp.log(weight) + norm.logpdf(x[..., None], mean, sd), axis=-1)


def log_q(x, params):
    """Return the log density of the model, a normal with params (mean, log sd)."""
    return norm.logpdf(x, params[0], jnp.exp(params[1]))


def integral(values):
    """Integrate over the grid."""
    return jnp.sum(values) * (GRID[1] - GRID[0])


def divergence(params, target, generator):
    """Return D_f(p || q) by quadrature (nats)."""
    x = jnp.asarray(GRID)
    p, q = log_p(x, target), log_q(x, params)
    return integral(generator.of(p, q, p - q))


def objective(params, target, weights):
    """Return the weighted sum of the three divergences (nats)."""
    parts = [divergence(params, target, generator) for generator in DIVERGENCES.values()]
    return jnp.dot(jnp.stack(parts), weights)


@dataclasses.dataclass(frozen=True)
class Fit:
    """Where a fit of a normal ended, and how it was got."""

    target: str
    how: str
    start: tuple[float, float]
    mean: float
    sd: float
    value: float = np.nan


def flat_starts():
    """Return the starts as parameters, (starts, 2)."""
    return jnp.asarray([(m, np.log(s)) for m, s in STARTS])


def flat_targets():
    """Return the targets as rows of (weight, mean, sd), (targets, 2, 3)."""
    return jnp.asarray(list(TARGETS.values()))


@functools.partial(jax.jit, static_argnums=0)
def _descend(num_steps, weights, targets, starts):
    """Minimise each objective for each target from each start, by Adam."""
    adam = optax.adam(optax.cosine_decay_schedule(0.1, num_steps))

    def one(weights, target, params):
        def step(carry, _):
            params, state = carry
            updates, state = adam.update(jax.grad(objective)(params, target, weights), state)
            return (optax.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, adam.init(params)), length=num_steps)[0][0]
        return params, objective(params, target, weights)

    over_starts = jax.vmap(one, (None, None, 0))
    over_targets = jax.vmap(over_starts, (None, 0, None))
    return jax.lax.map(lambda w: over_targets(w, targets, starts), weights)


def minimise(num_steps):
    """Return the fits of all objectives, for all targets and starts."""
    weights = jnp.asarray(list(OBJECTIVES.values()))
    ends, values = map(np.asarray, _descend(num_steps, weights, flat_targets(), flat_starts()))
    return [
        Fit(target, name, start, ends[i, j, k, 0], np.exp(ends[i, j, k, 1]), values[i, j, k])
        for i, name in enumerate(OBJECTIVES)
        for j, target in enumerate(TARGETS)
        for k, start in enumerate(STARTS)
    ]


# --- a trained discriminator ---


def init_critic(key, hidden=32):
    """Return the parameters of a net 1-32-32-1."""
    keys = jax.random.split(key, 3)
    sizes = ((1, hidden), (hidden, hidden), (hidden, 1))
    return [
        (jax.random.normal(k, s) / np.sqrt(s[0]), jax.random.normal(k, s[1:]) * (s[0] == 1))
        for k, s in zip(keys, sizes)
    ]


def critic(params, x):
    """Return the logit of the discriminator, an estimate of log p/q."""
    h = x[:, None] / 3.0
    for weight, bias in params[:-1]:
        h = jnp.tanh(h @ weight + bias)
    weight, bias = params[-1]
    return (h @ weight + bias)[:, 0]


def generator_loss(logits, saturating):
    """Return E[log(1 - D)] (saturating) or E[-log D] (non-saturating), D = sigmoid(logit)."""
    losses = jnp.where(saturating, -jax.nn.softplus(logits), jax.nn.softplus(-logits))
    return losses.mean()


@functools.partial(jax.jit, static_argnums=0)
def _train_gan(num_steps, saturating, target, starts, key, batch=256, inner=5):
    """Alternate steps of a discriminator and of the generator x = mean + sd * noise."""
    slow = optax.adam(optax.cosine_decay_schedule(0.01, num_steps), b1=0.5)
    fast = optax.adam(optax.cosine_decay_schedule(3e-3, num_steps * inner), b1=0.5)
    shannon = generators.jensen_shannon()
    weight, mean, sd = target.T

    def draw_p(key):
        first, second = jax.random.split(key)
        which = jax.random.categorical(first, jnp.log(weight), shape=(batch,))
        return mean[which] + sd[which] * jax.random.normal(second, (batch,))

    def draw_q(params, key):
        return params[0] + jnp.exp(params[1]) * jax.random.normal(key, (batch,))

    def discriminator_step(carry, key, params):
        net, state = carry
        real, fake = draw_p(key), draw_q(params, jax.random.fold_in(key, 1))
        bound = lambda n: f_divergence_bound(critic(n, real), critic(n, fake), shannon)
        updates, state = fast.update(jax.grad(lambda n: -bound(n))(net), state)
        return (optax.apply_updates(net, updates), state), None

    def one(params, key):
        net = init_critic(key)

        def step(carry, key):
            params, net, slow_state, fast_state = carry
            many = jax.random.split(key, inner + 1)
            train = functools.partial(discriminator_step, params=params)
            (net, fast_state), _ = jax.lax.scan(train, (net, fast_state), many[1:])
            gradient = jax.grad(
                lambda v: generator_loss(critic(net, draw_q(v, many[0])), saturating)
            )
            updates, slow_state = slow.update(gradient(params), slow_state)
            return (optax.apply_updates(params, updates), net, slow_state, fast_state), None

        carry = (params, net, slow.init(params), fast.init(net))
        return jax.lax.scan(step, carry, jax.random.split(key, num_steps))[0][0]

    return jax.vmap(one)(starts, jax.random.split(key, len(starts)))


def train_gan(loss, num_steps):
    """Return where GANs of one loss ended, for all targets and starts."""
    found = []
    for target, rows in zip(TARGETS, flat_targets()):
        saturating = jnp.asarray(loss == "saturating")
        ends = _train_gan(num_steps, saturating, rows, flat_starts(), jax.random.key(0))
        for start, end in zip(STARTS, np.asarray(ends)):
            found.append(Fit(target, f"GAN, {loss}", start, end[0], np.exp(end[1])))
    return found


# --- the checks ---


def check_bounds():
    """Print f-GAN bounds of the true log ratio and of a wrong one beside the divergence."""
    key = jax.random.key(0)
    x, y = jax.random.normal(key, (2, 200_000)) + jnp.array([[0.0], [1.0]])  # N(0,1), N(1,1)
    ratio = lambda z: 0.5 - z
    print("f-GAN bounds of N(0,1) against N(1,1), 200,000 draws (nats)")
    print(f"{'divergence':<22}{'true':>9}{'bound, log p/q':>16}{'bound, half of it':>19}")
    unit = jnp.asarray(((1.0, 0.0, 1.0),))
    rows = DIVERGENCES | {"squared Hellinger": generators.squared_hellinger()}
    for name, generator in rows.items():
        true = divergence(jnp.array([1.0, 0.0]), unit, generator)
        tight = f_divergence_bound(ratio(x), ratio(y), generator)
        loose = f_divergence_bound(0.5 * ratio(x), 0.5 * ratio(y), generator)
        print(f"{name:<22}{true:>9.4f}{tight:>16.4f}{loose:>19.4f}")


def check_identity():
    """Print gradients of generator losses beside those of the divergences they stand for."""
    target, params = jnp.asarray(TARGETS["unequal modes"]), jnp.array([0.4, 0.3])
    nodes = np.linspace(-9.0, 9.0, 6001)
    weights = jnp.asarray(np.exp(-0.5 * nodes**2) / np.exp(-0.5 * nodes**2).sum())

    def expected(v, held, loss):  # over noise, the discriminator held: what a generator follows
        x = v[0] + jnp.exp(v[1]) * jnp.asarray(nodes)
        logit = log_p(x, target) - log_q(x, held)
        each = -jax.nn.softplus(logit) if loss == "saturating" else jax.nn.softplus(-logit)
        return jnp.sum(weights * each)

    stands_for = {
        "saturating": ("2 JSD", (0.0, 0.0, 2.0)),
        "non-saturating": ("KL(q||p) - 2 JSD", OBJECTIVES["non-saturating, exact"]),
    }
    generator_gradient = jax.jit(jax.grad(expected), static_argnums=2)
    divergence_gradient = jax.jit(jax.grad(objective))
    print("\nGradients in (mean, log sd) at the optimal discriminator")
    worst = 0.0
    for loss, (name, parts) in stands_for.items():
        left = generator_gradient(params, params, loss)
        right = divergence_gradient(params, target, jnp.asarray(parts))
        worst = max(worst, float(jnp.abs(left - right).max()))
        print(f"  {loss + ' generator':<28}({left[0]:+.6f}, {left[1]:+.6f})")
        print(f"  {name:<28}({right[0]:+.6f}, {right[1]:+.6f})")
    print(f"  largest difference {worst:.1e}")


def name_of(fit):
    """Say in words where a fit ended."""
    modes = TARGETS[fit.target]
    near = [m for _, m, s in modes if abs(fit.mean - m) < s and fit.sd < 1.6 * s]
    if near:
        return "left mode" if near[0] < 0 else "right mode"
    return "covers both" if fit.sd > 1.4 else "elsewhere"


def print_fits(fits):
    """Print a row for each target and way of fitting, a column for each start."""
    starts = "".join(f"{f'from N({m:g}, {s:g}²)':>20}" for m, s in STARTS)
    for target in TARGETS:
        print(f"\n{target}\n{'':<22}{starts}   lowest, nats")
        for how in dict.fromkeys(f.how for f in fits):
            row = [f for f in fits if (f.target, f.how) == (target, how)]
            cells = [f"{name_of(f).split()[0]} {f.mean:.2f}, {f.sd:.2f}" for f in row]
            best = min(row, key=lambda f: f.value)
            lowest = (
                "" if np.isnan(best.value) else f"   {name_of(best).split()[0]} {best.value:.4f}"
            )
            print(f"{how:<22}" + "".join(f"{cell:>20}" for cell in cells) + lowest)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter fits")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figure")
    args = parser.parse_args()
    check_bounds()
    check_identity()
    fits = minimise(300 if args.quick else 1000)
    for loss in LOSSES[1 if args.quick else 0 :]:
        fits += train_gan(loss, 300 if args.quick else 2000)
    print_fits(fits)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gan.png"
    draw_figure(fits, TARGETS, name_of, path)
    print(f"\nfigure: {path}")


if __name__ == "__main__":
    main()
