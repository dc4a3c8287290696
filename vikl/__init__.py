"""vikl: variational inference and Kullback-Leibler divergences in JAX."""

from . import diagnostics as diagnostics
from . import estimators as estimators
from . import families as families
from . import fitting as fitting
from . import kl as kl
from . import objectives as objectives
from .fitting._fit import fit as fit
from .fitting._load import load as load
from .kl._registry import kl_divergence as kl_divergence
from .kl._registry import register_kl as register_kl
from .target import Target as Target
