"""Two real posteriors from plain log densities, by the automatic method, beside their references.

    python examples/first_fit.py            # tables here, figures into figures/
    python examples/first_fit.py --quick    # seconds

1. Eight schools (Rubin 1981): the effects of coaching in eight schools and their standard errors.
   Hierarchical, non-centred, 10 parameters: mu ~ N(0, 5), tau ~ half-Cauchy(5),
   theta_trans ~ N(0, 1), effect theta = mu + tau theta_trans. Reference: the draws of posteriordb.
   No normal on log tau has the long right tail of tau: the best one of all is worked out in
   `reference/eight_schools_best_normal.py`, and resampling by importance weights mends the rest.
2. Diabetes (Efron et al. 2004): a linear regression of disease progression in 442 patients on ten
   predictors in their own units, 12 parameters. Priors are flat on the coefficients and on
   log sigma. Reference: a long NUTS run (`reference/diabetes_nuts.py`).

Nothing is tuned, scaled or started by hand: `vikl.fit(log_density, like=..., key=...)`.
"""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _mode_figure import draw_figure
from jax.scipy.stats import cauchy, norm
from mode_covering_vs_seeking import fit_all, parse_args
from sklearn.datasets import load_diabetes

import vikl
from vikl.plots import marginals_figure

SCHOOLS = {
    "effect": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    "std_error": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
}
PREDICTORS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
REFERENCE = Path(__file__).parent / "reference"


def eight_schools(v, schools):
    """Return the log density of the hierarchical model, non-centred."""
    theta = v["mu"] + v["tau"] * v["theta_trans"]
    prior = norm.logpdf(v["mu"], 0.0, 5.0) + cauchy.logpdf(v["tau"], 0.0, 5.0)
    prior += norm.logpdf(v["theta_trans"]).sum()
    return prior + norm.logpdf(schools["effect"], theta, schools["std_error"]).sum()


def diabetes(v, patients):
    """Return the log density of the regression; flat on log sigma is 1 / sigma on sigma."""
    slopes = jnp.stack([v["beta"][name] for name in PREDICTORS])
    center = v["intercept"] + patients["x"] @ slopes
    return norm.logpdf(patients["y"], center, v["sigma"]).sum() - jnp.log(v["sigma"])


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean, sd, 5 % and 95 % for each named parameter."""

    rows: dict[str, tuple[float, float, float, float]]

    @staticmethod
    def of(draws):
        """Summarise `{name: (n,)}`."""
        return Moments(
            {
                name: (x.mean(), x.std(ddof=1), *np.quantile(x, [0.05, 0.95]))
                for name, x in draws.items()
            }
        )

    @staticmethod
    def read(name):
        """Read a reference, with its provenance beside it in the file."""
        rows = json.loads((REFERENCE / f"{name}.json").read_text())["parameters"]
        return Moments({k: (r["mean"], r["sd"], r["5%"], r["95%"]) for k, r in rows.items()})

    def worst(self, reference):
        """Return the largest errors of mean (in reference sds) and of sd (relative), and where."""
        pairs = [(name, self.rows[name], row) for name, row in reference.rows.items()]
        means = {name: (a[0] - b[0]) / b[1] for name, a, b in pairs}
        sds = {name: a[1] / b[1] - 1 for name, a, b in pairs}
        return [max(errors.items(), key=lambda item: abs(item[1])) for errors in (means, sds)]


@dataclasses.dataclass(frozen=True)
class Example:
    """A fitted posterior, with draws of q, draws resampled by importance weights, the reference."""

    title: str
    posterior: vikl.fitting.Posterior
    draws: dict[str, np.ndarray]
    fitted: Moments
    resampled: Moments
    reference: Moments


def fit_schools(key):
    """Fit the eight schools; the effects theta follow from the draws."""
    posterior = vikl.fit(
        eight_schools,
        like={"mu": 0.0, "tau": 1.0, "theta_trans": jnp.zeros(8)},
        support={"tau": "positive"},
        data=SCHOOLS,
        key=key,
    )

    def name_columns(draws):
        draws = {name: np.asarray(value, np.float64) for name, value in draws.items()}
        trans = draws["theta_trans"]
        theta = draws["mu"][:, None] + draws["tau"][:, None] * trans
        columns = {"mu": draws["mu"], "tau": draws["tau"]}
        columns |= {f"theta_trans[{i}]": trans[:, i] for i in range(8)}
        return columns | {f"theta[{i}]": theta[:, i] for i in range(8)}

    return compare("Eight schools", posterior, name_columns, "eight_schools", key)


def fit_diabetes(key):
    """Fit the regression, predictors as measured."""
    data: Any = load_diabetes(scaled=False)
    posterior = vikl.fit(
        diabetes,
        like={"intercept": 0.0, "beta": dict.fromkeys(PREDICTORS, 0.0), "sigma": 1.0},
        support={"sigma": "positive"},
        data={"x": data.data, "y": data.target},
        key=key,
    )

    def name_columns(draws):
        columns = {"intercept": draws["intercept"], **draws["beta"], "sigma": draws["sigma"]}
        return {name: np.asarray(value, np.float64) for name, value in columns.items()}

    return compare("Diabetes progression", posterior, name_columns, "diabetes_nuts", key)


def compare(title, posterior, name_columns, reference, key):
    """Set draws of the fit, plain and resampled, beside the reference."""
    plain, again = jax.random.split(jax.random.fold_in(key, 1))
    draws = name_columns(posterior.sample(plain, 100_000))
    resampled = name_columns(posterior.resample(again, 20_000))
    return Example(
        title, posterior, draws, Moments.of(draws), Moments.of(resampled), Moments.read(reference)
    )


def print_example(example, key):
    """Print the table, how the fit went, and whether to believe it."""
    post, report = example.posterior, example.posterior.check(key)
    print(f"\n{example.title}: {post.target.dim} parameters, {type(post.family).__name__}\n")
    columns = [("fit", example.fitted, 4), ("reference", example.reference, 2)]
    if not report.verdict.startswith("good"):
        columns.append(("resampled", example.resampled, 4))
    print_table(columns)
    facts = {}
    for name, moments, _ in columns:
        if moments is not example.reference:
            (where, mean), (which, sd) = moments.worst(example.reference)
            facts[f"{name} off"] = (
                f"at most {mean:+.3f} reference sd in mean ({where}), "
                f"{100 * sd:+.1f} % in sd ({which})"
            )
    facts |= {
        "ELBO": f"{post.elbo:.3f} ± {post.elbo_std_error:.2g} nats",
        "k-hat": f"{post.khat:.2f}, effective sample size "
        f"{100 * post.weighted.relative_ess:.0f} % of the draws",
        "status": f"{post.status}: {post.stopped_because}",
        "cost": f"{post.num_gradients} gradients, {post.compile_seconds:.1f} s compiling, "
        f"{post.run_seconds:.1f} s running",
        "verdict": report.verdict,
        "next": report.advice,
    }
    for name, text in facts.items():
        lines = textwrap.wrap(text, 82)
        print(f"  {name:<15}" + f"\n{'':<17}".join(lines))


def print_table(columns):
    """Print moments side by side, from `(heading, moments, how many of mean, sd, 5 %, 95 %)`."""
    names, width, first = ("mean", "sd", "5 %", "95 %"), 8, 14
    rules = [f" {head} ".center(width * num - 2, "─") for head, _, num in columns]
    print(f"{'':<{first}}  " + "     ".join(rules))
    heads = ["".join(f"{name:>{width}}" for name in names[:num]) for _, _, num in columns]
    print(f"{'':<{first}}" + "   ".join(heads))
    for row, truth in columns[1][1].rows.items():
        digits = max(0, 2 - int(np.floor(np.log10(truth[1]))))
        cells = [
            "".join(f"{value:>{width}.{digits}f}" for value in moments.rows[row][:num])
            for _, moments, num in columns
        ]
        print(f"{row:<{first}}" + "   ".join(cells))
    print()


def draw_marginals(examples, path):
    """Draw the fitted marginals of both examples with their reference means and sds."""
    draws, reference = {}, {}
    for example in examples:
        names = [name for name in example.reference.rows if not name.startswith("theta_trans")]
        draws |= {name: example.draws[name] for name in names}
        reference |= {name: example.reference.rows[name][:2] for name in names}
    title = (
        "Fitted marginals and reference means ± sd: eight schools (points of the test), "
        "then diabetes progression (its score, for each unit of a predictor)"
    )
    figure = marginals_figure(draws, reference, title=title, num_columns=6)
    figure.savefig(path, dpi=110)


def main(argv=None):
    args = parse_args(__doc__ or "", argv)
    args.out.mkdir(parents=True, exist_ok=True)
    keys = jax.random.split(jax.random.key(0), 4)
    examples = [fit_schools(keys[0]), fit_diabetes(keys[1])]
    for example, key in zip(examples, keys[2:], strict=True):
        print_example(example, key)
    draw_marginals(examples, args.out / "marginals.png")
    # the quick fits are right to less than a line is wide
    draw_figure(fit_all(quick=True), args.out / "mode_covering_vs_seeking.png")
    print(f"\nfigure: {args.out / 'marginals.png'}")
    print(f"figure: {args.out / 'mode_covering_vs_seeking.png'}")


if __name__ == "__main__":
    main()
