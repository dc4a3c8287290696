"""`Posterior`: the fitted distribution and its record."""

import dataclasses
import functools
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import diagnostics, families, interop, plots
from .._compile import compile_lightly
from .._files import save_tree
from .._typing import Array, Float, PRNGKey, PyTree, Scalar
from ..diagnostics import WeightedDraws
from ..diagnostics._iterates import Settling
from ..diagnostics._linear_response import linear_response_cov
from ..families import Family, MeanFieldNormal, cov, mean, std
from ..target import Target
from ..target._target import named_elements
from ._arguments import check_draws, check_key, check_path
from ._automatic import Start
from ._status import Ending
from ._summary import Summary, summarize

_SUMMARY_NUMBERS = 4_000_000  # draws times parameters, at most, behind a summary


@compile_lightly
def _sample(target: Target, family: Family, keys: Array) -> PyTree:
    return jax.vmap(lambda key: target.constrain(family.sample_and_log_prob(key)[0]))(keys)


@compile_lightly
def _constrain(target: Target, x: Array) -> PyTree:
    return jax.vmap(target.constrain)(x)


@dataclasses.dataclass(frozen=True, repr=False)
class Posterior:
    """A fitted approximation q of a target, and the record of how it was fitted.

    `vikl.fit` makes it. Printing it shows a verdict in words. Draws are named and constrained;
    `mean`, `cov`, `std` and `log_prob` are of the flat, unconstrained vector.

    Args:
        target: what was approximated.
        family: the fitted q, a pytree.
        ending: the status, why the fit stopped, and what happened on the way.
        history: columns of the record: `step` (for the automatic method: gradients so far), the
            mean of what the objective recorded since the row before, and standard errors.
        weighted: fresh draws of q with log p and log q, behind `elbo` and `khat`.
        num_gradients: evaluations of the gradient of the log density.
        compile_seconds: spent compiling (zero for a repeat).
        run_seconds: spent otherwise.
        starts: where each start of the automatic method ended.
        details: arrays by name that a named method found beyond the family.
        settling: whether the iterates of a stochastic fit stood still over the second half.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -0.5 * jnp.sum((x - 2.0) ** 2), like=jnp.zeros(3),
        ...                 key=jax.random.key(0))
        >>> post.status, round(float(post.mean[0]), 3), round(float(post.std[0]), 3)
        ('converged', 2.0, 1.0)
        >>> post.sample(jax.random.key(1), 5).shape
        (5, 3)
    """

    target: Target
    family: Family
    ending: Ending
    history: dict[str, np.ndarray]
    weighted: WeightedDraws
    num_gradients: int
    compile_seconds: float
    run_seconds: float
    starts: tuple[Start, ...] = ()
    details: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    settling: Settling | None = None

    # -- the distribution

    def sample(self, key: PRNGKey, num_samples: int = 1000) -> PyTree:
        """Return named, constrained draws, each leaf with a leading axis of `num_samples`."""
        check_draws(num_samples, self.target.dim)
        return _sample(self.target, self.family, jax.random.split(check_key(key), num_samples))

    def log_prob(self, x: Float[Array, "*n dim"]) -> Float[Array, "*n"] | Scalar:
        """Return log q at unconstrained flat vectors `x`, shape (dim,) or (n, dim), in nats."""
        x = jnp.asarray(x)
        if x.shape[-1:] != (self.target.dim,) or x.ndim > 2:
            raise ValueError(
                f"`x` should have shape ({self.target.dim},) or (n, {self.target.dim}), "
                f"unconstrained; got {x.shape}. Use `target.unconstrain(values)` to make one."
            )
        return self.family.log_prob(x) if x.ndim == 1 else jax.vmap(self.family.log_prob)(x)

    @property
    def mean(self) -> Array:
        """E_q[x], shape (dim,), unconstrained."""
        return mean(self.family)

    @property
    def cov(self) -> Array:
        """Cov_q[x], shape (dim, dim), unconstrained."""
        return cov(self.family)

    @property
    def std(self) -> Array:
        """Standard deviations of x under q, shape (dim,), unconstrained."""
        return std(self.family)

    def resample(self, key: PRNGKey, num_samples: int = 1000) -> PyTree:
        """Return named draws resampled by Pareto-smoothed importance weights, closer to p than q.

        Fresh draws of q, four for each that is asked for, are resampled with replacement, so
        some repeat where the weights are uneven: `khat` above 0.7 says that they cannot be
        trusted.
        """
        check_draws(num_samples, self.target.dim)
        draw_key, row_key = jax.random.split(check_key(key))
        pool = max(4 * num_samples, len(self.weighted.x))
        fresh = diagnostics.draw_weighted(self.target, self.family, draw_key, pool)
        rows = np.asarray(diagnostics.resample(fresh, row_key, num_samples))
        return _constrain(self.target, fresh.x[rows])

    # -- how good it is

    @property
    def elbo(self) -> float:
        """The evidence lower bound E_q[log p − log q] in nats, from fresh draws."""
        return self.weighted.elbo

    @property
    def elbo_std_error(self) -> float:
        """The standard error of `elbo`."""
        return self.weighted.elbo_std_error

    @property
    def khat(self) -> float:
        """The Pareto shape of the importance weights; above 0.7 they are not to be trusted."""
        return self.weighted.khat

    @property
    def status(self) -> str:
        """How the fit ended, in a few fixed words, such as `converged` or `budget spent`.

        Once `check` has run, its verdict follows: `converged; good`, `converged; wrong`.
        """
        report = self.report
        return self.ending.status if report is None else f"{self.ending.status}; {report.word}"

    @property
    def report(self) -> "diagnostics.Report | None":
        """The report of the latest `check`, or None where there was none."""
        return self.__dict__.get("_report")

    @property
    def verdict(self) -> str:
        """What `check` said; before that, what the draws behind `elbo` say, which is less."""
        if self.report is not None:
            return self.report.verdict
        return diagnostics.first_look(self.weighted)

    @property
    def stopped_because(self) -> str:
        """Why it stopped and what happened on the way, in a sentence or two."""
        return "; ".join((self.ending.because, *self.ending.notes))

    def check(
        self,
        key: PRNGKey,
        *,
        num_draws: int = 2000,
        others: Sequence["Posterior"] = (),
        mcmc_steps: int = 0,
    ) -> "diagnostics.Report":
        """Return a report on whether to believe the fit; its `verdict` says so in words.

        Costs a few hundred gradients: fresh draws, importance weights, and a search for modes
        that q does not cover, which the ELBO cannot see. The report is remembered, and its
        verdict shows in `repr`, `status` and `plot`. See `vikl.diagnostics.check`.

        Args:
            key: a JAX random key; the same key gives the same report.
            num_draws: draws of q, 500 or more for k-hat to mean something.
            others: fits of the same target from other keys, which should agree with this one.
            mcmc_steps: steps of NUTS from draws of q (needs blackjax); 0 runs none.
        """
        _check_others(self.target, others)
        report = diagnostics.check(
            self.target, self.family, check_key(key), num_draws=num_draws,
            converged=self.ending.status == "converged", history=self.history,
            settling=self.settling, others=others, starts=self.starts, mcmc_steps=mcmc_steps,
        )  # fmt: skip
        self.__dict__["_report"] = report  # remembered, as a cached property is
        return report

    @functools.cached_property
    def _summary_draws(self) -> dict[str, np.ndarray]:
        num = int(np.clip(_SUMMARY_NUMBERS // self.target.dim, 2000, 20_000))
        return named_elements(self.sample(jax.random.key(0), num))

    def summary(self) -> Summary:
        """Return a table of named parameters: mean, sd, 5 % and 95 %, and what resampling says.

        The first four are of 20,000 fixed draws of q (fewer above 200 parameters); the next two
        of the weighted draws behind `elbo`. A mean-field normal of up to 200 parameters has its
        sds corrected by linear response beside them.
        """
        log_weights = np.asarray(self.weighted.log_weights)
        weighted = named_elements(_constrain(self.target, self.weighted.x))
        weights = np.exp(log_weights - log_weights.max())
        return summarize(self._summary_draws, weighted, weights, self._linear_response)

    @functools.cached_property
    def _linear_response(self) -> dict[str, np.ndarray] | None:
        """Draws of a normal with the covariance of linear response, or None."""
        if not isinstance(self.family, MeanFieldNormal) or self.target.dim > 200:
            return None
        key, dim = jax.random.key(0), self.target.dim
        covariance = linear_response_cov(self.target, self.family, key)
        if not np.isfinite(covariance).all():
            return {name: np.full(1, np.nan) for name in self._summary_draws}
        noise = np.random.default_rng(0).normal(size=(len(self.weighted.x), dim))
        noise = (noise - noise.mean(0)) / noise.std(0)
        x = np.asarray(self.mean) + noise @ np.linalg.cholesky(covariance).T
        return named_elements(_constrain(self.target, jnp.asarray(x, self.target.dtype)))

    # -- taking it elsewhere

    def plot(self, key: PRNGKey | None = None) -> Any:
        """Return a matplotlib figure: verdict, record, marginals, weights and starts.

        Runs `check` where it has not run yet.
        """
        key = jax.random.key(0) if key is None else check_key(key)
        report = self.report or self.check(key)
        resampled = None
        if self.weighted.num_bad == 0:
            resampled = named_elements(self.resample(key, 2000))
        return plots.report_figure(
            self._summary_draws, resampled, self.history, self.weighted,
            starts=[start.log_evidence for start in self.starts] or None,
            title=f"{self._headline()}\n{textwrap.fill('Verdict: ' + report.verdict, 140)}",
        )  # fmt: skip

    def to_arviz(self) -> Any:
        """Return an ArviZ DataTree of the draws behind `elbo`, with log p and log q."""
        draws = _constrain(self.target, self.weighted.x)
        if not isinstance(draws, dict):
            draws = {"x": draws} if is_one_array(draws) else named_elements(draws)
        return interop.to_arviz(
            jax.tree.map(np.asarray, draws), self.weighted.log_p, self.weighted.log_q
        )

    def save(self, path: str | Path, header: dict[str, Any] | None = None) -> None:
        """Write the fit to one file (arrays and plain text, no code); `vikl.load` reads it.

        `header` may add what `json` can write.
        """
        check_path(path, "path")
        header = (header or {}) | {
            "what": "vikl posterior",
            "family": type(self.family).__name__,
            "family_shapes": _shapes_of(self.family),
            "names": list(self.target.names),
            "status": self.ending.status,
            "because": self.ending.because,
            "notes": list(self.ending.notes),
            "num_gradients": self.num_gradients,
            "compile_seconds": self.compile_seconds,
            "run_seconds": self.run_seconds,
            "history": {k: v.tolist() for k, v in self.history.items()},
            "starts": [dataclasses.asdict(start) for start in self.starts],
            "details": {k: np.asarray(v).tolist() for k, v in self.details.items()},
            "settling": None if self.settling is None else dataclasses.asdict(self.settling),
            "num_draws": self.weighted.num_draws,
        }
        weighted = (self.weighted.x, self.weighted.log_p, self.weighted.log_q)
        save_tree(Path(path), (self.family, weighted), header)

    def _headline(self) -> str:
        return f"{type(self.family).__name__}, {self.target.dim} parameters: {self.status}"

    def _verdict_line(self) -> str:
        if self.report is None:
            return f"not checked yet; {self.verdict}"
        return f"{self.verdict}. Next: {self.report.advice}"

    def __repr__(self) -> str:
        lines = [
            f"Posterior: {self._headline()}",
            f"  verdict: {self._verdict_line()}",
            f"  ELBO {self.elbo:.4f} ± {self.elbo_std_error:.2g} nats, k-hat {self.khat:.2f}, "
            f"relative ESS {self.weighted.relative_ess:.2f}",
            f"  stopped because {self.stopped_because}",
            f"  {self.num_gradients} gradients, {self.compile_seconds:.2f} s compiling, "
            f"{self.run_seconds:.2f} s running",
            "  posterior.check(key) says whether to believe it, posterior.summary() has numbers",
        ]
        return "\n".join(lines)


def _check_others(target: Target, others: Any) -> None:
    if not isinstance(others, Sequence):
        raise TypeError(f"`others` should be a list of posteriors; got {others!r}.")
    for other in others:
        if not isinstance(other, Posterior) or other.target.names != target.names:
            got = other.target.names if isinstance(other, Posterior) else type(other).__name__
            raise ValueError(
                f"`others` should be posteriors of the same target, with {list(target.names)}; got "
                f"{got}. Give what `vikl.fit` returned for other keys."
            )


def _shapes_of(family: Family) -> dict[str, Any] | None:
    """Return the shapes of a family's fields by name; None where it holds more than arrays."""
    if isinstance(family, families.Blocks):
        return {"parts": [[type(part).__name__, _shapes_of(part)] for part in family.parts]}
    fields = {f.name: getattr(family, f.name) for f in dataclasses.fields(family)}
    if not all(v is None or hasattr(v, "shape") for v in fields.values()):
        return None
    return {name: None if v is None else list(v.shape) for name, v in fields.items()}


def is_one_array(value: Any) -> bool:
    """Return whether a pytree is a single array."""
    return isinstance(value, (np.ndarray, jax.Array))
