"""Transports that discard their data, for peers whose senders write instead of returning bytes."""

from __future__ import annotations

import logging
from collections import deque
from types import SimpleNamespace
from typing import Any

from .timing import Call

#: The only method of an event loop that the peers call here.
LOOP = SimpleNamespace(create_future=object)


class Sink:
    """A transport that keeps only the last two writes. Its methods are C functions."""

    def __init__(self) -> None:
        self._writes: deque[Any] = deque(maxlen=2)
        self.write = self.write_nocheck = self._writes.append
        self.writelines_nocheck = self._writes.extend
        self.is_closing = bool
        # A nonempty buffer makes picows write to the transport instead of the socket.
        self.get_write_buffer_size = [None].__len__

    def written_by(self, call: Call) -> bytes:
        """Return the bytes that a call writes, in one write, or in two for header and payload."""
        self._writes.clear()
        call.function(*call.arguments)
        return b"".join(self._writes)


def picows_transport(client: bool) -> tuple[Any, Sink]:
    """Return a picows WSTransport, and the sink that it writes to."""
    import aiofastnet
    from picows.picows import WSTransport

    class FastSink(Sink, aiofastnet.Transport):
        """A transport of the class to which picows passes a view of its buffer, not a copy."""

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return SimpleNamespace(fileno=lambda: -1) if name == "socket" else default

    sink = FastSink()
    return WSTransport(client, sink, logging.getLogger("picows"), LOOP), sink


def aiohttp_writer(client: bool) -> tuple[Any, Sink]:
    """Return an aiohttp WebSocketWriter, and the sink that it writes to."""
    from aiohttp._websocket.writer import WebSocketWriter

    sink = Sink()
    return WebSocketWriter(sink, sink, use_mask=client), sink
