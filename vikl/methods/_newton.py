"""Trust-region Newton steps whose subproblem is solved by conjugate gradients."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Product = Callable[[np.ndarray], np.ndarray]


class Step(NamedTuple):
    """A step, the decrease of the quadratic model that it promises, and whether it is cut short."""

    move: np.ndarray
    promise: float
    at_edge: bool


def steihaug(gradient: np.ndarray, product: Product, radius: float) -> Step:
    """Minimise gᵀp + ½pᵀHp over |p| ≤ radius by conjugate gradients, H by its `product`.

    Stops at the edge of the region, where the curvature is negative, or where the residual is
    small: a share min(½, √|g|) of the gradient, which makes Newton's convergence superlinear.

    Example:
        >>> step = steihaug(np.array([2.0, -4.0]), lambda p: np.array([1.0, 2.0]) * p, 10.0)
        >>> step.move.round(6).tolist(), round(step.promise, 6), step.at_edge
        ([-2.0, 2.0], 6.0, False)

    References:
        Steihaug (1983), The conjugate gradient method and trust regions in large scale
        optimization. Nocedal & Wright (2006), Numerical Optimization, algorithm 7.2.
    """
    size = float(np.linalg.norm(gradient))
    enough = min(0.1, np.sqrt(size)) * size
    move, image = np.zeros_like(gradient), np.zeros_like(gradient)
    residual, direction = gradient, -gradient
    for _ in range(2 * len(gradient)):
        bent = product(direction)
        curvature = float(direction @ bent)
        square = float(residual @ residual)
        length = square / curvature if curvature > 0 else np.inf
        if curvature <= 0 or np.linalg.norm(move + length * direction) >= radius:
            length = _to_edge(move, direction, radius)
            move, image = move + length * direction, image + length * bent
            return Step(move, _promise(gradient, move, image), True)
        move, image = move + length * direction, image + length * bent
        residual = residual + length * bent
        if np.linalg.norm(residual) < enough:
            break
        direction = -residual + float(residual @ residual) / square * direction
    return Step(move, _promise(gradient, move, image), False)


def _promise(gradient: np.ndarray, move: np.ndarray, image: np.ndarray) -> float:
    return -float(gradient @ move + 0.5 * move @ image)


def _to_edge(move: np.ndarray, direction: np.ndarray, radius: float) -> float:
    a, b = float(direction @ direction), float(move @ direction)
    c = float(move @ move) - radius**2
    return (-b + np.sqrt(max(b * b - a * c, 0.0))) / a
