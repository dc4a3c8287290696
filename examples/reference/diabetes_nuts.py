"""The reference for the diabetes regression: a long NUTS run, checked against the closed form.

    python examples/reference/diabetes_nuts.py   # a minute or two; writes diabetes_nuts.json

The model is the one of `first_fit.py`: y ~ normal(intercept + X β, σ), all ten predictors as
measured (unscaled), flat priors on the coefficients and on log σ. NUTS runs on standardised
predictors and its draws are mapped back. With these priors the posterior is also known in closed
form (β multivariate t, σ² inverse gamma), which the script prints beside the draws.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import sklearn
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from scipy import special
from sklearn.datasets import load_diabetes

jax.config.update("jax_enable_x64", True)
CHAINS, WARMUP, DRAWS = 4, 2000, 20_000


def model(z, y):
    """Regress on standardised predictors, with flat priors."""
    flat = dist.ImproperUniform(dist.constraints.real, (), ())
    center = numpyro.sample("center", flat)
    slopes = numpyro.sample(
        "slopes", dist.ImproperUniform(dist.constraints.real_vector, (), (z.shape[1],))
    )
    log_sigma = numpyro.sample("log_sigma", flat)
    numpyro.sample("y", dist.Normal(center + z @ slopes, jnp.exp(log_sigma)), obs=y)


def run(x, y, seed):
    """Return draws on the measured scale, `{name: (chains, draws)}`, and the sampler's record."""
    shift, scale = x.mean(axis=0), x.std(axis=0)
    mcmc = MCMC(
        NUTS(model, dense_mass=True, target_accept_prob=0.9),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = {
        "center": jnp.full(CHAINS, y.mean()),
        "slopes": jnp.zeros((CHAINS, x.shape[1])),
        "log_sigma": jnp.full(CHAINS, np.log(y.std())),
    }
    mcmc.run(
        jax.random.key(seed), (x - shift) / scale, y, extra_fields=("diverging",), init_params=start
    )
    draws = {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}
    beta = draws["slopes"] / scale
    out = {"intercept": draws["center"] - beta @ shift}
    return out | {"beta": beta, "sigma": np.exp(draws["log_sigma"])}, int(
        np.asarray(mcmc.get_extra_fields()["diverging"]).sum()
    )


def closed_form(x, y):
    """Return exact posterior means and sds: intercept, ten slopes, σ."""
    design = np.column_stack([np.ones(len(y)), x])
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    dof = len(y) - design.shape[1]
    rss = float(np.sum((y - design @ coefficients) ** 2))
    variance = rss / dof * np.diag(np.linalg.inv(design.T @ design)) * dof / (dof - 2)
    log_ratio = special.gammaln((dof - 1) / 2) - special.gammaln(dof / 2)
    sigma = np.sqrt(rss / 2) * np.exp(log_ratio)
    sigma_sd = np.sqrt(rss / (dof - 2) - sigma**2)
    return np.append(coefficients, sigma), np.append(np.sqrt(variance), sigma_sd)


def rows_of(draws, names, exact):
    """Return one row of numbers for each named parameter."""
    stacked = np.concatenate(
        [draws["intercept"][..., None], draws["beta"], draws["sigma"][..., None]], axis=-1
    )
    rows = {}
    for i, name in enumerate(["intercept", *names, "sigma"]):
        one = stacked[..., i]
        low, high = np.quantile(one, [0.05, 0.95])
        numbers = {
            "mean": one.mean(), "sd": one.std(ddof=1), "5%": low, "95%": high,
            "rhat": split_gelman_rubin(one), "ess": effective_sample_size(one),
            "ess_sd": effective_sample_size((one - one.mean()) ** 2),
            "exact_mean": exact[0][i], "exact_sd": exact[1][i],
        }  # fmt: skip
        rows[name] = {k: float(f"{float(v):.8g}") for k, v in numbers.items()}
        print(f"{name:<10}" + "".join(f"{k}={v:<14.7g}" for k, v in rows[name].items()))
    return rows


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--seed", type=int, default=20)
    args = parser.parse_args()
    data: Any = load_diabetes(scaled=False)
    draws, divergences = run(data.data, data.target, args.seed)
    rows = rows_of(draws, data.feature_names, closed_form(data.data, data.target))
    about = {
        "what": "Posterior of y ~ normal(intercept + X beta, sigma), diabetes progression (442 "
        "patients) on ten measured predictors, flat priors on the coefficients and on log sigma.",
        "data": f"scikit-learn {sklearn.__version__}, load_diabetes(scaled=False); Efron, Hastie, "
        "Johnstone & Tibshirani (2004), Least angle regression.",
        "draws": f"NUTS of numpyro {numpyro.__version__}, {CHAINS} chains, {WARMUP} warm-up and "
        f"{DRAWS} kept draws each, float64, seed {args.seed}, by examples/reference/"
        "diabetes_nuts.py; exact_* are the closed form (multivariate t, inverse gamma).",
        "divergences": divergences,
    }
    args.out.write_text(json.dumps({"about": about, "parameters": rows}, indent=1) + "\n")
    print(f"{divergences} divergences; wrote {args.out}")


if __name__ == "__main__":
    main()
