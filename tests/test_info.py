"""`vikl.info`: the worked examples, laws and faults. Every public name has a row in `CALLS`."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vikl.info as info
from vikl.info import _stable, logits

# jax moved the switch out of `experimental`
place = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
enable_x64 = place.enable_x64

INF = math.inf
# (name, p, q, H, CE, KL, reverse KL) in nats: 17 digits, recomputed with 30-digit arithmetic
EXAMPLES = [
    (
        "one_hot",
        (1.0, 0.0, 0.0),
        (0.7, 0.2, 0.1),
        0.0,
        0.35667494393873238,
        0.35667494393873238,
        INF,
    ),
    (
        "weather",
        (0.6, 0.3, 0.1),
        (0.3, 0.3, 0.4),
        0.89794572485677978,
        1.1752045970807579,
        0.27725887222397812,
        0.34657359027997265,
    ),
    (
        "spam",
        (0.8, 0.2),
        (0.6, 0.4),
        0.50040242353818788,
        0.59191864538762356,
        0.09151622184943568,
        0.10464962875290957,
    ),
    (
        "vehicle",
        (0.4, 0.2, 0.3, 0.1),
        (0.3, 0.3, 0.2, 0.2),
        1.2798542258336675,
        1.3661588475692017,
        0.086304621735534278,
        0.092871325187271222,
    ),
    (
        "ad_click",
        (0.2, 0.8),
        (0.3, 0.7),
        0.50040242353818788,
        0.5261345160161731,
        0.025732092477985222,
        0.028167557595283478,
    ),
    (
        "fruit",
        (0.3, 0.2, 0.4, 0.1),
        (0.25, 0.25, 0.35, 0.15),
        1.2798542258336675,
        1.3027880288480045,
        0.022933803014337048,
        0.024289277427705522,
    ),
    ("boot", (0.7, 0.2, 0.1), (1.0, 0.0, 0.0), 0.80181855254333731, INF, INF, 0.35667494393873238),
    ("fair_die", (1 / 6,) * 6, (1.0,) + (0.0,) * 5, 1.791759469228055, INF, INF, 1.791759469228055),
    (
        "rigged_die",
        (1.0,) + (0.0,) * 5,
        (1 / 6,) * 6,
        0.0,
        1.791759469228055,
        1.791759469228055,
        INF,
    ),
    ("fair_coin", (0.5, 0.5), (0.5, 0.5), 0.69314718055994531, 0.69314718055994531, 0.0, 0.0),
]
# the same in bits: (name, H, CE, KL)
BITS = [
    ("weather", 1.2954618442383218, 1.6954618442383218, 0.4),
    ("spam", 0.72192809488736235, 0.8539580943104374, 0.13202999942307505),
    ("vehicle", 1.8464393446710155, 1.9709505944546686, 0.12451124978365315),
    ("ad_click", 0.72192809488736235, 0.75905165709704783, 0.037123562209685478),
    ("fruit", 1.8464393446710155, 1.8795258285485239, 0.033086483877508419),
    ("one_hot", 0.0, 0.51457317282975824, 0.51457317282975824),
    ("boot", 1.1567796494470395, INF, INF),
    ("fair_die", 2.5849625007211562, INF, INF),
    ("fair_coin", 1.0, 1.0, 0.0),
]
P, Q = (0.6, 0.3, 0.1), (0.3, 0.3, 0.4)
# every public name of the room and a call of it
CALLS = {
    "information": lambda: info.information(jnp.array(P)),
    "entropy": lambda: info.entropy(jnp.array(P)),
    "binary_entropy": lambda: info.binary_entropy(jnp.array(P)),
    "cross_entropy": lambda: info.cross_entropy(jnp.array(P), jnp.array(Q)),
    "kl_divergence": lambda: info.kl_divergence(jnp.array(P), jnp.array(Q)),
    "mutual_information": lambda: info.mutual_information(jnp.array([[0.4, 0.1], [0.2, 0.3]])),
    "logits": lambda: logits.entropy(jnp.array(P)),
    "expected_code_length": lambda: info.expected_code_length(P, np.array([1.0, 2.0, 2.0])),
    "huffman_code_lengths": lambda: info.huffman_code_lengths(P),
    "shannon_code_lengths": lambda: info.shannon_code_lengths(P),
}


def public_names(module):
    """Names that the room's `__init__` re-exports (a test hook may add modules of its own)."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", getattr(value, "__name__", "")).startswith("vikl.")
    }


def missing_rows(module, rows):
    return public_names(module) - set(rows)


def padded(p, dtype):
    """Six outcomes, the last ones impossible: one shape is compiled once."""
    array = np.zeros(6, dtype)
    array[: len(p)] = p
    return array if dtype is float else jnp.array(array)


def close(got, expected, tolerance):
    np.testing.assert_allclose(np.asarray(got, float), expected, rtol=0, atol=tolerance)


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def precision(request):
    """(dtype, absolute tolerance), under strict dtype and rank promotion."""
    with (
        enable_x64(request.param),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield (jnp.float64, 1e-12) if request.param else (jnp.float32, 2e-6)


def test_every_public_name_has_a_row():
    assert missing_rows(info, CALLS) == set()
    for call in CALLS.values():
        assert np.isfinite(np.asarray(call())).all()


def test_the_completeness_test_can_fail():
    assert missing_rows(info, [n for n in CALLS if n != "entropy"]) == {"entropy"}


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row[0])
def test_worked_examples(row, precision):
    dtype, tolerance = precision
    _, p, q, h, ce, kl, reverse = row
    p, q = padded(p, dtype), padded(q, dtype)
    with np.errstate(divide="ignore"):
        surprise = -np.log(padded(row[1], float))
    close(info.information(p), surprise, tolerance)
    close(info.entropy(p), h, tolerance)
    close(info.cross_entropy(p, q), ce, tolerance)
    close(info.kl_divergence(p, q), kl, tolerance)
    close(info.kl_divergence(q, p), reverse, tolerance)
    a, b = jnp.log(p), jnp.log(q)
    close(logits.information(a), surprise, tolerance)
    close(logits.entropy(a + 3), h, tolerance)
    close(logits.cross_entropy(a, b - 5), ce, tolerance)
    close(logits.kl_divergence(a - 2, b + 1), kl, tolerance)
    close(logits.kl_divergence(b, a), reverse, tolerance)
    assert info.kl_divergence(p, q).dtype == dtype == logits.kl_divergence(a, b).dtype


@pytest.mark.parametrize("row", BITS, ids=lambda row: row[0])
def test_worked_examples_in_bits(row, precision):
    dtype, tolerance = precision
    name, h, ce, kl = row
    p, q = (padded(x, dtype) for x in {e[0]: e for e in EXAMPLES}[name][1:3])
    close(info.entropy(p, base=2), h, tolerance)
    close(info.cross_entropy(p, q, base=2), ce, tolerance)
    close(info.kl_divergence(p, q, base=2), kl, tolerance)


def test_binary_entropy(precision):
    dtype, tolerance = precision
    p = jnp.array([0.0, 1.0, 0.5, 0.2], dtype)
    expected = [0, 0, math.log(2), 0.50040242353818788]
    close(info.binary_entropy(p), expected, tolerance)
    close(logits.binary_entropy(jnp.log(p) - jnp.log1p(-p)), expected, tolerance)
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(jax.grad(info.binary_entropy)))(p[:3]), [0, 0, 0]
    )
    tail = logits.binary_entropy(jnp.array([-40.0, 40.0], dtype))  # (1 + 40) e^-40
    np.testing.assert_allclose(tail, 41 * math.exp(-40), rtol=1e-6)
    close(
        jax.jit(jax.grad(jax.grad(logits.binary_entropy)))(jnp.zeros((), dtype)), -0.25, tolerance
    )


def test_likelihood_ratios_of_counts_are_kl(precision):
    """N (mean -log q - mean -log p̂) = N KL(p̂ || q): maximum likelihood is forward KL."""
    dtype, tolerance = precision
    counts = np.array([5, 3, 2])
    data = np.repeat(np.arange(3), counts)
    shares, q = jnp.array(counts / 10, dtype), jnp.array([0.2, 0.5, 0.3], dtype)
    gap = info.information(q)[data].mean() - info.information(shares)[data].mean()
    close(gap, info.kl_divergence(shares, q), tolerance)


def test_it_is_not_a_distance():
    """Neither symmetric nor bound by the triangle inequality: a detour may be shorter."""
    p, q, r = jnp.array([0.5, 0.5]), jnp.array([0.7, 0.3]), jnp.array([0.9, 0.1])
    direct = info.kl_divergence(p, r)
    assert direct > info.kl_divergence(p, q) + info.kl_divergence(q, r)
    assert abs(float(direct - info.kl_divergence(r, p))) > 0.1


def test_near_equal_in_float32():
    """KL of neighbours: relative error 1e-6 where the textbook sum has no digit left."""
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-3, 1e-4, 1e-5):
        q = np.float32(rng.dirichlet(np.ones(50)))
        p = np.float32(q * (1 + size * rng.standard_normal(50)))
        p, q = p / p.sum(dtype=np.float32), q / q.sum(dtype=np.float32)
        x, y = p.astype(np.longdouble), q.astype(np.longdouble)
        exact = float(np.sum(x * np.log(x / y) - x + y))
        np.testing.assert_allclose(info.kl_divergence(jnp.array(p), jnp.array(q)), exact, rtol=1e-6)
    a = np.float32(rng.standard_normal(50) * 3)
    for size in (1e-1, 1e-3, 1e-5):
        b = np.float32(a + size * rng.standard_normal(50))
        x, y = a.astype(np.longdouble), b.astype(np.longdouble)
        x, y = x - np.log(np.exp(x).sum()), y - np.log(np.exp(y).sum())
        exact = float(np.sum(np.exp(x) * (x - y)))
        got = logits.kl_divergence(jnp.array(a), jnp.array(b))
        np.testing.assert_allclose(got, exact, rtol=2e-6)


def test_never_negative_and_zero_at_equality(precision):
    dtype, _ = precision
    rng = np.random.default_rng(0)
    p = jnp.array(rng.dirichlet(np.ones(6), 200), dtype)
    q = p * jnp.array(1 + 1e-7 * rng.standard_normal(p.shape), dtype)
    q = q / jnp.sum(q, -1, keepdims=True)

    @jax.jit
    def things(p, q):
        a = jnp.log(p)
        gap = info.cross_entropy(p, q) - info.entropy(p) - info.kl_divergence(p, q)
        return info.kl_divergence(p, q), info.kl_divergence(p, p), logits.kl_divergence(a, a), gap

    near, equal, equal_logits, gap = things(p, q)
    assert (near >= 0).all()
    assert (equal == 0).all()
    assert (equal_logits == 0).all()
    assert jnp.abs(gap).max() < 20 * jnp.finfo(dtype).eps


def test_extreme_ratios_are_finite():
    p = jnp.array([1e-30, 1.0], jnp.float32)
    q = jnp.array([1.0, 1e-37], jnp.float32)
    np.testing.assert_allclose(info.kl_divergence(p, q), 37 * math.log(10), rtol=1e-6)
    np.testing.assert_allclose(info.kl_divergence(q, p), 30 * math.log(10), rtol=1e-6)
    far = jnp.array([0.0, 300.0])
    np.testing.assert_allclose(logits.kl_divergence(far, -far), 300.0, rtol=1e-6)
    one = jnp.array([jnp.inf, 0.0])
    assert logits.kl_divergence(one, far) == 300
    assert logits.kl_divergence(far, one) == INF


def slope(f, x, direction, step=1e-5):
    """Central difference of a function of probabilities along the simplex."""
    return float(f(x + step * direction) - f(x - step * direction)) / (2 * step)


@pytest.mark.parametrize("name", ["entropy", "kl_p", "kl_q", "ce_q", "mutual_information"])
def test_gradients_against_finite_differences(name):
    with enable_x64(True):
        p, q = jnp.array([0.5, 0.2, 0.2, 0.1]), jnp.array([0.1, 0.3, 0.25, 0.35])
        f, x = {
            "entropy": (info.entropy, p),
            "kl_p": (lambda x: info.kl_divergence(x, q), p),
            "kl_q": (lambda x: info.kl_divergence(p, x), q),
            "ce_q": (lambda x: info.cross_entropy(p, x), q),
            "mutual_information": (lambda x: info.mutual_information(x.reshape(2, 2)), p),
        }[name]
        for direction in (jnp.array([1.0, -1, 0, 0]), jnp.array([1.0, 1, -3, 1])):
            exact = float(jnp.vdot(jax.jit(jax.grad(f))(x), direction))
            assert abs(exact - slope(f, x, direction)) < 1e-7


def test_gradients_at_zeros_are_finite_and_right(precision):
    dtype, tolerance = precision
    grad, kl = jax.grad, info.kl_divergence
    p, q = jnp.array([1.0, 0.0, 0.0], dtype), jnp.array([0.7, 0.2, 0.1], dtype)
    low, high = jnp.array([0.0, -200.0, 1.0], dtype), jnp.array([0.0, -jnp.inf, 40.0], dtype)
    target = jnp.array([0.5, 0.0, 0.5], dtype)

    @jax.jit
    def slopes(p, q, low, high, target):
        finite = [
            grad(info.entropy)(p),
            grad(kl)(p, q),
            grad(kl, 1)(q, p),
            grad(logits.entropy)(high),
            grad(logits.kl_divergence)(high, high),
            grad(logits.kl_divergence, 1)(high, high),
        ]
        zero = [grad(kl, 1)(q, q), grad(kl)(p, p)]
        # through a softmax that underflows: softmax(z) - p, never NaN
        softmax = grad(lambda z: kl(target, jax.nn.softmax(z)))(low)
        hot = high[jnp.array([0, 2, 0])]
        label = grad(lambda b: logits.cross_entropy(jnp.log(target), b))(hot)
        return finite, zero, grad(kl, 1)(p, q), softmax, label

    finite, zero, of_q, softmax, label = slopes(p, q, low, high, target)
    assert all(np.isfinite(slope).all() for slope in finite)
    assert all((slope == 0).all() for slope in zero)
    close(of_q, [1 - 1 / 0.7, 1, 1], tolerance)
    close(softmax, jax.nn.softmax(low) - target, tolerance)
    close(label, jax.nn.softmax(jnp.array([0.0, 40, 0], dtype)) - target, tolerance)


@pytest.mark.parametrize("z", [(0.0, 0.0, 0.0), (2.0, 1.0, 2.0), (-1.0, 3.0, 3.0)])
def test_derivatives_where_logits_tie(z, precision):
    """A network that starts at zero has equal logits: the slope is softmax - label there too."""
    dtype, tolerance = precision
    z, label = jnp.array(z, dtype), jnp.array([0.0, 1.0, 0.0], dtype)
    f = lambda z: logits.cross_entropy(jnp.log(label), z)
    q = jax.nn.softmax(z)
    close(jax.jit(jax.grad(f))(z), q - label, tolerance)
    close(jax.jit(jax.hessian(f))(z), jnp.diag(q) - jnp.outer(q, q), tolerance)
    slope = jax.jit(jax.grad(logits.entropy))(z)
    close(slope, -q * (jnp.log(q) + info.entropy(q)), tolerance)


def test_cross_entropy_and_kl_have_the_same_gradient_in_logits(precision):
    _, tolerance = precision
    p, z = jnp.array([0.2, 0.5, 0.3]), jnp.array([1.0, -0.5, 0.3])
    by_ce = jax.jit(jax.grad(lambda z: info.cross_entropy(p, jax.nn.softmax(z))))(z)
    by_kl = jax.jit(jax.grad(lambda z: logits.kl_divergence(jnp.log(p), z)))(z)
    close(by_ce, jax.nn.softmax(z) - p, tolerance)
    close(by_kl, jax.nn.softmax(z) - p, tolerance)


def test_axis_batch_jit_and_dtype():
    p = jnp.array(np.random.default_rng(0).dirichlet(np.ones(4), (3, 5)), jnp.float32)
    q = jnp.full((4,), 0.25)
    rows = jnp.stack([jnp.stack([info.kl_divergence(x, q) for x in y]) for y in p])
    np.testing.assert_allclose(info.kl_divergence(p, q), rows, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(info.kl_divergence)(p, q), rows, rtol=1e-6)
    first = jnp.moveaxis(p, -1, 0)
    np.testing.assert_allclose(
        info.kl_divergence(first, jnp.full((4, 1, 1), 0.25), axis=0), rows, rtol=1e-6
    )
    np.testing.assert_allclose(info.entropy(first, axis=0), info.entropy(p), rtol=1e-6)
    half = info.kl_divergence(p.astype(jnp.bfloat16), q.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), rows, atol=0.05)


def test_mutual_information(precision):
    dtype, tolerance = precision
    independent = jnp.array([0.3, 0.7], dtype)[:, None] * jnp.array([[0.2, 0.5, 0.3]], dtype)
    close(info.mutual_information(independent), 0, tolerance)
    noisy = jnp.array([[0.45, 0.05], [0.05, 0.45]], dtype)  # a binary symmetric channel
    close(info.mutual_information(noisy, base=2), 1 - float(info.binary_entropy(0.1, base=2)), 1e-6)
    close(info.mutual_information(jnp.stack([noisy, noisy.T])), [0.36806420] * 2, 2e-6)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ((0.5, 0.25, 0.125, 0.125), (1, 2, 3, 3)),
        ((0.4, 0.2, 0.2, 0.1, 0.1), (2, 2, 2, 3, 3)),  # Knuth's example: mean 2.2
        ((1.0, 0.0), (0, INF)),
        ((0.7, 0.0, 0.2, 0.1), (1, INF, 2, 2)),
    ],
)
def test_huffman(p, expected):
    lengths = info.huffman_code_lengths(p)
    best = sum(a * b for a, b in zip(p, expected, strict=True) if a > 0)
    assert info.expected_code_length(p, lengths) == pytest.approx(best, abs=1e-12)
    assert sum(2.0**-length for length in lengths) == 1  # Kraft: a complete code


def test_codes_are_within_one_bit_of_the_entropy():
    rng = np.random.default_rng(1)
    for n in (2, 5, 40):
        p = rng.dirichlet(np.ones(n))
        h = float(info.entropy(jnp.array(p, jnp.float32), base=2))
        huffman = info.expected_code_length(p, info.huffman_code_lengths(p))
        shannon = info.expected_code_length(p, info.shannon_code_lengths(p))
        assert h - 1e-5 <= huffman <= shannon < h + 1
        q = rng.dirichlet(np.ones(n))  # the wrong code costs KL more, to within a bit
        kl = float(info.kl_divergence(jnp.array(p, jnp.float32), jnp.array(q, jnp.float32), base=2))
        wrong = info.expected_code_length(p, info.shannon_code_lengths(q))
        assert h + kl - 1e-5 <= wrong < h + kl + 1
    dyadic = (0.5, 0.25, 0.125, 0.125)
    np.testing.assert_array_equal(info.shannon_code_lengths(dyadic), [1, 2, 3, 3])
    assert info.expected_code_length((0.5, 0.5), info.shannon_code_lengths((1.0, 0.0))) == INF


NAN = float("nan")
FAULTS = [
    (lambda: info.entropy(jnp.array([0.5, 0.6])), ValueError, "`p` should sum to one.*1.1.*divide"),
    (
        lambda: info.entropy(jnp.array([1.5, -0.5])),
        ValueError,
        "`p` should lie between.*-0.5.*logits",
    ),
    (
        lambda: info.entropy(jnp.array([NAN, 0.5])),
        ValueError,
        "`p` should hold numbers; got NaN in 1",
    ),
    (
        lambda: info.entropy(jnp.array([1, 0])),
        TypeError,
        "`p` should be .*floating.*int32.*asarray",
    ),
    (lambda: info.entropy(jnp.zeros((0,))), ValueError, r"`p` should have .*\(0,\)"),
    (lambda: info.entropy(jnp.array([1.0]), axis=2), ValueError, "`axis` should be an axis of `p`"),
    (
        lambda: info.entropy(jnp.array([1.0]), base=1),
        ValueError,
        "`base` should be .*got 1.*2 for bits",
    ),
    (lambda: info.information(jnp.array([1.2])), ValueError, "`p` should lie between.*1.2"),
    (
        lambda: info.binary_entropy(jnp.array([-1.0])),
        ValueError,
        "`p` should lie between 0 and 1; got -1",
    ),
    (
        lambda: info.kl_divergence(jnp.array(P), jnp.array([0.5, 0.6, 0.1])),
        ValueError,
        "`q` should sum",
    ),
    (
        lambda: info.kl_divergence(jnp.array(P), jnp.array([1.0])),
        ValueError,
        "`p` and `q`.*got 3 and 1",
    ),
    (
        lambda: info.cross_entropy(jnp.full((2, 2), 0.5), jnp.full((3, 2), 0.5)),
        ValueError,
        r"batch shapes that broadcast; got \(2,\) and \(3,\)",
    ),
    (lambda: info.mutual_information(jnp.array([1.0])), ValueError, "`joint` should have two axes"),
    (
        lambda: logits.entropy(jnp.array([-jnp.inf])),
        ValueError,
        "`logits` should hold logits.*all -inf",
    ),
    (
        lambda: logits.kl_divergence(jnp.array([0.0]), jnp.array([NAN])),
        ValueError,
        "`logits_q`.*NaN",
    ),
    (lambda: info.huffman_code_lengths([0.5, 0.6]), ValueError, "`p` should sum to one.*1.1"),
    (lambda: info.shannon_code_lengths([1, 0]), TypeError, "`p` should be .*floating"),
    (
        lambda: info.huffman_code_lengths(np.full((2, 2), 0.25)),
        ValueError,
        r"`p` should be a vector.*2, 2",
    ),
    (lambda: info.expected_code_length([1.0], [1.0, 2.0]), ValueError, "`lengths` should hold one"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[2][:30])
def test_bad_input_names_the_argument(fault):
    call, error, message = fault
    with pytest.raises(error, match=message):
        call()


def test_bad_input_inside_jit_is_nan_only_where_it_is():
    p = jnp.array([[0.5, 0.5], [0.5, 0.6], [NAN, 1.0], [1.5, -0.5]])
    q = jnp.array([0.5, 0.5])
    for f in (info.entropy, lambda x: info.kl_divergence(x, q), lambda x: info.cross_entropy(q, x)):
        np.testing.assert_array_equal(np.isnan(jax.jit(f)(p)), [False, True, True, True])
    np.testing.assert_array_equal(
        np.isnan(jax.jit(logits.entropy)(jnp.array([[0.0, 1.0], [NAN, 0.0]]))), [False, True]
    )


@pytest.mark.parametrize("name", ["exp_excess", "exp_bregman", "log1p_deficit"])
def test_given_derivatives_are_those_of_the_function(name, float64):
    """First and second, on both sides of where series and formula meet."""
    function = getattr(_stable, name)
    slope = jax.vmap(jax.grad(function))
    x, step = jnp.array([-0.9, -0.3, -1e-3, 0.0, 1e-3, 0.4, 0.7, 1.5, 4.0]), 1e-5
    for f, derivative in ((function, slope), (slope, jax.vmap(jax.grad(jax.grad(function))))):
        central = (f(x + step) - f(x - step)) / (2 * step)
        np.testing.assert_allclose(derivative(x), central, rtol=1e-6, atol=1e-9)


def test_given_derivatives_hold_at_the_ends():
    end = jnp.array([jnp.inf, -jnp.inf])
    assert jax.vmap(jax.grad(_stable.exp_excess))(end).tolist() == [np.inf, -1]
    assert jax.vmap(jax.grad(_stable.exp_bregman))(end).tolist() == [np.inf, 0]
    assert jax.grad(_stable.log1p_deficit)(end[0]) == 1
