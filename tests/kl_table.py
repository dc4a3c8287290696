"""Writes KL.md, the table of registered pairs, from `vikl.registered_kl_pairs()`.

Run `python -m tests.kl_table` after registering a pair.
"""

import pathlib

import vikl
from vikl.kl._registry import find_kl_rule

PATH = pathlib.Path(__file__).resolve().parent.parent / "KL.md"
HEAD = """# KL divergences in closed form

`vikl.kl_divergence(p, q)` knows these pairs of NumPyro distributions, by class; subclasses inherit
them (`Chi2` is a `Gamma`). "Closed form" includes fixed quadratures of the same accuracy. For every
other pair: `vikl.estimate_kl(p, q, key=...)`, `vikl.divergences.kl_mixture_bounds(p, q)` for
mixtures, or a rule of your own by `vikl.register_kl`. Families that NumPyro lacks have kernels on
arrays only: `vikl.kl.continuous_bernoulli`, `vikl.kl.continuous_bernoulli_uniform`,
`vikl.kl.uniform_continuous_bernoulli`.

Written by `python -m tests.kl_table` from `vikl.registered_kl_pairs()`.

| p | q with a finite KL | q with KL = +inf whatever the parameters |
| --- | --- | --- |
"""


def is_shipped(cls: type) -> bool:
    return cls.__module__.split(".")[0] in ("numpyro", "builtins")


def table() -> str:
    finite: dict[str, list[str]] = {}
    infinite: dict[str, list[str]] = {}
    pairs = [pair for pair in vikl.registered_kl_pairs() if all(map(is_shipped, pair))]
    for p, q in pairs:
        rule = find_kl_rule(p, q)
        side = infinite if getattr(rule, "__name__", "") == "_impossible" else finite
        side.setdefault(p.__name__, []).append(q.__name__)
    lines = [
        f"| {name} | {', '.join(sorted(finite.get(name, [])))} | "
        f"{', '.join(sorted(infinite.get(name, [])))} |"
        for name in sorted({*finite, *infinite}, key=str.lower)
    ]
    return f"{HEAD}{chr(10).join(lines)}\n\n{len(pairs)} pairs.\n"


if __name__ == "__main__":
    PATH.write_text(table())
