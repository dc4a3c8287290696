"""Bad input of losses: an error that names the argument, or NaN inside jit."""

import math

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from vikl import losses
from vikl.estimators import ControlVariate

NAN, INF = math.nan, math.inf


# --- bad input ---

Z, V = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([[0.0, 1.0, -1.0]])
P, Q = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.2, 0.3, 0.5])
LINE = jnp.array([-1.0, -2.0])


def _step(**settings):
    return losses.trust_region_step(lambda z: -z[0], lambda z: z @ z, jnp.zeros(3), **settings)


def _cat(shape):
    return dist.Categorical(logits=jnp.zeros(shape))


FAULTS = {
    "integers": (lambda: losses.distillation(jnp.array([1, 2]), V), TypeError, "`student_logits`"),
    "nan": (lambda: losses.distillation(Z, V * NAN), ValueError, "`teacher_logits`.*NaN"),
    "classes": (lambda: losses.distillation(Z, V[:, :2]), ValueError, "outcomes; got 3 and 2"),
    "cold": (lambda: losses.distillation(Z, V, 0.0), ValueError, "`temperature`.*positive.*got 0"),
    "hot": (lambda: losses.distillation(Z, V, jnp.ones(2)), ValueError, "`temperature`.*one num"),
    "lonely": (
        lambda: losses.distillation(Z, V, labels=jnp.array([1])), ValueError, "`label_weight`"),
    "weight": (
        lambda: losses.distillation(Z, V, labels=jnp.array([1]), label_weight=1.5),
        ValueError, "`label_weight`.*between 0 and 1.*1.5"),
    "label": (
        lambda: losses.distillation(Z, V, labels=jnp.array([3]), label_weight=0.5),
        ValueError, "`labels`.*0 to 2; got 3"),
    "label shape": (
        lambda: losses.distillation(Z, V, labels=jnp.array([1, 1]), label_weight=0.5),
        ValueError, r"`labels`.*\(1,\).*\(2,\)"),
    "mask dtype": (
        lambda: losses.distillation(Z, V, where=jnp.ones(1)), TypeError, "`where`.*booleans"),
    "mask shape": (
        lambda: losses.distillation(Z, V, where=jnp.ones(2, bool)), ValueError, "`where`.*batch"),
    "mean": (lambda: losses.masked_mean(jnp.zeros((0,))), ValueError, "`values`.*at least one"),
    "focal sum": (lambda: losses.focal_kl(P, P + 1), ValueError, "`q`"),
    "focal gamma": (lambda: losses.focal_kl(P, Q, -1.0), ValueError, "`gamma`.*positive.*-1"),
    "focal logits": (
        lambda: losses.focal_kl_from_logits(P * NAN, Z[0]), ValueError, "`labels`"),
    "naive": (lambda: losses.naive_focal_kl(P, Q * 2), ValueError, "`q`"),
    "agents": (lambda: losses.policy_kl([_cat(2)], [_cat(2)] * 2), ValueError, "same agents"),
    "one agent": (lambda: losses.policy_kl(_cat(2), [_cat(2)]), ValueError, "same agents"),
    "states": (
        lambda: losses.policy_kl([_cat((4, 2)), _cat(2)], [_cat((4, 2)), _cat(2)]),
        ValueError, r"one batch shape.*to_event"),
    "target": (lambda: losses.AdaptivePenalty(0.0), ValueError, "`target`.*above 0"),
    "factor": (lambda: losses.AdaptivePenalty(0.1, factor=0.5), ValueError, "`factor`.*above 1"),
    "ends": (lambda: losses.AdaptivePenalty(0.1, smallest=2, largest=1), ValueError, "`smallest`"),
    "tilt": (lambda: losses.tilted_policy(P * 2, Q, 0.1), ValueError, "`probabilities`"),
    "advantages": (lambda: losses.tilted_policy(P, Q * NAN, 0.1), ValueError, "`advantages`"),
    "radius": (lambda: losses.tilted_policy(P, Q, -0.1), ValueError, "`max_kl`.*positive"),
    "turned round": (
        lambda: losses.tilted_policy(P, Q, 0.1, direction="forward"),
        ValueError, r"`direction`.*new\|\|old.*old\|\|new.*forward"),
    "trust radius": (lambda: _step(max_kl=0.0), ValueError, "`max_kl`.*positive"),
    "damping": (lambda: _step(damping=-1.0), ValueError, "`damping`.*zero or positive"),
    "shrink": (lambda: _step(shrink=1.5), ValueError, "`shrink`.*between 0 and 1"),
    "origin": (
        lambda: losses.trust_region_step(jnp.sum, lambda z: (z * z).sum(), Z[0]),
        ValueError, "`kl` should be zero at `params`"),
    "tokens": (
        lambda: losses.token_kl(LINE, LINE[:1]), ValueError, "`reference_log_probs`.*shape"),
    "token value": (lambda: losses.token_kl(LINE, LINE, value=ControlVariate()), ValueError, "K3"),
    "token gradient": (
        lambda: losses.token_kl(LINE, LINE, gradient="pathwise"), ValueError, "`gradient`"),  # type: ignore[arg-type]
    "off policy": (
        lambda: losses.token_kl(LINE, LINE, gradient="sequence", behaviour_log_probs=LINE),
        ValueError, "whole texts"),
    "token nan": (lambda: losses.token_kl(LINE * NAN, LINE), ValueError, "`log_probs`.*NaN"),
    "spectrum": (lambda: losses.spectral_kl(P, -Q), ValueError, "`spectrum_q`.*positive.*decibels"),
    "unstable": (
        lambda: losses.autoregressive_kl([1.1], 1.0, [0.5], 1.0),
        ValueError, "`coefficients_p`.*stationary"),
    "scale": (
        lambda: losses.autoregressive_kl([0.1], 1.0, [0.5], 0.0), ValueError, "`scale_q`.*posi"),
    "matrix": (
        lambda: losses.autoregressive_spectrum(jnp.ones((2, 2)), 1.0), ValueError, "a vector"),
    "snr": (lambda: losses.noise_kl(jnp.array(-3.0)), ValueError, "`snr`.*positive.*-3.*decibels"),
    "gain base": (
        lambda: losses.information_gain(_cat(2), _cat(2), base=1), ValueError, "`base`"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_names_the_argument(fault):
    call, error, says = FAULTS[fault]
    with pytest.raises(error, match=says):
        call()


def test_bad_input_inside_jit_is_nan_only_where_it_is():
    z = jnp.array([[0.0, 1.0, 2.0], [NAN, 0.0, 0.0]])
    v = jnp.zeros((2, 3))
    found = jax.jit(losses.distillation)(z, v)
    np.testing.assert_array_equal(np.isnan(found), [False, True])
    assert np.isnan(jax.jit(losses.distillation)(z[:1], v[:1], -1.0)).all()
    labels = jnp.array([0, 7])
    mixed = jax.jit(lambda y: losses.distillation(v, v, labels=y, label_weight=0.5))(labels)
    np.testing.assert_array_equal(np.isnan(mixed), [False, True])
    p = jnp.array([[0.5, 0.5], [0.5, 0.6]])
    q = jnp.full((2, 2), 0.5)
    for call in (losses.focal_kl, lambda a, b: losses.tilted_policy(a, b, 0.1).kl):
        np.testing.assert_array_equal(np.isnan(jax.jit(call)(p, q)), [False, True])
    assert np.isnan(jax.jit(losses.focal_kl)(p[0], q[0], -1.0))
    assert np.isnan(jax.jit(losses.tilted_policy)(p[0], q[0], -1.0).kl)
    assert np.isnan(jax.jit(losses.autoregressive_kl)(jnp.array([1.1]), 1.0, jnp.array([0.5]), 1.0))
    assert np.isnan(jax.jit(losses.noise_kl)(jnp.array([-1.0, 1.0]))[0])
