"""Knowledge distillation: a student imitates the softened probabilities of a teacher."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from vikl._typing import Array, Float
from vikl.divergences import generators
from vikl.info import _checks
from vikl.info._checks import ArrayInput
from vikl.info._logits import log_ratio, log_softmax
from vikl.losses._rows import Mask, Number, finish, labels_as_probabilities, logit_pair

_FORWARD = generators.kl()


def _positive(name: str, value: Any, dtype: Any) -> Float[Array, ""]:
    """`value` as a positive finite scalar; NaN inside jit where it is not."""
    number = jnp.asarray(value, dtype)
    if number.ndim != 0:
        raise ValueError(f"`{name}` should be one number; got shape {number.shape}. Do vmap.")
    if _checks.is_concrete(number):
        if not (np.isfinite(number) and number > 0):
            raise ValueError(
                f"`{name}` should be positive and finite; got {float(number):.6g}. Do use 1 for "
                "plain probabilities, 2 to 5 to soften them."
            )
        return number
    return jnp.where(jnp.isfinite(number) & (number > 0), number, jnp.nan)


def distillation(
    student_logits: ArrayInput,
    teacher_logits: ArrayInput,
    temperature: Number = 1.0,
    *,
    divergence: generators.Generator | None = None,
    labels: ArrayInput | None = None,
    label_weight: Number | None = None,
    where: Mask = None,
) -> Float[Array, "..."]:
    """Distillation loss `T^2 D(p || q)`, p = softmax(teacher / T), q = softmax(student / T).

    D is KL(p‖q) unless another f-divergence is given. Softening divides the gradient by T^2, so
    the factor T^2 keeps it of one size for every T: the gradient with respect to the student is
    `T (q - p)`, and for large T and centred logits it tends to `(student - teacher) / classes`.
    Computed from the difference of the logits, so that it keeps its digits in float32 where the
    softened probabilities nearly agree (large T). Both arguments are differentiated; wrap the
    teacher in `jax.lax.stop_gradient` if it shares parameters with the student.

    With labels the loss is `(1 - label_weight) T^2 D + label_weight H(labels, softmax(student))`,
    the second term at temperature 1.

    Args:
        student_logits: unnormalised log probabilities, shape (..., classes).
        teacher_logits: of the teacher, the same classes; batch axes broadcast.
        temperature: T, positive, the same for both.
        divergence: a generator from `vikl.generators`, seen as D(teacher‖student): `kl()` (the
            default), `reverse_kl()`, `jensen_shannon()`, `skew_kl(0.9)`, which is KL(p‖0.1 p +
            0.9 q), `swapped(skew_kl(0.9))`, which is KL(q‖0.1 q + 0.9 p), or any other.
        labels: class numbers, shape (...), or probabilities, shape (..., classes).
        label_weight: from 0 to 1, the share of the labels; needed with `labels`, and only then.
        where: booleans of shape (...); a row where it is False costs 0.

    Returns:
        The loss of each row, in nats, without the axis of classes; not averaged
        (`vikl.losses.masked_mean` averages).

    Raises:
        TypeError: if logits are not floating or `where` is not boolean.
        ValueError: on shapes that do not fit, or one of `labels` and `label_weight` without the
            other; outside jit also on NaN logits, a temperature that is not positive, labels that
            are not classes. Inside jit such rows are NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> from vikl.losses import distillation
        >>> student, teacher = jnp.array([1.5, -0.5, -1.0]), jnp.array([2.0, 0.5, -2.5])
        >>> print(round(float(distillation(student, teacher, 2.0)), 5))
        0.22185

    References:
        Hinton, Vinyals and Dean (2015), Distilling the knowledge in a neural network; Ko, Kim,
        Chen and Yun (2024), DistiLLM: towards streamlined distillation (skew divergences).
    """
    names = ("student_logits", "teacher_logits")
    z, v, mask, valid, dtype = logit_pair(names, student_logits, teacher_logits, where)
    t = _positive("temperature", temperature, z.dtype)
    both = jnp.isfinite(z) & jnp.isfinite(v)
    # subtracted before they are divided: equal logits stay equal, and near ones keep their digits
    difference = jnp.where(both, jnp.where(both, v, 0) - jnp.where(both, z, 0), 0) / t
    rows = log_ratio(v / t, z / t, difference)
    loss = t * t * jnp.sum((_FORWARD if divergence is None else divergence).of(*rows), -1)
    if (labels is None) != (label_weight is None):
        given, lacks = ("labels", "label_weight")[:: 1 if label_weight is None else -1]
        raise ValueError(
            f"`{given}` should come with `{lacks}`; got `{given}` alone. Do say both what the "
            "labels are and how much they weigh, or neither."
        )
    if labels is not None:
        p, sound = labels_as_probabilities(labels, z.shape, mask, z.dtype)
        share = _share("label_weight", label_weight, z.dtype)
        loss = (1 - share) * loss + share * _cross_entropy(p, z)
        valid = _checks.both(valid, sound)
    return finish(loss, mask, valid, dtype)


def _share(name: str, value: Any, dtype: Any) -> Float[Array, ""]:
    """`value` as a scalar from 0 to 1; NaN inside jit where it is not."""
    number = jnp.asarray(value, dtype)
    if number.ndim != 0:
        raise ValueError(f"`{name}` should be one number; got shape {number.shape}. Do vmap.")
    if _checks.is_concrete(number) and not 0 <= number <= 1:
        raise ValueError(
            f"`{name}` should lie between 0 and 1; got {float(number):.6g}. Do give the share of "
            "the labels in the loss."
        )
    return jnp.where((number >= 0) & (number <= 1), number, jnp.nan)


def _cross_entropy(p: Float[Array, "..."], logits: Float[Array, "..."]) -> Float[Array, "..."]:
    """`-sum_i p_i log softmax(logits)_i`, infinite where p > 0 = q."""
    log_q = log_softmax(logits)
    possible = log_q > -jnp.inf
    terms = jnp.where(possible, -p * jnp.where(possible, log_q, 0), jnp.where(p > 0, jnp.inf, 0))
    return jnp.sum(terms, -1)
