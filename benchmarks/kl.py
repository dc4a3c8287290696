"""Time the KL kernels beside the textbook formula by hand and NumPyro's, in one run.

    python benchmarks/kl.py            # batches of 1 to 10⁷, value and gradient
    python benchmarks/kl.py --quick    # small batches only

Each row: seconds per call (median), the ratio to the textbook formula, and the bytes read and
written per second beside a plain copy of as many bytes. Everything is compiled; compiling and the
first call are not counted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
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


def seconds(function: Callable[..., Any], arguments: list[Any], repeats: int) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def bench(name: str, n: int, repeats: int) -> None:
    kernel, textbook, numpyro, shapes, _ = BENCHES[name]
    keys = jax.random.split(jax.random.key(0), 4)
    arguments = [make(key, shape) for key, (make, shape) in zip(keys, shapes(n), strict=False)]
    size = sum(x.nbytes for x in arguments)
    copy = seconds(jax.jit(lambda *a: [-x for x in a]), arguments, repeats)
    everything = tuple(range(len(arguments)))
    for mode in ("value", "gradient"):
        times = []
        for function in (kernel, textbook, numpyro):
            if mode == "value":
                run = jax.jit(function)
            else:
                run = jax.jit(jax.grad(lambda *a, f=function: f(*a).sum(), argnums=everything))
            times.append(seconds(run, arguments, repeats))
        moved = (size + (4 * n if mode == "value" else size)) / 1e9
        print(
            f"{name:18s} {n:9d} {mode:9s} {times[0]:10.3e} {times[1]:10.3e} {times[2]:10.3e} "
            f"{times[0] / times[1]:8.2f} {moved / times[0]:8.2f} {2 * size / 1e9 / copy:8.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the KL kernels.")
    parser.add_argument("--quick", action="store_true", help="small batches only")
    quick = parser.parse_args().quick
    print(f"{jax.devices()[0].platform}, jax {jax.__version__}; seconds, then GB/s")
    print(
        f"{'kernel':18s} {'batch':>9s} {'mode':9s} {'vikl':>10s} {'textbook':>10s} "
        f"{'numpyro':>10s} {'ratio':>8s} {'GB/s':>8s} {'copy':>8s}"
    )
    for name, (*_, largest) in BENCHES.items():
        for n in (1, 100, 10**4, 10**6, 10**7):
            if n <= (min(largest, 10**4) if quick else largest):
                bench(name, n, 5 if quick or n > 10**5 else 20)


if __name__ == "__main__":
    main()
