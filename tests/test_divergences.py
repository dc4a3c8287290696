"""`vikl.divergences`: the closed forms against the table, their laws and their faults."""

import ast
import contextlib
import functools
import importlib
import math
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from divergence_cases import PAIRS, VALUES, distribution, key, rows

from vikl import divergences as D

# jax moved the switch out of `experimental`
place = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
enable_x64 = place.enable_x64

# pairs without a kernel of `vikl.kl`, which in float64 does not run under strict promotion
STRICT = {"normal_near", "normal_wide", "log_normal", "multivariate_normal", "bernoulli",
          "bernoulli_near", "binomial"}  # fmt: skip


@contextlib.contextmanager
def float64(promotion="standard"):
    with enable_x64(True), jax.numpy_dtype_promotion(promotion):
        yield


SINGLE = {"entropy"}  # of one distribution
# public names that are not divergences of two distributions, and the file that tests each
ELSEWHERE = {
    "generators": "test_divergences.py",
    "f_divergence": "test_divergences.py",
    "Estimate": "test_estimate_kl.py",
    "estimate_kl": "test_estimate_kl.py",
    "estimate_divergence": "test_estimate_kl.py",
    "K1": "test_estimate_kl.py",
    "K2": "test_estimate_kl.py",
    "K3": "test_estimate_kl.py",
    "ControlVariate": "test_estimate_kl.py",
    "Antithetic": "test_estimate_kl.py",
    "QuasiMonteCarlo": "test_estimate_kl.py",
    "RaoBlackwellized": "test_estimate_kl.py",
    "kl_from_samples": "test_estimate_kl_samples.py",
    "kl_from_classifier": "test_estimate_kl_samples.py",
    "donsker_varadhan_bound": "test_estimate_kl_samples.py",
    "nwj_bound": "test_estimate_kl_samples.py",
    "f_divergence_bound": "test_f_divergence_bound.py",
    "MixtureBounds": "test_mixture_bounds.py",
    "kl_mixture_bounds": "test_mixture_bounds.py",
}
NORMALS = (dist.Normal, (0.25, 0.75), (1.0, 1.5))
CATEGORICALS = (
    lambda x: dist.Categorical(logits=x),
    (jnp.array([0.5, -1.0, 0.25]),),
    (jnp.array([0.0, 0.5, -0.5]),),
)
SYMMETRIC = {
    "jensen_shannon_divergence",
    "squared_hellinger_distance",
    "bhattacharyya_distance",
    "total_variation_distance",
    "wasserstein2_distance",
    "jeffreys_divergence",
}
ARGUMENTS = {"renyi_divergence": (1.5,), "alpha_divergence": (0.25,)}
DIVERGENCES = sorted({row[0] for row in rows()} - {"entropy", "cross_entropy"})


def public_names():
    """Names that the room's `__init__` re-exports."""
    tree = ast.parse(pathlib.Path(D.__file__).read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    names = {alias.asname for node in imports for alias in node.names if alias.asname}
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return names | {ast.unparse(node.targets[0]) for node in assigned}


def untested(names, elsewhere):
    """Public names without a row in the table or a mention in the file that should test it."""
    here = pathlib.Path(__file__).parent
    named = {n for n, file in elsewhere.items() if n in (here / file).read_text()}
    return names - {row[0] for row in rows()} - named


def test_every_public_name_has_a_row():
    assert untested(public_names(), ELSEWHERE) == set()
    assert set(VALUES) == {key(*row) for row in rows()}


def test_the_completeness_test_can_fail():
    assert untested({*public_names(), "new_divergence"}, ELSEWHERE) == {"new_divergence"}
    assert "K3" in untested(public_names(), {n: f for n, f in ELSEWHERE.items() if n != "K3"})


def evaluate(name, arguments, p, q):
    return getattr(D, name)(*((p,) if name in SINGLE else (p, q, *arguments)))


@functools.cache
def values_of(family):
    """Return the rows there are of the pairs of a family, and a program of them all."""
    of = {(n, a): None for n, a, pair in rows() if PAIRS[pair][0] == family}

    @jax.jit
    def values(parameters):
        p, q = (distribution(family, x, jnp.asarray) for x in parameters)
        return [evaluate(name, arguments, p, q) for name, arguments in of]

    return list(of), values


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_values(pair, x64):
    """Relative error 1e-6 in float32 and 1e-11 in float64, also near p = q and by quadrature.

    Compiled; that the eager value is the same is a law below.
    """
    family, *parameters = PAIRS[pair]
    strict = not x64 or all(n in STRICT for n, (of, *_) in PAIRS.items() if of == family)
    dtypes = jax.numpy_dtype_promotion("strict" if strict else "standard")
    ranks = jax.numpy_rank_promotion("raise" if strict else "allow")
    with enable_x64(x64), dtypes, ranks:
        dtype = jnp.float64 if x64 else jnp.float32
        names, values = values_of(family)
        got_all = values([[np.asarray(v, dtype) for v in side] for side in parameters])
        for (name, arguments), got in zip(names, got_all, strict=True):
            if (name, arguments, pair) not in rows():
                continue
            expected = float(VALUES[key(name, arguments, pair)])
            assert got.dtype == dtype
            tolerance = 1e-11 if x64 else 1e-6
            slack = (
                4 * tolerance if name.endswith("entropy") else 0
            )  # may be zero without being small
            np.testing.assert_allclose(
                got, expected, rtol=tolerance, atol=slack, err_msg=f"{name} {arguments} {pair}"
            )


LAWS = [(name, "normal") for name in DIVERGENCES]
LAWS += [(name, "categorical") for name in ("alpha_divergence", "jensen_shannon_divergence")]


@pytest.mark.parametrize(("name", "kind"), LAWS)
def test_laws(name, kind):
    """Gradient = finite differences, vmap = loop, jit = eager, symmetry, zero at p = q."""
    make, p, q = NORMALS if kind == "normal" else CATEGORICALS
    arguments = ARGUMENTS.get(name, ())
    with float64():
        p, q = ([jnp.asarray(x, jnp.float64) for x in side] for side in (p, q))
        f = lambda p, q: getattr(D, name)(make(*p), make(*q), *arguments)
        rng = np.random.default_rng(0)
        step = [[jnp.asarray(rng.standard_normal(x.shape)) for x in side] for side in (p, q)]
        move = lambda t: jax.tree.map(lambda x, d: x + t * d, [p, q], step)
        points = [[p, q], move(1e-5), move(-1e-5), [q, p], [p, p]]
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *points)
        compiled = jax.jit(jax.vmap(jax.value_and_grad(f, (0, 1))))
        values, slopes = compiled(*stacked)
        np.testing.assert_allclose(values[0], f(p, q), rtol=1e-12)
        pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(step), strict=True)
        exact = sum(jnp.vdot(g[0], d) for g, d in pairs)
        np.testing.assert_allclose(exact, (values[1] - values[2]) / 2e-5, rtol=2e-8, atol=1e-9)
        if name in SYMMETRIC:
            np.testing.assert_allclose(values[3], values[0], rtol=1e-12)
        assert values[4] == 0
        assert all(np.abs(g[4]).max() < 1e-12 for g in jax.tree.leaves(slopes))


def test_never_negative_near_equality_in_float32():
    loc = jnp.linspace(-1, 1, 64)
    p = dist.Normal(loc, jnp.exp(loc))
    for size in (1e-2, 1e-4, 1e-6, 1e-7):
        q = dist.Normal(loc * (1 + size), jnp.exp(loc) * (1 - size))
        for name in DIVERGENCES:
            values = getattr(D, name)(p, q, *ARGUMENTS.get(name, ()))
            assert (values >= 0).all(), name
            assert np.isfinite(values).all(), name


def test_second_derivatives_are_the_fisher_information():
    """Every f-divergence with f''(1) = 1 has the Hessian 1/scale^2 in the mean at p = q."""
    p = dist.Normal(0.0, 2.0)
    curvature = {"alpha_divergence": 1.0, "chi_squared_divergence": 2.0, "jeffreys_divergence": 2.0,
                 "squared_hellinger_distance": 0.25, "jensen_shannon_divergence": 0.25,
                 "skew_kl_divergence": 0.25}  # fmt: skip
    for name, factor in curvature.items():
        f = lambda m, name=name: getattr(D, name)(dist.Normal(m, 2.0), p, *ARGUMENTS.get(name, ()))
        hessian = jax.jit(jax.grad(jax.grad(f)))(0.0)
        np.testing.assert_allclose(hessian, factor / 4, rtol=1e-4, err_msg=name)


def test_identities():
    with float64():
        p, q = dist.Normal(0.25, 0.75), dist.Normal(1.0, 1.5)
        kl = float(D.cross_entropy(p, q) - D.entropy(p))
        for a in (1 - 1e-7, 1.0, 1 + 1e-7):  # Rényi and alpha are KL at 1
            assert float(D.renyi_divergence(p, q, a)) == pytest.approx(kl, rel=1e-6)
            assert float(D.alpha_divergence(p, q, a)) == pytest.approx(kl, rel=1e-6)
        chi2 = float(D.chi_squared_divergence(p, q))
        assert float(D.renyi_divergence(p, q, 2.0)) == pytest.approx(math.log1p(chi2), rel=1e-12)
        bc = math.exp(-float(D.bhattacharyya_distance(p, q)))
        h2 = float(D.squared_hellinger_distance(p, q))
        assert h2 == pytest.approx(1 - bc, rel=1e-12)
        tv = float(D.total_variation_distance(p, q))
        assert h2 <= tv <= math.sqrt(h2 * (2 - h2))
        assert tv <= math.sqrt(kl / 2)  # Pinsker
        assert kl <= float(D.renyi_divergence(p, q, 2.0)) <= chi2
        js = float(D.jensen_shannon_divergence(p, q))
        assert 0 < js < math.log(2)
        halves = (D.skew_kl_divergence(p, q, 0.5) + D.skew_kl_divergence(q, p, 0.5)) / 2
        assert js == pytest.approx(float(halves), rel=1e-12)
        assert float(D.skew_kl_divergence(p, q, 1.0)) == pytest.approx(kl, rel=1e-10)
        a = 0.3  # the skew symmetries
        assert float(D.alpha_divergence(p, q, a)) == pytest.approx(
            float(D.alpha_divergence(q, p, 1 - a)), rel=1e-12
        )
        assert float(D.renyi_divergence(p, q, a)) == pytest.approx(
            a / (1 - a) * float(D.renyi_divergence(q, p, 1 - a)), rel=1e-12
        )


def test_jeffreys_equals_the_generator_and_f_divergence_of_a_function():
    with float64():
        p, q = dist.Normal(0.25, 0.75), dist.Normal(1.0, 1.5)
        g = D.generators
        for generator, expected in (
            (g.jeffreys(), D.jeffreys_divergence(p, q)),
            (g.kl(), D.cross_entropy(p, q) - D.entropy(p)),
            (g.reverse_kl(), D.cross_entropy(q, p) - D.entropy(q)),
            (g.chi_squared(), D.chi_squared_divergence(p, q)),
            (g.squared_hellinger(), D.squared_hellinger_distance(p, q)),
            (g.alpha(0.25), D.alpha_divergence(p, q, 0.25)),
            (g.alpha(1.75), D.alpha_divergence(p, q, 1.75)),
            (lambda u: u * jnp.log(u), D.cross_entropy(p, q) - D.entropy(p)),
        ):
            np.testing.assert_allclose(D.f_divergence(p, q, generator), expected, rtol=1e-9)
        c, d = (
            dist.Categorical(jnp.array([0.5, 0.5, 0.0])),
            dist.Categorical(jnp.array([0.25] * 2 + [0.5])),
        )
        np.testing.assert_allclose(
            D.f_divergence(c, d, lambda u: (u - 1) ** 2), D.chi_squared_divergence(c, d), rtol=1e-12
        )
        assert np.isnan(
            D.f_divergence(d, c, lambda u: (u - 1) ** 2)
        )  # f(u)/u at infinity: not known


def test_infinite_cases():
    inf = math.inf
    wide, narrow = dist.Normal(0.0, 2.0), dist.Normal(0.0, 1.0)
    assert D.chi_squared_divergence(wide, narrow) == inf
    assert D.renyi_divergence(wide, narrow, 1.25) < inf == D.renyi_divergence(wide, narrow, 1.5)
    assert D.alpha_divergence(narrow, wide, -0.5) == inf  # the mirror image, order 1 + 0.5
    assert D.renyi_divergence(dist.Gamma(1.0, 1.0), dist.Gamma(3.0, 1.0), 2.0) == inf
    p, q = dist.Categorical(jnp.array([1.0, 0.0])), dist.Categorical(jnp.array([0.5, 0.5]))
    far = dist.Categorical(jnp.array([0.0, 1.0]))
    assert D.renyi_divergence(q, p, 1.0) == D.chi_squared_divergence(q, p) == inf
    assert D.alpha_divergence(p, q, -1.0) == inf == D.jeffreys_divergence(p, q)
    np.testing.assert_allclose(D.renyi_divergence(p, q, 0.0), math.log(2), rtol=1e-6)
    np.testing.assert_allclose(D.renyi_divergence(p, q, inf), math.log(2), rtol=1e-6)
    assert D.renyi_divergence(p, far, 0.5) == inf == D.bhattacharyya_distance(p, far)
    np.testing.assert_allclose(D.alpha_divergence(p, far, 0.25), 1 / (0.25 * 0.75), rtol=1e-6)
    np.testing.assert_allclose(D.squared_hellinger_distance(p, far), 1, rtol=1e-6)
    np.testing.assert_allclose(D.total_variation_distance(p, far), 1, rtol=1e-6)
    np.testing.assert_allclose(D.jensen_shannon_divergence(p, far), math.log(2), rtol=1e-6)
    limit = D.renyi_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0), inf)
    np.testing.assert_allclose(limit, math.log(2) + 1 / 6, rtol=1e-6)
    for x in (p, q, far):  # zeros give no NaN gradients
        f = lambda z, x=x: D.jensen_shannon_divergence(dist.Categorical(jax.nn.softmax(z)), x)
        assert np.isfinite(jax.jit(jax.grad(f))(jnp.array([0.0, -200.0]))).all()


def test_order_may_be_traced():
    orders = jnp.array([-0.5, 0.0, 0.25, 0.5, 1.0, 1.5])
    for p, q in (
        (dist.Normal(0.25, 0.75), dist.Normal(1.0, 1.5)),
        (dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 1.5)),
    ):
        for f in (D.renyi_divergence, D.alpha_divergence):
            expected = [float(f(p, q, float(a))) for a in orders]
            np.testing.assert_allclose(
                jax.vmap(lambda a, f=f, p=p, q=q: f(p, q, a))(orders), expected, rtol=2e-5
            )


def test_structure():
    """Products add, transforms are shared, the full normal agrees with the diagonal one."""
    loc, scale = jnp.array([0.25, -0.5]), jnp.array([0.75, 1.25])
    p, q = dist.Normal(loc, scale).to_event(1), dist.Normal(jnp.zeros(2), 1.5).to_event(1)
    dense = lambda d: dist.MultivariateNormal(
        d.base_dist.loc, scale_tril=jnp.diag(jnp.ones(2) * d.base_dist.scale)
    )
    full = [dense(p), dense(q)]
    low_rank = dist.LowRankMultivariateNormal(loc, jnp.zeros((2, 1)), scale**2)
    factors = D.renyi_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.5), 0.75)
    for a, b in ((p, q), (full[0], full[1]), (p, full[1]), (full[0], q), (low_rank, q)):
        np.testing.assert_allclose(D.renyi_divergence(a, b, 0.75), jnp.sum(factors), rtol=2e-6)
    np.testing.assert_allclose(
        D.wasserstein2_distance(*full), D.wasserstein2_distance(p, q), rtol=2e-6
    )
    np.testing.assert_allclose(D.entropy(full[0]), D.entropy(p), rtol=1e-6)
    np.testing.assert_allclose(
        D.renyi_divergence(dist.Exponential(2.0), dist.Gamma(1.0, 1.5), 0.5),
        D.renyi_divergence(dist.Exponential(2.0), dist.Exponential(1.5), 0.5),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        D.renyi_divergence(dist.Bernoulli(logits=0.5), dist.Bernoulli(0.25), 0.5),
        D.renyi_divergence(dist.Bernoulli(jax.nn.sigmoid(0.5)), dist.Bernoulli(0.25), 0.5),
        rtol=2e-6,
    )
    expanded = dist.Normal(0.0, 1.0).expand((3,))
    assert D.renyi_divergence(expanded, dist.Normal(1.0, 1.0), 2.0).shape == (3,)
    half = D.renyi_divergence(
        dist.Normal(jnp.bfloat16(0), jnp.bfloat16(1)), dist.Normal(1.0, 1.0), 2.0
    )
    assert half.dtype == jnp.bfloat16
    assert half == 1


def test_wasserstein_of_full_normals_at_equality():
    tril = jnp.array([[1.0, 0.0], [0.3, 0.8]])
    make = lambda t: dist.MultivariateNormal(jnp.zeros(2), scale_tril=t)
    f = lambda t: D.wasserstein2_distance(make(t), make(tril)) ** 2
    assert f(tril) == 0
    assert np.isfinite(jax.jit(jax.hessian(f))(tril)).all()
    identity = lambda t: D.wasserstein2_distance(make(t), make(jnp.eye(2))) ** 2
    near = jnp.eye(2) + 1e-4 * jnp.array([[1.0, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(identity(near), 1e-8 * (1 + 1 + 0.5), rtol=1e-3)
    assert np.isfinite(jax.jit(jax.hessian(identity))(2 * jnp.eye(2))).all()


N = dist.Normal
unchecked = lambda *x: N(*x, validate_args=False)
FAULTS = [
    (
        lambda: D.renyi_divergence(unchecked(0.0, -1.0), N(0.0, 1.0), 2.0),
        ValueError,
        r"`p.scale`.*positive.*-1.0",
    ),
    (lambda: D.entropy(unchecked(jnp.nan, 1.0)), ValueError, "`p.loc` should be finite; got .*nan"),
    (
        lambda: D.jensen_shannon_divergence(N(0.0, 1.0), unchecked(0.0, jnp.inf)),
        ValueError,
        "`q.scale`.*inf",
    ),
    (
        lambda: D.chi_squared_divergence(
            dist.Categorical(jnp.array([0.5, 0.6]), validate_args=False),
            dist.Categorical(jnp.ones(2) / 2),
        ),
        ValueError,
        "`p.probs` should be non-negative and sum to one",
    ),
    (
        lambda: D.renyi_divergence(unchecked(jnp.arange(3), 1.0), N(0.0, 1.0), 2.0),
        TypeError,
        "`p.loc`.*int32",
    ),
    (
        lambda: D.renyi_divergence(N(jnp.zeros(0), 1.0), N(0.0, 1.0), 2.0),
        ValueError,
        r"`p.loc`.*\(0,\)",
    ),
    (
        lambda: D.renyi_divergence(jnp.ones(2), N(0.0, 1.0), 2.0),
        TypeError,
        "`p` should be a numpyro",
    ),
    (
        lambda: D.renyi_divergence(
            N(jnp.zeros(3), 1.0).to_event(1), N(jnp.zeros(1), 1.0).to_event(1), 2.0
        ),
        ValueError,
        r"events of the same shape; got \(3,\) and \(1,\)",
    ),
    (
        lambda: D.renyi_divergence(N(jnp.zeros(3), 1.0), N(jnp.zeros(2), 1.0), 2.0),
        ValueError,
        "batch shapes",
    ),
    (lambda: D.renyi_divergence(N(0.0, 1.0), N(0.0, 1.0), math.nan), ValueError, "`alpha`.*nan"),
    (lambda: D.alpha_divergence(N(0.0, 1.0), N(0.0, 1.0), math.inf), ValueError, "`alpha`.*finite"),
    (lambda: D.renyi_divergence(N(0.0, 1.0), N(0.0, 1.0), -math.inf), ValueError, "`alpha`.*-inf"),
    (
        lambda: D.jensen_shannon_divergence(N(0.0, 1.0), N(0.0, 1.0), (0.5, 0.6)),
        ValueError,
        "`weights`",
    ),
    (lambda: D.skew_kl_divergence(N(0.0, 1.0), N(0.0, 1.0), 1.5), ValueError, "`weight`.*1.5"),
    (
        lambda: D.renyi_divergence(dist.Cauchy(0.0, 1.0), dist.Cauchy(0.0, 1.0), 2.0),
        NotImplementedError,
        "Rényi.*`p` of type Cauchy.*estimate_divergence",
    ),
    (
        lambda: D.total_variation_distance(dist.Poisson(1.0), dist.Poisson(2.0)),
        NotImplementedError,
        "total variation.*Poisson.*estimate_divergence",
    ),
    (
        lambda: D.renyi_divergence(N(0.0, 1.0), dist.Laplace(0.0, 1.0), 2.0),
        NotImplementedError,
        "`q` of type Laplace",
    ),
    (
        lambda: D.renyi_divergence(dist.Binomial(3, 0.5), dist.Binomial(4, 0.5), 2.0),
        ValueError,
        "total_count",
    ),
    (
        lambda: D.entropy(
            dist.MixtureSameFamily(dist.Categorical(jnp.ones(2) / 2), N(jnp.zeros(2), 1.0))
        ),
        NotImplementedError,
        "entropy has no closed form.*log_prob",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[2][:30])
def test_bad_input_names_the_argument(fault):
    call, error, message = fault
    with pytest.raises(error, match=message):
        call()


def test_bad_input_inside_jit_is_nan_only_where_it_is():
    scale = jnp.array([1.0, -1.0, jnp.nan, 2.0])
    for name in ("renyi_divergence", "jensen_shannon_divergence", "total_variation_distance"):
        f = lambda s, name=name: getattr(D, name)(N(0.0, s), N(1.0, 3.0), *ARGUMENTS.get(name, ()))
        np.testing.assert_array_equal(np.isnan(jax.jit(f)(scale)), [False, True, True, False])
    f = lambda s: D.renyi_divergence(dist.Gamma(2.0, s), dist.Gamma(2.0, 1.0), 0.5)
    np.testing.assert_array_equal(np.isnan(jax.jit(f)(scale)), [False, True, True, False])
    np.testing.assert_array_equal(
        np.isnan(jax.jit(lambda s: D.entropy(N(0.0, s)))(scale)), [False, True, True, False]
    )
