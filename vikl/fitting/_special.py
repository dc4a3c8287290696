"""Which automatic method suits a target and a family that natural gradients do not."""

from typing import Any

from .. import families
from ..target import Target
from ..target._rows import RowsProblem
from ._arguments import FULL_RANK_UP_TO
from ._method import Method


def special_method(target: Target, family: Any) -> Method | None:
    """Return the automatic method of this family, None where it is natural gradients."""
    if isinstance(target.problem, RowsProblem):
        from ._minibatch import MinibatchClimb

        return MinibatchClimb()
    if family is None and target.dim <= FULL_RANK_UP_TO:
        return None
    kind = family if isinstance(family, type) else type(family)
    if family is None or kind is families.LowRankNormal:
        from ._low_rank import LowRankClimb

        return LowRankClimb()
    if kind is families.NormalMixture:
        from ._mixture import MixtureClimb

        return MixtureClimb()
    return None
