"""A server that follows the script of a scenario, one connection for each run of it.

It is made of `ServerHandshake` and `Stream`, so that it can break every rule on purpose, and answers
each message before it reads the next.
"""

import asyncio
import json
import zlib
from collections import defaultdict

from framewire import SERVER, Close, Failure, Ping, Pong, Stream
from framewire.extensions import PerMessageDeflate, accept_offers
from framewire.handshake import ServerHandshake, accept_key, format_extensions, parse_extensions

ACCEPTING = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: {accept}",
]

#: The codes with which a client fails a connection.
FAILURES = (1002, 1007, 1009)


def make_payload(spec):
    """Return the text or bytes that an action of a scenario names."""
    if "text" in spec:
        return spec["text"] * spec.get("times", 1)
    return bytes(i % 251 for i in range(spec["bytes"]))


def describe(payload):
    """Describe the content of a message in the same words as scenarios.js."""
    if isinstance(payload, str):
        if len(payload) <= 20:
            return f"text {json.dumps(payload, ensure_ascii=False)}"
        payload, kind = payload.encode(), "text"
    else:
        kind = "binary"
    return f"{kind} of {len(payload)} bytes, CRC {zlib.crc32(payload)}"


class ScenarioServer:
    """Serves the scenarios: the first two parts of a path are the name of a run and a number.

    Attributes:
        host: Host and port.
        logs: For each (run, number), descriptions of the received frames; pongs come last.
    """

    def __init__(self, scenarios):
        self._scenarios = scenarios
        self._tasks = set()
        self._server = None
        self.host = ""
        self.logs = defaultdict(list)

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self):
        """Stop listening, and end the connections that clients have left open."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            await self._handle(reader, writer)
        except ConnectionError:
            pass  # by the client
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _handle(self, reader, writer):
        handshake = ServerHandshake()
        while handshake.request is None:
            data = await reader.read(65536)
            if not data:
                return
            handshake.receive(data)
        parts = handshake.request.target.partition("?")[0].split("/")
        if len(parts) > 2:  # otherwise from a scenario whose URL is only parsed
            _, run, number, *_ = parts
            script = Script(self._scenarios[int(number)], reader, writer, self.logs[run, number])
            await script.run(handshake)


class Script:
    """One connection of a scenario."""

    def __init__(self, scenario, reader, writer, log):
        self._scenario = scenario
        self._reader = reader
        self._writer = writer
        self._log = log
        self._stream = None
        self._ended = False
        self._close_sent = False

    async def run(self, handshake):
        if self._scenario.get("request"):
            for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Connection", "Upgrade"):
                self._log.append(f"{name}: {handshake.request.headers.get(name)}")
            self._log.append(handshake.request.target.split("/", 3)[-1])
        lines = list(self._scenario.get("response", ACCEPTING))
        codecs = []
        if self._scenario.get("compress"):
            offers = parse_extensions([handshake.request.headers["Sec-WebSocket-Extensions"]])
            answers, codecs = accept_offers(offers, [PerMessageDeflate()])
            lines.append(f"Sec-WebSocket-Extensions: {format_extensions(answers)}")
        key = handshake.request.headers["Sec-WebSocket-Key"].encode()
        head = "\r\n".join([*lines, "", ""]).replace("{accept}", accept_key(key).decode())
        self._stream = Stream(SERVER, max_message_size=None, auto_close=False, extensions=codecs)
        self._writer.write(head.encode("latin-1") if lines else b"")
        for action in self._scenario.get("greeting", []):
            await self._act(action, None)
        await self._writer.drain()
        await self._answer_all()

    async def _answer_all(self):
        replies, pongs = list(self._scenario.get("replies", [])), []
        while not self._ended:
            data = await self._reader.read(65536)
            if not data:
                self._log.append("end of file")
                break
            for event in self._stream.receive(data):
                self._writer.write(self._stream.pending())
                match event:
                    case Ping(payload) | Pong(payload):
                        pongs.append(f"{type(event).__name__} {payload!r}")
                    case Failure(code):
                        self._log.append(f"failure {code}")
                        self._ended = True
                    case Close(code, reason):
                        # The reason of a failure is the choice of the client.
                        self._log.append(f"close {code}" if code in FAILURES else f"close {code} {reason}")
                        await self._end(code, reason)
                    case _:
                        self._log.append(describe(event))
                        for action in replies.pop(0) if replies else [["echo"]]:
                            await self._act(action, event)
        self._log += pongs

    async def _end(self, code, reason):
        """Answer the close frame of the client, and end the connection."""
        for action in self._scenario.get("closing", []):
            await self._act(action, None)
        if not self._ended and not self._close_sent:
            self._writer.write(self._stream.close(None if code == 1005 else code, reason))
        self._ended = True

    async def _act(self, action, message):
        """Apply an action of the server: a list of its name and arguments."""
        name, *arguments = action
        if name == "echo":
            self._writer.write(self._stream.send(message))
        elif name == "send":
            self._writer.write(self._stream.send(make_payload(*arguments)))
        elif name == "fragments":
            for index, part in enumerate(arguments):
                content = make_payload(part)
                self._writer.write(self._stream.send(content, last=index == len(arguments) - 1))
        elif name == "ping":
            self._writer.write(self._stream.ping(arguments[0].encode()))
        elif name == "close":
            self._writer.write(self._stream.close(*arguments))
            self._close_sent = True
        elif name == "raw":
            self._writer.write(bytes.fromhex(arguments[0]))
            self._close_sent = self._close_sent or arguments[0].startswith("88")
        elif name == "eof":
            self._ended = True
        elif name == "abort":
            await self._writer.drain()
            self._writer.transport.abort()
            self._ended = True
        else:
            raise ValueError(name)
