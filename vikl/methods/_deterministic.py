"""`DeterministicADVI`: draws fixed once, then a deterministic optimum with its linear response."""

from typing import ClassVar

import numpy as np

from ..families import Family, MeanFieldNormal
from ..fitting._method import Found, Method, Request
from ..fitting._status import Ending
from ..target import Target
from ._checks import check_positive, check_start_method, check_whole
from ._fixed_draws import FixedDraws, Point, antithetic
from ._hops import begin
from ._laplace import Laplace
from ._linear_response import response_of
from ._newton import Step, steihaug
from ._normals import conditional_sds, mean_field, moments_of
from ._watch import Watch, generator

_RESPONSE_UP_TO = 200  # dimensions up to which the linear response comes with the fit
_LEAST_RADIUS = 1e-6
_WIDER = 2.0  # times the draws' width, at which the edge of a support is looked for


class DeterministicADVI(Method):
    """Deterministic ADVI (DADVI): mean-field reverse KL on draws that are fixed once.

    With its draws fixed the objective is an ordinary function, so a trust-region Newton method
    finds its optimum and says so, and two things are known that stochastic optimisation cannot
    give: the covariance by linear response, exact on a normal target where the mean-field sds are
    too small, and how much the answer would vary with other draws. Both are in
    `posterior.details`: `linear_response_cov` (dim, dim), `linear_response_sd` (dim,),
    `mean_std_error` and `log_sd_std_error` (dim,), up to 200 dimensions. The errors come of
    linearisation: they are too small where few draws meet a heavy tail.

    The optimum never reaches where the log density is −inf or NaN, because none of its draws may:
    a step that did, and draws a little wider than q that still do, make the status say so.

    vikl departs from the paper in two things: the draws are antithetic pairs (the paper's are
    independent), which makes the mean and the linear response of a normal target exact, and it
    starts from a Laplace fit.

    Args:
        num_draws: an even number of draws.
        start: the method that finds the first normal; a `family` instance given to `fit` is one.
        tolerance: nats that a Newton step promises, at which the optimum is reached.
        num_steps: the most Newton steps.

    Raises:
        ValueError: a number is not positive, or `num_draws` is odd. TypeError: `start` is not a
            method.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> precision = jnp.array([[2.0, 1.0], [1.0, 1.0]])  # sds 1 and √2
        >>> post = vikl.fit(lambda x: -0.5 * x @ (precision @ x), like=jnp.zeros(2),
        ...                 method=DeterministicADVI(), key=jax.random.key(0))
        >>> print(post.details["linear_response_sd"].round(3))
        [1.    1.414]

    References:
        Giordano, Ingram & Broderick (2024), Black box variational inference with a deterministic
        objective: faster, more accurate, and even more black box.
    """

    num_draws: int = 30
    start: Method = Laplace()
    tolerance: float = 1e-5
    num_steps: int = 100

    families: ClassVar[tuple[type[Family], ...]] = (MeanFieldNormal,)

    def __check_init__(self) -> None:
        check_whole(self, "num_draws", least=4)
        check_whole(self, "num_steps")
        check_positive(self, "tolerance")
        check_start_method(self)
        if self.num_draws % 2:
            raise ValueError(
                f"`num_draws` should be an even number; got {self.num_draws}. Draws come in "
                "antithetic pairs."
            )

    def run(self, target: Target, request: Request) -> Found:
        """Start, fix the draws, take Newton steps to the optimum, and look how it responds."""
        begun = begin(target, request, self.start)
        first = moments_of(begun.family)
        if begun.ending.status != "converged":
            family = mean_field(first.mean, conditional_sds(first.scale), target.dtype)
            return begun._replace(family=family)
        noise = antithetic(generator(request.key), self.num_draws, target.dim)
        fixed = FixedDraws(target, noise, request.journal)
        descent = _Descent(fixed, fixed.at(first.mean, np.log(conditional_sds(first.scale))))
        num_steps = request.num_steps or self.num_steps
        rows: list[tuple[float, float]] = []
        ending = None
        with Watch(request, num_steps) as watch:
            while ending is None and not np.isfinite(descent.point.value):
                ending = descent.retreat()
            for _ in range(num_steps):
                ending = ending or descent.step(self.tolerance)
                rows.append((begun.num_gradients + fixed.num_gradients, descent.point.value))
                record = {"loss": rows[-1][1]}
                if watch.stops(lambda: _family(descent.point, target), record) or ending:
                    break
        ending = watch.ending or _judge_edge(ending, fixed, descent)
        details: dict[str, np.ndarray] = {}
        if ending is None:
            ending = Ending("budget spent", f"all {num_steps} Newton steps were taken")
        elif ending.status == "converged" and target.dim <= _RESPONSE_UP_TO:
            try:
                details = _details(fixed, descent.point)
            except ValueError:
                ending = ending.with_note("the Hessian is not definite: no linear response")
        for note in begun.ending.notes:
            ending = ending.with_note(note)
        steps, losses = np.asarray(rows, float).reshape(-1, 2).T
        used = begun.num_gradients + fixed.num_gradients
        return Found(
            _family(descent.point, target), ending, {"step": steps, "loss": losses}, used,
            begun.starts, details,
        )  # fmt: skip


def _family(point: Point, target: Target) -> MeanFieldNormal:
    return mean_field(point.mean, np.exp(point.log_sd), target.dtype)


def _details(fixed: FixedDraws, point: Point) -> dict[str, np.ndarray]:
    cov, variances = response_of(fixed, point)
    errors = np.sqrt(variances)
    return {
        "linear_response_cov": cov,
        "linear_response_sd": np.sqrt(np.diagonal(cov)),
        "mean_std_error": errors[: fixed.dim],
        "log_sd_std_error": errors[fixed.dim :],
    }


def _judge_edge(ending: Ending | None, fixed: FixedDraws, descent: "_Descent") -> Ending | None:
    """Say where the optimum sits just inside the support, because no fixed draw may leave it."""
    if not descent.saw_edge or (ending is not None and ending.status == "diverged"):
        return ending
    point = descent.point
    values, gradients = fixed.evaluate(point.mean + _WIDER * np.exp(point.log_sd) * fixed.noise)
    bad = ~(np.isfinite(values) & np.isfinite(gradients).all(axis=1))
    if not bad.any():
        return ending
    what = "NaN" if np.isnan(values[bad]).any() else "−inf"
    because = "all steps were taken" if ending is None else ending.because
    return Ending(
        "outside the support",
        f"the log density is {what} at {int(bad.sum())} of {len(bad)} draws {_WIDER:g} times as "
        "wide: the fixed draws keep q inside the support, where the ELBO is −inf all the same; "
        f"declare a `support`, or reparameterise ({because})",
    )


class _Descent:
    """A run of trust-region Newton steps."""

    def __init__(self, fixed: FixedDraws, point: Point):
        self.fixed, self.point = fixed, point
        self.radius = 1.0
        self.precision = float(np.finfo(fixed.evaluate.target.dtype).eps)
        self.product = None
        self.saw_edge = not np.isfinite(point.value)

    def retreat(self) -> Ending | None:
        """Narrow a start that reaches where the log density is not finite."""
        self.point = self.fixed.at(self.point.mean, self.point.log_sd - np.log(4.0))
        if self.point.log_sd.max() < -50.0:
            because = "the log density is not finite about the start, however near"
            return Ending("diverged", because)
        return None

    def step(self, tolerance: float) -> Ending | None:
        """Take one step; return the ending where nothing more is to be won."""
        point, fixed = self.point, self.fixed
        gradient = fixed.gradient(point)
        if self.product is None:
            self.product = fixed.product(point)
        step = steihaug(gradient, self.product, self.radius)
        noise = 4 * self.precision * (1 + abs(point.value))
        done = step.promise < max(tolerance, noise) and not step.at_edge
        new = self._try(step)
        self.saw_edge = self.saw_edge or not np.isfinite(new.value)
        if done:
            if np.isfinite(new.value) and _size(fixed.gradient(new)) < _size(gradient):
                self.point = new
            return Ending("converged", f"a Newton step promised {step.promise:.2g} nats")
        gain = (point.value - new.value) / step.promise
        if gain > 0.1:
            self.point, self.product = new, None
            if gain > 0.75 and step.at_edge:
                self.radius *= 2
        else:
            self.radius = 0.25 * float(np.linalg.norm(step.move))
            if self.radius < _LEAST_RADIUS:
                return Ending("budget spent", "no step, however short, lowered the objective")
        if self.point.value < -1e12:
            return Ending("unbounded target", "the objective fell below -1e12 nats")
        return None

    def _try(self, step: Step) -> Point:
        dim, sd = self.fixed.dim, np.exp(self.point.log_sd)
        mean = self.point.mean + sd * step.move[:dim]
        return self.fixed.at(mean, self.point.log_sd + step.move[dim:])


def _size(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))
