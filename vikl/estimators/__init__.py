"""How expectations under q are drawn and differentiated.

Purpose: an estimator turns E_q[f(x, log q(x))] into a scalar whose gradient is an unbiased
estimate of the gradient of that expectation with respect to q's parameters. Its value and its
gradient are right together: nothing else in vikl differentiates through draws. Beside them stand
the estimators of `vikl.estimate_kl` (`K1`, `K2`, `K3` and ways to draw), which are of values only.

May import: `_typing`, `families`, `kl`, `divergences`.

To add one, write a final subclass of `Estimator` in a file of its own, re-export it here and add
a row to `ESTIMATORS` in `tests/cases.py`.

Laws: all estimators of one objective agree in value and in mean gradient; the
sticking-the-landing gradient is zero draw by draw where the target is q.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ..divergences import K1 as K1
    from ..divergences import K2 as K2
    from ..divergences import K3 as K3
    from ..divergences import Antithetic as Antithetic
    from ..divergences import ControlVariate as ControlVariate
    from ..divergences import QuasiMonteCarlo as QuasiMonteCarlo
    from ..divergences import RaoBlackwellized as RaoBlackwellized
    from ._base import Draws as Draws
    from ._base import Estimator as Estimator
    from ._closed_form import AnalyticKL as AnalyticKL
    from ._closed_form import ClosedFormEntropy as ClosedFormEntropy
    from ._control import HessianControlVariate as HessianControlVariate
    from ._defensive import DefensiveMixture as DefensiveMixture
    from ._noise import AntitheticNoise as AntitheticNoise
    from ._noise import Noise as Noise
    from ._noise import SobolNoise as SobolNoise
    from ._pathwise import DoublyReparameterized as DoublyReparameterized
    from ._pathwise import Pathwise as Pathwise
    from ._pathwise import StickingTheLanding as StickingTheLanding
    from ._quadrature import Quadrature as Quadrature
    from ._score import ScoreFunction as ScoreFunction
    from ._stratified import Stratified as Stratified
