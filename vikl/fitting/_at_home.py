"""Whether a family for constrained parameters stands where the target has such parameters."""

import math
from typing import Any, NamedTuple

from ..families import Family, supports
from ..target import Target
from ..target._supports import Support

#: the supports whose map from the real line is the one that a family was written for
_HOMES = {
    "positive": ("positive", "nonnegative", "greater_than"),
    "unit_interval": ("unit_interval", "interval", "open_interval"),
    "circular": ("circular",),
    "simplex": ("simplex",),
}


class _Coordinate(NamedTuple):
    """An unconstrained coordinate: its leaf, its support, its place in a simplex of so many."""

    leaf: str
    support: Support | None
    place: int
    size: int


def check_at_home(family: Family, target: Target) -> None:
    """Refuse a family on coordinates whose support is not the one that it is for.

    Raises:
        ValueError: names the part of the target, its support and what to use there.
    """
    kinds = supports(family)
    if all(kind == "any" for kind, _ in kinds):
        return
    coordinates, start = _coordinates(target), 0
    for kind, num in kinds:
        part = coordinates[start : start + num]
        if kind != "any" and not _fits(kind, num, part):
            first = next((c for c in part if not _is_of(kind, c)), part[0])
            raise ValueError(
                f"`family` {_name_of(kind)} is for parameters whose support is "
                f"{' or '.join(map(repr, _HOMES.get(kind, (kind,))))}"
                f"{', one whole simplex' if kind == 'simplex' else ''}; the target has "
                f"{first.leaf or 'x'!r} with support {_said(first.support)} there. Declare the "
                "`support`, or use a normal family for that part (`vikl.families.Blocks.of`)."
            )
        start += num


def _coordinates(target: Target) -> list[_Coordinate]:
    declared: Any = dict(getattr(target.problem, "site_supports", ()))
    found = []
    for leaf in target.problem.layout.leaves:
        support = declared.get(leaf.name, leaf.support)
        last = leaf.unconstrained_shape[-1] if leaf.unconstrained_shape else 1
        num = math.prod(leaf.unconstrained_shape)
        found += [_Coordinate(leaf.name, support, i % last, last) for i in range(num)]
    return found


def _is_of(kind: str, coordinate: _Coordinate) -> bool:
    support = coordinate.support
    return support is not None and support.name in _HOMES.get(kind, (kind,))


def _fits(kind: str, num: int, part: list[_Coordinate]) -> bool:
    if not all(_is_of(kind, c) for c in part):
        return False
    return kind != "simplex" or (part[0].place == 0 and part[0].size == num)


def _name_of(kind: str) -> str:
    names = {
        "positive": "Gamma",
        "unit_interval": "Beta",
        "circular": "VonMises",
        "simplex": "Dirichlet",
    }
    return names.get(kind, f"for {kind!r}")


def _said(support: Support | None) -> str:
    return "that vikl does not know" if support is None else repr(support.name)
