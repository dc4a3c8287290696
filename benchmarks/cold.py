"""CPU seconds of a cold process, from its start to the answer, beside NumPyro and blackjax.

    python benchmarks/cold.py [--posteriors FOLDER] [--repeats N] [--quick]

The target is kidiq of the folder (or of the variable VIKL_POSTERIORS), else the diabetes
regression of scikit-learn. Each run is a fresh process; user and system time of all its threads
count. The time of a process that only imports jax and loads the target is shown apart.
"""

import argparse
import os

import numpy as np
from _clock import child, interleave, spread, table, versions

_SETUP = """
import sys
sys.path.insert(0, sys.argv[1])
if sys.argv[2]:
    sys.path.insert(0, sys.argv[2])
    import posteriors
    target = posteriors.get("kidiq")
    log_density, dim = target.logdensity, target.d
else:
    import _problems
    target = _problems.diabetes()
    log_density, dim = target.log_density, target.dim
import jax, jax.numpy as jnp
"""

_BODIES = {
    "setup only": "",
    "vikl": """
import vikl
post = vikl.fit(log_density, like=jnp.zeros(dim), key=jax.random.key(0), progress=False)
print(post.mean)
""",
    "numpyro, 10,000 steps of 1 draw": """
import numpyro, numpyro.distributions as dist
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
def model():
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), (dim,))
    numpyro.factor("log_density", log_density(numpyro.sample("x", flat)))
guide = AutoMultivariateNormal(model)
svi = SVI(model, guide, numpyro.optim.Adam(0.01), Trace_ELBO())
found = svi.run(jax.random.key(0), 10_000, progress_bar=False)
print(guide.get_posterior(found.params).mean)
""",
}

_BLACKJAX = """
import optax
from blackjax.vi import fullrank_vi
method = fullrank_vi.as_top_level_api(log_density, optax.adam(0.01), 10)
keys = jax.random.split(jax.random.key(0), {steps})
start = method.init(jnp.zeros(dim))
run = jax.jit(lambda state, keys: jax.lax.scan(lambda s, k: method.step(k, s), state, keys)[0])
print(run(start, keys).mu)
"""

for _steps in (1_000, 10_000):
    _BODIES[f"blackjax, {_steps:,} steps of 10 draws"] = _BLACKJAX.replace("{steps}", str(_steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    folder = os.environ.get("VIKL_POSTERIORS", "")
    parser.add_argument("--posteriors", default=folder, help="a folder with posteriors.py")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    args = parser.parse_args()
    repeats = 1 if args.quick else args.repeats
    here = os.path.dirname(os.path.abspath(__file__))
    given = (here, args.posteriors)
    print(versions("jax", "numpyro", "blackjax"), "\n", flush=True)
    child(_SETUP + _BODIES["vikl"], *given)  # files into the cache of the machine
    runs = {n: (lambda c=c: child(_SETUP + c, *given)[1]) for n, c in _BODIES.items()}
    found = interleave(runs, repeats)
    rows = [
        {
            "process": name,
            "CPU s": spread(values),
            "vikl / it": spread(found["vikl"] / values),
            "vikl / it, setup taken off": _without_setup(found, name),
        }
        for name, values in found.items()
    ]
    print(table(rows))


def _without_setup(found: dict[str, np.ndarray], name: str) -> str:
    if name == "setup only":
        return ""
    base = found["setup only"]
    return spread((found["vikl"] - base) / (found[name] - base))


if __name__ == "__main__":
    main()
