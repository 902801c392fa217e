"""The contenders of a benchmark: framewire, compiled and pure, and the installed peers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType
from typing import TypeVar

from .isolated_import import import_isolated
from .tables import FAST, PURE

Made = TypeVar("Made")


@cache
def backends() -> dict[str, ModuleType]:
    """Return copies of the package by column: FAST, if it is compiled, and PURE."""
    return available(
        {
            FAST: partial(import_isolated, "framewire", FRAMEWIRE_BACKEND="fast"),
            PURE: partial(import_isolated, "framewire", FRAMEWIRE_BACKEND="pure"),
        }
    )


def available(makers: Mapping[str, Callable[..., Made]], *arguments: object) -> dict[str, Made]:
    """Call makers with the same arguments.

    A maker that raises ImportError is left out, with one message on standard error.

    Args:
        makers: The makers by column.
        *arguments: The arguments.

    Returns:
        The results by column.
    """
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make(*arguments)
        except ImportError as error:
            _print_once(f"{name} is left out: {error}")
    return made


@cache
def _print_once(text: str) -> None:
    print(text, file=sys.stderr)
