"""`Failures`: what the application of a test raised, so that the test raises it too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConnectionClosed, ResponseError

__all__ = ["Failures"]


class Failures:
    """The exceptions of the application at one end of a connection."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []

    def add(self, error: BaseException) -> None:
        """Take note of an exception, unless it says that the connection has ended."""
        if not isinstance(error, ConnectionClosed):
            self._errors.append(error)

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise the first exception of the application at the end of the block, and in place of one
        that only tells the test of the consequence: a refusal or an end of the connection.
        """
        try:
            yield
        except (ConnectionClosed, ResponseError) as error:
            if self._errors:
                raise self._errors[0] from error
            raise
        if self._errors:
            raise self._errors[0]
