"""The version of this package."""

__all__ = ["version"]

version = "0.1.0"
