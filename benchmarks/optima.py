"""Optima found beside true ones: each divergence on each target of one dimension, from any start.

    python benchmarks/optima.py [--quick]

From a coarse grid of starts `vikl.fit` minimises the divergence by quadrature with L-BFGS, float64.
What it finds is put beside `tests/mode_reference.json`: solved by Newton's method, no vikl in it.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _clock import table, versions

import vikl
from vikl.estimators import Quadrature
from vikl.families import MeanFieldNormal
from vikl.objectives import (
    ChiSquared,
    Jeffreys,
    JensenShannon,
    Renyi,
    ReverseKL,
    SquaredHellinger,
)

_REFERENCE = Path(__file__).parents[1] / "tests" / "mode_reference.json"
_MIXTURES = {
    "equal": ((0.5, 0.5), (-2.0, 2.0), (0.5, 0.5)),
    "unequal": ((0.7, 0.3), (-2.0, 2.5), (0.8, 0.6)),
    "close": ((0.4, 0.6), (-1.0, 1.5), (0.6, 0.9)),
}
_GRID = Quadrature(-16.0, 16.0, 801)
_OBJECTIVES = {
    "forward_kl": Renyi(1.0, "p||q", _GRID),
    "reverse_kl": ReverseKL(_GRID),
    "js": JensenShannon(estimator=_GRID),
    "alpha_half": SquaredHellinger(_GRID),
    "chi2_pq": ChiSquared("p||q", _GRID),
    "chi2_qp": ChiSquared("q||p", _GRID),
    "jeffreys": Jeffreys(_GRID),
}
_NEAR = 0.02


def density(x, data):
    """Log density of a mixture of two normals, or of a log-gamma."""
    weights, locs, scales, gamma = data
    z = (x - locs) / scales
    mixture = jax.scipy.special.logsumexp(
        jnp.log(weights) - 0.5 * z * z - jnp.log(scales) - 0.5 * np.log(2 * np.pi)
    )
    return jnp.where(gamma > 0, 2 * x - jnp.exp(x), mixture)


def found(name: str, objective, start: tuple[float, float]) -> tuple[float, float]:
    """Return the mean and sd that a fit from `start` ends at."""
    parts = _MIXTURES.get(name, _MIXTURES["close"])
    data = (*(jnp.asarray(v) for v in parts), jnp.asarray(float(name == "log-gamma")))
    target = vikl.Target.from_density(density, 0.0, data=data)
    q = MeanFieldNormal.init(jnp.asarray([start[0]]), start[1])
    post = vikl.fit(
        target, q, objective, optax.lbfgs(), key=jax.random.key(0), num_steps=60, progress=False
    )
    return float(post.mean[0]), float(post.std[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the unequal modes only")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    print(versions("jax", "optax"), "\n", flush=True)
    rows = []
    for name, optima in json.loads(_REFERENCE.read_text()).items():
        if args.quick and name != "unequal":
            continue
        for divergence, objective in _OBJECTIVES.items():
            ends = [
                found(name, objective, (mu, sd))
                for mu in (-2.0, -0.3, 0.5, 2.2) for sd in (0.5, 1.8)
            ]  # fmt: skip
            for rank, optimum in enumerate(optima.get(divergence, [])):
                gaps = [max(abs(m - optimum["mu"]), abs(s - optimum["sigma"])) for m, s in ends]
                best = int(np.argmin(gaps))
                rows.append({
                    "target": name, "divergence": divergence, "optimum": rank,
                    "true mean, sd": f"{optimum['mu']:.7f}, {optimum['sigma']:.7f}",
                    "found": "{:.7f}, {:.7f}".format(*ends[best]),
                    "gap": f"{gaps[best]:.0e}" if gaps[best] < _NEAR else "not from these starts",
                    "starts that led there": sum(gap < _NEAR for gap in gaps),
                })  # fmt: skip
    print(table(rows))


if __name__ == "__main__":
    main()
