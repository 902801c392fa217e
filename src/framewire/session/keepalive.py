"""Pings: those that wait for a pong, and the keepalive that tests a silent peer (RFC 6455 5.5.2,
5.5.3).

A keepalive ping is sent every `ping_interval`. If the peer is silent for `ping_timeout` after it,
the connection fails, once the input that was held back has been received. Four things postpone that
deadline, as the pong cannot come, or need not, meanwhile:

* bytes have arrived: a peer cannot send a pong inside a frame of its own;
* we have paused reading, so that the pong may wait in the kernel, and not because the peer takes
  nothing of what we write;
* the ping still waits in our own write buffer, while that is being written;
* the peer has answered the ping.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["LOOKS", "MIN_LOOK", "Keepalive", "PongCallback"]

#: How often activity is looked at in the time after which its lack has consequences.
LOOKS: Final = 8

#: The shortest time between two looks, in seconds.
MIN_LOOK: Final = 0.01

#: Called with the round trip in seconds when the pong has arrived, with None if it never will.
PongCallback: TypeAlias = Callable[["float | None"], object]

#: The pings of a connection that has not sent any yet; shared to save memory.
_NO_PINGS: Final[dict[bytes, tuple[float, PongCallback | None]]] = {}


class Keepalive:
    """The pings of one connection.

    Args:
        interval: Seconds between keepalive pings; None: none are sent.
        timeout: Seconds of silence after a ping that fail the connection; None: never.
        now: The time at which the connection has opened.
    """

    __slots__ = (
        "_bytes_received", "_bytes_written", "_due", "_heard", "_interval", "_look", "_pings", "_probe",
        "_probe_waits", "_timeout", "latency",
    )  # fmt: skip

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        #: When the next keepalive ping is to be sent; None: never.
        self._due = None if interval is None else now + interval
        #: Seconds between the last answered ping and its pong; 0 before the first.
        self.latency = 0.0
        #: Pings without a pong, oldest first: payload to (time, callback).
        self._pings = _NO_PINGS
        self._probe: bytes | None = None  # the payload of the keepalive ping that waits
        self._probe_waits = False  # it may still be in our write buffer
        self._heard = 0.0  # when it was sent, or the peer was heard or could not be heard since
        self._look = 0.0  # when to look at activity again
        self._bytes_received = self._bytes_written = 0  # at the last look

    def sent(self, payload: bytes, now: float, callback: PongCallback | None) -> None:
        """Record a ping; `payload` must not be that of a ping that still waits."""
        if self._pings is _NO_PINGS:
            self._pings = {}
        self._pings[payload] = now, callback

    def new_payload(self) -> bytes:
        """Return 4 random bytes that no ping which waits has as its payload."""
        while self.waits_for(payload := os.urandom(4)):
            pass
        return payload

    def waits_for(self, payload: bytes) -> bool:
        """Return whether a ping with this payload waits for its pong."""
        return payload in self._pings

    def answered(self, payload: bytes, now: float) -> None:
        """Record a pong: it answers the ping with its payload and all before that one (5.5.3)."""
        if payload not in self._pings:
            return  # unsolicited
        waiting = list(self._pings)
        for each in waiting[: waiting.index(payload) + 1]:
            since, callback = self._pings.pop(each)
            if each == self._probe:
                self._probe = None  # a later ping of the application may repeat it
            self.latency = now - since
            if callback is not None:
                callback(self.latency)

    def stop(self) -> None:
        """Give up all pings that wait: the connection is over."""
        pings, self._pings = self._pings, _NO_PINGS
        self._due = self._probe = None
        for _, callback in pings.values():
            if callback is not None:
                callback(None)

    def next_timer(self) -> float | None:
        """Return when `is_overdue` or `is_due` may be true; None: never."""
        return self._look if self._is_probing() else self._due

    def is_due(self, now: float) -> bool:
        """Return whether a keepalive ping is to be sent."""
        return self._due is not None and now >= self._due and not self._is_probing()

    def _is_probing(self) -> bool:
        """Return whether a keepalive ping waits for its pong, for `ping_timeout` at most."""
        return self._timeout is not None and self._probe is not None

    def probe(self, payload: bytes, now: float, bytes_received: int, bytes_written: int) -> None:
        """Record a keepalive ping.

        Args:
            payload: Its payload.
            now: The time.
            bytes_received: Bytes received so far, in all.
            bytes_written: Bytes that the network has taken so far, in all.
        """
        if self._probe is not None:
            del self._pings[self._probe]  # nobody waits for it, and they must not pile up
        self._probe = payload
        self._probe_waits = True
        self._heard = now
        self._bytes_received, self._bytes_written = bytes_received, bytes_written
        self.sent(payload, now, None)
        assert self._interval is not None
        self._due = now + self._interval
        if self._timeout is not None:
            self._look = now + max(MIN_LOOK, self._timeout / LOOKS)

    def is_overdue(self, now: float, bytes_received: int, bytes_written: int, waiting: int, paused: bool) -> bool:
        """Look at the activity since the last look; return whether the connection is to fail.

        Args:
            now: The time.
            bytes_received: Bytes received so far, in all, without those of a header or control frame
                that is not complete.
            bytes_written: Bytes that the network has taken so far, in all.
            waiting: Bytes in our write buffer.
            paused: Whether we had paused reading at any time since the last look.
        """
        if self._timeout is None or self._probe is None:
            return False
        written = bytes_written != self._bytes_written
        self._probe_waits = self._probe_waits and waiting > 0
        # If nothing is taken of what we have to write, that is why we do not read: such a peer is
        # silent.
        paused = paused and (written or not waiting)
        progress = bytes_received != self._bytes_received or paused or (self._probe_waits and written)
        self._bytes_received, self._bytes_written = bytes_received, bytes_written
        self._look = now + max(MIN_LOOK, self._timeout / LOOKS)
        if progress:
            self._heard = now
            return False  # even if `ping_timeout` is 0: messages may be held back
        deadline = self._heard + self._timeout
        self._look = min(deadline, self._look)
        return now >= deadline
