"""Focal KL: hard rows weigh more. Where that helps, and why the naive form is no divergence.

    python examples/focal.py           # numbers, and a figure into figures/
    python examples/focal.py --quick   # fewer splits and steps

The focal loss multiplies the cross-entropy of a label by (1 − q)^γ, so that rows which are already
right count for little. For soft targets p there are two ways on: (1 − q)^γ inside the sum of KL,
which is not a divergence (it goes negative, and its minimum is not at p), and TV(p, q)^γ KL(p‖q),
which is one, and is the same thing for a label.

The test: ten 8s among 950 other digits, a linear classifier, the same steps of Adam for every γ,
judged on 697 other images, averaged over random splits. Cross-entropy learns to say "no"; with a
focal weight fewer 8s are missed at the usual threshold of one half, at hardly a false alarm, and
the ranking of the images is a little better. (That last gain fades with longer training: after 1500
steps average precision rose by 0.008 ± 0.006.) Weighing the rare class up goes further still.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import BLUE, EDGE, GREEN, INK, ORANGE, beside, heading, options, panels, save
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from vikl import losses

POSITIVES, NEGATIVES, RARE = 10, 950, 8


def numbers():
    """Print the focal loss of labels beside its references."""
    p, q = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.7, 0.2, 0.1])
    heading("one label, predicted with probability 0.7 (nats)")
    for gamma, reference in ((0, 0.3566749439), (1, 0.1070024832), (2, 0.0321007450)):
        beside(f"focal KL, γ = {gamma}", float(losses.focal_kl(p, q, gamma)), reference)
    for certain, reference in ((0.9, 0.01), (0.968, 0.001024)):
        q = jnp.array([certain, 1 - certain])
        label = jnp.array([1.0, 0.0])
        ratio = float(losses.focal_kl(label, q, 2.0) / losses.focal_kl(label, q, 0.0))
        beside(f"γ = 2 over γ = 0, predicted with {certain}", ratio, reference)
    p, q = jnp.array([0.7, 0.3]), jnp.array([0.6, 0.4])
    print("\nsoft target (0.7, 0.3), prediction (0.6, 0.4), γ = 2")
    print(f"  naive: {float(losses.naive_focal_kl(p, q)):+.6f}  (below 0, the value at q = p)")
    print(f"  focal KL: {float(losses.focal_kl(p, q)):+.6f}")


def split(seed):
    """Return images and labels (is it an 8?) to train on, few of them 8s, and to test on."""
    digits: Any = load_digits()
    x, y = digits.data / 16, (digits.target == RARE).astype(int)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:1100], order[1100:]
    rows = np.concatenate([train[y[train] == 1][:POSITIVES], train[y[train] == 0][:NEGATIVES]])
    return x[rows], y[rows], x[test], y[test]


@functools.partial(jax.jit, static_argnames="num_steps")
@functools.partial(jax.vmap, in_axes=(0, 0, None, None, None))
def fit(x, y, gamma, weight, num_steps):
    """Fit a linear classifier by focal KL, 65 numbers; `weight` is that of the rare class."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, num_steps))
    weights = jnp.where(y == 1, weight, 1.0)

    def loss(params):
        score = x @ params[:-1] + params[-1]
        logits = jnp.stack([jnp.zeros_like(score), score], -1)
        focal = losses.focal_kl_from_logits(y, logits, gamma)
        return (weights * focal).sum() / weights.sum() + 1e-5 * (params**2).sum()

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros(x.shape[1] + 1)
    return jax.lax.scan(step, (start, optimizer.init(start)), length=num_steps)[0][0]


def judge(params, x, y):
    """Return average precision, recall and F1 at one half, and specificity."""
    score = x @ params[:-1] + params[-1]
    said = score > 0
    recall, right = said[y == 1].mean(), y[said].mean() if said.any() else 1.0
    f1 = 2 * recall * right / (recall + right) if recall + right > 0 else 0.0
    return average_precision_score(y, score), recall, f1, 1 - said[y == 0].mean()


def compare(settings, seeds, num_steps):
    """Return the scores, (setting, split, measure)."""
    splits = [split(seed) for seed in range(seeds)]
    x, y = (jnp.array([s[i] for s in splits]) for i in (0, 1))
    found = []
    for gamma, weight in settings:
        params = np.asarray(fit(x, y, gamma, weight, num_steps))
        found.append([judge(p, *s[2:]) for p, s in zip(params, splits)])
    return np.array(found)


def report(settings, scores):
    """Print means and their paired differences from cross-entropy, with standard errors."""
    print(f"\n{POSITIVES} 8s among {NEGATIVES} others; mean over {scores.shape[1]} splits")
    measures = f"{'average precision':>19}{'recall':>8}{'F1':>7}{'specificity':>13}"
    print(f"  {'γ':<4}{'weight':>7}{measures}{'gain in AP':>17}{'gain in F1':>17}")
    for (gamma, weight), rows in zip(settings, scores):
        mean, gain = rows.mean(0), rows - scores[0]
        error = gain.std(0, ddof=1) / np.sqrt(len(gain))
        gains = [f"{gain.mean(0)[i]:+.3f} ± {error[i]:.3f}" for i in (0, 2)]
        scored = f"{mean[0]:>19.3f}{mean[1]:>8.3f}{mean[2]:>7.3f}{mean[3]:>13.4f}"
        print(f"  {gamma:<4g}{weight:>7g}{scored}{gains[0]:>17}{gains[1]:>17}")
    print("  (weight of the rare class; ± one standard error of the paired difference)")


def draw(settings, scores, folder):
    figure, (left, middle, right) = panels(3, width=13.0)
    q = jnp.linspace(0.02, 0.98, 300)
    for gamma, style in ((0.0, "-"), (1.0, "--"), (2.0, "-."), (4.0, ":")):
        label = jnp.tile(jnp.array([1.0, 0.0]), (300, 1))
        y = losses.focal_kl(label, jnp.stack([q, 1 - q], -1), gamma)
        left.plot(q, y, color=BLUE, ls=style, label=f"γ = {gamma:g}")
    left.set(xlabel="probability given to the label", ylabel="loss (nats)", yscale="log",
             ylim=(1e-6, 6))  # fmt: skip
    left.set_title("Of a label: what is right already hardly counts")
    left.legend(loc="lower left")
    p = jnp.tile(jnp.array([0.7, 0.3]), (300, 1))
    pairs = jnp.stack([q, 1 - q], -1)
    middle.axhline(0, color=EDGE, lw=1)
    middle.axvline(0.7, color=EDGE, ls=":", lw=1)
    naive, honest = losses.naive_focal_kl(p, pairs), losses.focal_kl(p, pairs)
    middle.plot(q, naive, color=ORANGE, ls="--", label="naive: (1 − q)^γ in the sum")
    middle.plot(q, 10 * honest, color=GREEN, label="focal KL: TV^γ KL, times 10")
    worst = int(jnp.argmin(naive))
    middle.plot(q[worst], naive[worst], "v", color=ORANGE)
    middle.annotate(
        f"least {float(naive[worst]):.3f}", (float(q[worst]), float(naive[worst])),
        xytext=(-4, -14), textcoords="offset points", ha="right", color=ORANGE, fontsize=8,
    )  # fmt: skip
    middle.text(0.71, 0.16, "truth, 0.7", color=INK, fontsize=8)
    middle.set(xlabel="prediction for p = (0.7, 0.3)", ylabel="loss, γ = 2 (nats)",
               ylim=(-0.06, 0.2))  # fmt: skip
    middle.set_title("Of a soft target: naive weights go below zero")
    middle.legend(loc="upper left", frameon=True, facecolor="white", edgecolor="none", framealpha=1)
    place = np.arange(len(settings))
    names = (("average precision", 0, "o", BLUE), ("F1 at one half", 2, "s", ORANGE),
             ("recall at one half", 1, "^", GREEN))  # fmt: skip
    for name, i, marker, color in names:
        error = scores[:, :, i].std(1, ddof=1) / np.sqrt(scores.shape[1])
        right.errorbar(place, scores[:, :, i].mean(1), error, fmt=marker, color=color, capsize=3,
                       label=name)  # fmt: skip
    words = ["cross-entropy" if g == 0 else f"γ = {g:g}" for g, _ in settings]
    words = [w if weight == 1 else f"{w},\nweighed up" for w, (_, weight) in zip(words, settings)]
    right.set_xticks(place, words, rotation=25, ha="right")
    right.set(ylabel="score on test images", ylim=(0, 1))
    right.set_title("Ten 8s among 950 others: fewer are missed")
    right.legend(loc="lower right")
    save(figure, folder, "focal")


def main(argv=None):
    args = options(__doc__, argv)
    numbers()
    up = NEGATIVES / POSITIVES
    settings = [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (0.0, up), (2.0, up)]
    settings = settings[:3:2] if args.quick else settings
    scores = compare(settings, 3 if args.quick else 10, 300 if args.quick else 1000)
    report(settings, scores)
    draw(settings, scores, args.out)


if __name__ == "__main__":
    main()
