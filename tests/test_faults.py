"""The battery of faults: bad input, and targets that no fit can be right about.

Each row says what goes in and what must come out: an error that names the argument, what was got
and what to do (`fault_rows.py`); or a fit whose words say what is wrong. A wrong number with no
word is a silent failure, and there may be none.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from cases import small_target
from fault_rows import REFUSED, fit, good

from vikl.families import MeanFieldNormal
from vikl.objectives import ForwardKL

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
    "weights that collapse": Said(_far_proposal, ("weights collapsed",), "wider `proposal`"),
    "a starting place of zero density": Said(
        lambda: fit(lambda x: jnp.where(x[0] > 0, good(x), -jnp.inf)), ("outside the support",)
    ),
    "two modes": Said(lambda: fit(_two_modes), words="distinct modes", verdict=True),
    "a funnel": Said(lambda: fit(_funnel), verdict=True),
    "Cauchy tails": Said(lambda: fit(lambda x: -jnp.log1p(x**2).sum()), verdict=True),
    "no time": Said(lambda: fit(max_seconds=0.0), ("time spent",)),
    "a callback that is none": Said(
        lambda: fit(small_target(), callback=3), ("stopped by callback",), "not callable"
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
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_odd_but_right_is_fitted(name):
    post = fit(RIGHT[name])
    assert post.status == "converged"
    assert np.isfinite(post.mean).all()
    COUNTED[name] = "right"


def test_the_count(capsys):
    """Say how many of the faults that ran in this process came back with no word."""
    silent = [name for name, outcome in COUNTED.items() if outcome == "silent"]
    total = len(REFUSED) + len(SAID) + len(RIGHT)
    with capsys.disabled():
        print(f"\nfaults: {len(COUNTED)} of {total} run here, {len(silent)} silent failures")
    assert total >= 80
    assert silent == []
