"""tornado with and without acceleration: the same calls, bytes, exceptions and log records."""

import asyncio
import contextvars
import logging
import struct
import zlib
from contextlib import asynccontextmanager, contextmanager

import ends
import pytest
from ends import CERTIFICATE, client_side, on_loop, raw, until
from frames import KEY, REQUEST, frame
from tornado import httpclient, httpserver, version_info, web, websocket
from tornado.iostream import StreamBufferFullError

import framewire
from framewire import Close, Failure, Ping, _backend
from framewire.adapters import accelerate as adapters
from framewire.adapters.tornado import protocol as adapter

pytestmark = pytest.mark.both_backends

#: Whether tornado does not close a connection after data that it cannot decode: version 6.5 leaves it
#: to the collection of garbage.
LEFT_OPEN = version_info < (6, 6)

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]
MESSAGES = [message for size in SIZES for message in ("x" * size, "é" * (size // 2), bytes(size))]


@contextmanager
def accelerated(monkeypatch):
    """Accelerate tornado on any backend; check that data frames take the fast path."""
    delivered = []
    deliver = adapter._deliver

    def counted(protocol, frames, data):
        delivered.extend(frames)
        return deliver(protocol, frames, data)

    monkeypatch.setattr(adapters, "backend", lambda: _backend.Backend("fast", "plain"))
    monkeypatch.setattr(adapter, "_deliver", counted)
    acceleration = framewire.accelerate("tornado")
    try:
        assert [outcome.state for outcome in acceleration] == ["active"], str(acceleration)
        delivered.clear()  # those of the self-test
        yield delivered
    finally:
        acceleration.undo()
        monkeypatch.undo()


def run(scenario):
    results = []

    @on_loop
    async def main():
        results.append(await scenario())

    main()
    return results[0]


@pytest.fixture
def compare(monkeypatch):
    """Return a function that runs a scenario with and without acceleration; the results are equal."""

    def compare(scenario, fast=True):
        expected = run(scenario)
        with accelerated(monkeypatch) as delivered:
            assert run(scenario) == expected
        assert bool(delivered) == fast
        return expected

    return compare


class Recorder(websocket.WebSocketHandler):
    """An echo that records its calls."""

    records: list

    def initialize(self, records, application_handler, compression=None):
        self.records = records
        self.handler = application_handler
        self.compression = compression

    def get_compression_options(self):
        return self.compression

    def select_subprotocol(self, subprotocols):
        self.records.append(("subprotocols", subprotocols))
        return subprotocols[-1] if subprotocols else None

    def open(self):
        self.records.append("open")

    def on_message(self, message):
        self.records.append(message)
        return self.handler(self, message)

    def on_ping(self, data):
        self.records.append(("ping", data))

    def on_pong(self, data):
        self.records.append(("pong", data))

    def on_close(self):
        self.records.append(("close", self.close_code, self.close_reason))


def echo(handler, message):
    handler.write_message(message, binary=isinstance(message, bytes))


async def echo_later(handler, message):
    await handler.write_message(message, binary=isinstance(message, bytes))


@asynccontextmanager
async def serving(handler=echo, compression=None, tls=None, **settings):
    """Run a tornado server; give its port and the records of its handlers."""
    records = []
    options = {"records": records, "application_handler": handler, "compression": compression}
    server = httpserver.HTTPServer(web.Application([("/.*", Recorder, options)], **settings), ssl_options=tls)
    server.listen(0, "127.0.0.1")
    (listening,) = server._sockets.values()
    try:
        yield listening.getsockname()[1], records
    finally:
        server.stop()
        await server.close_all_connections()


@asynccontextmanager
async def talking(handler=echo, extensions=b"", and_then=b"", **settings):
    """Run a server and a raw client; give the client, the bytes of its upgrade, and the records."""
    async with serving(handler, **settings) as (port, records), raw(port) as client:
        head = b"Sec-WebSocket-Extensions: permessage-deflate\r\n" if extensions else b""
        client.writer.write(REQUEST[:-2] + head + b"\r\n" + and_then)
        await client.reader.readuntil(b"\r\n\r\n")
        yield client, records


async def read_all(client):
    """Read until the end of the connection, which may be a reset."""
    data = b""
    try:
        while chunk := await client.reader.read(1 << 16):
            data += chunk
    except ConnectionResetError:
        return data
    return data


def masked(*frames):
    return b"".join(frame(first, payload, KEY) for first, payload in frames)


def plain(*frames):
    return b"".join(frame(first, payload) for first, payload in frames)


def closed(records):
    return [record for record in records if isinstance(record, tuple) and record[0] == "close"]


# Interoperation with the server and the client of framewire


@pytest.mark.parametrize("handler", [echo, echo_later])
@pytest.mark.parametrize("compression", [None, {}])
def test_server_echoes_messages_of_all_sizes_to_our_client(compare, handler, compression):
    async def scenario():
        async with serving(handler, compression) as (port, records):
            async with framewire.asyncio.connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                assert ("Sec-WebSocket-Extensions" in client.response.headers) == (compression is not None)
                for message in MESSAGES:
                    await client.send(message)
                    assert await client.recv() == message
            await until(lambda: closed(records))
            return records

    records = compare(scenario)
    assert records == [("subprotocols", []), "open", *MESSAGES, ("close", 1000, None)]


@pytest.mark.parametrize("compression", [None, {}])
@pytest.mark.parametrize("callback", [False, True])
def test_client_receives_messages_of_all_sizes_from_our_server(compare, callback, compression):
    async def scenario():
        received = []
        async with ends.serving() as (_, _, uri):
            client = await websocket.websocket_connect(
                uri,
                compression_options=compression,
                on_message_callback=received.append if callback else None,
            )
            for message in MESSAGES:
                client.write_message(message, binary=isinstance(message, bytes))
            if callback:
                await until(lambda: len(received) == len(MESSAGES))
            else:
                received += [await client.read_message() for _ in MESSAGES]
            client.close(1000, "done")
            if callback:
                await until(lambda: received[-1] is None)
            else:
                received.append(await client.read_message())
            return received, client.close_code, client.close_reason

    assert compare(scenario) == ([*MESSAGES, None], 1000, "done")


def test_tls_server_and_client_exchange_messages(compare):
    async def scenario():
        async with serving(tls=ends.server_side()) as (port, records):
            request = httpclient.HTTPRequest(f"wss://localhost:{port}/", ssl_options=client_side())
            client = await websocket.websocket_connect(request)
            for message in MESSAGES:
                await client.write_message(message, binary=isinstance(message, bytes))
                assert await client.read_message() == message
            for _ in range(500):
                client.write_message("burst")
            assert [await client.read_message() for _ in range(500)] == ["burst"] * 500
            client.close()
            assert await client.read_message() is None
            await until(lambda: closed(records))
            return records

    assert CERTIFICATE.exists()
    compare(scenario)


def test_subprotocol_is_selected(compare):
    async def scenario():
        async with serving() as (port, records):
            client = await websocket.websocket_connect(f"ws://127.0.0.1:{port}/", subprotocols=["a", "b"])
            await client.write_message("text")
            await client.read_message()
            selected = client.selected_subprotocol
            client.close()
            await until(lambda: closed(records))
            return selected, records

    assert compare(scenario) == ("b", [("subprotocols", ["a", "b"]), "open", "text", ("close", None, None)])


# Frames


FRAMES = [
    (0x81, b"text"), (0x82, b"\xff" * 126), (0x89, b"ping"), (0x81, b""), (0x82, b""), (0x01, "é".encode()[:1]),
    (0x8A, b"pong"), (0x80, "é".encode()[1:]), (0x82, bytes(70_000)), (0x81, "é".encode()), (0x89, b""),
    *[(0x81, b"%d" % number) for number in range(600)],
]  # fmt: skip


@pytest.mark.parametrize("handler", [echo, echo_later])
@pytest.mark.parametrize("step", [None, 7, 4096])
def test_frames_cut_anywhere_are_handled_like_before(compare, handler, step):
    """With an awaited handler, the frames of one read are handled one by one while other tasks run."""

    async def scenario():
        data = masked(*FRAMES, (0x88, b"\x03\xe9away"))
        async with talking(handler) as (client, records):
            for start in range(0, len(data), step or len(data)):
                client.write(data[start : start + (step or len(data))])
                await asyncio.sleep(0)
            received = await read_all(client)
            await until(lambda: closed(records))
            return records, received

    records, received = compare(scenario)
    assert records[-1] == ("close", 1001, "away")
    assert len(records) == 2 + 607 + 3 + 1
    assert received.endswith(plain((0x81, b"599"), (0x88, b"\x03\xe9")))


def test_compressed_frames_are_handled_like_before(compare):
    deflater = zlib.compressobj(wbits=-15)

    def deflated(payload):
        return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    data = masked(
        (0xC1, deflated(b"text" * 100)),
        (0x81, b"not compressed"),
        (0xC2, deflated(bytes(range(256)) * 300)),
        (0x41, (parts := deflated(b"in two parts"))[:3]),
        (0x80, parts[3:]),
        (0xC1, deflated(b"")),
        *([] if LEFT_OPEN else [(0xC2, bytes(20))]),
        (0x88, b""),
    )

    async def scenario():
        async with talking(extensions=b"deflate", compression={}) as (client, records):
            client.write(data[:100], data[100:])
            received = await read_all(client)
            await until(lambda: closed(records))
            return records, received

    records, _ = compare(scenario)
    expected = ["text" * 100, "not compressed", bytes(range(256)) * 300, "in two parts", ""]
    assert records[2:7] == expected


@pytest.mark.parametrize(
    "invalid",
    [
        pytest.param((0x81, b"a\xff"), marks=pytest.mark.skipif(LEFT_OPEN, reason="tornado 6.5 leaves it open")),
        (0x91, b"reserved bit"),
        (0xC1, b"compressed without the extension"),
        (0x83, b"unknown opcode"),
        (0x80, b"nothing to continue"),
        (0x09, b"fragmented ping"),
        (0x89, bytes(126)),
        (0x82, bytes(1001)),
    ],
)
def test_violation_ends_the_connection_after_earlier_answers(compare, invalid):
    """tornado aborts the connection; only for a message over the limit it sends a close frame."""

    async def scenario():
        data = masked((0x81, b"one"), (0x82, b"two"), invalid, (0x81, b"three"))
        async with talking(websocket_max_message_size=1000) as (client, records):
            client.write(data)
            received = await read_all(client)
            await until(lambda: closed(records))
            return records[2:], received

    records, received = compare(scenario)
    assert records == ["one", b"two", ("close", None, None)]
    close = [(0x88, struct.pack(">H", 1009) + b"message too big")] if len(invalid[1]) == 1001 else []
    assert received == plain((0x81, b"one"), (0x82, b"two"), *close)


def test_unmasked_and_not_minimal_frames_are_accepted_like_before(compare):
    async def scenario():
        data = plain((0x81, b"unmasked")) + frame(0x81, b"long", KEY, 126) + masked((0x81, b"a"), (0x88, b""))
        async with talking() as (client, records):
            client.write(data)
            received = await read_all(client)
            await until(lambda: closed(records))
            return records[2:], received

    assert compare(scenario)[0] == ["unmasked", "long", "a", ("close", None, None)]


@pytest.mark.parametrize("handler", [echo, echo_later])
@pytest.mark.parametrize("cut", [0, 1, 3, 9])
def test_end_of_input_comes_after_the_messages_before_it(compare, handler, cut):
    """Messages that arrive with the end of the input are handled and answered as without framewire."""

    async def scenario():
        data = masked(*[(0x81, b"%d" % number) for number in range(5)], (0x82, b"incomplete"))
        async with talking(handler) as (client, records):
            client.write(data[: len(data) - 16 + cut])
            client.writer.write_eof()
            received = await read_all(client)
            await until(lambda: closed(records))
            return records[2:], received

    records, received = compare(scenario)
    assert records == [*"01234", ("close", None, None)]
    assert received.startswith(plain(*[(0x81, b"%d" % number) for number in range(4)]))


def test_message_too_big_after_decompression_is_refused_like_before(compare):
    deflater = zlib.compressobj(wbits=-15)
    bomb = (deflater.compress(bytes(100_000)) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    async def scenario():
        settings = {"compression": {}, "websocket_max_message_size": 1000}
        async with talking(extensions=b"deflate", **settings) as (client, records):
            client.write(masked((0x81, b"text"), (0xC2, bomb)))
            await until(lambda: closed(records))
            received = await read_all(client)
            return records[2:], received

    records, received = compare(scenario)
    assert records == ["text", ("close", None, None)]
    assert received.endswith(b"\x03\xf1message too big after decompression")


# Closing


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x0b\xb9reason", b"\x03"])
def test_close_of_the_client_is_echoed_like_before(compare, payload):
    async def scenario():
        async with talking() as (client, records):
            client.write(masked((0x81, b"a"), (0x88, payload), (0x81, b"ignored")))
            received = await read_all(client)
            await until(lambda: closed(records))
            return records[2:], received

    records, received = compare(scenario)
    code = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else None
    assert records == ["a", ("close", code, payload[2:].decode() or None)]
    assert received == plain((0x81, b"a"), (0x88, payload[:2] if code else b""))


@pytest.mark.parametrize("close", [(), (4001,), (4001, "reason"), (None, "reason")])
def test_close_of_the_handler_is_sent_after_its_answers(compare, close):
    def handler(self, message):
        self.write_message(message)
        if message == "2":
            self.close(*close)
            with pytest.raises(websocket.WebSocketClosedError):
                self.write_message("too late")
            with pytest.raises(websocket.WebSocketClosedError):
                self.ping()

    async def scenario():
        async with talking(handler) as (client, records):
            client.write(masked(*[(0x81, b"%d" % number) for number in range(3)]))
            events = [await client.read_event() for _ in range(4)]
            client.write(masked((0x88, b"\x03\xe8bye")))
            assert await client.reader.read() == b""
            await until(lambda: closed(records))
            return records[2:], events

    records, events = compare(scenario)
    assert records == [*"012", ("close", 1000, "bye")]
    code, reason = (*close, None, None)[:2]
    assert events[3] == Close(code or (1000 if reason else 1005), reason or "")


def test_client_sees_the_close_of_our_server(compare):
    async def handler(connection):
        await connection.send(await connection.recv())
        await connection.close(4002, "enough")

    async def scenario():
        async with ends.serving(handler) as (_, _, uri):
            client = await websocket.websocket_connect(uri)
            await client.write_message("text")
            received = [await client.read_message(), await client.read_message()]
            with pytest.raises(websocket.WebSocketClosedError):
                await client.write_message("too late")
            client.close()
            return received, client.close_code, client.close_reason

    assert compare(scenario) == (["text", None], 4002, "enough")


def test_exception_of_the_handler_is_logged_after_earlier_answers(compare, caplog):
    def handler(self, message):
        self.write_message(message)
        if message == "2":
            raise ValueError(message)

    async def scenario():
        caplog.clear()
        async with talking(handler) as (client, records):
            client.write(masked(*[(0x81, b"%d" % number) for number in range(5)]))
            received = await read_all(client)
            await until(lambda: closed(records))
            logged = [
                (record.name, record.levelname, record.message.split(" (")[0], repr(record.exc_info[1]))
                for record in caplog.records
                if record.exc_info
            ]
            return records[2:], received, logged

    records, received, logged = compare(scenario)
    assert records == [*"012", ("close", None, None)]
    assert received == plain(*[(0x81, b"%d" % number) for number in range(3)])
    assert [record[3] for record in logged] == ["ValueError('2')"]


# Sending


def test_frames_are_written_in_the_order_of_the_calls(compare):
    """Answers that wait for others are written before a ping, and before other tasks run."""

    def handler(self, message):
        self.write_message(message)
        self.write_message({"a": message})
        self.write_message(memoryview(b"").tobytes(), binary=True)
        self.ping(message.encode())
        self.write_message(message)

    async def scenario():
        async with talking(handler) as (client, records):
            client.write(masked((0x81, b"0"), (0x89, b"ping"), (0x81, b"1"), (0x81, b"2"), (0x88, b"")))
            received = await read_all(client)
            await until(lambda: closed(records))
            return received

    received = compare(scenario)
    answers = [((0x81, d), (0x81, b'{"a": "%s"}' % d), (0x82, b""), (0x89, d), (0x81, d)) for d in (b"0", b"1", b"2")]
    assert received == plain(*answers[0], (0x8A, b"ping"), *answers[1], *answers[2], (0x88, b""))


@pytest.mark.parametrize("message", [None, 1, ["list"], bytearray(b"a"), "\ud800"])
def test_message_of_a_wrong_type_raises_the_same_exception(compare, message):
    def handler(self, text):
        try:
            self.write_message(message)
        except Exception as error:
            self.write_message(f"{type(error).__name__}: {error}")

    async def scenario():
        async with talking(handler) as (client, records):
            client.write(masked((0x81, b"a"), (0x81, b"a")))
            events = [await client.read_event(), await client.read_event()]
            client.write(masked((0x88, b"")))
            await until(lambda: closed(records))
            return events

    compare(scenario)


def test_write_waits_for_a_slow_receiver_and_loses_nothing(compare):
    async def scenario():
        done = []

        def handler(self, message):
            done.append(self.write_message(message, binary=True))

        async with talking(handler) as (client, records):
            size, count = 1 << 20, 20
            payload = bytes(range(256)) * (size // 256)
            client.writer.transport.pause_reading()
            sending = asyncio.create_task(send_all(client, frame(0x82, payload, KEY), count))
            await until(lambda: len(done) == count)
            await sending
            waiting = sum(not future.done() for future in done)
            client.writer.transport.resume_reading()
            received = [await client.reader.readexactly(size + 10) for _ in range(count)]
            await asyncio.gather(*done)
            client.write(masked((0x88, b"")))
            await until(lambda: closed(records))
            return waiting > 0, received == count * [frame(0x82, payload)]

    assert compare(scenario) == (True, True)


async def send_all(client, data, count):
    for _ in range(count):
        client.writer.write(data)
        await client.writer.drain()


def test_futures_of_unsent_messages_raise_when_the_connection_ends(compare):
    async def scenario():
        done = []

        def handler(self, message):
            done.append(self.write_message(bytes(1 << 22), binary=True))

        async with talking(handler) as (client, records):
            client.write(masked(*[(0x81, b"%d" % number) for number in range(4)]))
            await until(lambda: len(done) == 4)
            client.writer.transport.abort()
            outcomes = await asyncio.gather(*done, return_exceptions=True)
            await until(lambda: closed(records))
            return [repr(outcome) for outcome in outcomes], records[2:]

    assert compare(scenario)[0] == ["WebSocketClosedError()"] * 4


def test_write_that_is_awaited_lets_other_tasks_run(compare):
    async def scenario():
        turns = []

        async def handler(self, message):
            other = asyncio.create_task(asyncio.sleep(0))
            for _ in range(5):
                await self.write_message(message)
            turns.append(other.done())

        async with talking(handler) as (client, records):
            client.write(masked((0x81, b"a"), (0x88, b"")))
            await read_all(client)
            await until(lambda: closed(records))
            return turns

    assert compare(scenario) == [True]


def test_limit_of_the_write_buffer_raises_before_anything_is_sent(compare):
    async def scenario():
        refused = []

        def handler(self, message):
            self.ws_connection.stream.max_write_buffer_size = 100
            try:
                self.write_message("x" * 101)
            except StreamBufferFullError as error:
                refused.append(str(error))
            self.write_message(message)

        async with talking(handler) as (client, records):
            client.write(masked((0x81, b"a"), (0x81, b"b"), (0x88, b"")))
            received = await read_all(client)
            await until(lambda: closed(records))
            return refused, received

    refused, received = compare(scenario)
    assert refused == ["Reached maximum write buffer size"] * 2
    assert received == plain((0x81, b"a"), (0x81, b"b"), (0x88, b""))


def test_answers_do_not_wait_for_slow_handlers(monkeypatch):
    """The answers to the messages of one read wait for at most `MAX_HELD_TIME`."""
    now = [0.0]
    monkeypatch.setattr(adapter, "monotonic", lambda: now[0])

    async def scenario():
        sent = []

        def handler(self, message):
            sent.append(self.ws_connection.stream._total_write_done_index)
            self.write_message(message)
            now[0] += 1.0

        async with talking(handler) as (client, records):
            client.write(masked(*[(0x81, b"%d" % number) for number in range(4)], (0x88, b"")))
            received = await read_all(client)
            await until(lambda: closed(records))
            return sent, received

    with accelerated(monkeypatch):
        sent, received = run(scenario)
    assert [index - sent[0] for index in sent] == [0, 3, 6, 9]
    assert received == plain(*[(0x81, b"%d" % number) for number in range(4)], (0x88, b""))


# Pings, tasks, subclasses


def test_pings_are_sent_and_their_pongs_received(compare):
    async def scenario():
        async with talking(websocket_ping_interval=0.02) as (client, records):
            client.write(masked((0x81, b"a")))
            events = [await client.read_event() for _ in range(2)]
            client.write(masked((0x8A, b""), (0x81, b"b")))
            while Ping(b"") in events:
                events.remove(Ping(b""))
                events.append(await client.read_event())
                client.write(masked((0x8A, b"")))
                if len(records) > 6:
                    break
            client.write(masked((0x88, b"")))
            await until(lambda: closed(records))
            return ("pong", b"") in records, "b" in records, records[-1]

    assert compare(scenario) == (True, True, ("close", None, None))


def test_missing_pong_closes_the_connection(compare):
    async def scenario():
        async with talking(websocket_ping_interval=0.02) as (client, _):
            client.write(masked((0x81, b"a")))
            received = []
            while not received or not isinstance(received[-1], (Close, Failure)):
                received.append(await client.read_event())
            return received[-1]

    assert compare(scenario) == Close(1000, "ping timed out")


def test_handlers_run_in_the_task_and_context_of_the_connection(compare):
    async def scenario():
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        class Handler(Recorder):
            def open(self):
                variable.set("set by open")
                self.task = asyncio.current_task()

            def on_message(self, message):
                seen.append((variable.get(), asyncio.current_task() is self.task))

        options = {"records": [], "application_handler": echo}
        server = httpserver.HTTPServer(web.Application([("/.*", Handler, options)]))
        server.listen(0, "127.0.0.1")
        (listening,) = server._sockets.values()
        async with raw(listening.getsockname()[1]) as client:
            await client.upgrade(masked((0x81, b"a"), (0x81, b"b"), (0x88, b"")))
            await read_all(client)
        server.stop()
        await server.close_all_connections()
        return seen

    assert compare(scenario) == [("set by open", True)] * 2


def test_subclass_of_the_protocol_uses_its_own_methods(compare, monkeypatch):
    """A protocol that overrides a method that the fast path leaves out is left alone."""

    async def scenario():
        opcodes = []

        class Protocol(websocket.WebSocketProtocol13):
            def _handle_message(self, opcode, data):
                opcodes.append(opcode)
                return super()._handle_message(opcode, data)

            def _write_frame(self, fin, opcode, data, flags=0):
                opcodes.append(-opcode)
                return super()._write_frame(fin, opcode, data, flags)

        with monkeypatch.context() as patch:
            patch.setattr(
                Recorder,
                "get_websocket_protocol",
                lambda self: Protocol(self, False, websocket._WebSocketParams()),
                raising=False,
            )
            async with talking() as (client, records):
                client.write(masked((0x81, b"a"), (0x81, b"b"), (0x88, b"")))
                await read_all(client)
                await until(lambda: closed(records))
        return opcodes

    assert compare(scenario, fast=False) == [1, -1, 1, -1, 8, -8]


def test_small_frames_of_alternating_kinds_are_copied_once(monkeypatch):
    """The work for a frame does not grow with the number of bytes after it."""
    unread = []
    original = adapter._unread

    async def scenario():
        data = masked(*[(0x81, b"a"), (0x89, b"")] * 5000, (0x88, b""))
        async with talking(lambda self, message: None) as (client, records):
            client.write(data)
            await read_all(client)
            await until(lambda: closed(records))
            return records.count("a"), len(data)

    with accelerated(monkeypatch):
        monkeypatch.setattr(adapter, "_unread", lambda stream, data: (unread.append(len(data)), original(stream, data)))
        count, size = run(scenario)
    assert count == 5000
    assert sum(unread) <= size


def test_connection_that_ends_without_a_close_frame_logs_nothing(compare, caplog):
    caplog.set_level(logging.DEBUG)

    async def scenario():
        caplog.clear()
        async with talking() as (client, records):
            client.write(masked((0x81, b"a")))
            await client.read_event()
            client.writer.transport.abort()
            await until(lambda: closed(records))
        return [record.message for record in caplog.records if record.name.startswith("tornado.general")]

    assert compare(scenario) == []
