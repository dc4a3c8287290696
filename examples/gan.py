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

GRID = np.linspace(-12.0, 12.0, 241)  # sums are exact to rounding: all is smooth
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


def divergences(params, target):
    """Return the three divergences (nats)."""
    return jnp.stack([divergence(params, target, g) for g in DIVERGENCES.values()])


def objective(params, target, weights):
    """Return the weighted sum of the three divergences (nats)."""
    return jnp.dot(divergences(params, target), weights)


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
            params, state, _ = carry
            value, gradient = jax.value_and_grad(objective)(params, target, weights)
            updates, state = adam.update(gradient, state)
            return (optax.apply_updates(params, updates), state, value), None

        start = params, adam.init(params), jnp.zeros(())
        params, _, value = jax.lax.scan(step, start, length=num_steps)[0]
        return params, value  # the last step is too small to see

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


def init_critic(rng, hidden=32):
    """Return the parameters of a net 1-32-32-1."""
    sizes = ((1, hidden), (hidden, hidden), (hidden, 1))
    return [
        (rng.normal(0, 1 / np.sqrt(s[0]), s), rng.normal(size=s[1]) * (s[0] == 1)) for s in sizes
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


@jax.jit
def _train_gan(saturating, target, starts, critics, noise):
    """Alternate steps of a discriminator and of the generator x = mean + sd * noise.

    `noise` are normal and uniform numbers, (starts, steps, 1 + inner steps, [2,] batch): for the
    step of the generator, then for those of its discriminator.
    """
    num_steps, inner = noise[1].shape[1], noise[1].shape[2] - 1
    slow = optax.adam(optax.cosine_decay_schedule(0.01, num_steps), b1=0.5)
    fast = optax.adam(optax.cosine_decay_schedule(3e-3, num_steps * inner), b1=0.5)
    shannon = generators.jensen_shannon()
    weight, mean, sd = target.T

    def draw_p(normal, uniform):
        first = uniform < weight[0]
        return jnp.where(first, mean[0], mean[1]) + jnp.where(first, sd[0], sd[1]) * normal

    def draw_q(params, normal):
        return params[0] + jnp.exp(params[1]) * normal

    def discriminator_step(carry, noise, params):
        net, state = carry
        normal, uniform = noise
        real, fake = draw_p(normal[0], uniform), draw_q(params, normal[1])
        bound = lambda n: f_divergence_bound(critic(n, real), critic(n, fake), shannon)
        updates, state = fast.update(jax.grad(lambda n: -bound(n))(net), state)
        return (optax.apply_updates(net, updates), state), None

    def one(params, net, noise):
        def step(carry, noise):
            params, net, slow_state, fast_state = carry
            train = functools.partial(discriminator_step, params=params)
            (net, fast_state), _ = jax.lax.scan(
                train, (net, fast_state), jax.tree.map(lambda n: n[1:], noise)
            )
            fake = lambda v: draw_q(v, noise[0][0, 1])
            gradient = jax.grad(lambda v: generator_loss(critic(net, fake(v)), saturating))
            updates, slow_state = slow.update(gradient(params), slow_state)
            return (optax.apply_updates(params, updates), net, slow_state, fast_state), None

        carry = (params, net, slow.init(params), fast.init(net))
        return jax.lax.scan(step, carry, noise)[0][0]

    return jax.vmap(one)(starts, critics, noise)


def train_gan(loss, num_steps, batch=256, inner=5):
    """Return where GANs of one loss ended, for all targets and starts."""
    rng, found = np.random.default_rng(0), []
    shape, dtype = (len(STARTS), num_steps, 1 + inner), np.float32
    noise = (
        jnp.asarray(rng.standard_normal((*shape, 2, batch), dtype)),
        jnp.asarray(rng.random((*shape, batch), dtype)),
    )
    critics = [init_critic(rng) for _ in STARTS]
    critics = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), dtype), *critics)
    for target, rows in zip(TARGETS, flat_targets()):
        saturating = jnp.asarray(loss == "saturating")
        ends = _train_gan(saturating, rows, flat_starts(), critics, noise)
        for start, end in zip(STARTS, np.asarray(ends)):
            found.append(Fit(target, f"GAN, {loss}", start, end[0], np.exp(end[1])))
    return found


# --- the checks ---


def check_bounds():
    """Print f-GAN bounds of the true log ratio and of a wrong one beside the divergence."""
    ratio = lambda z: 0.5 - z
    unit = jnp.asarray(((1.0, 0.0, 1.0),))
    rows = DIVERGENCES | {"squared Hellinger": generators.squared_hellinger()}

    @jax.jit
    def bounds(x, y):
        halves = (lambda z: ratio(z), lambda z: 0.5 * ratio(z))
        return {
            name: [divergence(jnp.array([1.0, 0.0]), unit, generator)]
            + [f_divergence_bound(h(x), h(y), generator) for h in halves]
            for name, generator in rows.items()
        }

    noise = np.random.default_rng(0).normal(size=(2, 200_000))
    found = bounds(jnp.asarray(noise[0], float), jnp.asarray(noise[1] + 1, float))
    print("f-GAN bounds of N(0,1) against N(1,1), 200,000 draws (nats)")
    print(f"{'divergence':<22}{'true':>9}{'bound, log p/q':>16}{'bound, half of it':>19}")
    for name in rows:
        true, tight, loose = found[name]
        print(f"{name:<22}{true:>9.4f}{tight:>16.4f}{loose:>19.4f}")


def check_identity():
    """Print gradients of generator losses beside those of the divergences they stand for."""
    target, params = jnp.asarray(TARGETS["unequal modes"]), jnp.array([0.4, 0.3])
    nodes = np.linspace(-9.0, 9.0, 3001)
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

    @jax.jit
    def gradients(params):
        slopes = jax.jacfwd(divergences)(params, target)
        return {
            loss: (jax.grad(expected)(params, params, loss), jnp.asarray(parts) @ slopes)
            for loss, (_, parts) in stands_for.items()
        }

    print("\nGradients in (mean, log sd) at the optimal discriminator")
    worst = 0.0
    for loss, (left, right) in gradients(params).items():
        worst = max(worst, float(np.abs(np.subtract(left, right)).max()))
        print(f"  {loss + ' generator':<28}({left[0]:+.6f}, {left[1]:+.6f})")
        print(f"  {stands_for[loss][0]:<28}({right[0]:+.6f}, {right[1]:+.6f})")
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
            best = min(row, key=lambda f: round(f.value, 5))  # of mirror images, the first
            lowest = (
                "" if np.isnan(best.value) else f"   {name_of(best).split()[0]} {best.value:.4f}"
            )
            print(f"{how:<22}" + "".join(f"{cell:>20}" for cell in cells) + lowest)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter fits")
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder of the figure")
    args = parser.parse_args(argv)
    check_bounds()
    check_identity()
    fits = minimise(200 if args.quick else 1000)
    for loss in LOSSES[1 if args.quick else 0 :]:
        fits += train_gan(loss, 100 if args.quick else 2000)
    print_fits(fits)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gan.png"
    draw_figure(fits, TARGETS, name_of, path)
    print(f"\nfigure: {path}")


if __name__ == "__main__":
    main()
