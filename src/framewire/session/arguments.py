"""Checks of arguments that several modules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["check_absent", "check_all_used", "check_context"]


def check_absent(other: str, **arguments: Any) -> None:
    """Check that none of the arguments is given besides the argument `other`.

    Raises:
        ValueError: One is not None.
    """
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} is incompatible with {other}")


def check_all_used(names: Iterable[str], other: str) -> None:
    """Check that no keyword argument is left over where the argument `other` is given.

    Args:
        names: Those that are left over.
        other: The name of the other argument.

    Raises:
        TypeError: There is one.
    """
    for name in names:
        raise TypeError(f"unexpected keyword argument {name!r} with {other}")


def check_context(name: str, context: Any) -> None:
    """Check that an argument is a TLS context or None. Raises TypeError if it is not."""
    if context is not None and not hasattr(context, "wrap_socket"):
        raise TypeError(f"{name} is an SSLContext or None, not {type(context).__name__}")
