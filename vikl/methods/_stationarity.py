"""Whether a stretch of iterates is stationary, and how well its mean is known."""

import numpy as np


def split_rhat(iterates: np.ndarray) -> np.ndarray:
    """Return the split R-hat of each column of iterates (n, p): two halves as two chains.

    Example:
        >>> rhat = split_rhat(np.stack([np.tile([0.0, 1.0], 50), np.arange(100.0)], axis=1))
        >>> rhat.round(1).tolist()
        [1.0, 2.6]

    References:
        Gelman & Rubin (1992), Inference from iterative simulation using multiple sequences.
    """
    half = len(iterates) // 2
    chains = iterates[: 2 * half].reshape(2, half, -1)
    within = chains.var(axis=1, ddof=1).mean(axis=0)
    between = half * chains.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = np.sqrt((half - 1) / half + between / half / within)
    return np.where(within > 0, rhat, 1.0)


def effective_size(iterates: np.ndarray) -> np.ndarray:
    """Return how many independent values each column of iterates (n, p) is worth.

    By autocorrelations, summed in pairs until a pair is negative.

    Example:
        >>> walk = np.random.default_rng(0).normal(size=(1000, 1))
        >>> bool(800 < effective_size(walk)[0] < 1200)
        True

    References:
        Geyer (1992), Practical Markov chain Monte Carlo.
    """
    n = len(iterates)
    away = iterates - iterates.mean(axis=0)
    waves = np.fft.rfft(away, n=2 * n, axis=0)
    autocov = np.fft.irfft(waves * waves.conj(), n=2 * n, axis=0)[:n] / n
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(autocov[0] > 0, autocov / autocov[0], 0.0)
    pairs = rho[0 : n - n % 2 : 2] + rho[1 : n - n % 2 : 2]
    kept = np.cumprod(pairs > 0, axis=0)
    tau = np.maximum(2 * np.sum(pairs * kept, axis=0) - 1, 1 / np.log10(max(n, 11)))
    return np.where(autocov[0] > 0, n / tau, n)


def best_window(iterates: np.ndarray, fewest: int, windows: int = 5) -> tuple[int, float]:
    """Return the length of the last stretch with the smallest worst R-hat, and that R-hat."""
    lengths = np.linspace(fewest, int(0.95 * len(iterates)), windows).astype(int)
    worst = [float(split_rhat(iterates[-length:]).max()) for length in lengths]
    best = int(np.argmin(worst))
    return int(lengths[best]), worst[best]
