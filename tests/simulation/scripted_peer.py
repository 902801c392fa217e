"""A peer that follows a script instead of the protocol: an actor on the network, for every driver."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from framewire import CLIENT, SERVER, Close, Failure, Ping, Stream

from .network import Network, SimulatedSocket
from .programs import End
from .violations import VIOLATIONS, failure_codes, make_frame

__all__ = ["MANNERS", "ScriptedPeer"]

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: simulated\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: What a peer does and leaves undone, with the defaults.
MANNERS = {
    "opens": True, "reads": True, "answers_pings": True, "answers_close": True, "ends_tcp": True,
}  # fmt: skip

#: When a peer that is still there resets the connection, in seconds.
PATIENCE = 250.0


class ScriptedPeer:
    """One end of the simulated network; its steps are those of the schedule.

    Args:
        network: The network.
        end: The end that it is.
        sock: Its socket, which is connected.
        lost: Called when it has closed that.
    """

    def __init__(
        self, network: Network, end: End, sock: SimulatedSocket, lost: Callable[[], object] = lambda: None
    ) -> None:
        self.network = network
        self.end = end
        self.socket = sock
        self.lost = lost
        self.manners = {**MANNERS, **end.options["peer"]}
        self.client = end.number == 0
        self.stream = Stream(
            CLIENT if self.client else SERVER, auto_close=False, auto_pong=False, max_message_size=None
        )
        self.head: bytes | None = b""
        self.output = bytearray()
        self.closing = False  # once the output is written
        self.closes = False  # a close frame has been sent
        sock.changed = self._step
        if self.client and self.manners["opens"]:
            self.output += _REQUEST
            if not self.manners["reads"]:
                self._begin()
        network.at(0.0, self._step)
        network.at(PATIENCE, self._abort)

    def _step(self, _: object = None) -> None:
        """Read and write what is possible."""
        sock = self.socket
        try:
            while self.manners["reads"] and not sock.closed and not self.closing:
                data = sock.recv(1 << 16)
                if data:
                    self._receive(data)
                elif self.manners["ends_tcp"]:
                    self.closing = True
                else:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self._close()
        self._write()

    def _write(self) -> None:
        sock = self.socket
        try:
            while self.output and not sock.closed:
                del self.output[: sock.send(bytes(self.output))]
        except BlockingIOError:
            return
        except OSError:
            self._close()
        if self.closing:
            self._close()

    def _close(self) -> None:
        if not self.socket.closed:
            self.socket.close()
            self.lost()

    def _abort(self, _: object) -> None:
        if not self.socket.closed:
            self.socket.break_connection()
            self._close()

    def _receive(self, data: bytes) -> None:
        if self.head is not None:
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if not end or not self.manners["opens"]:
                return
            self.head = None
            if not self.client:
                key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
                self.output += (
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
            self._begin()
            data = rest
        for event in self.stream.receive(data):
            if isinstance(event, str | bytes):
                self.end.take(event)
            elif isinstance(event, Ping) and self.manners["answers_pings"]:
                self.output += make_frame(0x8A, event.payload, self.client)
            elif isinstance(event, (Close, Failure)):
                if self.manners["answers_close"]:
                    self.output += make_frame(0x88, b"\x03\xe8", self.client)
                    self.closes = True
                if self.manners["ends_tcp"]:
                    self.closing = True

    def _begin(self) -> None:
        """Do the steps at their times, from the end of the handshake on."""
        for when, _, name, arguments in self.end.steps:
            self.network.at(when, self._do, (name, arguments))

    def _do(self, step: tuple[str, Any]) -> None:
        name, arguments = step
        if self.closing or self.socket.closed:
            return
        if name in ("send", "parts", "broadcast"):
            sender, size, text = arguments[:3]
            message = self.end.make(sender, size if isinstance(size, int) else sum(size), text)
            payload = message.encode() if isinstance(message, str) else message
            self.end.sent[sender].append(message)
            self.output += make_frame(0x81 if text else 0x82, payload, self.client)
        elif name == "raw":
            self.output += VIOLATIONS[arguments](self.end.peer.limits, self.client)
            self.end.offences.append(failure_codes(arguments, self.end.peer.limits))
            self.end.closes_after_offence |= not self.closes
        elif name == "flood":
            self.output += make_frame(0x89, b"x" * 100, self.client) * arguments
        elif name == "ping":
            self.output += make_frame(0x89, b"ping", self.client)
        elif name == "close":
            self.output += make_frame(0x88, b"\x03\xe8bye", self.client)
            self.closes = True
        self._write()
