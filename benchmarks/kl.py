"""Time the KL kernels beside the textbook formula by hand and NumPyro's, in one run.

    python benchmarks/kl.py            # batches of 1 to 10⁷, value and gradient
    python benchmarks/kl.py --quick    # small batches only

Each row: seconds per call (median), the ratio to the textbook formula and to NumPyro (median and
quartiles of ratios of neighbouring runs), and the bytes read and written per second beside those of
a plain copy. Everything is compiled; compiling and the first call are not counted. On a machine
that others use too, `--clock cpu` counts CPU seconds: all threads together.
"""

import argparse
import functools
from collections.abc import Callable
from typing import Any

import _clock
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

from vikl import kl


def textbook_normal(m, s, n, t):
    ratio = (s / t) ** 2
    return 0.5 * (ratio + ((m - n) / t) ** 2 - 1 - jnp.log(ratio))


def textbook_gamma(a, b, c, d):
    lgamma, digamma = jax.lax.lgamma, jax.lax.digamma
    return (
        (a - c) * digamma(a)
        - lgamma(a)
        + lgamma(c)
        + c * (jnp.log(b) - jnp.log(d))
        + a * (d / b - 1)
    )


def textbook_categorical(p, q):
    return jnp.where(p > 0, p * (jnp.log(p) - jnp.log(q)), 0.0).sum(-1)


def textbook_mvn(m, a, n, b):
    white = jax.vmap(lambda x, y: solve_triangular(x, y, lower=True))
    root, shift = white(b, a), white(b, m - n)
    logs = [jnp.log(jnp.diagonal(x, axis1=-2, axis2=-1)).sum(-1) for x in (a, b)]
    trace = (root**2).sum((-2, -1)) + (shift**2).sum(-1)
    return logs[1] - logs[0] + 0.5 * (trace - m.shape[-1])


def numpyro_pair(cls: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments):
        half = len(arguments) // 2
        p, q = cls(*arguments[:half]), cls(*arguments[half:])
        return dist.kl_divergence(p, q)

    return run


def positive(key, shape):
    return jnp.exp(0.5 * jax.random.normal(key, shape))


def simplex(key, shape):
    return jax.nn.softmax(jax.random.normal(key, shape))


def tril(key, shape):
    lower = jnp.tril(jax.random.normal(key, shape), -1) / shape[-1]
    return lower + jnp.eye(shape[-1])


def scalars(n):
    return [(positive, (n,))] * 4


#: name: (kernel, textbook, NumPyro, arguments for a batch of n, largest batch)
BENCHES = {
    "normal": (kl.normal, textbook_normal, numpyro_pair(dist.Normal), scalars, 10**7),
    "gamma": (kl.gamma, textbook_gamma, numpyro_pair(dist.Gamma), scalars, 10**7),
    "categorical(1000)": (
        kl.categorical,
        textbook_categorical,
        numpyro_pair(dist.CategoricalProbs),
        lambda n: [(simplex, (n, 1000))] * 2,
        10**4,
    ),
    "mvn(100)": (
        kl.multivariate_normal,
        textbook_mvn,
        numpyro_pair(lambda loc, root: dist.MultivariateNormal(loc, scale_tril=root)),
        lambda n: [(positive, (n, 100)), (tril, (n, 100, 100))] * 2,
        10**3,
    ),
}


def timed(function: Callable[..., Any], arguments: list[Any], inner: int) -> float:
    """Seconds of one call, the mean of `inner`, on the clock that `--clock` names."""
    read = _clock.CLOCKS[CLOCK]
    started = read()
    for _ in range(inner):
        jax.block_until_ready(function(*arguments))
    return (read() - started) / inner


def programs(name: str, mode: str, arguments: list[Any]) -> dict[str, Callable[..., Any]]:
    kernel, textbook, numpyro, *_ = BENCHES[name]
    everything = tuple(range(len(arguments)))
    runs = {"vikl": kernel, "textbook": textbook, "numpyro": numpyro}
    if mode == "gradient":
        runs = {
            k: jax.grad(lambda *a, f=f: f(*a).sum(), argnums=everything) for k, f in runs.items()
        }
    runs["copy"] = lambda *a: [-x for x in a]
    return {k: jax.jit(f) for k, f in runs.items()}


def bench(name: str, n: int, repeats: int) -> list[dict[str, object]]:
    shapes = BENCHES[name][3]
    keys = jax.random.split(jax.random.key(0), 4)
    arguments = [make(key, shape) for key, (make, shape) in zip(keys, shapes(n), strict=False)]
    size = sum(x.nbytes for x in arguments)
    rows = []
    for mode in ("value", "gradient"):
        runs = programs(name, mode, arguments)
        first = [timed(run, arguments, 1) for run in runs.values() for _ in range(2)][1]
        inner = min(200, max(1, int(0.01 / max(first, 1e-6))))
        found = _clock.interleave(
            {k: functools.partial(timed, f, arguments, inner) for k, f in runs.items()}, repeats
        )
        moved = (size + (4 * n if mode == "value" else size)) / 1e9
        rows.append(
            {
                "kernel": name,
                "batch": n,
                "mode": mode,
                "vikl, s": f"{np.median(found['vikl']):.3g}",
                "vikl / textbook": _clock.spread(found["vikl"] / found["textbook"]),
                "vikl / numpyro": _clock.spread(found["vikl"] / found["numpyro"]),
                "vikl, GB/s": f"{moved / np.median(found['vikl']):.2f}",
                "textbook, GB/s": f"{moved / np.median(found['textbook']):.2f}",
                "copy, GB/s": f"{2 * size / 1e9 / np.median(found['copy']):.2f}",
            }
        )
    return rows


CLOCK = "wall"


def main() -> None:
    global CLOCK
    parser = argparse.ArgumentParser(description="Time the KL kernels.")
    parser.add_argument("--quick", action="store_true", help="small batches only")
    parser.add_argument("--only", default="", help="names of kernels, separated by commas")
    parser.add_argument("--batches", default="1,100,10000,1000000,10000000")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--clock", choices=tuple(_clock.CLOCKS), default="wall")
    asked = parser.parse_args()
    CLOCK = asked.clock
    print(f"{jax.devices()[0].platform}; {_clock.versions('jax', 'numpyro')}; {CLOCK} clock")
    rows = []
    for name, (*_, largest) in BENCHES.items():
        if asked.only and name not in asked.only.split(","):
            continue
        for n in map(int, asked.batches.split(",")):
            if n <= (min(largest, 10**4) if asked.quick else largest):
                rows += bench(name, n, asked.repeats)
    print(_clock.table(rows))


if __name__ == "__main__":
    main()
