"""Types for `argparse` options; each raises ArgumentTypeError for invalid text."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["header", "host", "non_negative_float", "non_negative_int", "port", "positive_float", "positive_int"]

Number = TypeVar("Number", int, float)

_MAX_INT: Final = (1 << 31) - 1


def port(text: str) -> int:
    """Parse a port number, 0 to 65535."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ArgumentTypeError(f"{text!r} is not a port number (0 to 65535)")
    return number


def host(text: str) -> str:
    """Parse a host name or an address, as `socket.getaddrinfo` does."""
    try:
        text.encode("idna")
    except UnicodeError:
        raise ArgumentTypeError(f"{text!r} is not a host name") from None
    return text


def non_negative_int(text: str) -> int:
    """Parse an integer of 0 to 2**31 - 1."""
    return _parse(int, text, lambda number: 0 <= number <= _MAX_INT, f"an integer of 0 to {_MAX_INT}")


def positive_int(text: str) -> int:
    """Parse an integer of 1 to 2**31 - 1."""
    return _parse(int, text, lambda number: 1 <= number <= _MAX_INT, f"an integer of 1 to {_MAX_INT}")


def non_negative_float(text: str) -> float:
    """Parse a number of at least 0, or infinity."""
    return _parse(float, text, lambda number: number >= 0, "a number of 0 or more")


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    return _parse(float, text, lambda number: 0 < number < math.inf, "a finite number above 0")


def _parse(kind: Callable[[str], Number], text: str, is_valid: Callable[[Number], bool], description: str) -> Number:
    try:
        number = kind(text)
        if is_valid(number):
            return number
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r} is not {description}")


def header(text: str) -> tuple[str, str]:
    """Parse a header line, "Name: value"."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ArgumentTypeError(f"{text!r} is not of the form 'Name: value'")
    return name.strip(), value.strip()
