"""Number types for `argparse` options; each raises ValueError for text that is out of range."""

from __future__ import annotations

import math

__all__ = ["non_negative_int", "positive_float", "positive_int"]


def non_negative_int(text: str) -> int:
    """Parse an integer of at least 0."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < (number := float(text)) < math.inf:
        raise ValueError
    return number
