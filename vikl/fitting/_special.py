"""Which automatic method suits a target and a family that natural gradients do not."""

from typing import Any

from ..families import LowRankNormal, NormalMixture
from ..target import Target
from ._arguments import FULL_RANK_UP_TO
from ._low_rank import LowRankClimb
from ._method import Method
from ._minibatch import MinibatchClimb, is_minibatch
from ._mixture import MixtureClimb


def special_method(target: Target, family: Any) -> Method | None:
    """Return the automatic method of this family, None where it is natural gradients."""
    if is_minibatch(target):
        return MinibatchClimb()
    kind = family if isinstance(family, type) else type(family)
    if kind is LowRankNormal or (family is None and target.dim > FULL_RANK_UP_TO):
        return LowRankClimb()
    if kind is NormalMixture:
        return MixtureClimb()
    return None
