"""All draws together: the end of a natural-gradient run, which wastes no gradient."""

import numpy as np

from ._natural import LOG_2PI, Moments, Round, Shape, gradients_of

_GROUPS = 8  # whose differences say how noisy their mean is
_INNER_STEPS = 60
_EFFICIENT = 0.4  # effective share of the draws, below which they are too far from q


class Pool:
    """Draws of several normals with values and gradients, reweighted for any normal near them.

    Draw i gets the weight q(x_i) / Σ_k (n_k/n) q_k(x_i): the denominator is the mixture of the
    normals that made the draws, so no weight is large as long as q is near one of them. Then the
    natural gradient at q is an average over all draws, and the q where it vanishes is found
    without evaluating the target again.

    References:
        Veach & Guibas (1995), the balance heuristic; Cornuet et al. (2012), Adaptive multiple
        importance sampling.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.makers: list[Moments] = []
        self.counts: list[int] = []
        self.x = self.values = self.gradients = np.zeros(0)
        self.group = np.zeros(0, int)
        self.densities = np.zeros((0, 0))  # (makers, draws), logarithms
        self._fixed: tuple[np.ndarray, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def add(self, q: Moments, noise: np.ndarray, values: np.ndarray, gradients: np.ndarray) -> None:
        """Take in antithetic draws of q: rows i and i + n/2 are a pair."""
        fine = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        if not fine.any():
            return
        self._fixed = None
        x = (q.mean + noise @ q.scale.T)[fine]
        half = np.arange(len(noise) // 2) % _GROUPS
        group = np.concatenate([half, half])[fine]
        if len(self) == 0:
            self.x = self.gradients = np.zeros((0, x.shape[1]))
        new = [_log_density(m, x)[0] for m in self.makers]
        new = np.stack(new) if new else np.zeros((0, len(x)))
        self.x = np.concatenate([self.x, x])
        self.values = np.concatenate([self.values, values[fine]])
        self.gradients = np.concatenate([self.gradients, gradients[fine]])
        self.group = np.concatenate([self.group, group])
        self.densities = np.concatenate([self.densities, new], axis=1)
        if self.makers and self.makers[-1] is q:
            self.counts[-1] += len(x)
        else:
            self.makers.append(q)
            self.counts.append(len(x))
            self.densities = np.concatenate([self.densities, _log_density(q, self.x)[0][None]])

    def look(self, q: Moments) -> tuple[Round, float]:
        """Estimate ELBO and gradients at q from all draws; return the effective share of them."""
        log_q, z = _log_density(q, self.x)
        log_made, groups = self._whatever_q()
        log_w = log_q - log_made
        weights = np.exp(log_w - log_w.max())
        weights /= weights.sum()
        efficiency = 1 / float(np.sum(weights**2)) / len(weights)
        residual = self.gradients @ q.scale + z
        steps, curves, elbos = [], [], []
        for rows in groups:
            w = weights[rows] * _GROUPS
            step, curve = gradients_of(z[rows], residual[rows], w)
            steps.append(step)
            curves.append(curve)
            elbos.append(float(w @ self.values[rows]))
        step, curve = np.mean(steps, axis=0), np.mean(curves, axis=0)
        bend = self.shape.project(curve)
        noise = 0.5 * np.sum((np.asarray(steps) - step) ** 2)
        noise += 0.25 * sum(np.sum((self.shape.project(c) - bend) ** 2) for c in curves)
        error = float(np.std(elbos, ddof=1)) / np.sqrt(_GROUPS)
        seen = Round(
            float(np.mean(elbos)) + q.entropy, error, step, bend,
            float(noise) / _GROUPS / (_GROUPS - 1), 0, curve,
        )  # fmt: skip
        return seen, efficiency

    def _whatever_q(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return what a look needs and no q changes: log densities of the mixture, and groups."""
        if self._fixed is None:
            shares = np.log(np.asarray(self.counts) / sum(self.counts))[:, None]
            log_made = np.logaddexp.reduce(self.densities + shares, axis=0)
            self._fixed = log_made, [np.flatnonzero(self.group == g) for g in range(_GROUPS)]
        return self._fixed

    def solve(self, q: Moments, tolerance: float, trust: float) -> tuple[Moments, Round, bool]:
        """Return the normal near q whose natural gradient over the pool is below `tolerance`.

        It goes no further than the draws can vouch for, and says whether that stopped it.
        """
        seen, _ = self.look(q)
        rate, limited = 1.0, False
        for step in range(_INNER_STEPS):
            if step and seen.gain < tolerance:
                break
            new = self.shape.update(q, seen, rate, trust)
            ahead, efficiency = self.look(new)
            limited = efficiency < _EFFICIENT
            if limited or ahead.gain > 2 * seen.gain + tolerance:
                rate /= 2
                if rate < 0.1:
                    break
                continue
            q, seen = new, ahead
        return q, seen, limited


def _log_density(q: Moments, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log q at the rows of x, and the noise they are made of."""
    z = (x - q.mean) @ np.linalg.inv(q.scale).T  # many rows: faster than to solve
    log_det = float(np.linalg.slogdet(q.scale)[1])
    return -0.5 * np.sum(z * z, axis=1) - log_det - 0.5 * x.shape[1] * LOG_2PI, z
