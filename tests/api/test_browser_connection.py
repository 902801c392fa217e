"""`framewire.websocket` in Pyodide, on a scripted WebSocket of a browser; `make wasm` has real ones."""

import asyncio
import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import pytest
from ends import on_loop, until

import framewire


class Data:
    """An ArrayBuffer or Uint8Array as Pyodide shows it."""

    def __init__(self, data):
        self._data = data

    def to_bytes(self):
        return self._data


class Listener:
    """A Python function as Pyodide passes it to JavaScript."""

    def __init__(self, function):
        self.function = function

    def destroy(self):
        self.function = None  # a later event would raise TypeError


class BrowserSocket:
    """In place of a browser's WebSocket: it records the calls, and a test fires its events."""

    OPEN = 1
    made = None

    @classmethod
    def new(cls, url, protocols):
        cls.made = socket = cls()
        socket.arguments = url, protocols
        socket.readyState = socket.bufferedAmount = socket.looks = 0
        socket.listeners, socket.calls = {}, []
        socket.protocol = socket.extensions = ""
        return socket

    @property
    def bufferedAmount(self):  # noqa: N802
        self.looks += 1
        return self._buffered

    @bufferedAmount.setter
    def bufferedAmount(self, value):  # noqa: N802
        self._buffered = value

    def addEventListener(self, name, listener):  # noqa: N802
        self.listeners[name] = listener

    def send(self, data):
        self.calls.append(data)
        self.bufferedAmount += len(data.to_bytes()) if isinstance(data, Data) else len(data.encode())

    def close(self, *arguments):
        self.calls.append(("close", *arguments))
        self.readyState = max(self.readyState, 2)

    def fire(self, name, **attributes):
        self.listeners[name].function(SimpleNamespace(type=name, **attributes))

    def open(self, protocol="", extensions=""):
        self.readyState, self.protocol, self.extensions = 1, protocol, extensions
        self.fire("open")

    def end(self, code, reason="", clean=True, failed=False):
        self.readyState = 3
        if failed:
            self.fire("error")
        self.fire("close", code=code, reason=reason, wasClean=clean)


@pytest.fixture
def api(monkeypatch):
    """`framewire.websocket`, imported as in Pyodide."""
    js, ffi = ModuleType("js"), ModuleType("pyodide.ffi")
    js.WebSocket = BrowserSocket
    ffi.create_proxy = Listener
    ffi.to_js = lambda value: Data(value) if isinstance(value, bytes) else value
    monkeypatch.setattr(framewire, "websocket", None, raising=False)
    with patch.dict(sys.modules, {"js": js, "pyodide": ModuleType("pyodide"), "pyodide.ffi": ffi}):
        for name in [name for name in sys.modules if name.startswith("framewire.websocket")]:
            del sys.modules[name]
        with monkeypatch.context() as context:
            context.setattr(sys, "platform", "emscripten")
            module = importlib.import_module("framewire.websocket")
        yield module


async def opened(api, **attributes):
    """Return an open WebSocket, that of the browser, and the list of its events."""
    socket, events = api.WebSocket("ws://h/", ["a"]), []
    for name in ("open", "message", "error", "close"):
        socket.addEventListener(name, events.append)
    await asyncio.sleep(0)
    browser = BrowserSocket.made
    browser.open(**attributes)
    await until(lambda: events)
    return socket, browser, events


def test_python_without_javascript_uses_its_own_sockets():
    from framewire.websocket.native_connection import open_connection
    from framewire.websocket.opening import open_connection as chosen

    assert chosen is open_connection


@pytest.mark.parametrize("name", ["WebSocket", "WebSocketStream"])
@on_loop
async def test_options_of_connect_are_refused_in_a_browser(api, name):
    with pytest.raises(TypeError, match=r"not available in a browser: ssl, origin"):
        getattr(api, name)("ws://h/", ssl=None, origin="o")


@on_loop
async def test_messages_pass_through_the_socket_of_the_browser(api):
    socket, browser, events = await opened(api, protocol="a", extensions="x")
    assert browser.arguments == ("ws://h/", ["a"])
    assert browser.binaryType == "arraybuffer"
    assert (socket.readyState, socket.protocol, socket.extensions) == (1, "a", "x")
    socket.send("caf\xe9\ud800")
    socket.send(memoryview(b"12"))
    assert socket.bufferedAmount == 10
    await until(lambda: len(browser.calls) == 2)
    assert socket.bufferedAmount == browser.bufferedAmount == 10
    assert browser.calls[0] == "caf\xe9\ufffd"
    assert browser.calls[1].to_bytes() == b"12"
    browser.bufferedAmount = 0
    assert socket.bufferedAmount == 0
    browser.fire("message", data="text")
    browser.fire("message", data=Data(b"binary"))
    await until(lambda: len(events) == 3)
    assert [event.data for event in events[1:]] == ["text", b"binary"]
    socket.close(3000, "done")
    await until(lambda: len(browser.calls) == 3)
    assert browser.calls[2] == ("close", 3000, "done")
    browser.end(3000, "done")
    await until(lambda: len(events) == 4)
    assert events[3] == api.CloseEvent("close", socket, True, 3000, "done")
    await until(lambda: all(each.function is None for each in browser.listeners.values()))


@pytest.mark.parametrize(
    ("end", "names", "attributes"),
    [
        ({"code": 1005}, ["open", "close"], (True, 1005, "")),
        ({"code": 4000, "reason": "r"}, ["open", "close"], (True, 4000, "r")),
        ({"code": 1001, "clean": False}, ["open", "close"], (False, 1001, "")),
        ({"code": 1006, "clean": False}, ["open", "close"], (False, 1006, "")),
        ({"code": 1006, "clean": False, "failed": True}, ["open", "error", "close"], (False, 1006, "")),
    ],
)
@on_loop
async def test_each_end_of_the_browser_gives_its_events(api, end, names, attributes):
    socket, browser, events = await opened(api)
    browser.end(**end)
    await until(lambda: socket.readyState == 3 and len(events) == len(names))
    assert [event.type for event in events] == names
    assert (events[-1].wasClean, events[-1].code, events[-1].reason) == attributes


@on_loop
async def test_messages_before_the_end_are_delivered_and_none_after_close(api):
    socket, browser, events = await opened(api)
    for data in ("1", "2"):
        browser.fire("message", data=data)
    browser.end(1000)
    socket.addEventListener("message", lambda event: socket.close())
    await until(lambda: socket.readyState == 3)
    assert [getattr(event, "data", event.type) for event in events] == ["open", "1", "close"]


@on_loop
async def test_failed_opening_in_a_browser_gives_error_event_then_close_1006(api):
    async def run(fail):
        socket, events = api.WebSocket("ws://h/"), []
        for name in ("open", "error", "close"):
            socket.addEventListener(name, lambda event: events.append((event.type, socket.readyState)))
        await asyncio.sleep(0)
        fail(socket)
        await until(lambda: len(events) == 2)
        assert events == [("error", 3), ("close", 3)]

    await run(lambda socket: BrowserSocket.made.end(1006, clean=False, failed=True))
    await run(lambda socket: socket.close())
    assert BrowserSocket.made.calls == [("close",)]


@on_loop
async def test_stream_waits_while_the_browser_holds_more_than_1_mib(api):
    stream = api.WebSocketStream("ws://h/", {"protocols": ["a"]})
    await asyncio.sleep(0)
    browser = BrowserSocket.made
    browser.open(protocol="a")
    streams = await stream.opened
    assert streams.protocol == "a"
    await streams.writable.write(bytes(1 << 20))
    writing = asyncio.ensure_future(streams.writable.write("x"))
    looks = browser.looks
    await until(lambda: browser.looks > looks + 2)
    assert not writing.done()
    browser.bufferedAmount = 1 << 20
    await writing
    browser.fire("message", data="last")
    stream.close({"closeCode": 3000, "reason": "r"})
    assert browser.calls[-1] == ("close", 3000, "r")
    writing = asyncio.ensure_future(streams.writable.write("late"))
    await asyncio.sleep(0)
    browser.end(3000, "r")
    with pytest.raises(api.WebSocketError, match="closed"):
        await writing
    assert [message async for message in streams.readable] == ["last"]
    assert await stream.closed == api.WebSocketCloseInfo(3000, "r")
