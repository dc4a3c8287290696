"""Steps per second of the stochastic loop, beside a scan written by hand and NumPyro's SVI.

    python benchmarks/loop.py [--quick] [--repeats N] [--no-numpyro]

Run time only: each repeat takes the time of a long and of a short run, all of it compiled before
(NumPyro compiles its step in every run, which the difference removes), and divides the steps
between them. On a machine with others on it `--clock cpu` is the steadier
clock. Bars are on (drawn to nowhere) for vikl and NumPyro; the hand-written scan has none.
NumPyro's runs are short: with its bar on it stacks one array per step, and compiling that stack
for the first run of a length takes minutes from some ten thousand steps on.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _clock import CLOCKS, child, interleave, quiet_stderr, seconds, spread, table, versions
from _problems import Problem, as_numpyro, correlated_normal, eight_schools

import vikl

_RATE = 1e-3
_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


def bare_loss(problem: Problem, full_rank: bool) -> tuple[dict, Callable]:
    """Return initial parameters and the pathwise negative ELBO of one draw, by hand."""
    dim = problem.dim
    params = {"loc": jnp.zeros(dim), "log_diagonal": jnp.zeros(dim)}
    if full_rank:
        params["lower"] = jnp.zeros((dim, dim))

    def loss(params, key):
        noise = jax.random.normal(key, (dim,))
        diagonal = jnp.exp(params["log_diagonal"])
        if full_rank:
            move = (jnp.tril(params["lower"], -1) + jnp.diag(diagonal)) @ noise
        else:
            move = diagonal * noise
        log_q = -0.5 * noise @ noise - params["log_diagonal"].sum() - dim * _HALF_LOG_2PI
        return log_q - problem.log_density(params["loc"] + move)

    return params, loss


def bare_run(problem: Problem, full_rank: bool) -> Callable[[int], object]:
    """Return a run of so many steps of the natural hand-written scan."""
    params, loss = bare_loss(problem, full_rank)
    adam = optax.adam(_RATE)

    def step(carry, key):
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params, key)
        updates, state = adam.update(gradients, state)
        return (optax.apply_updates(params, updates), state), value

    @partial(jax.jit, static_argnums=1)
    def run(key, num_steps):
        keys = jax.random.split(key, num_steps)
        return jax.lax.scan(step, (params, adam.init(params)), keys)

    return lambda num_steps: jax.block_until_ready(run(jax.random.key(0), num_steps))


def vikl_run(problem: Problem, full_rank: bool) -> Callable[[int], Any]:
    """Return a run of so many steps of `vikl.fit`, with its bar."""
    target = vikl.Target.from_density(problem.log_density, like=jnp.zeros(problem.dim))
    family = vikl.families.FullRankNormal if full_rank else vikl.families.MeanFieldNormal

    def run(num_steps):
        with quiet_stderr():
            return vikl.fit(
                target, family, vikl.objectives.ReverseKL(num_samples=1), optax.adam(_RATE),
                key=jax.random.key(0), num_steps=num_steps, progress=True,
            )  # fmt: skip

    return run


def numpyro_run(problem: Problem, full_rank: bool) -> Callable[[int], object]:
    """Return a run of so many steps of NumPyro's `SVI.run`, with its bar."""
    from numpyro.infer import SVI, Trace_ELBO, autoguide

    model = as_numpyro(problem)
    kind = autoguide.AutoMultivariateNormal if full_rank else autoguide.AutoDiagonalNormal
    svi = SVI(model, kind(model), optax.adam(_RATE), Trace_ELBO(num_particles=1))

    def run(num_steps):
        with quiet_stderr():
            return svi.run(jax.random.key(0), num_steps, progress_bar=True).losses

    return run


def microseconds_per_step(run: Callable[[int], object], short: int, long: int, clock: str) -> float:
    """Time a short and a long run; what differs is steps."""
    least = seconds(lambda: run(short), clock)
    return 1e6 * (seconds(lambda: run(long), clock) - least) / (long - short)


def steps_for(run: Callable[[int], object], target: float) -> int:
    """Return how many steps take about `target` seconds."""
    run(2000)
    return int(2000 * target / max(seconds(lambda: run(2000)), 1e-5))


def compare(problem: Problem, full_rank: bool, args: argparse.Namespace) -> dict[str, object]:
    """Measure one row of the table."""
    bare = bare_run(problem, full_rank)
    short = 2000
    long = short + max(steps_for(bare, 0.3 if args.quick else 1.5), 2000)
    timed = {"bare": bare, "vikl": vikl_run(problem, full_rank)}
    for run in timed.values():
        for steps in (short, long):
            run(steps)
    plans: dict[str, Callable[[], float]] = {
        n: partial(microseconds_per_step, r, short, long, args.clock) for n, r in timed.items()
    }
    if not args.no_numpyro:
        peer = numpyro_run(problem, full_rank)
        few, more = 500, 1000 if args.quick else 2500
        for steps in (few, more):
            peer(steps)
        plans["numpyro"] = lambda: microseconds_per_step(peer, few, more, args.clock)
    found = interleave(plans, args.repeats)
    row: dict[str, object] = {
        "target": problem.name,
        "family": "full-rank" if full_rank else "mean-field",
        "steps": long - short,
    }
    row |= {f"{n}, µs/step": f"{np.median(v):.1f}" for n, v in found.items()}
    row |= {f"vikl/{n}, speed": spread(v / found["vikl"]) for n, v in found.items() if n != "vikl"}
    return row


def compile_times(problem: Problem, full_rank: bool) -> dict[str, object]:
    """Compile seconds of a first and of a second identical call."""
    first, second = (vikl_run(problem, full_rank)(50) for _ in range(2))
    return {
        "target": problem.name,
        "family": "full-rank" if full_rank else "mean-field",
        "first call, compile s": f"{first.compile_seconds:.2f}",
        "second call, compile s": f"{second.compile_seconds:.3f}",
    }


def import_times(repeats: int) -> str:
    """Import seconds of vikl beside what it stands on, in fresh processes."""
    codes = {"vikl": "import vikl", "base": "import jax, optax, equinox"}
    for code in codes.values():
        child(code)
    wall = interleave({n: (lambda c=c: child(c)[0]) for n, c in codes.items()}, repeats)
    more = wall["vikl"] - wall["base"]
    return (
        f"import vikl {spread(wall['vikl'])} s; import jax, optax, equinox "
        f"{spread(wall['base'])} s; difference {spread(more)} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short runs, few repeats")
    parser.add_argument("--repeats", type=int, default=None, help="interleaved repeats")
    parser.add_argument("--clock", default="wall", choices=sorted(CLOCKS), help="what is read")
    parser.add_argument("--only", default="", help="a part of a target's name")
    parser.add_argument("--loop-only", action="store_true", help="neither compile nor import")
    parser.add_argument("--no-numpyro", action="store_true", help="leave NumPyro out")
    args = parser.parse_args()
    args.repeats = args.repeats or (3 if args.quick else 9)
    print(versions("jax", "optax", "equinox", "numpyro"), "\n")
    cases = [(p, rank) for p in (eight_schools(), correlated_normal()) for rank in (False, True)]
    cases = [case for case in cases if args.only in case[0].name]
    if not args.loop_only:
        print(table([compile_times(*case) for case in cases]), "\n")
    rows = []
    for case in cases:
        rows.append(compare(*case, args))
        print(rows[-1], flush=True)
    print("\n" + table(rows))
    print(f"\n{args.clock} clock, {args.repeats} interleaved repeats, quartiles in brackets; speed")
    print("above 1: vikl is faster\n")
    if not args.loop_only:
        print(import_times(args.repeats))


if __name__ == "__main__":
    main()
