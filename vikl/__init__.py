"""vikl: variational inference and Kullback-Leibler divergences in JAX.

`vikl.fit` fits; `vikl.kl_divergence` and its kin compare distributions; rooms such as
`vikl.families` and `vikl.objectives` hold the parts. What each room may import is in
`tests/source_tree.py`, and a test holds it. What is imported below, here and in each room, is
imported when it is first asked for (`_lazy.py`).
"""

from . import _lazy

if not _lazy.deferred(__name__):
    from . import diagnostics as diagnostics
    from . import estimators as estimators
    from . import families as families
    from . import fitting as fitting
    from . import info as info
    from . import kl as kl
    from . import losses as losses
    from . import methods as methods
    from . import objectives as objectives
    from . import plots as plots
    from .divergences import Estimate as Estimate
    from .divergences import alpha_divergence as alpha_divergence
    from .divergences import bhattacharyya_distance as bhattacharyya_distance
    from .divergences import chi_squared_divergence as chi_squared_divergence
    from .divergences import cross_entropy as cross_entropy
    from .divergences import donsker_varadhan_bound as donsker_varadhan_bound
    from .divergences import entropy as entropy
    from .divergences import estimate_divergence as estimate_divergence
    from .divergences import estimate_kl as estimate_kl
    from .divergences import f_divergence as f_divergence
    from .divergences import f_divergence_bound as f_divergence_bound
    from .divergences import generators as generators
    from .divergences import jeffreys_divergence as jeffreys_divergence
    from .divergences import jensen_shannon_divergence as jensen_shannon_divergence
    from .divergences import kl_from_classifier as kl_from_classifier
    from .divergences import kl_from_samples as kl_from_samples
    from .divergences import nwj_bound as nwj_bound
    from .divergences import renyi_divergence as renyi_divergence
    from .divergences import skew_kl_divergence as skew_kl_divergence
    from .divergences import squared_hellinger_distance as squared_hellinger_distance
    from .divergences import total_variation_distance as total_variation_distance
    from .divergences import wasserstein2_distance as wasserstein2_distance
    from .fitting._amortized import fit_amortized as fit_amortized
    from .fitting._fit import fit as fit
    from .fitting._load import load as load
    from .fitting._many import fit_many as fit_many
    from .kl._registry import kl_divergence as kl_divergence
    from .kl._registry import register_kl as register_kl
    from .kl._registry import registered_kl_pairs as registered_kl_pairs
    from .target import Target as Target
