"""Maximum likelihood is forward KL, and least cross-entropy, under three names.

    python examples/maximum_likelihood.py           # numbers, and a figure into figures/
    python examples/maximum_likelihood.py --quick   # the same on less data

For data with the empirical distribution p̂ and a model q, the mean of −log q over the data is the
cross-entropy H(p̂, q) = H(p̂) + KL(p̂‖q), and the first term does not depend on q: what minimises
one minimises all three. Four fits beside their references: a normal, a mixture, a logistic and a
softmax regression. Then candidate models are ranked by KL, and the ranking flips with the
direction.

Web pages that write "maximise the second term" of KL mean Σ p log q, without its minus sign.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from _common import BLUE, EDGE, FILL, ORANGE, beside, heading, options, panels, save
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

import vikl
from vikl import info

DATA = np.array([1.2, -0.7, 0.3, 2.4, 1.1, 0.0, -1.5, 0.8])
# Henderson and Velleman (1981): weight in 1000 pounds and manual gearbox of 32 cars of 1974
WEIGHT = np.array([
    2.62, 2.875, 2.32, 3.215, 3.44, 3.46, 3.57, 3.19, 3.15, 3.44, 3.44, 4.07, 3.73, 3.78, 5.25,
    5.424, 5.345, 2.2, 1.615, 1.835, 2.465, 3.52, 3.435, 3.84, 3.845, 1.935, 2.14, 1.513, 3.17,
    2.77, 3.57, 2.78,
])  # fmt: skip
MANUAL = np.array([1] * 3 + [0] * 14 + [1] * 3 + [0] * 5 + [1] * 7)


def minimise(loss, start, tolerance=1e-6):
    """Return the minimiser by L-BFGS, and the loss after each step."""
    flat, unravel = ravel_pytree(start)
    both = jax.jit(jax.value_and_grad(lambda v: loss(unravel(v))))
    history = []

    def of(v):
        value, slope = both(jnp.asarray(v, flat.dtype))
        return float(value), np.asarray(slope, float)

    def watch(intermediate_result):
        history.append(intermediate_result.fun)

    end = scipy.optimize.minimize(
        of, flat, jac=True, method="L-BFGS-B", callback=watch,
        options={"gtol": tolerance, "ftol": 0.0, "maxiter": 500},
    )  # fmt: skip
    return unravel(jnp.asarray(end.x, flat.dtype)), np.array(history)


def fit_normal():
    """Fit a normal with `ForwardKL(samples=...)`; the closed form is the mean and the biased sd."""
    posterior = vikl.fit(
        vikl.Target.from_density(lambda x: -0.5 * x**2, like=0.0),
        vikl.families.MeanFieldNormal,
        vikl.objectives.ForwardKL(samples=jnp.array(DATA)[:, None]),
        optax.adam(optax.cosine_decay_schedule(0.05, 800)),
        key=jax.random.key(0), num_steps=800, progress=False,
    )  # fmt: skip
    heading("a normal, by ForwardKL(samples=...) (8 numbers)")
    beside("mean", float(posterior.mean[0]), 0.45)
    beside("sd (of the population, not the sample)", float(posterior.std[0]), 1.1324751653)
    nll = -float(np.mean(posterior.log_prob(jnp.array(DATA)[:, None])))
    beside("mean of −log q = H(p̂, q), nats", nll, 1.5433441822)


@jax.jit
def mixture_log_density(params, x):
    """Log density of a mixture of two normals."""
    weights = jax.nn.log_softmax(params["logits"])
    each = norm.logpdf(x[:, None], params["mean"][None], jnp.exp(params["log_sd"])[None])
    return logsumexp(weights[None] + each, axis=-1)


def fit_mixture(count):
    """Fit a mixture by least cross-entropy, beside scikit-learn's EM on the same draws."""
    rng = np.random.default_rng(0)
    left = rng.random(count) < 0.35
    x = np.where(left, rng.normal(-1.5, 0.5, count), rng.normal(1.0, 0.9, count))
    start = {
        "logits": jnp.zeros(2),
        "mean": jnp.array([-1.0, 1.0]),
        "log_sd": jnp.zeros(2),
    }
    data = jnp.array(x)
    params, _ = minimise(lambda p: -mixture_log_density(p, data).mean(), start)
    by_em: Any = GaussianMixture(
        2, means_init=[[-1.0], [1.0]], tol=1e-10, max_iter=5000, reg_covar=0.0, random_state=0
    ).fit(x[:, None])
    heading(f"a mixture of two normals ({count} draws; reference: EM of scikit-learn)")
    found = np.asarray(mixture_log_density(params, data))
    beside("mean of −log q, nats", -float(found.mean()), -by_em.score(x[:, None]), digits=5)
    weight = float(jax.nn.softmax(params["logits"])[0])
    beside("weight of the left one", weight, by_em.weights_[0], digits=4)
    for i, side in enumerate(("left", "right")):
        beside(f"mean of the {side} one", float(params["mean"][i]), by_em.means_[i, 0], digits=4)
        sd = float(np.sqrt(by_em.covariances_[i, 0, 0]))
        beside(f"sd of the {side} one", float(jnp.exp(params["log_sd"])[i]), sd, digits=4)
    return x, params


def fit_logistic():
    """Fit gearbox given weight by Newton's method; the Hessian of cross-entropy gives errors."""
    design = np.stack([np.ones_like(WEIGHT), WEIGHT], 1)
    labels = np.stack([1 - MANUAL, MANUAL], 1).astype(float)

    def cross_entropy(c):
        logits = jnp.stack([jnp.zeros(len(design)), jnp.asarray(design) @ c], -1)
        return info.logits.cross_entropy(jnp.log(jnp.asarray(labels)), logits).mean()

    @jax.jit
    def newton(c):
        hessian = jax.hessian(cross_entropy)(c)
        return c - jnp.linalg.solve(hessian, jax.grad(cross_entropy)(c)), hessian, cross_entropy(c)

    coefficients = jnp.zeros(2)
    for _ in range(10):
        coefficients, hessian, smallest = newton(coefficients)
    information = len(design) * np.asarray(hessian)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    heading("logistic regression: gearbox on weight (reference: R's glm)")
    beside("intercept", float(coefficients[0]), 12.040, digits=3)
    beside("slope, per 1000 pounds", float(coefficients[1]), -4.024, digits=3)
    beside("standard error of the intercept", errors[0], 4.510, digits=3)
    beside("standard error of the slope", errors[1], 1.4365, digits=4)
    beside("deviance = 2 N cross-entropy", 2 * len(design) * float(smallest), 19.176, digits=3)
    share = jnp.array([1 - MANUAL.mean(), MANUAL.mean()])
    null = 2 * len(design) * float(info.entropy(share))
    beside("null deviance = 2 N entropy of the labels", null, 43.230, digits=3)
    return np.asarray(coefficients)


def fit_softmax(count):
    """Fit a softmax regression of the digits, beside scikit-learn's, with the same small ridge."""
    digits: Any = load_digits()
    x, y = digits.data[:1500] / 16, digits.target[:1500]
    x, y = x[:count], y[:count]
    labels = jax.nn.one_hot(jnp.array(y), 10)

    @jax.jit
    def cross_entropy(params):
        logits = jnp.array(x) @ params["w"] + params["b"][None]
        return -(labels * jax.nn.log_softmax(logits, -1)).sum(-1).mean()

    @jax.jit
    def loss(params):
        return cross_entropy(params) + 0.5 * (params["w"] ** 2).sum() / count

    start = {"w": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
    params, history = minimise(loss, start, tolerance=1e-5)
    reference = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-8).fit(x, y)
    theirs = {"w": jnp.array(reference.coef_.T), "b": jnp.array(reference.intercept_)}
    heading(f"softmax regression of {count} digits (reference: scikit-learn)")
    beside("mean cross-entropy, nats", float(cross_entropy(params)),
           float(cross_entropy(theirs)), digits=4)  # fmt: skip
    beside("the same with the ridge: what is minimised", float(loss(params)), float(loss(theirs)),
           digits=5)  # fmt: skip
    test_x, test_y = digits.data[1500:] / 16, digits.target[1500:]
    guess = np.argmax(test_x @ np.asarray(params["w"]) + np.asarray(params["b"]), 1)
    beside("accuracy on 297 others", float((guess == test_y).mean()),
           reference.score(test_x, test_y), digits=3)  # fmt: skip
    slope = jax.grad(lambda z: -jax.nn.log_softmax(z)[0])(jnp.array([1.5, -0.5, -1.0]))
    heading("the gradient of cross-entropy in the logits is softmax − label")
    for got, expected in zip(slope, (-0.1785909805, 0.1111656223, 0.0674253582)):
        beside("logits (1.5, −0.5, −1.0), class 0", float(got), expected)
    return history


CANDIDATES = {"N(0, 2.06²), covers": (0.0, 2.0615528), "N(2, 0.5²), one mode": (2.0, 0.5)}


def rank():
    """Rank candidate models for two equal modes by KL, in both directions, by quadrature."""
    x = np.linspace(-14, 14, 4001)
    normal = lambda m, s: -0.5 * ((x - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))
    log_p = np.logaddexp(normal(-2.0, 0.5), normal(2.0, 0.5)) - np.log(2)
    table = {}
    heading("which model is nearer to p = ½ N(−2, 0.5²) + ½ N(2, 0.5²)? (nats)")
    references = ((0.7235530265, 2.0976171901), (15.3069463545, 0.6930536455))
    for i, (name, (mean, sd)) in enumerate(CANDIDATES.items()):
        log_q = normal(mean, sd)
        forward = np.trapezoid(np.exp(log_p) * (log_p - log_q), x)
        reverse = np.trapezoid(np.exp(log_q) * (log_q - log_p), x)
        table[name] = (forward, reverse)
        for j, (words, value) in enumerate((("KL(p‖q)", forward), ("KL(q‖p)", reverse))):
            beside(f"{words} of {name}", value, references[i][j], digits=5)
    for j, words in enumerate(("KL(p‖q)", "KL(q‖p)")):
        best = min(table, key=lambda name: table[name][j])
        print(f"by {words} the better model is {best}")
    return table


def draw(mixture, coefficients, history, table, folder):
    figure, axes = panels(4, width=14.5, height=3.5)
    x, params = mixture
    grid = np.linspace(-4.5, 4.5, 400)
    axes[0].hist(x, 60, density=True, color=FILL, edgecolor=EDGE, lw=0.4, label="draws")
    density = np.exp(mixture_log_density(params, jnp.array(grid)))
    axes[0].plot(grid, density, color=BLUE, lw=2, label="fit")
    axes[0].set(xlabel="x", ylabel="density")
    axes[0].set_title("A mixture, by least cross-entropy")
    axes[0].legend()
    w = np.linspace(1.3, 5.6, 200)
    curve = 1 / (1 + np.exp(-(coefficients[0] + coefficients[1] * w)))
    axes[1].plot(w, curve, color=BLUE, lw=2)
    axes[1].plot(WEIGHT, MANUAL, "|", color="#222222", ms=12)
    axes[1].set(xlabel="weight (1000 pounds)", ylabel="probability of a manual gearbox")
    axes[1].set_title("32 cars: the light ones are manual")
    axes[2].semilogy(history, color=BLUE, lw=2)
    axes[2].axhline(np.log(10), color=EDGE, ls=":")
    axes[2].text(len(history), np.log(10), "guessing, log 10", ha="right", va="bottom", fontsize=8)
    axes[2].set(xlabel="L-BFGS step", ylabel="cross-entropy + ridge (nats)")
    axes[2].set_title("Digits: cross-entropy falls to its floor")
    names = list(table)
    place = np.arange(2)
    for i, (name, color, hatch) in enumerate(zip(names, (BLUE, ORANGE), ("", "///"))):
        bars = axes[3].bar(
            place + 0.38 * i - 0.19, table[name], 0.36, color=color, label=name, hatch=hatch,
            edgecolor="white",
        )  # fmt: skip
        axes[3].bar_label(bars, fmt="%.2f", fontsize=8)
    axes[3].set_yscale("log")
    axes[3].set_ylim(0.3, 60)
    axes[3].set_xticks(place, ["KL(p‖q)", "KL(q‖p)"])
    axes[3].set(ylabel="nats (log scale)")
    axes[3].set_title("The better model depends on the direction")
    axes[3].legend(loc="upper right")
    save(figure, folder, "maximum_likelihood")


def main(argv=None):
    args = options(__doc__, argv)
    fit_normal()
    mixture = fit_mixture(1000 if args.quick else 4000)
    coefficients = fit_logistic()
    history = fit_softmax(300 if args.quick else 1500)
    draw(mixture, coefficients, history, rank(), args.out)


if __name__ == "__main__":
    main()
