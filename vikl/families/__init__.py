"""What we approximate with: distributions on the flat space that sample and score themselves.

Purpose: a family is a pytree whose inexact array leaves ARE its trainable parameters, all of
them unconstrained. One draw at a time: `vmap` is applied outside.

May import: `_typing`, `kl`, `target`. Nothing foreign but jax and equinox (flowjax in `_flow.py`).

To add one, write a final subclass of `Family` in a file of its own, register what it knows
(`mean`, `cov`, `entropy`, and a KL with `register_kl` where there is a closed form), re-export it
here, and add a row to `FAMILIES` in `tests/cases.py`, which enrols it in every law.

Laws: `log_prob` agrees with `sample_and_log_prob`; E_q ∇log q = 0; `mean`, `cov` and `entropy`
agree with draws; the sticking-the-landing gradient is exactly zero where the target is q.
"""

from .. import _lazy

if not _lazy.deferred(__name__):
    from ._base import Family as Family
    from ._base import components as components
    from ._base import cov as cov
    from ._base import entropy as entropy
    from ._base import from_noise as from_noise
    from ._base import mean as mean
    from ._base import std as std
    from ._base import supports as supports
    from ._blocks import Blocks as Blocks
    from ._custom import Custom as Custom
    from ._custom import as_family as as_family
    from ._dirichlet import Beta as Beta
    from ._dirichlet import Dirichlet as Dirichlet
    from ._encoder import Encoder as Encoder
    from ._flow import Flow as Flow
    from ._full_rank import FullRankNormal as FullRankNormal
    from ._gamma import Gamma as Gamma
    from ._low_rank import LowRankNormal as LowRankNormal
    from ._mean_field import MeanFieldNormal as MeanFieldNormal
    from ._mixture import NormalMixture as NormalMixture
    from ._student_t import StudentT as StudentT
    from ._von_mises import VonMises as VonMises
