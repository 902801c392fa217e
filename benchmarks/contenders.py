"""Who is there to be measured: framewire twice, compiled and pure, and the peers that are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import ModuleType
from typing import TypeVar

from .apart import import_apart
from .tables import FAST, PURE

Made = TypeVar("Made")


@cache
def backends() -> dict[str, ModuleType]:
    """The package by column: FAST if its compiled half is there, PURE always."""
    return available(
        {
            FAST: partial(import_apart, "framewire", FRAMEWIRE_BACKEND="fast"),
            PURE: partial(import_apart, "framewire", FRAMEWIRE_BACKEND="pure"),
        }
    )


def available(makers: Mapping[str, Callable[..., Made]], *arguments: object) -> dict[str, Made]:
    """Calls every maker with the arguments; those whose library is not there are left out, which is said once."""
    made = {}
    for name, make in makers.items():
        try:
            made[name] = make(*arguments)
        except ImportError as error:
            _say_once(f"{name} is left out: {error}")
    return made


@cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
