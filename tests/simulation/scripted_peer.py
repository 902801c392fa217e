"""A peer that follows a script instead of the protocol."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

from framewire import CLIENT, SERVER, Close, Failure, Ping, Stream

from .violations import VIOLATIONS, make_frame

if TYPE_CHECKING:
    from .asyncio_world import AsyncioWorld, End

__all__ = ["ScriptedPeer"]

_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: simulated\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: What a peer does and leaves undone, with the defaults.
MANNERS = {
    "opens": True, "reads": True, "answers_pings": True, "answers_close": True, "ends_tcp": True,
}  # fmt: skip


class ScriptedPeer(asyncio.Protocol):
    """The protocol of the peer on the simulated network; its steps are those of the schedule.

    Args:
        world: The world.
        end: The end that it is.
    """

    def __init__(self, world: AsyncioWorld, end: End) -> None:
        self.world = world
        self.end = end
        self.manners = {**MANNERS, **end.options["peer"]}
        self.client = end.number == 0
        self.stream = Stream(
            CLIENT if self.client else SERVER, auto_close=False, auto_pong=False, max_message_size=None
        )
        self.head: bytes | None = b""
        self.lost = world.loop.create_future()
        self.transport: Any = None
        self.timers: list[asyncio.TimerHandle] = []

    @classmethod
    async def connect(cls, world: AsyncioWorld, end: End) -> None:
        await cls._run(world, end, end.socket)

    @classmethod
    async def serve(cls, world: AsyncioWorld, end: End, accepting: list[Any], network: Any) -> None:
        while not accepting:
            await asyncio.sleep(network._delay)
        end.tasks.append(asyncio.ensure_future(cls._run(world, end, accepting.pop())))

    @classmethod
    async def _run(cls, world: AsyncioWorld, end: End, sock: Any) -> None:
        transport, peer = await world.loop.create_connection(lambda: cls(world, end), sock=sock)
        try:
            await asyncio.wait([peer.lost], timeout=250)
        finally:
            if not peer.lost.done():
                transport.abort()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if not self.manners["reads"]:
            transport.pause_reading()
        if self.client and self.manners["opens"]:
            transport.write(_REQUEST)
            if not self.manners["reads"]:
                self._begin()

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            self.head += data
            head, end, rest = self.head.partition(b"\r\n\r\n")
            if not end or not self.manners["opens"]:
                return
            self.head = None
            if not self.client:
                key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
                accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
                self.transport.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
            self._begin()
            data = rest
        for event in self.stream.receive(data):
            if isinstance(event, str | bytes):
                self.end.take(event)
            elif isinstance(event, Ping) and self.manners["answers_pings"]:
                self._write(make_frame(0x8A, event.payload, self.client))
            elif isinstance(event, (Close, Failure)):
                if self.manners["answers_close"]:
                    self._write(make_frame(0x88, b"\x03\xe8", self.client))
                if self.manners["ends_tcp"]:
                    self.transport.close()

    def eof_received(self) -> bool:
        return not self.manners["ends_tcp"]

    def connection_lost(self, error: Exception | None) -> None:
        for timer in self.timers:
            timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def _begin(self) -> None:
        """Do the steps at their times, from the end of the handshake on."""
        for when, _, name, arguments in self.end.steps:
            self.timers.append(self.world.loop.call_at(when, self._do, name, arguments))

    def _do(self, name: str, arguments: Any) -> None:
        if name in ("send", "parts", "broadcast"):
            sender, size, text = arguments[:3]
            message = self.end.make(sender, size if isinstance(size, int) else sum(size), text)
            payload = message.encode() if isinstance(message, str) else message
            self.end.sent[sender].append(message)
            self._write(make_frame(0x81 if text else 0x82, payload, self.client))
        elif name == "raw":
            self._write(VIOLATIONS[arguments](self.end.peer.limits, self.client))
        elif name == "flood":
            self._write(make_frame(0x89, b"x" * 100, self.client) * arguments)
        elif name == "ping":
            self._write(make_frame(0x89, b"ping", self.client))
        elif name == "close":
            self._write(make_frame(0x88, b"\x03\xe8bye", self.client))
