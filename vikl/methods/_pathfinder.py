"""`Pathfinder`: normals along L-BFGS paths, the best of each path, pooled."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compile_lightly
from .._typing import Array
from ..diagnostics import pareto_smooth
from ..families import Family, FullRankNormal, NormalMixture
from ..fitting._automatic import Start
from ..fitting._evaluate import Evaluator
from ..fitting._journal import Journal, ask
from ..fitting._method import Found, Method, Request
from ..fitting._natural import Moments, draw_noise
from ..fitting._status import Ending
from ..target import Target
from ._checks import check_whole
from ._modes import start_points
from ._normals import full_rank
from ._paths import Path, ThinNormal, follow, normals
from ._watch import Watch, generator

_BATCH = 64  # points at which the log density alone is evaluated at once
_EM_STEPS = 30
_FLAT = 0.05  # curvature, where 1 balances the entropy: hardly any pull back towards the mean
_LEAST_SHARE = 1e-3  # of the weight, below which a path is left out


class Pathfinder(Method):
    """Multi-path Pathfinder: quasi-Newton paths, a normal at each of their points, pooled.

    Each path climbs by L-BFGS from its own start. Every point on it suggests a normal (the
    inverse-Hessian estimate there, centred at the next step); the one with the highest ELBO, by a
    few draws, is the path's. The paths' normals are pooled to a mixture, so that
    `posterior.resample` and `posterior.khat` weigh p against the whole mixture, not each draw
    against the path it came from.

    vikl departs from the paper in that the weights of the mixture are those that suit the pooled
    importance-weighted draws best (the paper's are equal), so that a path that ended in a poor
    mode loses its weight. Scales that differ by a factor of thousands are more than the paths
    learn: standardise them, or the status may say that a direction was not seen. With the family
    `FullRankNormal`, the one path's normal of highest ELBO.

    Args:
        num_paths: climbs, the first from the target's start, the others spread within 2 of it on
            the unconstrained scale; `num_starts` of `fit` overrides it.
        num_elbo_draws: draws behind the ELBO of each normal.
        num_draws: draws of each path that are pooled to find the weights.
        history_size: pairs of steps and changes of gradient behind an inverse Hessian.
        num_steps: the most iterations of a path.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=Pathfinder(), key=jax.random.key(0))
        >>> print(post.mean.round(2), post.std.round(2))
        [1. 1.] [0.5 0.5]

    References:
        Zhang, Carpenter, Gelman & Vehtari (2022), Pathfinder: parallel quasi-Newton variational
        inference.
    """

    num_paths: int = 20
    num_elbo_draws: int = 5
    num_draws: int = 100
    history_size: int = 6
    num_steps: int = 1000

    families: ClassVar[tuple[type[Family], ...]] = (NormalMixture, FullRankNormal)

    def __check_init__(self) -> None:
        check_whole(self, "num_paths", "num_elbo_draws", "num_draws", "history_size", "num_steps")

    def run(self, target: Target, request: Request) -> Found:
        """Follow the paths, choose a normal on each, and pool."""
        hunt = _Hunt(self, target, request)
        with Watch(request, 1) as watch:
            hunt.go()
        family = hunt.family(request.family)
        if watch.ending is None:
            watch.stops(lambda: family, {"elbo": max(hunt.elbos, default=np.nan)})
        ending = watch.ending or hunt.ending()
        for note in hunt.notes:
            ending = ending.with_note(note)
        return Found(family, ending, {}, hunt.evaluate.num_gradients, hunt.starts())


class _Hunt:
    """One run."""

    def __init__(self, settings: Pathfinder, target: Target, request: Request):
        self.settings, self.target = settings, target
        self.num_paths = request.num_starts or settings.num_paths
        self.num_steps = request.num_steps or settings.num_steps
        self.evaluate = Evaluator(target, (self.num_paths,), request.journal)
        self.rng = generator(request.key)
        self.notes: list[str] = []
        self.left_out: list[str] = []
        self.paths: list[Path] = []
        self.chosen: list[ThinNormal] = []
        self.elbos: list[float] = []
        self.shares = np.zeros(0)

    def go(self) -> None:
        """Follow, choose, pool."""
        precision = float(np.finfo(self.target.dtype).eps)
        starts = start_points(self.target, self.evaluate, self.rng, self.num_paths, self.notes)
        for path in follow(self.evaluate, starts, precision, self.num_steps):
            best, elbo = self._best(path)
            if best is not None:
                self.paths.append(path)
                self.chosen.append(best)
                self.elbos.append(elbo)
            else:
                self.left_out.append(path.done)
        if self.left_out:
            ends = ", ".join(sorted(set(self.left_out)))
            self.notes.append(f"{len(self.left_out)} paths without a usable normal ({ends})")
        if self.chosen:
            self.shares = self._pool()

    def _best(self, path: Path) -> tuple[ThinNormal | None, float]:
        """Return the normal of a path with the highest ELBO, and that."""
        found = normals(path, self.settings.history_size)
        if not found:
            return None, -np.inf
        num = self.settings.num_elbo_draws
        noise = self.rng.normal(size=(len(found), num, self.target.dim))
        draws = [one.draw(z) for one, z in zip(found, noise)]
        log_p = self._log_densities(np.concatenate(draws)).reshape(len(found), num)
        log_q = np.stack([one.log_prob(x) for one, x in zip(found, draws)])
        elbos = np.where(np.isfinite(log_p), log_p - log_q, -np.inf).mean(axis=1)
        best = int(np.argmax(elbos))
        return (found[best], float(elbos[best])) if np.isfinite(elbos[best]) else (None, -np.inf)

    def _log_densities(self, x: np.ndarray) -> np.ndarray:
        return log_densities(self.target, x, self.evaluate.journal)

    def _pool(self) -> np.ndarray:
        """Return weights of the chosen normals, by expectation maximisation on pooled draws."""
        num = self.settings.num_draws
        x = [q.draw(self.rng.normal(size=(num, self.target.dim))) for q in self.chosen]
        x = np.concatenate(x)
        log_p = self._log_densities(x)
        log_q = np.stack([q.log_prob(x) for q in self.chosen])
        ratios = np.where(np.isfinite(log_p), log_p, -np.inf) - _log_mean(log_q)
        if not np.isfinite(ratios).any():
            return np.full(len(self.chosen), 1 / len(self.chosen))
        smoothed, self.khat = pareto_smooth(ratios)
        weights = np.exp(smoothed)
        shares = np.full(len(self.chosen), 1 / len(self.chosen))
        peak = log_q.max(axis=0)
        q = np.exp(log_q - peak)
        for _ in range(_EM_STEPS):
            mine = shares[:, None] * q
            shares = (mine / np.maximum(mine.sum(axis=0), 1e-300)) @ weights
        shares = np.where(shares < _LEAST_SHARE, 0.0, shares)
        return shares / shares.sum()

    def family(self, wanted: Any) -> Family:
        """Return the pooled mixture, or the one normal that was asked for."""
        dtype = self.target.dtype
        if not self.chosen:
            start = np.asarray(self.target.start, np.float64)
            parts, shares = [full_rank(Moments(start, np.eye(len(start))), dtype)], np.ones(1)
        elif wanted is not None and wanted is not NormalMixture:
            best = self.chosen[int(np.argmax(self.elbos))]
            return full_rank(Moments(best.mean, best.scale), dtype)
        else:
            kept = np.flatnonzero(self.shares > 0)
            pairs = [Moments(self.chosen[i].mean, self.chosen[i].scale) for i in kept]
            parts, shares = [full_rank(q, dtype) for q in pairs], self.shares[kept]
        if wanted is not None and wanted is not NormalMixture:
            return parts[0]
        logits = jnp.asarray(np.log(shares).astype(dtype))
        columns = [(q.loc, q.log_diagonal, q.lower) for q in parts]
        stacked = (jnp.asarray(np.stack(column)) for column in zip(*columns))
        return NormalMixture(logits, *stacked)

    def ending(self) -> Ending:
        """Judge where the paths ended and whether the target holds the best normal."""
        used = f"after {self.evaluate.num_gradients} gradients"
        if not self.chosen:
            if self.left_out and set(self.left_out) == {"unbounded"}:
                return Ending("unbounded target", f"every path ran away, {used}")
            return self._flat() or Ending("diverged", f"no path has a usable normal, {used}")
        best = int(np.argmax(self.shares))
        done = self.paths[best].done
        if done in ("unbounded", "unfinished"):
            return Ending(
                "unbounded target",
                f"the log density still rose at the end of the best path, {used}: it seems to "
                "have no upper bound",
            )
        return self._flat() or Ending("converged", f"{len(self.chosen)} paths ended, {used}")

    def _flat(self) -> Ending | None:
        """Look whether the target falls off in every direction, at draws of the best normal."""
        start = np.asarray(self.target.start, np.float64)
        q = Moments(start, np.eye(len(start)))
        if self.chosen:
            best = self.chosen[int(np.argmax(self.shares))]
            q = Moments(best.mean, best.scale)
        noise = draw_noise(self.rng, 4 * self.target.dim, self.target.dim, matched=True)
        _, gradients = self.evaluate(q.mean + noise @ q.scale.T)
        pull = np.where(np.isfinite(gradients), gradients, 0.0) @ q.scale
        bends, directions = np.linalg.eigh(-(noise.T @ pull + pull.T @ noise) / 2 / len(noise))
        flat = q.scale @ directions[:, bends < _FLAT]
        if flat.shape[1] == 0:
            return None
        name = self.target.names[int(np.argmax(np.abs(flat[:, 0])))]
        if self._falls_off(q.mean, flat):
            because = f"the paths ended before they saw how wide the target is along {name}"
            return Ending("budget spent", f"{because}: standardise the parameters")
        because = f"the log density does not fall off along {name}"
        return Ending("improper target", f"{because}: give it a proper prior")

    def _falls_off(self, mean: np.ndarray, widths: np.ndarray) -> bool:
        """Whether the log density falls along each column, both ways.

        Within a million of its widths or a hundred thousand units: farther out, in float32,
        rounding would fall off.
        """
        units = widths / np.linalg.norm(widths, axis=0)
        powers = 10.0 ** np.arange(1, 7)[:, None, None]
        far = np.concatenate([powers * widths.T, powers[:-1] * units.T])
        points = np.concatenate([mean + far, mean - far]).reshape(-1, len(mean))
        here = self._log_densities(mean[None])[0]
        drops = (here - self._log_densities(points)).reshape(2, len(far), -1)
        return bool((np.nan_to_num(drops, nan=np.inf).max(axis=1) > 1.0).all())

    def starts(self) -> tuple[Start, ...]:
        """Return where each path ended, and its share of the mixture."""
        return tuple(
            Start("path", np.nan, elbo, f"{path.done}, weight {share:.3f}")
            for path, elbo, share in zip(self.paths, self.elbos, self.shares)
        )


def log_densities(target: Target, x: np.ndarray, journal: Journal | None = None) -> np.ndarray:
    """Return the log density at rows of `x` (n, dim), without gradients, in float64."""
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % _BATCH, axis=0)])
    with np.errstate(over="ignore"):
        rows = padded.astype(target.dtype).reshape(-1, _BATCH, x.shape[1])
    found = [ask(journal, [part], lambda p=part: [_values(target, p)])[0] for part in rows]
    return np.concatenate([np.asarray(values, np.float64) for values in found])[: len(x)]


@compile_lightly
def _values(target: Target, x: Array) -> Array:
    return jax.vmap(target.log_density)(x)


def _log_mean(log_q: np.ndarray) -> np.ndarray:
    peak = log_q.max(axis=0)
    return peak + np.log(np.exp(log_q - peak).mean(axis=0))
