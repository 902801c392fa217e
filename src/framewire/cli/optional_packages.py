"""Checks for optional dependencies that only some subcommands need."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import FramewireError

__all__ = ["require_package"]


class MissingPackage(FramewireError):  # noqa: N818 - reads as the fact it reports
    """An optional package that the requested feature needs is not installed."""


def require_package(package: str, feature: str, extra: str = "cli") -> None:
    """Check that an optional package can be imported.

    Args:
        package: The import name of the package.
        feature: What needs it, for the error message.
        extra: The extra of framewire that installs it.

    Raises:
        MissingPackage: If it cannot be imported; the message says how to install it.
    """
    if find_spec(package) is None:
        raise MissingPackage(f"{feature} needs the package {package}: pip install 'framewire[{extra}]'")
