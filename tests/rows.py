"""Fewer rows of every law, for a second look at the whole suite."""

import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def thinned(
    items: Iterable[T], law: Callable[[T], Hashable], every: int
) -> tuple[list[T], list[T]]:
    """Split `items`: those kept, the first and then one of `every` of each law; and the rest."""
    kept, left = [], []
    counts: dict[Hashable, itertools.count] = {}
    for item in items:
        number = next(counts.setdefault(law(item), itertools.count()))
        (left if number % every else kept).append(item)
    return kept, left
