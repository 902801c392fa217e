"""The exceptions of pywebsocket, by the names that handlers raise and catch."""

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
    """The client broke the protocol; closed with 1002."""


class BadOperationException(Exception):
    """The handler asked for what cannot be; closed with 1011."""


class UnsupportedFrameException(Exception):
    """The client sent what the handler does not support; closed with 1003."""


class InvalidUTF8Exception(Exception):
    """The client sent text that is not UTF-8; closed with 1007."""


class AbortedByUserException(Exception):
    """The handler wants the connection cut, without a word."""


class HandshakeException(Exception):
    """The handler refuses the handshake, with the HTTP status `status` (None: 400)."""

    def __init__(self, name: object, status: int | None = None) -> None:
        super().__init__(name)
        self.status = status


class VersionException(Exception):
    """The client speaks another version of the protocol."""

    def __init__(self, name: object, supported_versions: str = "") -> None:
        super().__init__(name)
        self.supported_versions = supported_versions


class DispatchException(Exception):
    """A handler cannot be found or loaded; `status` is that of the answer."""

    def __init__(self, name: object, status: int = 404) -> None:
        super().__init__(name)
        self.status = status
