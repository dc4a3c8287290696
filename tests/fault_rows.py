"""Bad input, as data: a call, the error it must raise, and what its message must name."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from cases import normal_density, small_target
from jax import lax

import vikl
from vikl.estimators import AnalyticKL
from vikl.families import FullRankNormal, MeanFieldNormal
from vikl.objectives import ForwardKL, ReverseKL

X = np.zeros(2, np.float32)


def good(x):
    """A log density with nothing wrong."""
    return -0.5 * jnp.sum(x**2)


@dataclasses.dataclass(frozen=True)
class Refused:
    """A call that must raise `error` with all the fragments in its message."""

    call: Callable[[], Any]
    error: type[Exception]
    fragments: tuple[str, ...]


def fit(target: Any = good, like: Any = X, **changes: Any) -> Any:
    like = {} if isinstance(target, vikl.Target) or like is None else {"like": like}
    return vikl.fit(target, **{"key": jax.random.key(0), "progress": False} | like | changes)


def _density(function: Any, error: type[Exception], *fragments: str) -> Refused:
    return Refused(lambda: fit(function), error, ("`log_density`", *fragments))


def _like(like: Any, error: type[Exception], *fragments: str) -> Refused:
    return Refused(lambda: fit(like=like), error, ("`like`", *fragments))


def _support(support: Any, error: type[Exception], *fragments: str, like: Any = X) -> Refused:
    return Refused(lambda: fit(like=like, support=support), error, ("`support`", *fragments))


def _given(error: type[Exception], *fragments: str, target: Any = good, **changes: Any) -> Refused:
    """An argument of `fit` that must be refused by its name (the first fragment)."""
    return Refused(lambda: fit(target, **changes), error, fragments)


def _branches(x):
    return x.sum() if x[0] > 0 else -x.sum()


def _discrete(numpyro, dist):
    numpyro.sample("z", dist.Bernoulli(0.5))


def _observed(numpyro, dist):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=1.0)


def _subsampled(numpyro, dist):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 10, subsample_size=3):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=jnp.zeros(3))


def _model(body: Callable, error: type[Exception], *fragments: str) -> Refused:
    def call():
        import numpyro
        import numpyro.distributions as dist

        with jax.numpy_dtype_promotion("standard"):  # numpyro's own code needs it
            return vikl.Target.from_numpyro(lambda: body(numpyro, dist))

    return Refused(call, error, ("`model`", *fragments))


def _integer_constraint():
    from numpyro.distributions import constraints

    return fit(support=constraints.positive_integer)


def _estimate(**changes):
    import numpyro.distributions as dist

    given: dict[str, Any] = {"key": jax.random.key(0)} | changes
    return vikl.estimate_kl(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0), **given)


_CALLS = []


def _counts(x):
    _CALLS.append(1)
    return good(x) / len(_CALLS)


def _draws(x):
    return good(x - np.random.default_rng().normal(size=2).astype(np.float32))


@functools.cache
def posterior() -> Any:
    """Return the one fit whose methods are called wrongly."""
    return fit()


def _first_key() -> tuple:
    return (jax.random.key(0),)


def _method(
    error: type[Exception], name: str, *fragments: str, args: Callable = _first_key, **changes: Any
) -> Refused:
    """A method of a posterior that must refuse an argument by its name (the first fragment)."""
    return Refused(lambda: getattr(posterior(), name)(*args(), **changes), error, fragments)


def _data(values: Any, error: type[Exception], *fragments: str) -> Refused:
    return Refused(lambda: fit(lambda x, d: good(x), data=values), error, ("`data`", *fragments))


ROWS = np.arange(8, dtype=np.float32)


def of_rows(x, rows):
    """A log likelihood that is a sum over rows."""
    return -0.5 * jnp.sum((rows - x) ** 2)


def _batches(*fragments: str, likelihood: Callable = of_rows, **changes: Any) -> Refused:
    """A target of minibatches that must be refused."""
    given: dict[str, Any] = {"data": ROWS, "batch_size": 4} | changes
    call = lambda: vikl.Target.from_density(likelihood, np.float32(0.0), **given)
    return Refused(call, ValueError, fragments)


def _prior_of_one(x):
    return -0.5 * x**2


def _family(call: Callable, error: type[Exception], *fragments: str) -> Refused:
    return Refused(call, error, fragments)


_NOT_A_MODEL: Any = 3
ADAM = optax.adam(0.01)
KEY = "Make one by `jax.random.key(0)`"
REFUSED = {
    # what the log density returns
    "vector": _density(lambda x: x, ValueError, "scalar", "shape (2,)", "logp.sum()"),
    "one-element vector": _density(lambda x: x[:1], ValueError, "shape (1,)", "logp.sum()"),
    "complex": _density(lambda x: lax.complex(x[0], x[1]), TypeError, "complex64", "real part"),
    "integer": _density(lambda x: jnp.sum(x > 0), TypeError, "dtype int32", "floating point"),
    "boolean": _density(lambda x: x[0] > 0, TypeError, "dtype bool"),
    "nothing": _density(lambda x: None, TypeError, "one real number", "NoneType", "logp.sum()"),
    "tuple": _density(lambda x: (x.sum(), 0.0), TypeError, "one real number", "tuple"),
    "string": _density(lambda x: "high", TypeError, "one real number", "'high'"),
    "raises": _density(lambda x: 1 / 0, ValueError, "ZeroDivisionError", "(2,)", "pure JAX"),
    "branches on values": _density(_branches, ValueError, "TracerBool", "no Python branches"),
    "wrong arguments": _density(lambda x, y: 0.0, ValueError, "raised TypeError", "missing 1"),
    "reads a missing key": _density(lambda x: x["mu"], ValueError, "raised", "x: (2,)"),
    "counts its calls": _density(_counts, ValueError, "pure function", "a counter", "as `data`"),
    "draws random numbers": _density(_draws, ValueError, "two different programs"),
    # what it is at the start
    "nan at the start": _density(
        lambda x: good(x) + jnp.log(-1.0 - x[0] ** 2), ValueError, "is nan at the start", "support"
    ),
    "+inf at the start": _density(
        lambda x: -jnp.log(jnp.sum(x**2)), ValueError, "is inf at the start [0. 0.]", "`like`"
    ),
    "nan gradient": _density(
        lambda x: good(x) - jnp.sqrt(x[0] ** 2), ValueError,
        "is -0 at the start", "gradient is nan for x[0]", "jnp.where",
    ),
    "nan gradient behind where": _density(
        lambda x: good(x) + jnp.where(x[1] > 0, jnp.sqrt(x[1]), 0.0), ValueError,
        "its gradient is", "for x[1]", "untaken branch",
    ),
    "-inf everywhere": _density(
        lambda x: good(x) - jnp.inf, ValueError, "-inf at the start", "7 points", "`like`"
    ),
    "nan everywhere, stochastic": Refused(
        lambda: fit(lambda x: good(x) * jnp.nan, optimizer=ADAM, num_steps=10), ValueError,
        ("`log_density`", "is nan at the start", "`like`"),
    ),
    "nan in the data": Refused(
        lambda: fit(normal_density, data=(jnp.array([0.0, jnp.nan]), jnp.eye(2))), ValueError,
        ("`log_density`", "is nan at the start"),
    ),
    # the example
    "no example": Refused(lambda: fit(like=None), ValueError, ("`like` is needed", "zeros(3)")),
    "integer array": _like(np.zeros(2, int), TypeError, "int64", "(2,)", "jnp.zeros((2,))"),
    "Python integer": _like({"n": 1}, TypeError, "leaf 'n'", "int64", "1.0 instead of 1"),
    "boolean leaf": _like({"b": True}, TypeError, "leaf 'b'", "bool"),
    "complex leaf": _like(1j, TypeError, "complex128", "the array"),
    "text leaf": _like({"s": "a"}, TypeError, "leaf 's'", "'a'", "use `data`"),
    "empty dict": _like({}, ValueError, "at least one array", "{}"),
    "empty array": _like(np.zeros(0), ValueError, "at least one unconstrained", "(0,)"),
    # supports
    "unknown support": _support("postive", ValueError, "'postive'", "unit_interval", "the array"),
    "support of another kind": _support(3.5, TypeError, "got 3.5", "numpyro constraint"),
    "unknown leaf": _support(
        {"sd": "positive"}, ValueError, "['sd']", "['tau']", like={"tau": 1.0}
    ),
    "no bounds": _support("interval", ValueError, "takes 2 bounds", "got ()"),
    "one bound": _support(("interval", 0.0), ValueError, "takes 2 bounds", "(0.0,)"),
    "bounds that it has not": _support(("positive", 1.0), ValueError, "takes 0 bounds"),
    "bounds swapped": _support(("interval", 2.0, 1.0), ValueError, "(2.0, 1.0)", "Swap"),
    "nan bounds": _support(("interval", 0.0, np.nan), ValueError, "nan"),
    "another structure": _support(["positive"], ValueError, "structure of `like`", "['positive']"),
    "simplex of a scalar": _support("simplex", ValueError, "the array of shape ()", like=1.0),
    "simplex of one": Refused(
        lambda: fit(like=np.ones(1, np.float32), support="simplex"), ValueError,
        ("`like`", "one-element simplices"),
    ),
    "discrete constraint": Refused(
        _integer_constraint, ValueError, ("`support`", "does not map", "log Jacobian")
    ),
    # arguments of fit
    "not a function": _given(TypeError, "`target` should be", "3.0", "float", target=3.0),
    "like beside a Target": Refused(
        lambda: vikl.fit(small_target(), like=X, key=jax.random.key(0)), ValueError,
        ("`like` belongs to a plain log density", "`Target.from_density`"),
    ),
    "integer key": _given(TypeError, "`key`", "got 0", KEY, key=0),
    "no key": _given(TypeError, "`key`", "got None", KEY, key=None),
    "numpy key": _given(TypeError, "`key`", KEY, key=np.zeros(2, np.uint32)),
    "float key": _given(TypeError, "`key`", "float32", "(2,)", KEY, key=jnp.zeros(2)),
    "several keys": _given(
        TypeError, "`key`", "(3,)", KEY, key=jax.random.split(jax.random.key(0), 3)
    ),
    "several raw keys": _given(
        TypeError, "`key`", "(3, 2)", KEY, key=jnp.zeros((3, 2), jnp.uint32)
    ),
    "no steps": _given(ValueError, "`num_steps`", "at least 1", "got 0", num_steps=0),
    "negative steps": _given(ValueError, "`num_steps`", "got -5", num_steps=-5, optimizer=ADAM),
    "half a step": _given(ValueError, "`num_steps`", "got 2.5", num_steps=2.5),
    "steps that are true": _given(ValueError, "`num_steps`", "got True", num_steps=True),
    "no starts": _given(ValueError, "`num_starts`", "got 0", num_starts=0),
    "starts of an optimizer": _given(
        ValueError, "`num_starts`", "got 4", num_starts=4, optimizer=ADAM
    ),
    "optimizer by name": _given(TypeError, "`optimizer`", "optax.adam", "'adam'", optimizer="adam"),
    "optimizer not called": _given(TypeError, "`optimizer`", "optax", optimizer=optax.adam),
    "objective by name": _given(
        TypeError, "`objective`", "ReverseKL()", "'elbo'", objective="elbo"
    ),
    "objective not called": _given(TypeError, "`objective`", "Call the class", objective=ForwardKL),
    "family by name": _given(TypeError, "`family`", "'normal'", "FullRank", family="normal"),
    "family of another kind": _given(TypeError, "`family`", "int", family=int),
    "family of another dimension": _given(
        ValueError, "`family`", "target, 2", "got 5", "init(jnp.zeros(2))",
        family=MeanFieldNormal.init(jnp.zeros(5)),
    ),
    "the same, stochastic": _given(
        ValueError, "`family`", "target, 2", "x[0], x[1]", "got 5",
        family=MeanFieldNormal.init(jnp.zeros(5)), optimizer=ADAM,
    ),
    "no prior": _given(
        ValueError, "`objective`", "prior=", objective=ReverseKL(AnalyticKL()), optimizer=ADAM
    ),
    "a prior of another kind": Refused(
        lambda: vikl.Target.from_density(good, X, prior="normal"), TypeError,
        ("`prior`", "str", "MeanFieldNormal"),
    ),
    "a prior of another dimension": Refused(
        lambda: vikl.Target.from_density(good, X, prior=MeanFieldNormal.init(jnp.zeros(3))),
        ValueError, ("`prior`", "target, 2", "got 3"),
    ),
    "samples of another shape": _given(
        ValueError, "`samples`", "leading axis", "(5, 3)", "axis 0",
        objective=ForwardKL(np.ones((5, 3))),
    ),
    "samples that are nan": _given(
        ValueError, "`samples`", "2 of 5", "Remove",
        objective=ForwardKL(np.where(np.eye(5, 2) > 0, np.nan, 0.0)),
    ),
    "no samples": _given(ValueError, "`samples`", "(0, 2)", objective=ForwardKL(np.ones((0, 2)))),
    "negative time": _given(ValueError, "`max_seconds`", "0 or more", "-1.0", max_seconds=-1.0),
    "time that is nan": _given(ValueError, "`max_seconds`", "nan", max_seconds=float("nan")),
    "time that is true": _given(TypeError, "`max_seconds`", "True", max_seconds=True),
    "time in words": _given(TypeError, "`max_seconds`", "'10'", max_seconds="10"),
    "a checkpoint that is no path": _given(TypeError, "`checkpoint`", "got 3", checkpoint=3),
    "a bar that is neither": _given(TypeError, "`progress`", "'yes'", progress="yes"),
    "a callback that is no function": _given(
        TypeError, "`callback`", "'stop'", "Snapshot", callback="stop"
    ),
    "more parameters than memory": _given(
        ValueError, "`family`", "1,000,000 parameters", "this machine has", "MeanFieldNormal",
        like=np.zeros(10**6, np.float32), family=FullRankNormal,
    ),
    "a family of nan": Refused(
        lambda: fit(family=MeanFieldNormal(jnp.full(2, jnp.nan), jnp.zeros(2)), optimizer=ADAM),
        ValueError, ("`family`", "finite", "MeanFieldNormal.loc"),
    ),
    # families
    "a negative scale": _family(
        lambda: MeanFieldNormal.init(jnp.zeros(2), -1.0), ValueError, "`scale`", "positive", "-1.0"
    ),
    "an infinite scale": _family(
        lambda: FullRankNormal.init(jnp.zeros(2), jnp.inf), ValueError, "`scale`", "finite", "inf"
    ),
    "a scale of another shape": _family(
        lambda: MeanFieldNormal.init(jnp.zeros(2), jnp.ones(3)), ValueError, "`scale`", "(3,)"
    ),
    "a location that is nan": _family(
        lambda: MeanFieldNormal.init(jnp.full(2, jnp.nan)), ValueError, "`loc`", "finite", "nan"
    ),
    "a location of integers": _family(
        lambda: MeanFieldNormal.init(jnp.zeros(2, int)), TypeError, "`loc`", "int32", "astype"
    ),
    "a location that is a matrix": _family(
        lambda: FullRankNormal.init(jnp.zeros((2, 2))), ValueError, "`loc`", "(2, 2)", "vmap"
    ),
    "a factor of another shape": _family(
        lambda: FullRankNormal.from_moments(jnp.zeros(2), jnp.eye(3)), ValueError,
        "`scale_tril`", "(2, 2)", "(3, 3)",
    ),
    "a factor with a negative diagonal": _family(
        lambda: FullRankNormal.from_moments(jnp.zeros(2), -jnp.eye(2)), ValueError,
        "`scale_tril`", "positive diagonal", "cholesky",
    ),
    "a covariance for a factor": _family(
        lambda: FullRankNormal.from_moments(jnp.zeros(2), jnp.ones((2, 2))), ValueError,
        "`scale_tril`", "lower triangular",
    ),
    # data
    "data of objects": _data(np.array([object()]), TypeError, "dtype object", "numbers"),
    "data of text": _data(np.array(["a"]), TypeError, "<U1", "numbers"),
    "integers beyond 32 bits": _data(
        np.array([2**40, 1]), ValueError, "int32", "1099511627776", "jax_enable_x64"
    ),
    "floats beyond 32 bits": _data(np.array([1e300]), ValueError, "float32", "1e+300", "Rescale"),
    "an empty data set whose mean is taken": Refused(
        lambda: fit(lambda x, d: -jnp.mean((d - x[0]) ** 2), data=np.zeros(0, np.float32)),
        ValueError, ("`log_density`", "is nan at the start"),
    ),
    # minibatches
    "an empty batch": _batches("`batch_size`", "from 1 to", "8; got 0", batch_size=0),
    "a negative batch": _batches("`batch_size`", "got -1", batch_size=-1),
    "a batch that is true": _batches("`batch_size`", "got True", batch_size=True),
    "more rows in a batch than there are": _batches("`batch_size`", "got 9", batch_size=9),
    "batches of no rows": _batches("`data`", data=np.zeros(0, np.float32), batch_size=1),
    "ragged rows": _batches(
        "`data` should be arrays of rows, all of one length", data=(ROWS, ROWS[:-1])
    ),
    "rows beside a number": _batches(
        "`data` should be arrays of rows", data=(ROWS, np.float32(1.0))
    ),
    "a data size that is left out": _batches(
        "`log_density` should be a sum over rows", "apart",
        likelihood=lambda x, rows: of_rows(x, rows) / len(rows),
    ),
    "a data size that is stated twice": _batches(
        "`log_density` should be a sum over rows", "apart",
        likelihood=lambda x, rows: of_rows(x, rows) * 8 / len(rows),
    ),
    "a prior for each batch": _batches(
        "`log_density` should be a sum over rows", "apart",
        likelihood=lambda x, rows: of_rows(x, rows) - 0.5 * x**2,
    ),
    "a prior apart, without batches": _batches(
        "`log_prior` goes with `batch_size`", batch_size=None, log_prior=_prior_of_one
    ),
    # methods of a posterior
    "no samples of a fit": _method(ValueError, "sample", "`num_samples`", "got 0", num_samples=0),
    "half a sample": _method(ValueError, "sample", "`num_samples`", "2.5", num_samples=2.5),
    "more samples than memory": _method(
        ValueError, "sample", "`num_samples`", "1000000000000", "GB", num_samples=10**12
    ),
    "more resamples than memory": _method(
        ValueError, "resample", "`num_samples`", "GB", num_samples=10**12
    ),
    "a sample's key": _method(TypeError, "sample", "`key`", "got 0", args=lambda: (0,)),
    "a check's key": _method(TypeError, "check", "`key`", "got 0", args=lambda: (0,)),
    "a check of few draws": _method(ValueError, "check", "`num_draws`", "100", num_draws=99),
    "a check of more than memory": _method(
        ValueError, "check", "`num_draws`", "GB", num_draws=10**12
    ),
    "a check beside a number": _method(TypeError, "check", "`others`", "got 5", others=5),
    "a check of negative MCMC": _method(ValueError, "check", "`mcmc_steps`", "-1", mcmc_steps=-1),
    "log_prob of another dimension": _method(
        ValueError, "log_prob", "`x`", "(2,)", "(3,)", args=lambda: (np.zeros(3, np.float32),)
    ),
    "saved nowhere": _method(TypeError, "save", "`path`", "None", args=lambda: (None,)),
    "loaded from a number": Refused(
        lambda: vikl.load(_NOT_A_MODEL, small_target()), TypeError, ("`path`", "got 3")
    ),
    "loaded for a function": Refused(
        lambda: vikl.load("nowhere", cast(Any, good)), TypeError, ("`target`", "function")
    ),
    # divergences by draws
    "an estimate's key": Refused(
        lambda: _estimate(key=0), TypeError, ("`key`", "got 0", "jax.random.key(0)")
    ),
    "an estimate of few draws": Refused(
        lambda: _estimate(num_samples=3), ValueError, ("`num_samples`", "at least 4", "got 3")
    ),
    # NumPyro models
    "no model": Refused(
        lambda: vikl.Target.from_numpyro(_NOT_A_MODEL), TypeError,
        ("`model`", "got 3", "Pass the function"),
    ),
    "a discrete site": _model(_discrete, TypeError, "'z'", "Bernoulli", "Sum it out"),
    "no latent site": _model(_observed, ValueError, "['y']", "at least one latent"),
    "a subsampled plate": _model(_subsampled, ValueError, "'rows'", "3 of 10", "all rows"),
    "a model that raises": _model(lambda n, d: 1 / 0, ValueError, "ZeroDivisionError", "arguments"),
}  # fmt: skip
