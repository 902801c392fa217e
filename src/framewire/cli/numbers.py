"""The numbers that options take: ValueError for any other."""

from __future__ import annotations

import math

__all__ = ["natural", "positive", "positive_float"]


def natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def positive_float(text: str) -> float:
    if not 0 < (number := float(text)) < math.inf:
        raise ValueError
    return number
