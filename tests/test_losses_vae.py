"""The parts of a variational autoencoder, against closed forms: bounds that stay below."""

import math
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from jax.scipy.stats import multivariate_normal

from vikl import estimators, losses

PLUS_MINUS = np.array([1.0, -1.0])  # two draws of noise with mean 0 and variance 1, exactly


def encoded(batch=3, latents=2):
    """Means and standard deviations of some data points."""
    rng = np.random.default_rng(5)
    loc = rng.normal(size=(batch, latents)) * np.linspace(0.1, 2.0, latents)
    return jnp.asarray(loc, float), jnp.asarray(rng.uniform(0.4, 1.3, (batch, latents)), float)


# --- rate ---


def test_rate_is_the_kl_to_the_prior(dtype):
    # 25 digits: N(0.5, 0.75²) ‖ N(0, 1) and ‖ N(1, 1.5²), by the formula in mpmath
    loc, scale = jnp.full((1, 1), 0.5), jnp.full((1, 1), 0.75)
    exact = [0.1939320724517809274043784, 0.3737027361155008649726676]
    found = [
        losses.rate(loc, scale)[0, 0],
        losses.rate(loc, scale, prior_loc=jnp.ones(1), prior_scale=1.5)[0, 0],
    ]
    assert found[0].dtype == dtype
    np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(dtype).eps)


def test_rate_keeps_its_digits_near_the_prior():
    """Where the encoder has all but collapsed, with a gradient that still points back."""
    loc, scale = jnp.array([1e-4]), jnp.array([1 + 1e-4], jnp.float32)
    x = float(scale[0]) - 1
    exact = 0.5 * (1e-8 + x**2) + (x - math.log1p(x))
    np.testing.assert_allclose(losses.rate(loc, scale), [exact], rtol=1e-5)
    slope = jax.grad(lambda s: losses.rate(loc, s).sum())(scale)
    np.testing.assert_allclose(slope, [x + x / (1 + x)], rtol=1e-5)


def test_free_bits_floor_the_mean_of_each_latent(dtype):
    loc, scale = encoded()
    plain = losses.rate(loc, scale)
    least = float(plain.mean(0).mean())  # between the two latents
    floored = losses.rate(loc, scale, free_bits=least)
    np.testing.assert_allclose(floored.mean(0), np.maximum(plain.mean(0), least), rtol=1e-5)
    assert (floored >= plain).all()  # so an ELBO made of it is a lower bound, row by row
    grad = jax.grad(lambda s, b: losses.rate(loc, s, free_bits=b).mean(0).sum())
    free, held = grad(scale, 0.0), grad(scale, least)
    np.testing.assert_allclose(held[:, 0], 0, atol=1e-6)  # below: no pull
    np.testing.assert_allclose(held[:, 1], free[:, 1], rtol=1e-5)
    assert np.abs(free[:, 0]).min() > 1e-3


@pytest.mark.parametrize("estimator", [None, estimators.StickingTheLanding()], ids=["path", "stl"])
def test_sampled_rate_agrees_with_rate_in_mean(estimator, float64):
    """Log q/p is quadratic in the noise: two draws, ±1, give its mean and mean gradient exactly."""
    loc, scale = encoded()

    def sampled(loc, scale):
        z = loc[None] + scale[None] * jnp.asarray(PLUS_MINUS)[:, None, None]
        return losses.sampled_rate(
            z, loc, scale, prior_loc=0.3, prior_scale=1.7, estimator=estimator
        )

    def closed(loc, scale):
        return losses.rate(loc, scale, prior_loc=0.3, prior_scale=1.7)

    drawn = sampled(loc, scale)
    assert drawn.shape == (2, 3, 2)
    np.testing.assert_allclose(drawn.mean(0), closed(loc, scale), rtol=1e-12)
    mean = lambda *a: sampled(*a).mean(0).sum()
    for found, exact in zip(
        jax.grad(mean, (0, 1))(loc, scale),
        jax.grad(lambda *a: closed(*a).sum(), (0, 1))(loc, scale),
    ):
        np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_sticking_the_landing_is_still_at_the_prior():
    loc, scale = jnp.full((1, 2), 0.3), jnp.full((1, 2), 1.7)
    noise = jnp.array([[0.8, -1.3]])

    def one_draw(loc, scale, estimator):
        z = loc + scale * noise
        return losses.sampled_rate(
            z, loc, scale, prior_loc=0.3, prior_scale=1.7, estimator=estimator
        ).sum()

    at = [jax.grad(one_draw, (0, 1))(loc, scale, e) for e in
          (estimators.StickingTheLanding(), estimators.Pathwise())]  # fmt: skip
    np.testing.assert_allclose(at[0], np.zeros((2, 1, 2)), atol=1e-6)
    assert np.abs(at[1]).max() > 0.1


def test_active_units():
    loc = jnp.stack([jnp.linspace(-1, 1, 50), jnp.full(50, 3.0), 0.1 * jnp.linspace(-1, 1, 50)], 1)
    assert losses.active_units(loc).tolist() == [True, False, False]
    assert losses.active_units(loc, threshold=1e-3).tolist() == [True, False, True]
    assert losses.active_units(loc.reshape(5, 10, 3)).tolist() == [True, False, False]


# --- distortion ---


@pytest.mark.usefixtures("standard_promotion")  # numpyro's Bernoulli needs it
def test_distortion_sums_a_data_point(dtype):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 4, 3)), float)
    logits = jnp.linspace(-3, 3, 24).reshape(2, 4, 3)
    exact = np.logaddexp(0, np.where(x == 1, -logits, logits))
    bernoulli = dist.Bernoulli(logits=logits)
    for axes in (0, 1, 2, 3):
        summed = exact.sum(tuple(range(3 - axes, 3)))
        found = losses.distortion(x, bernoulli, event_axes=axes)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, summed, rtol=1e-5)
    for inside in (1, 2):
        found = losses.distortion(x, bernoulli.to_event(inside), event_axes=2)
        np.testing.assert_allclose(found, exact.sum((1, 2)), rtol=1e-5)
    scale = dist.Normal(jnp.zeros(3), jnp.full(3, 2.0))
    normal = 0.5 * (np.ones(3) / 4).sum() + 3 * math.log(2) + 1.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(losses.distortion(jnp.ones(3), scale), normal, rtol=1e-6)


def test_distortion_takes_anything_that_scores():
    own = SimpleNamespace(log_prob=lambda x: -(x**2))
    np.testing.assert_allclose(losses.distortion(jnp.array([[1.0, 2.0]]), own), [5.0])


# --- the linear VAE, whose evidence is that of probabilistic PCA ---


def linear_vae(seed, dim=3, latents=2):
    """Decoder x|z ~ N(W z + m, v I), encoder z|x ~ N(A (x − m), diag(s²)), all at random."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), float)
    return {
        "W": draw(dim, latents),
        "m": draw(dim),
        "v": jnp.exp(draw()),
        "A": 0.4 * draw(latents, dim),
        "log_s": 0.5 * draw(latents),
    }


def exact_encoder(params):
    """Put the true posterior into the encoder; its covariance must be diagonal."""
    W, v = params["W"], params["v"]
    precision = jnp.eye(W.shape[1]) + W.T @ W / v
    log_s = -0.5 * jnp.log(jnp.diagonal(precision))
    return params | {"A": jnp.linalg.solve(precision, W.T / v), "log_s": log_s}


def linear_elbo(params, x):
    """The ELBO of each row, exactly: two draws ±√L along each latent average any quadratic."""
    loc, scale = (x - params["m"]) @ params["A"].T, jnp.exp(params["log_s"])
    latents = len(scale)
    noise = math.sqrt(latents) * jnp.concatenate([jnp.eye(latents), -jnp.eye(latents)])

    def one(eps):
        mean = (loc + scale * eps) @ params["W"].T + params["m"]
        return losses.distortion(x, dist.Normal(mean, jnp.sqrt(params["v"])))

    rate = losses.rate(loc, jnp.broadcast_to(scale, loc.shape))
    return losses.elbo(jax.vmap(one)(noise).mean(0), rate)


def evidence(params, x) -> jax.Array:
    """log p(x) under probabilistic PCA."""
    covariance = params["W"] @ params["W"].T + params["v"] * jnp.eye(len(params["m"]))
    return jnp.asarray(multivariate_normal.logpdf(x, params["m"], covariance))


@pytest.mark.usefixtures("float64", "standard_promotion")
def test_the_elbo_never_exceeds_the_evidence_and_reaches_it():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)) * 2)
    gap = jax.jit(lambda params: evidence(params, x) - linear_elbo(params, x))
    for seed in range(20):
        params = linear_vae(seed)
        assert (gap(params) > 1e-6).all()
        left, sizes, _ = np.linalg.svd(np.asarray(params["W"]), full_matrices=False)
        params["W"] = jnp.asarray(left * sizes)  # columns at right angles
        np.testing.assert_allclose(gap(exact_encoder(params)), 0, atol=1e-10)


@pytest.mark.usefixtures("float64", "standard_promotion")
def test_the_linear_vae_climbs_to_probabilistic_pca_from_below():
    """Tipping & Bishop (1999): the maximum is at the principal axes, and the ELBO ends there."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 4)) * [3.0, 2.0, 0.5, 0.5] @ rng.normal(size=(4, 4))
    x = jnp.asarray(x - x.mean(0))
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    noise = values[:2].mean()
    best = {"W": jnp.asarray(axes[:, 2:] * np.sqrt(values[2:] - noise)), "m": jnp.zeros(4)}
    maximum = float(evidence(best | {"v": jnp.asarray(noise)}, x).mean())
    np.testing.assert_allclose(
        maximum,
        -0.5 * (np.log(2 * np.pi * np.array([*values[2:], noise, noise])) + 1).sum(),
        rtol=1e-10,
    )

    def loss(free):
        params = free | {"v": jnp.exp(free["v"])}
        return -linear_elbo(params, x).mean(), -evidence(params, x).mean()

    adam = optax.adam(optax.cosine_decay_schedule(0.05, 3000))

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    start = linear_vae(1, dim=4)
    run = jax.jit(lambda s: jax.lax.scan(step, (s, adam.init(s)), length=3000)[1])
    elbos, evidences = (-np.asarray(v) for v in run(start))
    assert elbos[0] < maximum - 1
    assert (elbos <= evidences + 1e-12).all()
    assert (evidences <= maximum + 1e-12).all()
    assert maximum - elbos[-1] < 1e-3


# --- importance-weighted bounds ---


@jax.jit
def toy_bound(z, x, loc, scale):
    """The bound of z ~ N(0,1), x|z ~ N(z,1), with draws from N(loc, scale²)."""
    distortion = losses.distortion(x, dist.Normal(z, jnp.ones_like(z)))
    rate = losses.sampled_rate(z, jnp.reshape(loc, 1), jnp.reshape(scale, 1))
    return losses.importance_weighted_bound(distortion, rate)


@pytest.mark.usefixtures("float64")
def test_importance_weighted_bounds_are_ordered():
    """z ~ N(0,1), x|z ~ N(z,1), x = 1, q the prior: exact by quadrature over the K draws."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    weights = weights / weights.sum()
    found = []
    for draws in (1, 2, 3):
        z = np.stack(np.meshgrid(*[nodes] * draws, indexing="ij")).reshape(draws, -1)
        weight = np.prod(np.meshgrid(*[weights] * draws, indexing="ij"), axis=0).ravel()
        z = jnp.asarray(z)[..., None]
        x = jnp.ones_like(z)
        found.append(float((toy_bound(z, x, 0.0, 1.0) * weight).sum()))
    evidence = -0.5 * (math.log(2 * math.pi * 2) + 0.5)
    assert found[0] < found[1] < found[2] < evidence
    # K = 1 in closed form; K = 2 by the identity E log S = ∫ (e^-t − E e^-tS) dt/t, in mpmath
    np.testing.assert_allclose(found[:2], [-1.918938533204673, -1.653473787], atol=1e-8)


def test_with_the_posterior_every_draw_is_the_evidence():
    z = jax.random.normal(jax.random.key(0), (7, 1)) * math.sqrt(0.5) + 0.5
    for draws in (z, z[:1], z[1:2]):
        bound = toy_bound(draws, jnp.ones_like(draws), 0.5, math.sqrt(0.5))
        np.testing.assert_allclose(bound, -1.5155121235, rtol=1e-5)


# --- the loss ---


def test_the_loss_and_its_schedules(dtype):
    distortion = jnp.array([3.0, 5.0])
    rate = jnp.array([[1.0, 0.0], [3.0, 0.5]])
    loss, aux = losses.vae_loss(distortion, rate)
    assert loss.dtype == dtype
    np.testing.assert_allclose([loss, aux["elbo"], aux["distortion"], aux["rate"]],
                               [6.25, -6.25, 4.0, 2.25])  # fmt: skip
    beta, free = optax.linear_schedule(0.0, 2.0, 4), optax.linear_schedule(1.0, 0.0, 4)
    traces = []

    @jax.jit
    def scheduled(step):
        traces.append(1)
        return losses.vae_loss(distortion, rate, beta=beta, free_bits=free, step=step)

    for step, expected in ((0, 4.0), (1, 4.0 + 0.5 * 2.75), (4, 4.0 + 2 * 2.25)):
        loss, aux = scheduled(step)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        np.testing.assert_allclose(aux["elbo"], -6.25)  # whatever β and λ are
        np.testing.assert_allclose([aux["beta"], aux["free_bits"]], [step / 2, 1 - step / 4])
    assert traces == [1]
    by_hand = losses.vae_loss(distortion, rate, beta=1.0, free_bits=jnp.array([0.0, 1.0]))[0]
    np.testing.assert_allclose(by_hand, 4.0 + 2.0 + 1.0)


class Stateful:
    """Parameters in a mutable object, as Flax NNX has them: split into arrays and merged back."""

    def __init__(self, params):
        self.params = params

    def __call__(self, x):
        return x @ self.params["weight"].T + self.params["bias"]

    def split(self):
        return type(self), self.params


@pytest.mark.usefixtures("standard_promotion")
def test_networks_of_any_library_give_the_same_loss():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (5, 4)), float)
    keys = jax.random.split(jax.random.key(0), 2)
    layers = [eqx.nn.Linear(4, 4, key=keys[0]), eqx.nn.Linear(2, 4, key=keys[1])]
    plain = [{"weight": layer.weight, "bias": layer.bias} for layer in layers]

    def loss(encoder, decoder):
        loc, log_scale = jnp.split(encoder(x), 2, -1)
        scale = jnp.exp(log_scale)
        likelihood = dist.Bernoulli(logits=decoder(loc + 0.5 * scale))
        return losses.vae_loss(losses.distortion(x, likelihood), losses.rate(loc, scale))[0]

    affine = lambda p: lambda x: x @ p["weight"].T + p["bias"]
    kinds, state = zip(*[Stateful(p).split() for p in plain])
    ways = [
        jax.jit(jax.grad(lambda nets: loss(*map(jax.vmap, nets))))(layers),
        jax.jit(jax.grad(lambda params: loss(*map(affine, params))))(plain),
        jax.jit(jax.grad(lambda s: loss(*(k(p) for k, p in zip(kinds, s)))))(list(state)),
    ]
    rows = [
        sorted(jax.tree.leaves(w), key=lambda a: (a.ndim, a.shape, float(a.sum()))) for w in ways
    ]
    for found in rows[1:]:
        for a, b in zip(rows[0], found):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_one_data_point_at_a_time_is_the_same():
    loc, scale = encoded()
    d = jnp.array([1.0, 2.0, 3.0])
    whole = losses.elbo(d, losses.rate(loc, scale))
    one = jax.vmap(lambda d, l, s: losses.elbo(d, losses.rate(l, s)))(d, loc, scale)
    np.testing.assert_allclose(one, whole, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(losses.elbo)(d, losses.rate(loc, scale)), whole, rtol=1e-6)


# --- faults ---

D, R = np.zeros(3, np.float32), np.zeros((3, 2), np.float32)
FAULTS = [
    (lambda: losses.rate(R, R), ValueError, "`scale_p` should be positive"),
    (lambda: losses.rate(np.zeros((3, 2), int), R + 1), TypeError, "`loc` .*floats; got dtype int"),
    (lambda: losses.rate(1.0, 1.0), ValueError, "`loc` should have the latents on its last axis"),
    (lambda: losses.rate(R, R[:, :1] + 1, prior_scale=[1.0, 2.0, 3.0]), ValueError, "broadcast"),
    (lambda: losses.rate(R, R + 1, free_bits=-1.0), ValueError, "`free_bits` .*got -1.0"),
    (
        lambda: losses.sampled_rate(R, R, R + 1, estimator=estimators.ScoreFunction()),
        TypeError,
        "`estimator` should be .*ScoreFunction",
    ),
    (lambda: losses.active_units(R[:1]), ValueError, r"at least two data points.*\(1, 2\)"),
    (lambda: losses.distortion(D, D), TypeError, "`likelihood` should have a method `log_prob`"),
    (
        lambda: losses.distortion(D, dist.Normal(0.0, 1.0), event_axes=2),
        ValueError,
        r"`event_axes` .*at least 0 .*at most 1; got 2",
    ),
    (
        lambda: losses.distortion(R, dist.Normal(R, R + 1).to_event(2), event_axes=1),
        ValueError,
        "at least 2 ",
    ),
    (lambda: losses.elbo(D, R.sum(-1)), ValueError, r"`rate` .*\(3,\), and one more axis.*\(3,\)"),
    (lambda: losses.elbo(R.T, R), ValueError, "average draws of the distortion"),
    (lambda: losses.importance_weighted_bound(R.T, R), ValueError, "draw a rate for each"),
    (lambda: losses.importance_weighted_bound(D[0], R[0]), ValueError, "`distortion` .*first axis"),
    (lambda: losses.vae_loss(D, R, beta=-0.5), ValueError, "`beta` .*not negative; got -0.5"),
    (lambda: losses.vae_loss(D, R, beta=math.nan), ValueError, "`beta` .*got nan"),
    (lambda: losses.vae_loss(D, R, beta=lambda s: s), ValueError, "`step` .*`beta` is a schedule"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[2][:30])
def test_bad_input_names_the_argument(fault):
    call, error, message = fault
    with pytest.raises(error, match=message):
        call()


def test_an_invalid_scale_under_jit_is_nan():
    assert np.isnan(jax.jit(losses.rate)(jnp.zeros(2), jnp.array([1.0, -1.0]))[1])
