"""The WebSocket API of browsers: names, errors and the order of events."""

import asyncio
from array import array
from contextlib import asynccontextmanager

import pytest
from ends import client_side, echo, on_loop, server_side, until
from failing_codec import FailingCodec

import framewire
from framewire.asyncio import serve
from framewire.errors import PayloadTooBigError
from framewire.handshake import ServerHandshake
from framewire.http.headers import Headers
from framewire.http.http11 import Response
from framewire.websocket import (
    DOMException,
    InvalidAccessError,
    InvalidStateError,
    UrlSyntaxError,
    WebSocket,
    WebSocketStream,
)


@asynccontextmanager
async def serving(handler=echo, **options):
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def raw_serving(handler):
    """A raw server that accepts the handshake and then calls `handler(stream, reader, writer)`."""

    async def serve_one(reader, writer):
        handshake = ServerHandshake()
        while handshake.request is None:
            handshake.receive(await reader.read(4096))
        writer.write(handshake.accept())
        await handler(framewire.Stream(framewire.SERVER, max_message_size=None), reader, writer)
        await writer.drain()
        if not writer.transport.is_closing():
            writer.write_eof()
            while await reader.read(4096):
                pass
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class FailingExtension:
    """An extension that cannot encode messages which begin with "fail"."""

    name = "failing"

    def offers(self):
        return [()]

    def accept(self, offer):
        return (), FailingCodec()

    def agree(self, answer):
        return FailingCodec()


class Log:
    """Records every event of a WebSocket, with the `readyState` at that time."""

    def __init__(self, socket):
        self.events, self.done = [], asyncio.Event()
        self.socket = socket
        for name in ("open", "message", "error", "close"):
            socket.addEventListener(name, self.note)

    def note(self, event):
        assert event.target is self.socket
        extra = {
            "message": lambda: (event.data,),
            "close": lambda: (event.wasClean, event.code, event.reason),
        }.get(event.type, tuple)()
        self.events.append((event.type, self.socket.readyState, *extra))
        if event.type == "close":
            self.done.set()

    async def end(self):
        await self.done.wait()
        for _ in range(10):  # an event after `close` would be dispatched in one of the next turns of the loop
            await asyncio.sleep(0)
        return self.events


# Construction


@on_loop
async def test_url_attribute_is_normalised():
    for given, url in {
        "ws://LOCALHOST:1": "ws://localhost:1/",
        "http://localhost:1/a?b": "ws://localhost:1/a?b",
        "https://localhost/ä": "wss://localhost/%C3%A4",
        " WSS://localhost:443/ ": "wss://localhost/",
        "ws://u:p@localhost:1/": "ws://u:p@localhost:1/",
        "ws:\\\\127.1:1\\a\\..\\b c?'{\ud800": "ws://127.0.0.1:1/b%20c?%27{%EF%BF%BD",
    }.items():
        socket = WebSocket(given)
        assert socket.url == url
        socket.close()
        await Log(socket).end()


@pytest.mark.parametrize(
    ("url", "protocols"),
    [
        ("ws://h/#f", []),
        ("ws://h/#", []),
        ("ftp://h/", []),
        ("relative", []),
        ("", []),
        ("ws://", []),
        ("ws://h:0x/", []),
        ("ws://h/", ["a", "a"]),
        ("ws://h/", ["not a token"]),
        ("ws://h/", ""),
        ("ws://h/", "a,b"),
        ("ws://h/", {"protocols": ["a", "a"]}),
    ],
)
def test_constructor_rejects_invalid_url_or_protocols(url, protocols):
    with pytest.raises(UrlSyntaxError) as caught:
        WebSocket(url, protocols)
    assert caught.value.name == "SyntaxError"
    assert isinstance(caught.value, DOMException)


@on_loop
async def test_attributes_have_initial_values_while_connecting():
    async with serving() as uri:
        socket = WebSocket(uri, "chat", origin="http://127.0.0.1")
        assert (socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED) == (0, 1, 2, 3)
        assert (WebSocket.CONNECTING, WebSocket.OPEN, WebSocket.CLOSING, WebSocket.CLOSED) == (0, 1, 2, 3)
        assert (socket.readyState, socket.protocol, socket.extensions, socket.bufferedAmount) == (0, "", "", 0)
        assert (socket.binaryType, socket.onopen, socket.onmessage, socket.onerror, socket.onclose) == (
            "blob", None, None, None, None,
        )  # fmt: skip
        for name in ("url", "readyState", "protocol", "extensions", "bufferedAmount"):
            with pytest.raises(AttributeError):
                setattr(socket, name, "x")
        socket.close()
        await Log(socket).end()


# The order of events


@on_loop
async def test_events_of_a_complete_connection_come_in_order():
    async with serving(subprotocols=["chat"]) as uri:
        socket = WebSocket(uri, ["other", "chat"])
        log = Log(socket)
        socket.onopen = lambda event: [socket.send("one"), socket.send(b"two"), socket.send(bytearray(b"three"))]
        socket.addEventListener("message", lambda event: event.data == b"three" and socket.close(3000, "done"))
        assert await log.end() == [
            ("open", 1),
            ("message", 1, "one"),
            ("message", 1, b"two"),
            ("message", 1, b"three"),
            ("close", 3, True, 3000, "done"),
        ]
        assert socket.protocol == "chat"
        assert socket.bufferedAmount == 0


@on_loop
async def test_queued_messages_are_sent_before_the_close():
    received = []

    async def handler(ws):
        received.extend([message async for message in ws])

    async with serving(handler) as uri:
        socket = WebSocket(uri)

        def send(event):
            for number in range(100):
                socket.send(str(number))
            socket.close()
            assert socket.readyState == socket.CLOSING
            socket.close(1000)
            socket.send("dropped")

        socket.onopen = send
        assert await Log(socket).end() == [("open", 2), ("close", 3, True, 1005, "")]
        assert received == [str(number) for number in range(100)]
        assert socket.bufferedAmount == len("dropped")


@on_loop
async def test_buffered_amount_after_tls_connection_is_what_was_not_sent():
    async with serving(ssl=server_side()) as uri:
        socket = WebSocket(uri.replace("ws:", "wss:"), ssl=client_side())
        log = Log(socket)
        await until(lambda: socket.readyState == socket.OPEN)
        socket.send("sent")
        socket.close()
        await log.end()
        assert socket.bufferedAmount == 0
        socket.send("dropped")
        assert socket.bufferedAmount == len("dropped")


@on_loop
async def test_close_event_carries_code_and_reason_of_server():
    async def handler(ws):
        await ws.send("last")
        await ws.close(4001, "grüße")

    async with serving(handler) as uri:
        assert await Log(WebSocket(uri)).end() == [
            ("open", 1),
            ("message", 1, "last"),
            ("close", 3, True, 4001, "grüße"),
        ]


@on_loop
async def test_lost_connection_gives_close_1006_without_error_event():
    async def handler(stream, reader, writer):
        writer.transport.abort()

    async with raw_serving(handler) as uri:
        assert await Log(WebSocket(uri)).end() == [("open", 1), ("close", 3, False, 1006, "")]


@on_loop
async def test_protocol_violation_gives_error_event_then_close_1006():
    async def handler(stream, reader, writer):
        writer.write(stream.send("good") + b"\xff")

    async with raw_serving(handler) as uri:
        assert await Log(WebSocket(uri)).end() == [
            ("open", 1),
            ("message", 1, "good"),
            ("error", 3),
            ("close", 3, False, 1006, ""),
        ]


@on_loop
async def test_protocol_violation_after_close_was_called_gives_error_event():
    async def handler(stream, reader, writer):
        stream.receive(await reader.read(4096))
        writer.write(b"\xff")

    async with raw_serving(handler) as uri:
        socket = WebSocket(uri)
        log = Log(socket)
        socket.onopen = lambda event: socket.close()
        assert await log.end() == [("open", 1), ("error", 3), ("close", 3, False, 1006, "")]


@on_loop
async def test_redirect_is_not_followed():
    async with serving() as uri:
        location = Headers([("Location", f"{uri}/other")])
        async with serving(process_request=lambda *_: Response(302, "Found", location)) as redirecting:
            assert await Log(WebSocket(redirecting)).end() == [("error", 3), ("close", 3, False, 1006, "")]


@on_loop
async def test_failed_opening_gives_error_event_then_close_1006():
    failed = [("error", 3), ("close", 3, False, 1006, "")]
    answer = Response(403, "Forbidden", Headers())
    async with serving(process_request=lambda connection, request: answer) as uri:
        assert await Log(WebSocket(uri)).end() == failed
    assert await Log(WebSocket(uri)).end() == failed  # no server listens on that port now
    async with serving() as uri:
        assert await Log(WebSocket(uri, ["asked"])).end() == failed  # no subprotocol was selected


@on_loop
async def test_protocols_may_be_given_in_a_mapping_of_options():
    async with serving(subprotocols=["soap"]) as uri:
        for options in ({"protocols": ["wamp", "soap"]}, {"protocols": "soap", "unknown": 1}):
            socket = WebSocket(uri, options)
            await until(lambda: socket.readyState == socket.OPEN)  # noqa: B023 - awaited at once
            assert socket.protocol == "soap"
            socket.close()
            await Log(socket).end()
        socket = WebSocket(uri, {"unknown": ["soap"]})
        socket.onopen = lambda event: socket.close()
        await Log(socket).end()
        assert socket.protocol == ""


@on_loop
async def test_close_while_connecting_gives_error_event_then_close_1006():
    async with serving() as uri:
        for pause in (False, True):
            socket = WebSocket(uri)
            log = Log(socket)
            if pause:
                await asyncio.sleep(0)
            socket.close()
            assert socket.readyState == socket.CLOSING
            assert await log.end() == [("error", 3), ("close", 3, False, 1006, "")]


@on_loop
async def test_no_message_event_after_close_is_called():
    async def handler(ws):
        await ws.recv()
        for _ in range(10):
            await ws.send("too late")

    async with serving(handler) as uri:
        socket = WebSocket(uri)
        socket.onopen = lambda event: [socket.send("go"), socket.close(1000)]
        events = await Log(socket).end()
        assert events[0] == ("open", 2)
        assert events[1:] == [("close", 3, True, 1000, "")]


@on_loop
async def test_async_event_handlers_never_overlap():
    running, most = [], []

    async def slow(event):
        running.append(1)
        await asyncio.sleep(0.005)  # longer than until the next message arrives
        most.append(len(running))
        running.pop()

    async def handler(ws):
        for _ in range(5):
            await ws.send("x")

    async with serving(handler) as uri:
        socket = WebSocket(uri)
        socket.onopen = socket.onmessage = slow
        await Log(socket).end()
        assert most == [1] * 6


# send, close, bufferedAmount, binaryType


@on_loop
async def test_send_while_connecting_raises_invalid_state_error():
    async with serving() as uri:
        socket = WebSocket(uri)
        with pytest.raises(InvalidStateError) as caught:
            socket.send("x")
        assert caught.value.name == "InvalidStateError"
        assert socket.bufferedAmount == 0
        socket.close()
        await Log(socket).end()


@on_loop
async def test_message_of_another_type_raises_type_error_and_is_not_sent():
    async with serving() as uri:
        socket = WebSocket(uri)
        log = Log(socket)
        await until(lambda: socket.readyState == socket.OPEN)
        for message in (5, True, None, 1.5, [1, 2], range(3), iter(b"ab")):
            with pytest.raises(TypeError):
                socket.send(message)
        assert socket.bufferedAmount == 0
        numbers = array("H", [258, 772])
        socket.send(memoryview(numbers)[::-1])
        socket.onmessage = lambda event: socket.close()
        assert (await log.end())[1] == ("message", 1, array("H", [772, 258]).tobytes())


@on_loop
async def test_message_over_max_send_size_raises_and_later_ones_are_sent():
    async with serving() as uri:
        socket = WebSocket(uri, max_send_size=5)
        log = Log(socket)
        await until(lambda: socket.readyState == socket.OPEN)
        for message in ("€€", bytes(6)):
            with pytest.raises(PayloadTooBigError):
                socket.send(message)
        assert socket.bufferedAmount == 0
        socket.send("€12")
        socket.onmessage = lambda event: socket.close()
        assert await log.end() == [("open", 1), ("message", 1, "€12"), ("close", 3, True, 1005, "")]
        socket.send("dropped")
        assert socket.bufferedAmount == 7


@on_loop
async def test_exception_while_sending_ends_the_connection():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    async with serving(extensions=[FailingExtension()]) as uri:
        socket = WebSocket(uri, extensions=[FailingExtension()])
        log = Log(socket)
        socket.onopen = lambda event: socket.send("fail")
        assert await log.end() == [("open", 1), ("close", 3, False, 1006, "")]
    assert [type(error) for error in reported] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "name",
    ["listener", "process_exception", "reconnect_delays", "subprotocols", "text_as_bytes", "uri", "write_limit"],
)
@pytest.mark.parametrize("api", [WebSocket, WebSocketStream])
@on_loop
async def test_options_that_contradict_the_standard_raise_type_error(api, name):
    with pytest.raises(TypeError, match=f"standard: {name}$"):
        api("ws://h/", **{name: None})


@on_loop
async def test_lone_surrogates_become_replacement_characters():
    async with serving() as uri:
        socket = WebSocket(uri)
        log = Log(socket)
        socket.onopen = lambda event: socket.send("a\ud83d\ude00b\ud83dc\udc00")
        socket.onmessage = lambda event: socket.close(3000, "\ud800")
        events = await log.end()
        assert events[1] == ("message", 1, "a😀b\ufffdc\ufffd")


@pytest.mark.parametrize("state", ["connecting", "open", "closed"])
def test_close_rejects_invalid_code_or_long_reason(state):
    @on_loop
    async def run():
        async with serving() as uri:
            socket = WebSocket(uri)
            log = Log(socket)
            if state == "open":
                await until(lambda: socket.readyState == socket.OPEN)
            if state == "closed":
                socket.close()
                await log.end()
            before = socket.readyState
            for code in (0, 999, 1001, 1005, 1006, 2999, 5000):
                with pytest.raises(InvalidAccessError) as caught:
                    socket.close(code)
                assert caught.value.name == "InvalidAccessError"
            for reason in ("x" * 124, "é" * 62):
                with pytest.raises(UrlSyntaxError):
                    socket.close(1000, reason)
            assert socket.readyState == before
            socket.close(1000, "é" * 61)
            await log.end()

    run()


@on_loop
async def test_close_code_and_reason_of_another_type_raise_type_error():
    async with serving() as uri:
        socket = WebSocket(uri)
        log = Log(socket)
        await until(lambda: socket.readyState == socket.OPEN)
        for arguments in ((1000.0,), (3000.5,), ("3000",), (3000, b"bytes"), (3000, 5)):
            with pytest.raises(TypeError, match="a close"):
                socket.close(*arguments)
        socket.close(3000, "text")
        assert await log.end() == [("open", 1), ("close", 3, True, 3000, "text")]


@on_loop
async def test_close_reason_without_a_code_is_not_sent():
    closes = []

    async def handler(ws):
        with pytest.raises(framewire.ConnectionClosed) as caught:
            await ws.recv()
        closes.append(caught.value.rcvd)

    async with serving(handler) as uri:
        socket = WebSocket(uri)
        socket.onopen = lambda event: socket.close(None, "unsaid")
        await Log(socket).end()
    assert closes == [framewire.Close(1005, "")]


@on_loop
async def test_buffered_amount_counts_unsent_bytes():
    go_on = asyncio.Event()

    async def handler(stream, reader, writer):
        await go_on.wait()
        left = 1
        while left and not reader.at_eof():
            events = stream.receive(await reader.read(1 << 20))
            left -= bytes(1 << 24) in events
        writer.write(stream.close(1000))

    async with raw_serving(handler) as uri:
        socket = WebSocket(uri)
        seen = []

        def send(event):
            for message, size in (("€", 3), (b"12345", 5), (bytes(1 << 24), 1 << 24)):
                before = socket.bufferedAmount
                socket.send(message)
                seen.append(socket.bufferedAmount - before == size)

        log = Log(socket)
        socket.onopen = send
        await until(lambda: seen and socket.bufferedAmount < 1 << 24)
        held = socket.bufferedAmount
        go_on.set()
        assert seen == [True] * 3
        assert 1 << 20 < held < 1 << 24  # the peer does not read; a part is in socket buffers
        await until(lambda: not socket.bufferedAmount)
        await log.end()
        socket.send("after the end")
        assert socket.bufferedAmount == 13


@on_loop
async def test_buffered_amount_does_not_decrease_when_the_connection_is_lost():
    handling, go_on = asyncio.Event(), asyncio.Event()

    async def handler(ws):
        ws.transport.pause_reading()
        handling.set()
        await go_on.wait()
        ws.transport.abort()

    async with serving(handler) as uri:
        socket = WebSocket(uri, compression=None)
        log = Log(socket)
        amounts = []
        socket.addEventListener("close", lambda event: amounts.append(socket.bufferedAmount))
        await handling.wait()
        await until(lambda: socket.readyState == socket.OPEN)
        socket.send(bytes(1 << 24))
        await until(lambda: 0 < socket.bufferedAmount < 1 << 24)
        socket.send(bytes(1000))
        before = socket.bufferedAmount
        go_on.set()
        await log.end()
        assert before <= amounts[0] == socket.bufferedAmount <= (1 << 24) + 1000
        assert not socket._outgoing  # the messages take no memory any more
        socket.send("dropped")
        assert socket.bufferedAmount == amounts[0] + 7


@on_loop
async def test_close_aborts_the_connection_if_the_server_takes_nothing():
    go_on = asyncio.Event()

    async def handler(ws):
        ws.transport.pause_reading()
        await go_on.wait()
        ws.transport.abort()

    async with serving(handler) as uri:
        socket = WebSocket(uri, compression=None, ping_interval=None, close_timeout=0.2)
        socket.onopen = lambda event: [socket.send(bytes(1 << 25)), socket.close()]
        try:
            events = await Log(socket).end()
        finally:
            go_on.set()
        assert events[-1] == ("close", socket.CLOSED, False, 1006, "")


@on_loop
async def test_close_waits_for_a_server_that_takes_the_messages_slowly():
    """The messages take longer than `close_timeout`, but something is written in each such time."""
    events = []

    async def handler(stream, reader, writer):
        for _ in range(8):
            await asyncio.sleep(0.1)
            events.extend(stream.receive(await reader.readexactly(1 << 20)))
        while framewire.Close(1000, "") not in events[-1:]:
            events.extend(stream.receive(await reader.read(1 << 16)))
        writer.write(stream.pending())

    async with raw_serving(handler) as uri:
        socket = WebSocket(uri, compression=None, ping_interval=None, close_timeout=0.5)
        socket.onopen = lambda event: [socket.send(bytes(1 << 25)), socket.close(1000)]
        log = await Log(socket).end()
        assert log[-1] == ("close", socket.CLOSED, True, 1000, "")
    assert events == [bytes(1 << 25), framewire.Close(1000, "")]


@on_loop
async def test_binary_type_is_read_when_the_message_is_delivered():
    async with serving() as uri:
        socket = WebSocket(uri)
        socket.binaryType = "unknown"
        assert socket.binaryType == "blob"
        kinds = []

        def receive(event):
            kinds.append(type(event.data))
            socket.binaryType = "arraybuffer"
            if len(kinds) == 2:
                socket.close()

        socket.onopen = lambda event: [socket.send(memoryview(b"1")), socket.send(b"2")]
        socket.onmessage = receive
        await Log(socket).end()
        assert kinds == [bytes, bytearray]


@on_loop
async def test_message_event_origin_is_the_server_origin():
    async with serving() as uri:
        socket = WebSocket(uri + "/path?query")
        socket.onopen = lambda event: socket.send("x")
        origins = []
        socket.onmessage = lambda event: [origins.append(event.origin), socket.close()]
        await Log(socket).end()
        assert origins == [uri]


# Listeners


@on_loop
async def test_listeners_run_in_registration_order():
    calls = []

    def note(name):
        return lambda event: calls.append(name)

    async with serving(lambda ws: asyncio.sleep(0)) as uri:
        socket = WebSocket(uri)
        first = note("first")
        socket.addEventListener("open", first)
        socket.onopen = note("replaced")
        socket.addEventListener("open", note("last"))
        socket.addEventListener("open", first)
        socket.onopen = note("handler")
        removed = note("removed")
        socket.addEventListener("open", removed)
        socket.removeEventListener("open", removed)
        socket.removeEventListener("open", note("never there"))
        socket.addEventListener("message", note("none comes"), once=True)
        socket.addEventListener("close", note("once"), once=True)
        socket.onclose = note("unset")
        assert socket.onclose is not None
        socket.onclose = None
        assert socket.onclose is None
        await Log(socket).end()
    assert calls == ["first", "handler", "last", "once"]


@on_loop
async def test_listener_exception_is_reported_and_other_listeners_run():
    reported, calls = [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def fail(event):
        raise KeyError("oops")

    async with serving(lambda ws: asyncio.sleep(0)) as uri:
        socket = WebSocket(uri)
        socket.addEventListener("open", fail)
        socket.addEventListener("open", calls.append)
        await Log(socket).end()
    assert [type(error) for error in reported] == [KeyError]
    assert len(calls) == 1


@on_loop
async def test_listener_that_is_cancelled_is_reported_and_does_not_end_the_connection():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()

    async def wait_for_cancelled(event):
        await cancelled

    async with serving() as uri:
        socket = WebSocket(uri)
        log = Log(socket)
        socket.addEventListener("open", lambda event: cancelled.result())
        socket.addEventListener("open", lambda event: socket.send("x"))
        socket.addEventListener("message", wait_for_cancelled)
        socket.addEventListener("message", lambda event: socket.close())
        assert await log.end() == [("open", 1), ("message", 1, "x"), ("close", 3, True, 1005, "")]
    assert [type(error) for error in reported] == [asyncio.CancelledError, RuntimeError]


@on_loop
async def test_end_of_the_event_loop_cancels_a_listener_and_ends_the_connection():
    entered, left = asyncio.Event(), []

    async def wait(event):
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.append(event.type)

    async with serving() as uri:
        socket = WebSocket(uri)
        socket.onopen = wait
        await entered.wait()
        socket._task.cancel()  # as `asyncio.run` does with all tasks
        with pytest.raises(asyncio.CancelledError):
            await socket._task
        await until(lambda: left)
    assert left == ["open"]
