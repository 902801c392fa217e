"""Packages that only some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import FramewireError

__all__ = ["need"]


class MissingExtra(FramewireError):  # noqa: N818 - says what is missing
    """A package is not installed that this command needs."""


def need(package: str, what: str, extra: str = "cli") -> None:
    """Raises MissingExtra, which says what to install, unless `package` can be imported."""
    if find_spec(package) is None:
        raise MissingExtra(f"{what} needs the package {package}: pip install 'framewire[{extra}]'")
