"""Run scenarios with `framewire.websocket.WebSocket`, as scenarios.js does with a browser's."""

import asyncio
import json
import re
import zlib

from scenario_server import make_payload

from framewire.websocket import DOMException, WebSocket


def describe(data):
    if isinstance(data, bytes):
        return f"blob of {len(data)} bytes"
    if isinstance(data, bytearray):
        return f"arraybuffer of {len(data)} bytes, CRC {zlib.crc32(data)}"
    if len(data) <= 20:
        return f"text {write(data)}"
    return f"text of {len(data.encode())} bytes, CRC {zlib.crc32(data.encode())}"


def write(value):
    """Return JSON as JSON.stringify writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):x}", text)


def make_message(spec):
    payload = make_payload(spec)
    if spec.get("type") == "view":
        return memoryview(b"x" * 10 + payload + b"x" * 10)[10:-10]
    return bytearray(payload) if spec.get("type") == "buffer" else payload


class Runner:
    def __init__(self, scenario, url, log):
        self.scenario = scenario
        self.url = url
        self.log = log
        self.turn = 0
        self.listeners = {}
        self.socket = None
        self.closed = asyncio.Event()

    def attempt(self, label, action):
        try:
            result = action()
        except DOMException as error:
            result = error.name
        self.log.append(label if result is None else f"{label}: {result}")

    def act(self, action):
        socket = self.socket
        match action:
            case ["send", spec]:
                message = make_message(spec)
                self.attempt(f"send {write(spec.get('text', spec.get('bytes')))}", lambda: self.send(message))
            case ["close", *arguments]:
                self.attempt(f"close {write(arguments)}", lambda: self.close(*arguments))
            case ["get", name]:
                self.log.append(f"{name}: {write(getattr(socket, name))}")
            case ["set", name, value]:
                setattr(socket, name, value)
            case ["add", kind, label, *once]:
                socket.addEventListener(kind, self.listener(label), once=bool(once and once[0]))
            case ["remove", kind, label]:
                socket.removeEventListener(kind, self.listener(label))
            case ["assign", name, label]:
                setattr(socket, name, None if label is None else self.listener(label))
            case ["throw"]:
                raise RuntimeError("raised by a listener")
            case _:
                raise ValueError(action)

    def send(self, message):
        before = self.socket.bufferedAmount
        self.socket.send(message)
        return f"+{self.socket.bufferedAmount - before}, {self.socket.readyState}"

    def close(self, *arguments):
        self.socket.close(*arguments)
        return self.socket.readyState

    def listener(self, label):
        def listen(event):
            self.log.append(f"{label}: {event.type}, {write(event.target is self.socket)}")
            for action in self.scenario.get("listeners", {}).get(label, []):
                self.act(action)

        return self.listeners.setdefault(label, listen)

    def take_turn(self):
        turns, turn = self.scenario.get("turns", []), self.turn
        self.turn += 1
        for action in turns[turn] if turn < len(turns) else []:
            self.act(action)

    def create(self):
        protocols = [self.scenario["protocols"]] if "protocols" in self.scenario else []
        socket = self.socket = WebSocket(self.url, *protocols)
        attributes = [socket.protocol, socket.extensions, socket.binaryType]
        return f"{socket.readyState} {socket.bufferedAmount} {write(attributes)}"

    async def run(self):
        self.attempt("new", self.create)
        if self.socket is None:
            return
        for kind in ("open", "message", "error", "close"):
            self.socket.addEventListener(kind, getattr(self, f"on_{kind}"))
        self.take_turn()
        await self.closed.wait()
        for _ in range(10):  # an event after `close` would be dispatched in one of the next turns of the loop
            await asyncio.sleep(0)

    def on_open(self, event):
        attributes = [self.socket.protocol, self.socket.extensions]
        self.log.append(f"open: {self.socket.readyState} {write(attributes)}")
        self.take_turn()

    def on_message(self, event):
        origin = write(self.socket.url.startswith(event.origin + "/"))
        self.log.append(f"message: {describe(event.data)}, {self.socket.readyState}, {origin}")
        self.take_turn()

    def on_error(self, event):
        self.log.append(f"error: {self.socket.readyState}")

    def on_close(self, event):
        clean = write(event.wasClean)
        self.log.append(f"close: {event.code} {write(event.reason)} {clean} {self.socket.readyState}")
        for action in self.scenario.get("after", []):
            self.act(action)
        self.closed.set()


async def run_scenario(scenario, url, limit):
    """Return the log of a scenario; it ends with "timeout" after `limit` seconds."""
    log, loop = [], asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: log.append("reported"))
    try:
        await asyncio.wait_for(Runner(scenario, url, log).run(), limit)
    except asyncio.TimeoutError:
        log.append("timeout")
    finally:
        loop.set_exception_handler(None)
    return log
