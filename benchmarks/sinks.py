"""Transports that let everything fall, and the senders of those peers that write instead of returning bytes."""

from __future__ import annotations

import logging
from collections import deque
from types import SimpleNamespace
from typing import Any

from .timing import Call

#: All that a peer wants of an event loop before it waits for something.
LOOP = SimpleNamespace(create_future=object)


class Sink:
    """Keeps the last two pieces written, for checking."""

    def __init__(self) -> None:
        self._pieces: deque[Any] = deque(maxlen=2)
        self.write = self.write_nocheck = self._pieces.append
        self.writelines_nocheck = self._pieces.extend
        self.is_closing = bool
        self.get_write_buffer_size = [None].__len__  # as if the socket were busy: picows hands over what it made

    def written_by(self, call: Call) -> bytes:
        """What one call writes: one piece, or a header and its payload."""
        self._pieces.clear()
        call.function(*call.arguments)
        return b"".join(self._pieces)


def picows_transport(client: bool) -> tuple[Any, Sink]:
    """A picows WSTransport, and the sink that it writes to."""
    import aiofastnet
    from picows.picows import WSTransport

    class FastSink(Sink, aiofastnet.Transport):
        """picows hands its own transport a view of its buffer, and any other a copy."""

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return SimpleNamespace(fileno=lambda: -1) if name == "socket" else default

    sink = FastSink()
    return WSTransport(client, sink, logging.getLogger("picows"), LOOP), sink


def aiohttp_writer(client: bool) -> tuple[Any, Sink]:
    """An aiohttp WebSocketWriter, and the sink that it writes to."""
    from aiohttp._websocket.writer import WebSocketWriter

    sink = Sink()
    return WebSocketWriter(sink, sink, use_mask=client), sink
