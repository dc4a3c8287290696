"""`Laplace`: a normal at a mode, with the curvature there."""

from typing import ClassVar

import equinox as eqx
import numpy as np

from ..families import Family, FullRankNormal, MeanFieldNormal, mean
from ..fitting._method import Found, Method, Request
from ..fitting._natural import Moments
from ..fitting._status import Ending
from ..target import Target
from ._checks import check_whole
from ._modes import Search
from ._normals import as_kind
from ._watch import Watch, generator

_CLOSE_NATS = 10.0  # of evidence, within which a second mode is worth a word


class Laplace(Method):
    """N(x̂, (−∇²log p(x̂))⁻¹) at the mode x̂ with the most Laplace evidence.

    Several starts climb by L-BFGS; the distinct ends are polished by Newton steps with the exact
    Hessian. Cheap, exact on a normal target, and blind to everything but the neighbourhood of one
    point: the mode of a skewed posterior is not its mean, and that of a funnel is in its neck.
    With the family `MeanFieldNormal`, the one closest to that normal in reverse KL.

    Args:
        num_starts: climbs, the first from the target's start, the others spread within 2 of it on
            the unconstrained scale.

    Example:
        >>> import jax, jax.numpy as jnp, vikl
        >>> post = vikl.fit(lambda x: -2.0 * jnp.sum((x - 1.0) ** 2), like=jnp.zeros(2),
        ...                 method=Laplace(), key=jax.random.key(0))
        >>> print(post.mean, post.std)
        [1. 1.] [0.5 0.5]

    References:
        Tierney & Kadane (1986), Accurate approximations for posterior moments and marginal
        densities. MacKay (2003), Information Theory, Inference, and Learning Algorithms, ch. 27.
    """

    num_starts: int = 4

    families: ClassVar[tuple[type[Family], ...]] = (FullRankNormal, MeanFieldNormal)

    def __check_init__(self) -> None:
        check_whole(self, "num_starts")

    def run(self, target: Target, request: Request) -> Found:
        """Climb, polish, and choose the mode of most evidence."""
        kind = kind_of(request.family, self)
        if isinstance(request.family, Family):
            target = eqx.tree_at(lambda t: t.start, target, mean(request.family))
        search = Search(target, request.num_starts or self.num_starts, request.journal)
        with Watch(request, 1) as watch:
            search.go(generator(request.key))
        q, ending = _judge(search, target)
        family = as_kind(q, kind, target.dtype)
        if watch.ending is None:
            watch.stops(lambda: family, {})
        ending = watch.ending or ending
        for note in search.notes:
            ending = ending.with_note(note)
        return Found(family, ending, {}, search.num_gradients, tuple(search.starts))


def _judge(search: Search, target: Target) -> tuple[Moments, Ending]:
    """Return the normal at the best mode and how the search ended."""
    used = f"after {search.num_gradients} gradients"
    if not search.modes:
        start = np.asarray(target.start, np.float64)
        because = f"every climb ran away, {used}: the log density seems to have no upper bound"
        return Moments(start, np.eye(len(start))), Ending("unbounded target", because)
    mode = search.modes[0]
    q = Moments(mode.x, mode.scale)
    if mode.state == "settled":
        ending = Ending("converged", f"the gradient vanishes at a maximum, {used}")
        if search.ran_away:
            ending = ending.with_note(f"{search.ran_away} climbs ran away: there may be a pole")
        rivals = [m for m in search.modes[1:] if m.log_evidence > mode.log_evidence - _CLOSE_NATS]
        if rivals:
            ending = ending.with_note(
                f"{len(rivals) + 1} distinct modes of similar evidence were found; the fit covers "
                "one of them"
            )
        return q, ending
    if mode.state == "flat":
        widest = int(np.argmax(np.linalg.norm(mode.scale, axis=1)))
        because = f"the log density does not fall off along {target.names[widest]}, {used}"
        scale = mode.scale / np.maximum(np.linalg.norm(mode.scale, axis=0), 1.0)
        return Moments(mode.x, scale), Ending("improper target", f"{because}: give it a prior")
    if mode.state in ("rising", "narrow"):
        because = f"the log density still rose, {used}: it seems to have no upper bound"
        if mode.state == "narrow":
            narrowest = int(np.argmin(np.linalg.norm(mode.scale, axis=1)))
            because = f"{because}, where {target.names[narrowest]} shrinks to a point"
        return q, Ending("unbounded target", because)
    return q, Ending("budget spent", f"no maximum with curvature was reached, {used}")


def kind_of(family: type[Family] | Family | None, method: Method) -> type[Family]:
    """Return the class to fit: the one asked for, or the method's first."""
    if family is None:
        return method.families[0]
    return family if isinstance(family, type) else type(family)
