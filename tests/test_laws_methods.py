"""What every named method promises: exact on a normal, counted, repeatable, honest."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import METHODS, gaussian_parts, normal_density
from killed import assert_killed_twice_it_ends_the_same

import vikl
from vikl.fitting._ascend import Goal, ascend
from vikl.fitting._evaluate import Evaluator
from vikl.fitting._natural import Moments
from vikl.methods._normals import moments_of

METHOD = pytest.mark.parametrize("name", METHODS)
DIM = 3


def fit(target, name, **changes):
    return vikl.fit(
        target, method=METHODS[name].make(),
        **{"key": jax.random.key(3), "progress": False} | changes,
    )  # fmt: skip


def normal_target(density=normal_density, sizes=(1.0, 1.0, 1.0)):
    loc, precision = gaussian_parts(DIM)
    precision = precision / np.outer(sizes, sizes)
    data = (jnp.asarray(loc * sizes, float), jnp.asarray(precision, float))
    return vikl.Target.from_density(density, jnp.zeros(DIM), data=data)


# -- a normal target


@METHOD
def test_a_normal_target_is_exact(name, dtype):
    case, (loc, precision) = METHODS[name], gaussian_parts(DIM)
    sizes = np.array(case.sizes)
    post = fit(normal_target(sizes=sizes), name)
    assert post.mean.dtype == dtype
    assert post.status == "converged", post.stopped_because
    cov = np.linalg.inv(precision)
    sd = np.sqrt(np.diag(cov)) if case.finds != "mean-field" else 1 / np.sqrt(np.diag(precision))
    mean_off = (np.asarray(post.mean) / sizes - loc) / sd
    np.testing.assert_allclose(mean_off, 0.0, atol=case.mean_off)
    np.testing.assert_allclose(np.asarray(post.std) / sizes / sd, 1.0, atol=case.sd_off)
    if case.finds != "mean-field":
        scaled = np.asarray(post.cov) / np.outer(sizes * sd, sizes * sd)
        np.testing.assert_allclose(scaled, cov / np.outer(sd, sd), atol=3 * case.sd_off)
        assert post.khat < 0.7


@functools.partial(jax.custom_vjp, nondiff_argnums=())
def counted(x, data):
    """The same normal; each evaluation of its gradient is counted on the host."""
    return normal_density(x, data)


def _forward(x, data):
    return normal_density(x, data), (x, data)


def _backward(kept, weight):
    x, data = kept
    jax.debug.callback(_count, x)
    return weight * jax.grad(normal_density)(x, data), jax.tree.map(jnp.zeros_like, data)


def _count(x):
    COUNTS.append(1)


COUNTS: list[int] = []
counted.defvjp(_forward, _backward)


@METHOD
def test_gradients_are_counted_honestly(name):
    COUNTS.clear()
    post = fit(normal_target(counted), name)
    jax.effects_barrier()
    assert post.num_gradients == len(COUNTS) > 0
    assert post.history["step"][-1] <= post.num_gradients


@METHOD
def test_the_same_key_gives_the_same_bits_and_compiles_nothing(name):
    first, again = (fit(normal_target(), name) for _ in range(2))
    assert eqx.tree_equal(first.family, again.family)
    assert (first.elbo, first.num_gradients) == (again.elbo, again.num_gradients)
    assert again.compile_seconds == 0.0


@METHOD
def test_killed_twice_it_goes_on_to_the_same_bits(name, tmp_path, monkeypatch):
    def run(**options):
        return fit(normal_target(), name, **options)

    assert_killed_twice_it_ends_the_same(run, tmp_path, monkeypatch)


# -- a regression


ROWS = np.random.default_rng(5).normal(size=(40, 2))
COUNTED_EVENTS = np.random.default_rng(6).poisson(np.exp(0.3 + ROWS @ [0.8, -0.5]))


def poisson_regression(beta, data):
    """Log posterior of a Poisson regression with normal(0, 2) priors."""
    rows, events = data
    rate = beta[0] + rows @ beta[1:]
    return jnp.sum(events * rate - jnp.exp(rate)) - 0.125 * jnp.sum(beta**2)


def regression_target():
    data = (jnp.asarray(ROWS, float), jnp.asarray(COUNTED_EVENTS, float))
    return vikl.Target.from_density(poisson_regression, jnp.zeros(DIM), data=data)


@functools.cache
def best_normal() -> Moments:
    """The normal of highest ELBO, by a long natural-gradient run (in float64)."""
    target = regression_target()
    start = moments_of(fit(target, "Laplace").family)
    return ascend(
        Evaluator(target, (2000,)), start, np.random.default_rng(0), Goal(1e-5, 1e-4, 40),
        num_draws=2000,
    ).moments  # fmt: skip


def elbo(q: Moments) -> float:
    """The ELBO of a normal on the regression, by the same fine antithetic draws each time."""
    half = np.random.default_rng(1).normal(size=(4000, DIM))
    x = q.mean + np.concatenate([half, -half]) @ q.scale.T
    rate = x[:, :1] + x[:, 1:] @ ROWS.T
    log_p = np.sum(COUNTED_EVENTS * rate - np.exp(rate), axis=1) - 0.125 * np.sum(x**2, axis=1)
    return float(log_p.mean()) + q.entropy


@METHOD
def test_a_regression_is_within_a_tenth_of_a_nat(name, float64):
    case = METHODS[name]
    post = fit(regression_target(), name)
    assert post.status == "converged", post.stopped_because
    if case.finds == "mean-field":
        sd = np.linalg.norm(best_normal().scale, axis=1)
        np.testing.assert_allclose(post.details["linear_response_sd"], sd, rtol=0.1)
        return
    q = Moments(np.asarray(post.mean, float), np.linalg.cholesky(np.asarray(post.cov, float)))
    assert elbo(best_normal()) - elbo(q) < case.gap


# -- targets that are bad, each with the words a person needs


def flat(x):
    return 0.0 * jnp.sum(x)


def ridge(x):
    return -0.5 * (x[0] + x[1] - 1.0) ** 2


def pole(x):
    """A scale that runs to zero."""
    return -0.5 * x[1] ** 2 * jnp.exp(-2.0 * x[0]) - x[0]


def half_space(x):
    return jnp.where(x[0] > 0, -0.5 * jnp.sum((x - 1.0) ** 2), -jnp.inf)


def nan_region(x):
    return -0.5 * jnp.sum(x**2) + jnp.log(x[0] + 0.5)


BAD = {
    flat: ("improper target", "prior"),
    ridge: ("improper target", "prior"),
    pole: ("unbounded target", "no upper bound"),
    half_space: ("outside the support", "−inf"),
    nan_region: ("outside the support", "NaN"),
}


@METHOD
@pytest.mark.parametrize("density", BAD, ids=lambda v: v.__name__)
def test_a_bad_target_gets_a_status(name, density):
    post = fit(density, name, like=jnp.ones(2))
    status, word = BAD[density]
    # a stochastic run may see the edge of the support from inside its loop
    assert post.status in (status, "diverged" if "support" in status else status)
    assert word in post.stopped_because
    assert np.isfinite(np.asarray(post.mean)).all()


# -- the people between


@METHOD
def test_a_callback_a_budget_and_ctrl_c(name):
    target = normal_target()
    stopped = fit(target, name, callback=lambda snapshot: True)
    assert stopped.status == "stopped by callback"
    assert fit(target, name, max_seconds=1e-9).status == "time spent"

    def interrupt(snapshot):
        raise KeyboardInterrupt

    late = fit(target, name, callback=interrupt)
    assert late.status == "interrupted"
    assert np.isfinite(late.elbo)


@METHOD
def test_a_checkpoint_is_the_result(name, tmp_path):
    first, again = (fit(normal_target(), name, checkpoint=tmp_path / "fit") for _ in range(2))
    assert eqx.tree_equal(first.family, again.family)
    assert first.num_gradients == again.num_gradients
    for key, value in first.details.items():
        np.testing.assert_allclose(again.details[key], value)
