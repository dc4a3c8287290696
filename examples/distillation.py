"""A small network learns from a large one: knowledge distillation on handwritten digits.

    python examples/distillation.py           # numbers, and a figure into figures/
    python examples/distillation.py --quick   # fewer steps, one seed

The teacher (64-128-10) has seen 1497 labelled digits. The student (64-16-10) gets 100 labels; or no
label at all, but the teacher's softened probabilities on the 1497 images: `losses.distillation`,
T² KL(teacher‖student), both softened by the same T. The soft answers say which wrong digits are
nearly right, and that is worth more than a hundred labels.

Where the loss is printed as T² Σ p log(q/p) the sign has slipped: that is −KL, and minimising it
drives the student away from the teacher.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import BLUE, EDGE, GREEN, ORANGE, PURPLE, beside, heading, options, panels, save
from sklearn.datasets import load_digits

from vikl import generators, losses

TEACHER, STUDENT = (64, 128, 10), (64, 16, 10)
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
FORMS = {
    "KL(teacher‖student)": (generators.kl, BLUE, "o-"),
    "KL(student‖teacher)": (generators.reverse_kl, ORANGE, "s--"),
    "Jensen–Shannon": (generators.jensen_shannon, GREEN, "^-."),
    "skewed, KL(p‖0.1 p + 0.9 q)": (lambda: generators.skew_kl(0.9), PURPLE, "D:"),
}


def data(seed=0):
    """Return 1497 images and labels to learn from and 300 to test on, pixels from 0 to 1."""
    digits: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = np.asarray(digits.data[order] / 16, np.float32)
    y = np.asarray(digits.target[order], np.int32)
    return (x[:1497], y[:1497]), (x[1497:], y[1497:])


def init(rng, sizes):
    """Return the weights of a network with one hidden layer."""
    weights = [rng.normal(0, np.sqrt(2 / a), (a, b)) for a, b in itertools.pairwise(sizes)]
    return [(np.float32(w), np.zeros(w.shape[1], np.float32)) for w in weights]


def logits(params, x):
    """Apply the network to rows of pixels."""
    (w, b), (v, c) = params
    return jax.nn.relu(x @ w + b) @ v + c


def descend(loss, params, batches):
    """Take a step of Adam for each row of `batches`."""
    optimizer = optax.adam(3e-3)

    def step(carry, rows):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0][0]


@jax.jit
@jax.vmap
def train_teachers(params, batches, x, y):
    """Train networks on labels; `batches` are row numbers, (steps, batch)."""
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels
    return descend(
        lambda params, rows: cross_entropy(logits(params, x[rows]), y[rows]).mean(), params, batches
    )


@jax.jit
def train_students(classes, x, y, soft):
    """Train many students at once, on labels (weight 1), on a teacher's logits (weight 0), or both.

    `classes` has for each form of the loss a row for each student: its first weights, its batches,
    which data it learns from, its temperature and the weight of the labels. Students share nothing
    but the compiled program: the slope of the sum of their losses is the slope of each.
    """

    def one(divergence, params, rows, which, temperature, label_weight):
        return losses.distillation(
            logits(params, x[which, rows]), soft[which, rows], temperature, divergence=divergence,
            labels=y[which, rows], label_weight=label_weight,
        ).mean()  # fmt: skip

    def loss(params, rows):
        total = 0.0
        for form, (_, _, *settings) in classes.items():
            each = jax.vmap(functools.partial(one, FORMS[form][0]()))
            total += each(params[form], rows[form], *settings).sum()
        return total

    starts = {form: rows[0] for form, rows in classes.items()}
    batches = {form: jnp.swapaxes(rows[1], 0, 1) for form, rows in classes.items()}
    return descend(loss, starts, batches)


@jax.jit
def accuracy(params, x, y):
    return (jnp.argmax(logits(params, x), -1) == y).mean()


def draw_batches(rng, count, num_steps, batch=100):
    """Return row numbers below `count`, (steps, batch)."""
    return rng.integers(0, count, (num_steps, batch), np.int32)


def stack(rows):
    """Put the arrays of equal trees on top of each other."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def compare(seeds, num_steps, temperatures, forms):
    """Return the accuracies of teacher, student by labels and student by teacher, one a seed.

    Then that of a student of the first teacher for each form and temperature, and what it saw.
    """
    sets = [data(seed) for seed in range(seeds)]
    x, y = stack([known for known, _ in sets])
    taught, classes = [], {form: [] for form in forms}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        every = draw_batches(rng, x.shape[1], num_steps)
        taught.append((init(rng, TEACHER), every))
        few = draw_batches(rng, 100, num_steps)
        for batches, label_weight in ((few, 1.0), (every, 0.0)):  # labels alone; teacher alone
            classes[forms[0]].append(
                (init(rng, STUDENT), batches, seed, np.float32(4), np.float32(label_weight))
            )
    rng = np.random.default_rng(7)
    start, batches = init(rng, STUDENT), draw_batches(rng, x.shape[1], num_steps)
    for form in forms:
        classes[form] += [(start, batches, 0, np.float32(t), np.float32(0)) for t in temperatures]
    teachers = train_teachers(*stack(taught), x, y)
    soft = jax.vmap(logits)(teachers, x)
    students = train_students({form: stack(rows) for form, rows in classes.items()}, x, y, soft)
    teachers, students = jax.tree.map(np.asarray, (teachers, students))
    pick = lambda nets, i: jax.tree.map(lambda a: a[i], nets)
    judged = lambda nets, i, seed: float(accuracy(pick(nets, i), *sets[seed][1]))
    first = students[forms[0]]
    rows = [
        (judged(teachers, s, s), judged(first, 2 * s, s), judged(first, 2 * s + 1, s))
        for s in range(seeds)
    ]
    grid = {
        form: [judged(students[form], i - len(temperatures), 0) for i in range(len(temperatures))]
        for form in forms
    }
    return np.array(rows), grid, (x[0], y[0], soft[0])


def sizes_of_gradients():
    """Print the factor T² at work, in float32: values and slopes beside 30-digit references."""
    student, teacher = jnp.array([1.5, -0.5, -1.0]), jnp.array([2.0, 0.5, -2.5])
    references = {
        1.0: (0.0586698010, 0.0111932727), 2.0: (0.2218545815, -0.0587062721),
        5.0: (0.4326687971, -0.1323945271), 100.0: (0.5767914423, -0.1656509258),
    }  # fmt: skip
    heading("the loss for one row, and the slope in its first logit")
    both = jax.jit(jax.value_and_grad(losses.distillation))
    for t, (value, slope) in references.items():
        found = both(student, teacher, t)
        beside(f"T = {t:g}: loss", float(found[0]), value)
        beside(f"T = {t:g}: slope (with T² it does not fade)", float(found[1][0]), slope)


def draw(rows, grid, temperatures, kept, folder):
    figure, (left, middle, right) = panels(3, width=12.5, width_ratios=(1.5, 0.6, 1.1))
    for (name, values), (_, color, style) in zip(grid.items(), FORMS.values()):
        left.plot(temperatures, values, style, color=color, label=name, ms=5)
    for level, style, words in zip(
        rows[0], ("-", (0, (1, 1))), ("the teacher", "student, 100 labels")
    ):
        left.axhline(level, color=EDGE, ls=style, lw=1.5, zorder=0, label=words)
    left.set_xscale("log", base=2)
    left.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    left.set(xlabel="temperature T", ylabel="accuracy on 300 test images", ylim=(0.84, 1.005))
    left.set_title("Without one label the student nearly equals its teacher")
    left.legend(loc="center right", bbox_to_anchor=(1.0, 0.5))
    x, y, soft = map(np.asarray, kept)
    second, first = np.sort(soft, -1)[:, -2:].T
    unsure = int(np.argsort(first - second)[25])
    middle.imshow(x[unsure].reshape(8, 8), cmap="Greys")
    middle.set(xticks=[], yticks=[], xlabel=f"labelled {int(y[unsure])}")
    middle.spines[:].set_visible(False)
    middle.set_title("An image")
    place = np.arange(10)
    for t, shift, color, hatch in ((1.0, -0.2, EDGE, ""), (4.0, 0.2, BLUE, "///")):
        weights = np.exp((soft[unsure] - soft[unsure].max()) / t)
        right.bar(place + shift, weights / weights.sum(), 0.4, color=color, hatch=hatch,
                  edgecolor="white", label=f"T = {t:g}")  # fmt: skip
    right.set_xticks(place)
    right.set(xlabel="digit", ylabel="teacher's probability")
    right.set_title("What softening shows of the teacher's doubts")
    right.legend()
    save(figure, folder, "distillation")


def main(argv=None):
    args = options(__doc__, argv)
    sizes_of_gradients()
    quick = args.quick
    num_steps, temperatures = (1200, (4.0,)) if quick else (1500, TEMPERATURES)
    forms = list(FORMS)[: 1 if quick else None]
    rows, grid, kept = compare(1 if quick else 3, num_steps, temperatures, forms)
    print("\naccuracy on 300 test images (reference: an earlier study, full batches, three seeds)")
    for name, values, reference in zip(
        ("teacher, 1497 labels", "student, 100 labels", "student, teacher's logits, T = 4"),
        rows.T, ("0.99", "0.86 to 0.89", "0.97 at least"),
    ):  # fmt: skip
        print(f"  {name:<34}{'  '.join(f'{v:.3f}' for v in values):<24}{reference}")
    print("\naccuracy of the student by form and temperature (one seed)")
    print(f"  {'':<30}" + "".join(f"{f'T = {t:g}':>9}" for t in temperatures))
    for name, values in grid.items():
        print(f"  {name:<30}" + "".join(f"{v:>9.3f}" for v in values))
    draw(rows, grid, temperatures, kept, args.out)


if __name__ == "__main__":
    main()
