"""The named methods: ways to fit that researchers compare, each with its own settings.

Purpose: `vikl.fit(target, method=BatchAndMatch(), key=key)` runs one in place of the automatic
method and returns the same `Posterior`. Each is a class of settings with the defaults of its paper;
where vikl departs from the paper the docstring says so. Methods compose: a `start` is a method.

May import: every room below. Nothing foreign but jax, numpy, equinox and optax.

To add one, write a final subclass of `Method` in a file of its own, whose `run(target, request)`
returns what it found, re-export it here, and add a row to `METHODS` in `tests/cases.py`.

Laws: exact on a normal target where its family allows it; gradients are counted honestly, every
evaluation of the log density's gradient, a Hessian as `dim` of them; the same key gives the same
bits; a repeat call compiles nothing; a bad target gets a status in words.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ..fitting._method import Method as Method
    from ._average import PolyakAverage as PolyakAverage
    from ._batch_and_match import BatchAndMatch as BatchAndMatch
    from ._batch_and_match import constant_regularization as constant_regularization
    from ._batch_and_match import decaying_regularization as decaying_regularization
    from ._deterministic import DeterministicADVI as DeterministicADVI
    from ._laplace import Laplace as Laplace
    from ._linear_response import linear_response_covariance as linear_response_covariance
    from ._pathfinder import Pathfinder as Pathfinder
    from ._raabbvi import Raabbvi as Raabbvi
    from ._score_matching import GaussianScoreMatching as GaussianScoreMatching
    from ._stochastic_vi import StandsStill as StandsStill
    from ._stochastic_vi import StochasticVI as StochasticVI
