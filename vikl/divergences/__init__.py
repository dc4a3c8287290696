"""Divergences beyond KL for named distributions, and KL by sampling.

**Purpose.** Closed forms for numpyro distributions (entropy, cross-entropy, Rényi, alpha,
chi-squared, Hellinger, Bhattacharyya, Jensen-Shannon, skew KL, total variation, Wasserstein-2,
any f-divergence), and estimates with a standard error where there is none (`estimate_kl`,
`estimate_divergence`), from samples alone (`kl_from_samples`, `kl_from_classifier`) or from a
critic (three bounds). All in nats, batched, differentiable, and usable under jit unless said
otherwise.

**May import.** `vikl._typing`, `vikl._doors`, `vikl.info`, `vikl.kl` (floor 2). All knowledge of
numpyro's classes is in `_numpyro.py`, and numpyro is imported by the first call that needs it;
scipy is met in `_scipy.py` alone.

**How it works.** `_numpyro.describe` turns a distribution into a family and arrays, `_pairs.pair`
two of them into one problem, and everything below is arrays: the power gap `R(a)`
(`_power_kernels`, `_exponential`) is behind Rényi, alpha, chi-squared, Hellinger and
Bhattacharyya; a `Generator` (`generators`) summed over finite outcomes or integrated on a line is
behind the rest. Both are sums of non-negative terms, so nothing cancels where p and q nearly
agree.

**To add** a family: a row in `_numpyro._PLAIN`, one in `_exponential.FAMILIES` (its KL kernel and
its path in natural parameters) and one in `_entropy._FORMULAS`. A divergence: a generator and a
function of five lines in `_integrals`. An estimator: a final subclass of `AbstractEstimator`.
Then a row in `tests/divergence_cases.py`; a test compares the rows with the public names.

**Laws.** The value in float32 and float64; zero at p = q; never negative (Rényi of negative order
is never positive); symmetric where it says so; the gradient against finite differences; jit =
eager; vmap = loop. Estimates: unbiased where they say so, within five standard errors, and 95 %
intervals that cover between 93 and 97 times of 100.
"""

from vikl import _lazy
from vikl.divergences import _generators

if not _lazy.deferred(__name__):
    from vikl.divergences._bounds import donsker_varadhan_bound as donsker_varadhan_bound
    from vikl.divergences._bounds import f_divergence_bound as f_divergence_bound
    from vikl.divergences._bounds import nwj_bound as nwj_bound
    from vikl.divergences._classifier import kl_from_classifier as kl_from_classifier
    from vikl.divergences._entropy import cross_entropy as cross_entropy
    from vikl.divergences._entropy import entropy as entropy
    from vikl.divergences._estimate import Estimate as Estimate
    from vikl.divergences._estimate import estimate_divergence as estimate_divergence
    from vikl.divergences._estimate import estimate_kl as estimate_kl
    from vikl.divergences._estimators import K1 as K1
    from vikl.divergences._estimators import K2 as K2
    from vikl.divergences._estimators import K3 as K3
    from vikl.divergences._estimators import Antithetic as Antithetic
    from vikl.divergences._estimators import ControlVariate as ControlVariate
    from vikl.divergences._estimators import QuasiMonteCarlo as QuasiMonteCarlo
    from vikl.divergences._integrals import f_divergence as f_divergence
    from vikl.divergences._integrals import jeffreys_divergence as jeffreys_divergence
    from vikl.divergences._integrals import jensen_shannon_divergence as jensen_shannon_divergence
    from vikl.divergences._integrals import skew_kl_divergence as skew_kl_divergence
    from vikl.divergences._integrals import total_variation_distance as total_variation_distance
    from vikl.divergences._mixtures import MixtureBounds as MixtureBounds
    from vikl.divergences._mixtures import kl_mixture_bounds as kl_mixture_bounds
    from vikl.divergences._orders import bhattacharyya_distance as bhattacharyya_distance
    from vikl.divergences._orders import chi_squared_divergence as chi_squared_divergence
    from vikl.divergences._orders import squared_hellinger_distance as squared_hellinger_distance
    from vikl.divergences._power import alpha_divergence as alpha_divergence
    from vikl.divergences._power import renyi_divergence as renyi_divergence
    from vikl.divergences._rao_blackwell import RaoBlackwellized as RaoBlackwellized
    from vikl.divergences._samples import kl_from_samples as kl_from_samples
    from vikl.divergences._wasserstein import wasserstein2_distance as wasserstein2_distance

generators = _generators
