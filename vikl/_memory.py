"""Requests that no memory can meet are refused by name, before they end the process.

Floor 0. XLA aborts Python when some arrays cannot be allocated, so it is asked beforehand.
"""

import os
from typing import Any


def physical_memory() -> float:
    """Return the bytes of memory that this machine has; infinity where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def check_memory(num_bytes: int | float, name: str, given: Any, advice: str) -> None:
    """Refuse what takes more bytes than the machine has.

    Raises:
        ValueError: naming the argument, what it takes, and what there is.
    """
    there = physical_memory()
    if num_bytes > there:
        raise ValueError(
            f"`{name}` {given} would take {num_bytes / 1e9:.3g} GB; this machine has "
            f"{there / 1e9:.3g}. {advice}"
        )
