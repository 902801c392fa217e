"""A TCP relay between two real programs, which cuts, delays and half-closes as its seed says.

It notes what it has done, so that an exchange can check that its faults have happened.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

__all__ = ["KINDS", "Faults", "relaying"]

#: Kinds of faults. The first three harm nobody: everything arrives.
KINDS = ("none", "bytes", "delays", "cut", "half-close")

#: Bytes of each direction that are passed one by one; a byte costs a system call of all programs.
MAX_SINGLE_BYTES = 2000

#: Turns of the event loop after a single byte. In one of them, an end in this process reads it.
SWITCHES = 3

#: The opening handshake of each direction has more bytes than the first number, fewer than the second.
MIN_HEAD, MAX_HEAD = 100, 1000

#: A cut or a half-close among the messages comes before this many bytes of its direction, which has more.
MAX_FAULT = 320_000


@dataclass
class Faults:
    """What a relay does to one connection.

    Args:
        kind: One of `KINDS`.
        direction: To which direction a cut or a half-close is due: 0 from the client, 1 to it.
        after: After how many bytes of that direction.
        happened: Bytes of its direction before which each fault has happened: a single byte that was
            passed on, a pause, the cut or the half-close.
        heads: The first bytes of both directions that were passed on, at most MAX_HEAD.
    """

    kind: str
    direction: int = 0
    after: int = 0
    happened: list[int] = field(default_factory=list)
    heads: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))

    @classmethod
    def draw(cls, random: Random, kind: str) -> Faults:
        """Return faults of a kind: one of four cuts and half-closes is in the opening handshake."""
        opening = random.random() < 0.25
        most = MIN_HEAD if opening else MAX_FAULT - MAX_HEAD
        after = int(most ** random.random())
        return cls(kind, random.randrange(2), after if opening else MAX_HEAD + after)

    @property
    def harmless(self) -> bool:
        """Whether all bytes arrive."""
        return self.kind in ("none", "bytes", "delays")

    @property
    def among_messages(self) -> bool:
        """Whether faults have happened after the opening handshake."""
        return any(after >= MAX_HEAD for after in self.happened)

    @property
    def response(self) -> str | None:
        """The head of the response to the opening handshake, None if it has not passed."""
        head, end, _ = self.heads[1].partition(b"\r\n\r\n")
        return head.decode("latin-1").lower() if end else None


class _Relay:
    def __init__(self, port: int, faults: Faults, random: Random) -> None:
        self._port = port
        self._faults = faults
        self._random = random
        self.tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection in a task."""
        self.tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers, pumps = [writer], []
        try:
            there, other = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(other)
            for each in writers:
                each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pumps = [asyncio.ensure_future(self._pump(*ends)) for ends in ((0, reader, other), (1, there, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for pump in pumps:
                pump.cancel()
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*pumps, *(each.wait_closed() for each in writers), return_exceptions=True)

    async def _pump(self, direction: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the bytes of one direction on. Raises ConnectionError to cut the connection."""
        faults, passed = self._faults, 0
        due = faults.after if direction == faults.direction and not faults.harmless else None
        while data := await reader.read(1 << 16):
            while data:
                size = self._piece(passed, len(data))
                if due is not None:
                    size = min(size, due - passed)
                writer.write(data[:size])
                faults.heads[direction].extend(data[: min(size, max(0, MAX_HEAD - passed))])
                await writer.drain()
                if faults.kind == "bytes" and size == 1:
                    faults.happened.append(passed)
                    for _ in range(SWITCHES):
                        await asyncio.sleep(0)
                data, passed = data[size:], passed + size
                if passed == due:
                    faults.happened.append(passed)
                    if faults.kind == "cut":
                        raise ConnectionAbortedError
                    data = b""
                if faults.kind == "delays" and self._random.random() < 0.2:
                    faults.happened.append(passed)
                    await asyncio.sleep(0.005 * self._random.random())
            if passed == due:
                break
        with suppress(OSError):
            writer.write_eof()
        while await reader.read(1 << 16):  # of a direction that is closed: discarded
            pass

    def _piece(self, passed: int, size: int) -> int:
        if self._faults.kind == "bytes" and passed < MAX_SINGLE_BYTES:
            return 1
        return 1 + self._random.randrange(size) if self._faults.kind == "delays" else size


@asynccontextmanager
async def relaying(port: int, faults: Faults, random: Random) -> AsyncIterator[int]:
    """Relay to a port of this machine; give the relay's port."""
    relay = _Relay(port, faults, random)
    async with await asyncio.start_server(relay.accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        for task in relay.tasks:
            task.cancel()
        await asyncio.gather(*relay.tasks, return_exceptions=True)
