"""The laws of an objective, for every row of `OBJECTIVES`."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from cases import FAMILIES, NORMALS, OBJECTIVES, shifted_family_density
from monte_carlo import assert_at_most, assert_mean

from vikl import Target
from vikl.estimators import Pathwise, StickingTheLanding
from vikl.families import MeanFieldNormal, cov, mean
from vikl.objectives import (
    AmortizedForwardKL,
    ChiSquared,
    FDivergence,
    ForwardKL,
    Jeffreys,
    JensenShannon,
    MarkovianScoreClimbing,
    Renyi,
    ReverseKL,
    ScoreMatching,
    SquaredHellinger,
)

DIM = 2


def _worlds(name: str, i: int) -> list[tuple[str, int]]:
    """Return the families and the float sizes that a row is tested with: few, for speed."""
    if name in ("ReverseKL", "ForwardKL"):
        return [(family, bits) for family in NORMALS for bits in (32, 64)]
    # ranks change places by rounding
    return [(list(NORMALS)[i % 2], 64 if i % 2 or name == "TailAdaptive" else 32)]


ROWS = [
    pytest.param(case, family, bits, id=f"{name}{i}-{family}-float{bits}")
    for name, cases_of in OBJECTIVES.items()
    for i, case in enumerate(cases_of)
    for family, bits in _worlds(name, i)
]


@pytest.fixture
def bits(request, world):
    """Run the test in 32 or 64 bits, as its row says."""
    with world(request.param):
        yield request.param


rows = pytest.mark.parametrize(("case", "family", "bits"), ROWS, indirect=["bits"])


NUM = 4_000
#: the objectives that bound nothing, or (χ²(p‖q), Rényi beyond one) bound log Z from above
WITHOUT_BOUND = (
    ForwardKL, FDivergence, JensenShannon, Jeffreys, SquaredHellinger, Renyi, ChiSquared,
    ScoreMatching, MarkovianScoreClimbing, AmortizedForwardKL,
)  # fmt: skip


@eqx.filter_jit
def _of_keys(objective, q, target, keys):
    def one(key):
        (loss, aux), gradient = eqx.filter_value_and_grad(objective, has_aux=True)(q, target, key)
        return jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(gradient)]), loss, aux

    return jax.vmap(one)(keys)


def gradients(objective, q, target, seed, num=NUM):
    """Return `num` gradients (num, parameters), losses and aux."""
    return _of_keys(objective, q, target, jax.random.split(jax.random.key(seed), num))


def _shifted(p, constant=0.0):
    """Return the target that is p, plus a constant: one program for all of these laws."""
    data = (p, jnp.asarray(constant, float))
    return Target.from_density(shifted_family_density, jnp.zeros(DIM), data=data)


@rows
def test_it_is_stationary_where_q_is_the_target(case, family, bits):
    q = FAMILIES[family].lopsided(DIM)
    gradient, loss, _ = gradients(case.make(q), q, _shifted(q), 0)
    assert loss.dtype == np.dtype(f"float{bits}")
    if case.exact:
        np.testing.assert_allclose(gradient, 0.0, atol=2e-6)
    elif np.abs(gradient).max() > (2e-5 if bits == 32 else 1e-13):  # not zero draw by draw
        assert_mean(gradient, 0.0, detects=case.detects)


@rows
def test_it_falls_towards_the_target(case, family, bits):
    q = FAMILIES[family].lopsided(DIM)
    away = eqx.tree_at(lambda q: q.loc, q, mean(q) + 0.5)
    gradient, _, _ = gradients(case.make(q), away, _shifted(q), 1)
    slope = np.asarray(gradient)[:, :DIM] @ np.ones(DIM)  # loc is the first leaf
    assert slope.mean() > 5 * slope.std() / np.sqrt(len(slope))


@rows
def test_a_constant_in_the_log_density_does_not_move_it(case, family, bits):
    p, q = FAMILIES[family].lopsided(DIM), FAMILIES[family].standard(DIM)
    plain, shifted = (
        gradients(case.make(p), q, _shifted(p, constant), 2)[0] for constant in (0.0, 100.0)
    )
    tolerance = 1e-3 if bits == 32 else 1e-11
    np.testing.assert_allclose(plain, shifted, rtol=tolerance, atol=tolerance)


@rows
def test_what_is_called_elbo_is_a_lower_bound(case, family, bits):
    p, q = FAMILIES[family].lopsided(DIM), FAMILIES[family].standard(DIM)
    _, _, aux = gradients(case.make(p), q, _shifted(p), 3)
    if "elbo" not in aux:
        assert isinstance(case.make(p), WITHOUT_BOUND)
        return
    assert_at_most(aux["elbo"], 0.0)
    assert aux["elbo"].mean() < -0.01  # q is not p: there is a gap
    np.testing.assert_array_equal(aux["loss"], -aux["elbo"])


@rows
def test_gradients_are_counted(case, family, bits):
    objective = case.make(FAMILIES[family].standard(DIM))
    assert (objective.gradients_per_step() > 0) == case.uses_density


# -- reverse KL: anchor C3


def conjugate(z):
    """Log joint of z ~ N(0, 1), x | z ~ N(z, 1) at x = 1."""
    return -0.5 * z[0] ** 2 - 0.5 * (1.0 - z[0]) ** 2 - jnp.log(2 * jnp.pi)


@pytest.mark.parametrize("estimator", [Pathwise, StickingTheLanding])
def test_the_elbo_at_the_posterior_is_the_evidence_without_noise(estimator, float64):
    target = Target.from_density(conjugate, jnp.zeros(1))
    posterior = MeanFieldNormal.init(jnp.array([0.5]), np.sqrt(0.5))
    aux = gradients(ReverseKL(estimator(), 1), posterior, target, 4, 1_000)[2]
    np.testing.assert_allclose(aux["elbo"], -1.515512123, atol=1e-9)


def test_the_elbo_at_the_prior(float64):
    target = Target.from_density(conjugate, jnp.zeros(1))
    aux = gradients(
        ReverseKL(num_samples=4), MeanFieldNormal.init(jnp.zeros(1)), target, 5, 20_000
    )[2]
    assert_mean(aux["elbo"], -1.918938533, detects=0.05)


# -- forward KL: what it refuses, and its own weights


def test_importance_weights_are_exact_where_q_is_the_target(float64):
    q = FAMILIES["FullRankNormal"].lopsided(DIM)
    aux = gradients(ForwardKL(num_samples=16), q, _shifted(q), 6)[2]
    np.testing.assert_allclose(aux["ess"], 16.0, rtol=1e-9)


def test_the_mixture_with_a_proposal_weights_the_target_right(float64):
    """With many draws, −Σ w log q is the cross-entropy of p and q, whatever q and the proposal."""
    p, q = FAMILIES["FullRankNormal"].lopsided(DIM), FAMILIES["MeanFieldNormal"].standard(DIM)
    wide = MeanFieldNormal.init(jnp.zeros(DIM), 3.0)
    _, loss, aux = gradients(ForwardKL(None, wide, 4_096), q, _shifted(p), 7, 150)
    second = np.trace(cov(p)) + np.sum(np.square(mean(p)))
    assert_mean(loss, np.log(2 * np.pi) + 0.5 * second, detects=0.05)
    assert np.all(np.asarray(aux["ess"]) > 500)


BAD = {
    "both": ({"samples": 0.0, "proposal": 0.0}, ValueError, "`samples` and `proposal` exclude"),
    "proposal": ({"proposal": 3.0}, TypeError, "`proposal` should be an instance of a family; got"),
    "class": ({"proposal": MeanFieldNormal}, TypeError, "`proposal` should be an instance"),
    "num_samples": ({"num_samples": 0}, ValueError, "`num_samples` should be .* got 0"),
    "fraction": ({"num_samples": 2.5}, ValueError, "`num_samples` should be .* got 2.5"),
    "batch": ({"samples": 0.0, "batch_size": 0}, ValueError, "`batch_size` should be .* got 0"),
}


@pytest.fixture
def as_users_see_it():
    """Switch off the runtime checks of types that only test runs have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(("arguments", "error", "message"), BAD.values(), ids=list(BAD))
def test_forward_kl_refuses(arguments, error, message, as_users_see_it):
    with pytest.raises(error, match=message):
        ForwardKL(**arguments)


def test_forward_kl_refuses_samples_that_do_not_fit():
    target = Target.from_density(lambda v: -(v["a"] ** 2), {"a": 1.0}, {"a": "positive"})
    with pytest.raises(ValueError, match=r"`samples` should have the structure of .*leading axis"):
        ForwardKL(samples=jnp.ones((5, 2))).prepare(target)
    with pytest.raises(ValueError, match=r"`samples` should be finite.* got 1 of 3 rows that are"):
        ForwardKL(samples={"a": jnp.array([1.0, -1.0, 2.0])}).prepare(target)
    with pytest.raises(ValueError, match=r"`proposal` should have the dimension of the target, 1"):
        ForwardKL(proposal=MeanFieldNormal.init(jnp.zeros(3))).prepare(target)


def test_reverse_kl_refuses(as_users_see_it):
    with pytest.raises(TypeError, match=r"`estimator` should be one of vikl.estimators.*Call the"):
        ReverseKL(estimator=Pathwise)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"`num_samples` should be a whole number.*got True"):
        ReverseKL(num_samples=True)
