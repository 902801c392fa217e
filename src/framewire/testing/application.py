"""`Failures`: what the application of a test raised, so that the test raises it too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..errors import ConnectionClosed, ResponseError
from ..session.base_server import consists_of, has_ended

__all__ = ["ApplicationError", "Failures"]

#: Exceptions that end a task, a thread or the program, and are no failures of the application.
_ENDS: Final = (GeneratorExit, KeyboardInterrupt, SystemExit)


class ApplicationError(Exception):
    """Tells a server that its application has raised something else than an `Exception`, as
    `pytest.fail` does: its cause.
    """


class Failures:
    """The exceptions of the application at one end of a connection.

    Args:
        expected: Exceptions that are no failures.
    """

    def __init__(self, *expected: type[BaseException]) -> None:
        self._expected: tuple[type[BaseException], ...] = (*_ENDS, *expected)
        self._errors: list[BaseException] = []

    def add(self, error: BaseException) -> None:
        """Take note of an exception."""
        self._errors.append(error)

    @contextmanager
    def noted(self, connection: Any = None) -> Iterator[None]:
        """Take note of what the application raises in the block.

        Args:
            connection: The connection that it serves, whose end is no failure.

        Raises:
            ApplicationError: In place of an exception that would end the server too.
        """
        try:
            yield
        except BaseException as error:
            if consists_of(error, self._expected):
                raise
            if connection is not None and has_ended(connection, error, *self._expected):
                raise
            self.add(error)
            if isinstance(error, Exception):
                raise
            raise ApplicationError from error

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
