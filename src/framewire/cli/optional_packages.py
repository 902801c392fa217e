"""Checks for optional dependencies that only some subcommands need."""

from __future__ import annotations

from importlib.util import find_spec

from .reporting import UNAVAILABLE, CommandError

__all__ = ["require_package"]


def require_package(package: str, feature: str, extra: str = "cli") -> None:
    """Check that an optional package can be imported.

    Args:
        package: The import name of the package.
        feature: What needs it, for the error message.
        extra: The extra of framewire that installs it.

    Raises:
        CommandError: If it cannot be imported; the message says how to install it.
    """
    if find_spec(package) is None:
        raise CommandError(f"{feature} needs the package {package}: pip install 'framewire[{extra}]'", UNAVAILABLE)
