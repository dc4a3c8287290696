"""The battery of faults: bad input, and targets that no fit can be right about.

Each row says what goes in and what must come out: an error that names the argument, what was got
and what to do (`fault_rows.py`); or a fit whose words say what is wrong. A wrong number with no
word is a silent failure, and there may be none.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from cases import small_target
from fault_rows import REFUSED, fit, good, of_rows
from jax import lax

import vikl
from vikl.families import MeanFieldNormal, mean
from vikl.fitting import StochasticGradient
from vikl.fitting._loop import Loop
from vikl.objectives import ForwardKL, ReverseKL

COUNTED: dict[str, str] = {}


@pytest.fixture(autouse=True)
def as_users_see_it():
    """Switch off the runtime checks of types that only test runs have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_name(name):
    row = REFUSED[name]
    COUNTED[name] = "silent"
    with pytest.raises(row.error) as caught:
        row.call()
    COUNTED[name] = "a clear error"
    message = str(caught.value)
    for fragment in row.fragments:
        assert fragment in message, f"{fragment!r} is not in: {message}"
    assert type(caught.value) is row.error


# -- what cannot be right, and must be said


@dataclasses.dataclass(frozen=True)
class Said:
    """A fit whose status is one of these, or whose verdict is not good; with words in it."""

    call: Callable[[], Any]
    statuses: tuple[str, ...] = ()
    words: str = ""
    verdict: bool = False


def _funnel(x):
    return -0.5 * (x[0] / 3.0) ** 2 - 0.5 * (x[1] / jnp.exp(x[0] / 2)) ** 2 - x[0] / 2


def _two_modes(x):
    return jnp.logaddexp(-0.5 * jnp.sum((x - 6) ** 2), -0.5 * jnp.sum((x + 6) ** 2))


def _no_floor(v):
    data = jnp.ones(3)
    return jnp.sum(-0.5 * ((data - v["mu"]) / v["sd"]) ** 2 - jnp.log(v["sd"])) - v["mu"] ** 2


def _hardly_a_floor(v):
    """Flat for ever along log sd, and so narrow in mu there that few draws see it."""
    return _no_floor(v) + 0.5 * ((1.0 - v["mu"]) / v["sd"]) ** 2 + jnp.log(v["sd"])


def _undefined_right(x):
    return jnp.where(x[0] > 0.8, jnp.nan, -0.5 * jnp.sum((x - 0.5) ** 2))


def _far_proposal():
    wide = MeanFieldNormal.init(jnp.full(2, 40.0), 1.0)
    return fit(small_target(30.0), None, family=MeanFieldNormal, objective=ForwardKL(None, wide),
               optimizer=optax.adam(1e-4), num_steps=50)  # fmt: skip


def _nan_from_step_50(step):
    return jnp.where(step < 50, 0.05, jnp.nan)


def _stochastic(**changes):
    return fit(**{"family": MeanFieldNormal, "num_steps": 150, **changes})


def _raise(error):
    raise error


SAID = {
    "flat": Said(lambda: fit(lambda x: 0.0 * x.sum()), ("improper target",), "proper prior"),
    "a constant": Said(lambda: fit(lambda x: 0.0), ("improper target",), "proper prior"),
    "flat in one direction": Said(
        lambda: fit(lambda x: -0.5 * x[0] ** 2), ("improper target",), "x[1]"
    ),
    "growing": Said(
        lambda: fit(lambda x: 0.5 * jnp.sum(x**2), np.ones(2, np.float32)),
        ("improper target", "unbounded target", "diverged"),
    ),
    "linear": Said(
        lambda: fit(lambda x: jnp.sum(x)), ("improper target", "unbounded target", "diverged")
    ),
    "a scale with no floor": Said(
        lambda: fit(_no_floor, {"mu": 0.0, "sd": 1.0}, support={"sd": "positive"}),
        ("unbounded target", "diverged", "improper target", "budget spent"),
        verdict=True,
    ),
    "a scale with hardly a floor": Said(
        lambda: fit(_hardly_a_floor, {"mu": 0.0, "sd": 1.0}, support={"sd": "positive"}),
        verdict=True,
    ),
    "-inf on half the space": Said(
        lambda: fit(lambda x: jnp.where(x[0] > 0, good(x), -jnp.inf), np.ones(2, np.float32)),
        ("outside the support",),
        "−inf: declare a `support`",
    ),
    "nan on a part of the space": Said(
        lambda: fit(_undefined_right), ("outside the support",), "log density of NaN"
    ),
    "weights that collapse": Said(_far_proposal, ("not inclusive any more",), "wider `proposal`"),
    "the same, with a loss that rises": Said(
        lambda: fit(
            small_target(1000.0),
            None,
            family=MeanFieldNormal,
            objective=ForwardKL(),
            optimizer=optax.adam(0.05),
            num_steps=300,
        ),
        ("diverged", "not inclusive any more"),
        "wider `proposal`",
    ),
    "a starting place of zero density": Said(
        lambda: fit(lambda x: jnp.where(x[0] > 0, good(x), -jnp.inf)), ("outside the support",)
    ),
    "two modes": Said(lambda: fit(_two_modes), words="distinct modes", verdict=True),
    "a funnel": Said(lambda: fit(_funnel), verdict=True),
    "Cauchy tails": Said(lambda: fit(lambda x: -jnp.log1p(x**2).sum()), verdict=True),
    "no time": Said(lambda: fit(max_seconds=0.0), ("time spent",)),
    "a huge learning rate": Said(
        lambda: _stochastic(optimizer=optax.sgd(1e6)), ("diverged",), "smaller learning rate"
    ),
    "a huge learning rate of Adam": Said(
        lambda: _stochastic(optimizer=optax.adam(1e3)), ("diverged",), "smaller learning rate"
    ),
    "a learning rate of nan": Said(
        lambda: _stochastic(optimizer=optax.sgd(float("nan"))), ("diverged",), "not finite"
    ),
    "a learning rate of nan, for fewer steps than it takes to give up": Said(
        lambda: _stochastic(optimizer=optax.sgd(float("nan")), num_steps=30),
        ("diverged",),
        "steps were not finite",
    ),
    "nan from step 50 on": Said(
        lambda: _stochastic(optimizer=optax.sgd(_nan_from_step_50)), ("diverged",), "not finite"
    ),
    "a learning rate of the wrong sign": Said(
        lambda: _stochastic(optimizer=optax.sgd(-0.1)), ("diverged",), "the loss rose"
    ),
    "a learning rate of zero": Said(
        lambda: _stochastic(target=small_target(9.0), optimizer=optax.sgd(0.0)), verdict=True
    ),
    "more draws than memory": Said(
        lambda: _stochastic(objective=ReverseKL(num_samples=10**12), optimizer=optax.sgd(0.1)),
        ("out of memory",),
        "fewer `num_samples`",
    ),
    "one bad start of eight": Said(
        lambda: fit(lambda x: jnp.where(x[0] > 1.2, jnp.nan, good((x + 1.0) / 0.1))),
        ("converged",),
        "of 8 starts were not finite",
    ),
    "no data": Said(
        lambda: fit(lambda x, d: -0.5 * jnp.sum((d - x[0]) ** 2), data=np.zeros(0, np.float32)),
        ("improper target",),
        "proper prior",
    ),
    "a density instead of its log": Said(
        lambda: fit(lambda x: jnp.exp(good(x))), ("improper target", "diverged"), verdict=True
    ),
    "flat along a diagonal": Said(lambda: fit(lambda x: good(x - x.mean())), verdict=True),
    "a gradient that is cut off": Said(
        lambda: fit(lambda x: good(x[:1]) - 0.5 * lax.stop_gradient(x[1] - 1.0) ** 2), verdict=True
    ),
    "periodic": Said(lambda: fit(lambda x: jnp.cos(x).sum()), verdict=True),
    "a pole": Said(lambda: fit(lambda x: good(x) - jnp.log(jnp.abs(x[0] - 1.0))), verdict=True),
    "a jump": Said(lambda: fit(lambda x: good(x) + jnp.where(x[0] > 0, 3.0, 0.0)), verdict=True),
    "a constant that eats the digits": Said(lambda: fit(lambda x: good(x) + 1e9), verdict=True),
    "numpy's True": Said(lambda: fit(callback=lambda s: np.bool_(True)), ("stopped by callback",)),
    "a callback that raises": Said(
        lambda: fit(callback=lambda s: _raise(KeyError("mine"))),
        ("stopped by callback",),
        "KeyError: 'mine'",
    ),
    "Ctrl-C": Said(
        lambda: fit(callback=lambda s: _raise(KeyboardInterrupt)), ("interrupted",), "Ctrl-C"
    ),
    "Ctrl-C, stochastic": Said(
        lambda: _stochastic(optimizer=optax.sgd(0.1), callback=lambda s: _raise(KeyboardInterrupt)),
        ("interrupted",),
        "Ctrl-C after 10 steps",
    ),
}


@pytest.mark.parametrize(
    "name",
    list(SAID),
)
@pytest.mark.filterwarnings("ignore:`callback` raised")
def test_a_fit_that_cannot_be_right_says_so(name):
    row = SAID[name]
    COUNTED[name] = "an error"
    post = row.call()
    COUNTED[name] = "silent"
    assert np.isfinite(post.mean).all()
    assert np.isfinite(post.std).all()
    if row.statuses:
        assert post.status in row.statuses, (post.status, post.stopped_because)
        assert post.status in repr(post)
    assert row.words in post.stopped_because
    if row.verdict:
        verdict = post.check(jax.random.key(1)).verdict
        assert not verdict.startswith("good"), verdict
    COUNTED[name] = "a status or a verdict"


RIGHT = {
    "float16": lambda x: good(x).astype(jnp.float16),
    "a kink": lambda x: -jnp.sum(jnp.abs(x - 0.3)) - 5 * jnp.sum((x - 0.3) ** 2),
    "prints": lambda x: print(end="") or good(x),
    "compiled by its owner": jax.jit(good),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_odd_but_right_is_fitted(name):
    post = fit(RIGHT[name])
    assert post.status == "converged"
    assert np.isfinite(post.mean).all()
    COUNTED[name] = "right"


SCALES = {
    "ill-scaled": (0.0, np.array([1e-8, 1.0, 1e8])),
    "ill-scaled and off centre": (1.0, np.array([1e-4, 1.0, 1e4])),
    "very narrow": (1e4, np.full(3, 1e-4)),
    "very wide": (1e-4, np.full(3, 1e4)),
}


def _scaled(x, data):
    loc, scale = data
    return -0.5 * jnp.sum(((x - loc) / scale) ** 2)


@pytest.mark.parametrize("name", SCALES)
def test_scales_far_from_one_are_fitted_in_float32(name):
    centre, scale = SCALES[name]
    data = (np.asarray(centre * scale, np.float32), np.asarray(scale, np.float32))
    post = fit(_scaled, np.zeros(3, np.float32), data=data)
    np.testing.assert_allclose(post.std, scale, rtol=1e-2)
    assert (np.abs(post.mean - data[0]) < 0.02 * scale).all()
    COUNTED[name] = "right"


# -- one answer, however it is computed


def _chunks(size):
    algorithm = StochasticGradient(ReverseKL(), optax.sgd(0.05))
    state, *_ = Loop(
        algorithm, small_target(), MeanFieldNormal.init(jnp.zeros(2)), jax.random.key(0),
        num_steps=200, stop_on_plateau=False, chunk_steps=size,
    ).go()  # fmt: skip
    return mean(state.family)


def _one_step(target, key):
    algorithm = StochasticGradient(ReverseKL(), optax.sgd(0.05))
    state = algorithm.init(MeanFieldNormal.init(jnp.zeros(2)))
    return mean(algorithm.step(state, target, key)[0].family)


def _without_jit():
    with jax.disable_jit():
        return _one_step(small_target(), jax.random.key(0))


def _steps(mapped):
    keys, step = (
        jax.random.split(jax.random.key(0), 3),
        functools.partial(_one_step, small_target()),
    )
    return jax.vmap(step)(keys) if mapped else jnp.stack([step(key) for key in keys])


def _with_jit():
    return eqx.filter_jit(_one_step)(small_target(), jax.random.key(0))


def _seven_by_four():
    """Fit seven rows by batches of four: each row must count as much as another."""
    data = np.arange(7, dtype=np.float32)
    post = fit(vikl.Target.from_density(of_rows, np.float32(0.0), data=data, batch_size=4))
    return np.r_[post.mean, post.std]


# two ways, and how far apart their answers may be
SAME = {
    "the same key": (lambda: fit().mean, lambda: fit().mean, 0.0),
    "a callback that looks on": (
        lambda: fit().mean, lambda: fit(callback=lambda snapshot: None).mean, 0.0
    ),
    "a last batch that would be short": (_seven_by_four, lambda: np.array([3.0, 7**-0.5]), 0.02),
    "chunks of 1 and of 1,000": (lambda: _chunks(1), lambda: _chunks(1000), 0.0),
    "compiled or not": (_with_jit, _without_jit, 1e-6),
    "vmap or a loop": (lambda: _steps(True), lambda: _steps(False), 1e-6),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_answer_does_not_depend_on_how_it_is_computed(name):
    first, second, tolerance = SAME[name]
    np.testing.assert_allclose(first(), second(), rtol=0, atol=tolerance)
    COUNTED[name] = "the same"


def test_float32_and_float64_agree(world):
    found = {}
    for bits in (32, 64):
        with world(bits):
            post = fit(small_target(2.0))
            found[bits] = np.r_[post.mean, post.std].astype(float)
    np.testing.assert_allclose(found[32], found[64], atol=1e-3)
    COUNTED["float32 and float64"] = "the same"


_ON_DEVICES = """
import sys
sys.path.insert(0, "tests")
import cases, jax, numpy as np, optax, vikl
post = vikl.fit(cases.small_target(2.0), key=jax.random.key(0), progress=False)
print(jax.device_count(), np.asarray(post.mean).tobytes().hex())
"""


def test_one_device_and_eight_agree(run_python):
    done = run_python(_ON_DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    count, found = done.stdout.split()
    assert count == "8", done.stderr
    here = np.asarray(fit(small_target(2.0)).mean)
    np.testing.assert_allclose(np.frombuffer(bytes.fromhex(found), np.float32), here, atol=1e-6)
    COUNTED["one device and eight"] = "the same"


# -- divergences of what is no distribution, under jit, where nothing can be raised

UNDER_JIT = {
    "Normal": lambda v, d: (d.Normal(0.0, v), d.Normal(0.0, 2.0)),
    "Normal, the other": lambda v, d: (d.Normal(0.0, 1.0), d.Normal(0.0, v)),
    "Gamma": lambda v, d: (d.Gamma(v, 1.0), d.Gamma(2.0, 1.0)),
    "Beta": lambda v, d: (d.Beta(2.0, v), d.Beta(2.0, 1.0)),
    "Exponential": lambda v, d: (d.Exponential(v), d.Exponential(1.0)),
    "Laplace": lambda v, d: (d.Laplace(0.0, 1.0), d.Laplace(0.0, v)),
    "Poisson": lambda v, d: (d.Poisson(v), d.Poisson(1.0)),
    "Bernoulli": lambda v, d: (d.Bernoulli(probs=v), d.Bernoulli(probs=0.5)),
}


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", UNDER_JIT)
def test_a_divergence_of_no_distribution_is_never_a_number(name):
    import numpyro.distributions as dist

    make = UNDER_JIT[name]
    with pytest.raises(ValueError, match=r"scale|concentration|rate|probs"):
        vikl.kl_divergence(*make(-1.0, dist))
    COUNTED[f"jit, {name}"] = "silent"
    assert not np.isfinite(jax.jit(lambda v: vikl.kl_divergence(*make(v, dist)))(-1.0))
    COUNTED[f"jit, {name}"] = "an error, and nan under jit"


def test_the_count(capsys):
    """Say how many of the faults that ran in this process came back with no word."""
    silent = [name for name, outcome in COUNTED.items() if outcome == "silent"]
    tables = (REFUSED, SAID, RIGHT, SCALES, SAME, UNDER_JIT)
    total = sum(len(table) for table in tables) + 2
    with capsys.disabled():
        print(f"\nfaults: {len(COUNTED)} of {total} run here, {len(silent)} silent failures")
    assert total >= 185
    assert silent == []
