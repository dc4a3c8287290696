"""Closed-form KL divergences (stand-in until the room lands)."""

from ._normal import multivariate_normal as multivariate_normal
from ._normal import normal as normal
