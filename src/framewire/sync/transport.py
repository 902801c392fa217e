"""A TCP or TLS connection for two threads: one receives while another sends, and every wait can end
in time.

The socket does not block; what would block waits in `poll`. OpenSSL allows one call at a time on a
connection, so calls to it are made under a lock, which is never held while waiting.
"""

from __future__ import annotations

import select
import socket
import ssl as tls
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from time import monotonic
from typing import Any, Final, TypeVar

from .tls_over_tls import TlsOverTls
from .waits import limit_wait

__all__ = ["HEAD_READ", "Transport", "is_of_signal_handler", "wait_for"]

#: How much of a request or an answer is read at a time in the opening handshake, in bytes.
HEAD_READ: Final = 4096

#: How often the reader looks whether the connection is aborted, while another thread is in a call of
#: OpenSSL, in seconds.
_LOOK: Final = 0.1

Result = TypeVar("Result")


def wait_for(sock: socket.socket, writing: bool, seconds: float | None) -> bool:
    """Wait until `sock` can be read from, or written to.

    False if that takes longer than `seconds`.
    """
    if not hasattr(select, "poll"):  # Windows
        reads, writes = ([], [sock]) if writing else ([sock], [])
        return any(select.select(reads, writes, reads + writes, seconds))
    poll = select.poll()
    poll.register(sock, select.POLLOUT if writing else select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(seconds, 0) * 1000))


def is_of_signal_handler(error: OSError) -> bool:
    """Return whether a signal handler has raised this, such as a TimeoutError, and not the system."""
    return error.errno is None and threading.current_thread() is threading.main_thread()


class ExpiredError(TimeoutError):
    """A wait has lasted too long: no TimeoutError that a signal handler has raised meanwhile."""


class ReaderLock:
    """The lock for calls of OpenSSL, as the thread that reads acquires it: not after the connection is
    aborted. A signal handler that interrupts a call may wait for that thread, in `close`.

    Args:
        lock: The lock.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        #: Whether the connection is aborted.
        self.aborted = False

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=_LOOK):
            if self.aborted:
                raise ConnectionAbortedError("the connection was aborted during a call of OpenSSL")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Transport:
    """One connected socket. `deadline`, an instant of `time.monotonic`, ends whatever is called
    after it is set, also what need not wait.

    All calls raise OSError if the connection is broken, TimeoutError if a wait lasts too long.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.deadline: float | None = None
        self._socket: Any = sock
        self._lock: AbstractContextManager[object] = nullcontext()
        self._reader_lock: ReaderLock | None = None  # the same lock, for the thread that reads
        if isinstance(sock, tls.SSLSocket):
            self._use_lock()

    def _use_lock(self) -> None:
        lock = threading.Lock()
        self._lock, self._reader_lock = lock, ReaderLock(lock)

    def start_tls(self, context: tls.SSLContext, server_hostname: str | None = None) -> None:
        """Start TLS: as the client of `server_hostname`, or as the server without it."""
        if isinstance(self._socket, tls.SSLSocket):
            # OpenSSL cannot put a socket of its own below another one.
            secure: Any = TlsOverTls(self._socket, context, server_hostname)
        else:
            secure = context.wrap_socket(
                self._socket,
                server_side=server_hostname is None,
                server_hostname=server_hostname,
                do_handshake_on_connect=False,
            )
        self._socket = secure
        self._use_lock()
        self._attempt(secure.do_handshake, False, None)

    @property
    def socket(self) -> Any:
        """The socket, to ask it for addresses and certificates; not to read or write."""
        return self._socket

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and monotonic() >= self.deadline

    def limit(self, seconds: float | None) -> None:
        """Set the deadline, unless there is one or `seconds` is None."""
        if self.deadline is None and seconds is not None:
            self.deadline = monotonic() + seconds

    def recv_into(self, buffer: memoryview, timeout: float | None = None) -> int:
        """Receive what is there, waiting for it up to `timeout` seconds; return how many bytes, 0
        at the end.
        """
        size: int = self._attempt(lambda: self._socket.recv_into(buffer), False, timeout, self._reader_lock)
        return size

    def recv(self, size: int) -> bytes:
        """Receive up to `size` bytes; b"" at the end."""
        data: bytes = self._attempt(lambda: self._socket.recv(size), False, None)
        return data

    def send(self, data: memoryview, timeout: float | None) -> int:
        """Send what the network takes of `data`; return how many bytes, 0 if nothing within
        `timeout` seconds.
        """
        try:
            sent: int = self._attempt(lambda: self._socket.send(data), True, timeout)
        except ExpiredError:
            return 0
        return sent

    def sendall(self, data: bytes, timeout: float | None = None) -> None:
        """Send all of `data`; TimeoutError if the peer takes nothing of it for `timeout`
        seconds.
        """
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    sent += self._attempt(lambda rest=rest: self._socket.send(rest), True, timeout)  # type: ignore[misc]

    def _attempt(
        self,
        operation: Callable[[], Result],
        writing: bool,
        timeout: float | None,
        lock: AbstractContextManager[object] | None = None,
    ) -> Result:
        """Repeat an operation that would block until it does not.

        An exception of a signal handler that interrupts the operation, not the wait, aborts the
        connection: whether it has sent or received something is not known.
        """
        while True:
            if self.expired:  # a peer that keeps sending never makes us wait
                raise ExpiredError("the peer took too long")
            try:
                with lock or self._lock:
                    return operation()
            except (BlockingIOError, tls.SSLWantReadError, tls.SSLWantWriteError) as error:
                if isinstance(error, tls.SSLError):
                    writing = isinstance(error, tls.SSLWantWriteError)
            except BaseException as error:
                if not isinstance(error, OSError) or is_of_signal_handler(error):
                    self.abort()
                raise
            seconds = timeout
            if self.deadline is not None:
                left = self.deadline - monotonic()
                seconds = left if timeout is None else min(left, timeout)
            limited = limit_wait(seconds)
            if not wait_for(self._socket, writing, limited) and limited == seconds:
                raise ExpiredError("the peer took too long")

    def end_output(self) -> None:
        """End our direction of the connection; the peer can still be received from."""
        with suppress(OSError, ValueError), self._lock:
            if isinstance(self._socket, (tls.SSLSocket, TlsOverTls)):
                self._socket.unwrap()  # writes the closing alert; it does not wait for the peer's
            else:
                self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End both directions at once; threads that wait here wake."""
        if self._reader_lock is not None:
            self._reader_lock.aborted = True
        with suppress(OSError):
            # Not SSLSocket.shutdown(), which forgets TLS: a thread that then wakes would send in
            # the clear.
            below = self._socket.outer if isinstance(self._socket, TlsOverTls) else self._socket
            socket.socket.shutdown(below, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. No other thread may be in a call."""
        self._socket.close()
