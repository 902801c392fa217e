"""Types for `argparse` options; each raises ValueError or ArgumentTypeError for invalid text."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError

__all__ = ["header", "host", "non_negative_float", "non_negative_int", "port", "positive_float", "positive_int"]


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
    """Parse an integer of at least 0."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def non_negative_float(text: str) -> float:
    """Parse a number of at least 0, or infinity."""
    if not (number := float(text)) >= 0:
        raise ValueError
    return number


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < (number := float(text)) < math.inf:
        raise ValueError
    return number


def header(text: str) -> tuple[str, str]:
    """Parse a header line, "Name: value"."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ArgumentTypeError(f"{text!r} is not of the form 'Name: value'")
    return name.strip(), value.strip()
