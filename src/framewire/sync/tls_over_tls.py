"""`TlsOverTls`: TLS with a server inside of TLS with its proxy."""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

__all__ = ["TlsOverTls"]

Result = TypeVar("Result")

#: Bytes of a TLS record at most.
_RECORD: Final = 1 << 14


class TlsOverTls:
    """A TLS connection over a TLS socket that does not block, as a client.

    It has the methods of `ssl.SSLSocket` that `Transport` calls. What would block raises
    SSLWantReadError or SSLWantWriteError of the outer socket; the caller then repeats the call with
    the same arguments.

    Args:
        outer: The TLS socket.
        context: The TLS context of the inner connection.
        server_hostname: The name of the server to verify.
    """

    def __init__(self, outer: tls.SSLSocket, context: tls.SSLContext, server_hostname: str | None) -> None:
        self.outer = outer
        self._incoming, self._outgoing = tls.MemoryBIO(), tls.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._unsent = b""  # encrypted, but not yet taken by the outer socket
        self._taken = 0  # bytes of the message that is being sent which are encrypted already

    def __getattr__(self, name: str) -> Any:
        """Return what the socket says of itself: the certificate of the server, addresses, the
        descriptor.
        """
        of_inner = name in ("cipher", "getpeercert", "selected_alpn_protocol", "version")
        return getattr(self._inner if of_inner else self.outer, name)

    def do_handshake(self) -> None:
        """Perform the handshake."""
        self._run(self._inner.do_handshake)
        self._flush()

    def recv(self, size: int) -> bytes:
        """Receive up to `size` bytes; b"" at the end."""
        try:
            return self._run(lambda: self._inner.read(size))
        except tls.SSLZeroReturnError:  # the peer's closing alert
            return b""

    def recv_into(self, buffer: memoryview) -> int:
        """Receive into `buffer`; return how many bytes, 0 at the end."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: memoryview) -> int:
        """Send a beginning of `data`; return its length."""
        if not self._taken:
            self._taken = self._run(lambda: self._inner.write(data[:_RECORD]))
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def unwrap(self) -> None:
        """Send the closing alert, without waiting for the peer's."""
        with suppress(tls.SSLWantReadError):
            self._inner.unwrap()
        self._flush()

    def close(self) -> None:
        """Close the outer socket."""
        self.outer.close()

    def _run(self, operation: Callable[[], Result]) -> Result:
        """Run an operation of the inner connection, receiving what it needs."""
        while True:
            try:
                return operation()
            except tls.SSLWantReadError:
                self._flush()
                data = self.outer.recv(_RECORD)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        """Give the outer socket what is encrypted."""
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[self.outer.send(self._unsent) :]
