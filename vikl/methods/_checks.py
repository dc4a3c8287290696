"""What the settings of a method must be: every message names the setting."""

from typing import Any

import numpy as np

from ..fitting._method import Method


def check_whole(method: Any, *names: str, least: int = 1) -> None:
    """Refuse settings that are not whole numbers of at least `least`.

    Raises:
        ValueError: with the setting's name and value.
    """
    for name in names:
        value = getattr(method, name)
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < least:
            raise ValueError(
                f"`{name}` should be a whole number, at least {least}; got {value!r}. Leave it "
                f"out: {type(method).__name__} has a default."
            )


def check_positive(method: Any, *names: str) -> None:
    """Refuse settings that are not positive numbers.

    Raises:
        ValueError: with the setting's name and value.
    """
    for name in names:
        value = getattr(method, name)
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not 0 < value < np.inf:
            raise ValueError(
                f"`{name}` should be a positive number; got {value!r}. Leave it out: "
                f"{type(method).__name__} has a default."
            )


def check_start_method(method: Any, name: str = "start") -> None:
    """Refuse a start that is not a method.

    Raises:
        TypeError: with what was given.
    """
    value = getattr(method, name)
    if not isinstance(value, Method):
        raise TypeError(
            f"`{name}` should be an instance of vikl.methods, such as Laplace(); got {value!r}. "
            "Call the class to make an instance."
        )
