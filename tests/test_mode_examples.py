"""Mode-covering and mode-seeking fits against closed forms and quadrature."""

import dataclasses
import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
TOLERANCE = 2e-2
STANDARD_ERRORS = 5.0  # of the ELBO: a true value is further off once in two million runs
# the optimum that each start of the example leads to, in the order of its cases
ENDS = [
    ("equal modes", "forward", "covers both"),
    ("equal modes", "forward", "covers both"),
    ("equal modes", "reverse", "left mode"),
    ("equal modes", "reverse", "right mode"),
    ("equal modes", "reverse", "broad optimum"),
    ("unequal modes", "forward", "covers both"),
    ("unequal modes", "reverse", "heavy mode"),
    ("unequal modes", "reverse", "light mode"),
    ("banana", "forward", "spills over"),
    ("banana", "reverse", "hugs the bend"),
]


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("mode_covering_vs_seeking")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def fits(example):
    # users' defaults: optax's Adam needs JAX's standard promotion
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        # half the draws at each step are enough, but for the optimum that is nearly flat
        half = dataclasses.replace(example.FULL, num_samples=example.FULL.num_samples // 2)
        return [
            example.fit_case(case, example.FULL if end[2] == "broad optimum" else half, seed)
            for seed, (case, end) in enumerate(zip(example.CASES, ENDS, strict=True))
        ]


def assert_agrees(found, optimum):
    """Compare mean, sd, covariance and divergence with an optimum."""
    np.testing.assert_allclose(found.mean, optimum.mean, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found.sd, optimum.sd, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(
        found.cov, np.diag(np.square(optimum.sd)), atol=2 * max(optimum.sd) * TOLERANCE, rtol=0
    )
    assert abs(found.kl - optimum.kl) < STANDARD_ERRORS * found.kl_std_error + 1e-3


@pytest.mark.parametrize("index", range(len(ENDS)), ids=["-".join(end) for end in ENDS])
def test_agrees_with_the_truth(fits, index):
    found, (target, direction, name) = fits[index], ENDS[index]
    assert (found.case.target, found.case.direction) == (target, direction)
    assert found.optimum.name == name
    assert_agrees(found, found.optimum)


def test_every_optimum_is_reached(example, fits):
    reached = {(f.case.target, f.case.direction, f.optimum.name) for f in fits}
    there = {(c.target, c.direction, o.name) for c in example.CASES for o in c.optima}
    assert reached == there == set(ENDS)


def test_elbo_is_minus_the_divergence(fits):
    for found in fits:
        if found.case.direction == "reverse":  # p is normalised: log Z = 0
            off = found.posterior.elbo + found.optimum.kl
            assert abs(off) < STANDARD_ERRORS * found.posterior.elbo_std_error + 1e-3
        assert found.posterior.elbo < STANDARD_ERRORS * found.posterior.elbo_std_error


@pytest.mark.parametrize("index", range(len(ENDS)), ids=["-".join(end) for end in ENDS])
def test_the_comparison_can_fail(fits, index):
    """Another optimum of the same target, or a slightly wrong one, is told apart."""
    found = fits[index]
    others = [o for f in fits for o in f.case.optima if f.case.target == found.case.target]
    others = [o for o in others if o != found.optimum]
    assert others
    for other in others:
        with pytest.raises(AssertionError):
            assert_agrees(found, other)
    for name in ("mean", "sd"):
        values = tuple(v + 2 * TOLERANCE for v in getattr(found.optimum, name))
        wrong = type(found.optimum)(**{**vars(found.optimum), name: values})
        with pytest.raises(AssertionError):
            assert_agrees(found, wrong)


@pytest.mark.parametrize("name", ["equal modes", "unequal modes", "banana"])
def test_the_true_optima_are_stationary(example, name):
    """The published numbers themselves, by quadrature of the reverse KL in float64."""
    seek = {"equal modes": example.SEEK_EQUAL, "unequal modes": example.SEEK_UNEQUAL}
    for optimum in (*seek.get(name, ()), *(example.SEEK_BANANA if name == "banana" else ())):
        at = reverse_kl(example, name, np.array(optimum.mean), np.array(optimum.sd))
        assert at == pytest.approx(optimum.kl, abs=1e-6)
        for i in range(len(optimum.mean)):
            for step in (1e-2, -1e-2):
                moved = np.array(optimum.mean)
                moved[i] += step
                assert reverse_kl(example, name, moved, np.array(optimum.sd)) > at
                grown = np.array(optimum.sd)
                grown[i] += step
                assert reverse_kl(example, name, np.array(optimum.mean), grown) > at


def reverse_kl(example, name, mean, sd):
    nodes = np.linspace(-9.0, 9.0, 2001 if len(mean) == 1 else 201)  # trapezoid: spectral here
    axes = np.meshgrid(*[nodes] * len(mean), indexing="ij")
    log_phi = sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) for z in axes)
    x = [m + s * z for m, s, z in zip(mean, sd, axes, strict=True)]
    gap = log_phi - np.log(sd).sum() - log_density(example, name, x)
    return float(np.sum(np.exp(log_phi) * gap) * (nodes[1] - nodes[0]) ** len(mean))


def log_density(example, name, x):
    def normal(x, mean, sd):
        return -0.5 * ((x - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))

    if name == "banana":
        return normal(x[0], 0.0, 2.0) + normal(x[1], 0.25 * (x[0] ** 2 - 4), 1.0)
    parts = zip(*(example.MIXTURES[name][k] for k in ("weight", "mean", "sd")), strict=True)
    return np.logaddexp(*(np.log(w) + normal(x[0], m, s) for w, m, s in parts))
