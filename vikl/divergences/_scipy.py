"""What this room takes from scipy, on the host: Sobol points, a tree of neighbours, quantiles."""

import numpy as np

from vikl._doors import require

# all of scipy is imported by the call that needs it: it would be a third of `import vikl`


def digamma(x: np.ndarray) -> np.ndarray:
    """Return the logarithmic derivative of the gamma function."""
    return require("scipy.special").digamma(x)


def normal_scale_of_t(degrees: int) -> float:
    """How much wider Student's t is than the normal at its 97.5 % quantile."""
    special = require("scipy.special")
    return float(special.stdtrit(degrees, 0.975) / special.ndtri(0.975))


def sobol_integers(num: int, dim: int) -> np.ndarray:
    """Return the first `num` (a power of two) Sobol points, (num, dim), as 32-bit integers."""
    qmc = require("scipy.stats.qmc")  # slow to import, so by the first call
    points = qmc.Sobol(dim, scramble=False, bits=30).random_base2(int(num).bit_length() - 1)
    return np.asarray(points * 2.0**30, np.uint32) << np.uint32(2)


def neighbours(points: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Distances from each point to its k nearest neighbours, nearest first, shape (n, k)."""
    tree = require("scipy.spatial").cKDTree(among)
    return tree.query(points, k)[0].reshape(len(points), k)


def copies(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How many of `among` coincide with each point."""
    tree = require("scipy.spatial").cKDTree(among)
    return tree.query_ball_point(points, 0.0, return_length=True)
