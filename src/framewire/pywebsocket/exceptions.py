"""The exceptions of pywebsocket, under the names that handlers use."""

# ruff: noqa: N818 - the names are those of pywebsocket

from __future__ import annotations

__all__ = [
    "AbortedByUserException",
    "BadOperationException",
    "ConnectionTerminatedException",
    "DispatchException",
    "HandshakeException",
    "InvalidFrameException",
    "InvalidUTF8Exception",
    "UnsupportedFrameException",
    "VersionException",
]


class ConnectionTerminatedException(Exception):
    """The connection ended without a closing handshake."""


class InvalidFrameException(ConnectionTerminatedException):
    """The client violated the protocol; the close code is 1002."""


class BadOperationException(Exception):
    """The handler made an invalid call; the close code is 1011."""


class UnsupportedFrameException(Exception):
    """The handler does not support a received message; the close code is 1003."""


class InvalidUTF8Exception(Exception):
    """The client sent text that is not UTF-8; the close code is 1007."""


class AbortedByUserException(Exception):
    """The handler aborts the connection, without a response or a close frame."""


class HandshakeException(Exception):
    """The handler refuses the handshake.

    Args:
        name: The message.
        status: The HTTP status of the response; None: 400.
    """

    def __init__(self, name: object, status: int | None = None) -> None:
        super().__init__(name)
        self.status = status


class VersionException(Exception):
    """The client uses an unsupported version of the protocol."""

    def __init__(self, name: object, supported_versions: str = "") -> None:
        super().__init__(name)
        self.supported_versions = supported_versions


class DispatchException(Exception):
    """A handler cannot be found or loaded.

    Args:
        name: The message.
        status: The HTTP status of the response.
    """

    def __init__(self, name: object, status: int = 404) -> None:
        super().__init__(name)
        self.status = status
