"""The threaded server and client over real sockets.

The other end is the `websockets` package or raw bytes.
"""

import contextlib
import itertools
import socket
import ssl
import struct
import threading
import time
import uuid
from contextlib import contextmanager

import pytest
from ends import CERTIFICATE
from frames import REQUEST, explained
from sync_ends import Raw, echo, serving, until
from websockets.exceptions import ConnectionClosed as PeerClosed
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as peer_connect
from websockets.sync.server import serve as peer_serve

import framewire
from framewire import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK
from framewire.session.message_queue import MessageQueue
from framewire.sync import connect, serve
from framewire.testing.sync import connect_peer


@contextmanager
def peer_serving(handler, **options):
    """Run a server of the `websockets` package; give its URI."""
    with peer_serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        server.shutdown()
    thread.join()


def send_in_vain(ws):
    """Send to a peer that does not read until the connection ends."""
    with pytest.raises(ConnectionClosedError):
        ws.send(bytes(1 << 25))


MESSAGES = ["", "text", "Grüße €🎉", b"", b"\x00\xff", "x" * 70_000, bytes(1 << 20)]


def test_server_echoes_every_kind_of_message():
    with serving() as (_, _, uri), peer_connect(uri) as peer:
        for message in MESSAGES:
            peer.send(message)
            assert peer.recv() == message


def test_client_exchanges_messages_with_websockets_server():
    def handler(peer):
        for message in peer:
            peer.send(message)

    with peer_serving(handler) as uri, connect(uri) as ws:
        for message in MESSAGES:
            ws.send(message)
            assert ws.recv(10) == message
        assert ws.response.status == 101
        assert "framewire/" in ws.request.headers["User-Agent"]


@pytest.mark.parametrize("compression", ["deflate", None])
def test_compression_interoperates_with_websockets_client_and_server(compression):
    with serving(compression=compression) as (_, _, uri), peer_connect(uri) as peer:
        assert bool(peer.protocol.extensions) is (compression is not None)
        peer.send("x" * 10_000)
        assert peer.recv() == "x" * 10_000

    def handler(peer):
        for message in peer:
            peer.send(message)

    with peer_serving(handler) as uri, connect(uri, compression=compression) as ws:
        assert ("Sec-WebSocket-Extensions" in ws.response.headers) is (compression is not None)
        for message in ("x" * 10_000, bytes(10_000)):
            ws.send(message)
            assert ws.recv(10) == message
        ws.send(iter(["in ", "fragments"]))
        assert ws.recv(10) == "in fragments"


def test_both_ends_can_send_at_once_over_tls():
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(CERTIFICATE)
    client_side = ssl.create_default_context(cafile=CERTIFICATE)

    def handler(ws):
        pump = threading.Thread(target=lambda: [ws.send(bytes(50_000)) for _ in range(40)])
        pump.start()
        assert sum(len(ws.recv(10)) for _ in range(40)) == 2_000_000
        pump.join()

    with (
        serving(handler, ssl=server_side) as (_, _, uri),
        connect(uri, ssl=client_side, server_hostname="localhost") as ws,
    ):
        pump = threading.Thread(target=lambda: [ws.send(bytes(50_000)) for _ in range(40)])
        pump.start()
        assert sum(len(ws.recv(10)) for _ in range(40)) == 2_000_000
        pump.join()
        with pytest.raises(ConnectionClosedOK):
            ws.recv(10)


class CountedSocket(ssl.SSLSocket):
    """A TLS socket that counts the calls of OpenSSL which begin while another thread is in one."""

    running = overlaps = 0

    def recv_into(self, *args):
        return self._count(super().recv_into, *args)

    def send(self, *args):
        return self._count(super().send, *args)

    def _count(self, call, *args):
        self.running += 1
        self.overlaps += self.running > 1
        try:
            return call(*args)
        finally:
            self.running -= 1


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_calls_of_openssl_do_not_overlap_whoever_has_started_tls(scheme):
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(CERTIFICATE)
    client_side = ssl.create_default_context(cafile=CERTIFICATE)
    client_side.sslsocket_class = CountedSocket
    with serving(ssl=server_side, origins=None, compression=None, max_size=None) as (_, port, _):
        sock, options = socket.create_connection(("127.0.0.1", port), 10), {"ssl": client_side}
        if scheme == "ws":
            sock, options = client_side.wrap_socket(sock, server_hostname="localhost"), {}
        with connect(f"{scheme}://localhost/", sock=sock, compression=None, max_queue=None, **options) as ws:
            pump = threading.Thread(target=lambda: [ws.send(bytes(60_000)) for _ in range(300)])
            pump.start()
            for _ in range(300):
                assert len(ws.recv(10)) == 60_000
            pump.join()
            assert ws.socket.overlaps == 0


def test_client_rejects_untrusted_server_certificate():
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(CERTIFICATE)
    with serving(ssl=server_side) as (_, _, uri), pytest.raises(ssl.SSLCertVerificationError):
        connect(uri)


@pytest.mark.parametrize("closing", [(1000, ""), (1001, "gone"), (3000, "own"), (4999, "é" * 61)])
def test_handler_receives_close_code_and_reason_of_client(closing):
    ends = []

    def handler(ws):
        with pytest.raises(framewire.ConnectionClosed) as caught:
            ws.recv()
        ends.append((caught.value.code, caught.value.reason, ws.close_code))

    with serving(handler) as (_, _, uri):
        with peer_connect(uri) as peer:
            peer.close(*closing)
        assert peer.close_code == closing[0]
    assert ends == [(*closing, closing[0])]


def test_client_receives_close_code_and_reason_of_server():
    with serving(lambda ws: ws.close(4001, "bye")) as (_, _, uri), connect(uri) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        assert (caught.value.code, caught.value.reason) == (4001, "bye")
        assert caught.value.rcvd_then_sent is True
        with pytest.raises(ConnectionClosedError):
            ws.send("too late")


def test_close_without_code_is_a_clean_1005():
    with serving() as (_, _, uri), connect(uri) as ws:
        ws.close(None)
        assert ws.close_code == 1005
        assert list(ws) == []


def test_handler_exception_closes_with_1011(caplog):
    def handler(ws):
        raise KeyError("oops")

    with serving(handler) as (_, _, uri), connect(uri) as ws, pytest.raises(ConnectionClosedError) as caught:
        ws.recv()
    assert caught.value.code == 1011
    assert "connection handler failed" in caplog.text


def test_exception_inside_client_with_block_closes_with_1011():
    codes = []

    def handler(ws):
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        codes.append(caught.value.code)

    with serving(handler) as (_, _, uri), pytest.raises(ZeroDivisionError), connect(uri):
        raise ZeroDivisionError
    assert codes == [1011]


def test_messages_before_the_close_are_received():
    def handler(ws):
        for n in range(10):
            ws.send(str(n))

    with serving(handler) as (_, _, uri), connect(uri) as ws:
        until(lambda: ws.state is framewire.State.CLOSED)
        assert list(ws) == [str(n) for n in range(10)]


def test_recv_timeout_loses_no_message():
    with serving() as (_, _, uri), connect(uri) as ws:
        with pytest.raises(TimeoutError):
            ws.recv(0)
        with pytest.raises(TimeoutError):
            ws.recv(0.02)
        ws.send("there")
        assert ws.recv(10) == "there"


def test_second_concurrent_recv_raises_concurrency_error():
    with serving() as (_, _, uri), connect(uri) as ws:
        got = []
        thread = threading.Thread(target=lambda: got.append(ws.recv()))
        thread.start()
        until(lambda: ws._driver.receiving)
        with pytest.raises(framewire.ConcurrencyError):
            ws.recv()
        ws.send("x")
        thread.join()
        assert got == ["x"]


def test_pieces_that_cut_a_code_point_are_decoded():
    with serving(lambda ws: ws.send([b"a\xe2", b"\x82\xac"])) as (_, _, uri), peer_connect(uri) as peer:
        assert list(peer.recv_streaming(decode=True)) == ["a", "€", ""]


def test_fragments_are_streamed_in_both_directions():
    def handler(ws):
        for _ in range(2):
            ws.send([*ws.recv_streaming()])
        ws.send(ws.recv())

    with serving(handler) as (_, _, uri), peer_connect(uri) as peer:
        peer.send(iter(["one ", "two ", "", "three"]))
        assert list(peer.recv_streaming()) == ["one ", "two ", "", "three", "", ""]
        peer.send(b"whole")
        assert list(peer.recv_streaming()) == [b"whole", b""]
        peer.send(["jo", "ined"])
        assert peer.recv() == "joined"


def test_code_point_split_across_fragments_is_decoded():
    with serving() as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send(b"\xe2\x82", text=True, last=False), raw.stream.send(b"\xac", text=True))
        assert raw.read_event() == "€"


def test_message_is_never_completed_if_its_iterator_raises():
    def pieces():
        yield "begun"
        raise LookupError("no more")

    with serving() as (_, _, uri), connect(uri) as ws:
        with pytest.raises(LookupError):
            ws.send(pieces())
        assert ws.state is not framewire.State.OPEN
        ws.close()


def test_sending_an_empty_iterable_sends_nothing():
    with serving() as (_, _, uri), connect(uri) as ws:
        ws.send([])
        ws.send("next")
        assert ws.recv(10) == "next"


def test_messages_sent_by_several_threads_are_not_mixed():
    with serving(max_queue=None) as (_, _, uri), connect(uri, fragment_size=1000) as ws:

        def send(letter):
            for size in (20, 200_000, 2):
                ws.send(letter * size)

        threads = [threading.Thread(target=send, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        got = [ws.recv(10) for _ in range(12)]
        for thread in threads:
            thread.join()
        assert sorted(len(message) for message in got) == sorted([20, 200_000, 2] * 4)
        assert all(len(set(message)) == 1 for message in got)


def test_pieces_of_a_message_go_to_one_of_two_threads(monkeypatch):
    def check(queue):
        original(queue)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()  # lets a second thread check too, before either takes a piece, unless a lock prevents it

    def receive():
        try:
            received.append(next(ws.recv_streaming()))
        except ConcurrencyError:
            received.append(None)

    original, both, received = MessageQueue.check_between_messages, threading.Barrier(2, timeout=0.3), []
    with serving(lambda ws: ws.send(["a", "b", "c"])) as (_, _, uri), connect(uri) as ws:
        until(lambda: ws._driver.session.over)
        monkeypatch.setattr(MessageQueue, "check_between_messages", check)
        threads = [threading.Thread(target=receive) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(received, key=str) == [None, "a"]


def test_pong_acknowledges_earlier_pings_and_sets_latency():
    with serving() as (_, _, uri), connect(uri) as ws:
        first, second = ws.ping(), ws.ping("second")
        assert second.wait(10)
        assert first.is_set()
        assert ws.latency > 0
        ws.pong(b"nobody asked")
        ws.send("still there")
        assert ws.recv(10) == "still there"


def test_ping_is_answered_while_the_handler_is_busy():
    busy = threading.Event()
    with serving(lambda ws: busy.wait(10)) as (_, _, uri), connect(uri) as ws:
        assert ws.ping().wait(10)
        busy.set()


def test_ping_with_a_pending_payload_raises_concurrency_error():
    def handler(ws):
        ws.ping(b"same")
        with pytest.raises(framewire.ConcurrencyError):
            ws.ping(b"same")

    with connect_peer(handler) as peer:  # which does not answer
        assert peer.receive() == framewire.Ping(b"same")


def test_pending_ping_is_released_when_the_connection_ends():
    released = []

    def handler(ws):
        unanswered, released_at_end = ws.ping(), ws.ping(ack_on_close=True)
        released.append(released_at_end.wait(10))
        released.append(unanswered.is_set())

    with serving(handler) as (_, port, _), Raw(port, auto_pong=False) as raw:
        assert all(isinstance(raw.read_event(), framewire.Ping) for _ in range(2))
    assert released == [True, False]


def test_keepalive_closes_with_1011_if_no_pong_arrives():
    ends = []

    def handler(ws):
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        ends.append(caught.value.sent.code)

    with (
        serving(handler, ping_interval=0.05, ping_timeout=0.1, close_timeout=0.2) as (_, port, _),
        Raw(port, auto_pong=False) as raw,
    ):
        assert isinstance(raw.read_event(), framewire.Ping)
        assert raw.read_event() == framewire.Close(1011, "keepalive ping timeout")
    assert ends == [1011]


def test_keepalive_leaves_a_responsive_connection_open():
    with serving(ping_interval=0.02, ping_timeout=0.5) as (_, _, uri), connect(uri, ping_interval=0.02) as ws:
        until(lambda: ws.pings_received >= 5)
        ws.send("alive")
        assert ws.recv(10) == "alive"
        assert ws.latency > 0


def test_subprotocol_is_negotiated_and_origin_is_checked():
    options = {"subprotocols": ["chat", "better-chat"], "origins": ["https://example.com"]}
    with serving(lambda ws: ws.send(str(ws.subprotocol)), **options) as (_, _, uri):
        with connect(uri, origin="https://example.com", subprotocols=["better-chat", "x"]) as ws:
            assert ws.recv() == ws.subprotocol == "better-chat"
        with pytest.raises(framewire.ResponseError) as caught:
            connect(uri, origin="https://evil.example")
        assert caught.value.response.status == 403


def test_process_request_may_return_an_http_response():
    def process(connection, request):
        return connection.respond(200, "I am well.\n") if request.target == "/health" else None

    with serving(process_request=process) as (_, port, uri):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b"".join(iter(lambda: plain.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nI am well.\n")
        with connect(uri) as ws:
            ws.send("a WebSocket")
            assert ws.recv(10) == "a WebSocket"


def test_exception_in_process_request_is_500(caplog):
    def process(connection, request):
        raise RuntimeError("oops")

    with serving(process_request=process) as (_, _, uri), pytest.raises(InvalidStatus) as caught:
        peer_connect(uri)
    assert caught.value.response.status_code == 500
    assert "process_request failed" in caplog.text


@pytest.mark.parametrize(
    ("request_head", "status"),
    [(b"nonsense\r\n\r\n", 400), (REQUEST.replace(b"GET", b"POST"), 405), (REQUEST.replace(b": 13", b": 12"), 426)],
)
def test_invalid_request_gets_error_status(request_head, status):
    with serving() as (_, port, _), socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(request_head)
        assert plain.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_server_disconnects_if_the_request_takes_too_long():
    with serving(open_timeout=0.1) as (_, port, _), socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(REQUEST[:20])
        assert plain.recv(4096) == b""


def test_connect_times_out_if_no_response_arrives():
    with socket.create_server(("127.0.0.1", 0)) as deaf, pytest.raises(TimeoutError):
        connect(f"ws://127.0.0.1:{deaf.getsockname()[1]}/", open_timeout=0.1)


def test_frames_after_the_request_are_received():
    frame = framewire.Stream(framewire.CLIENT).send("early")
    with serving() as (_, port, _), Raw(port, frame) as raw:
        assert raw.read_event() == "early"


def test_protocol_violation_closes_with_1002():
    ends = []

    def handler(ws):
        ends.append(ws.recv())
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        ends.append(caught.value.sent.code)

    with serving(handler) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send("before"), b"\x83\x80\x00\x00\x00\x00")
        assert raw.read_event() == explained(1002)
    assert ends == ["before", 1002]


def echo_one(ws):
    ws.send(ws.recv())


@pytest.mark.parametrize(("handler", "echoed"), [(echo, ["one", "two"]), (echo_one, ["one"])])
def test_messages_before_a_violation_are_answered_before_the_close(handler, echoed):
    with serving(handler) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send("one"), raw.stream.send("two"), b"\x83\x80\x00\x00\x00\x00")
        for message in echoed:
            assert raw.read_event() == message
        assert raw.read_event() == explained(1002)


def test_violation_is_closed_in_time_even_if_handler_does_not_receive():
    over = threading.Event()
    with serving(lambda ws: over.wait(20), close_timeout=0.2) as (_, port, _), Raw(port) as raw:
        raw.write(raw.stream.send("one"), b"\x83\x80\x00\x00\x00\x00")
        assert raw.read_event() == explained(1002)
        over.set()


def test_close_reaches_a_client_that_keeps_sending():
    with serving(lambda ws: ws.close(4002, "enough")) as (_, port, _), Raw(port) as raw:
        raw.write(50 * framewire.Stream(framewire.CLIENT).send(bytes(10_000)))
        assert raw.read_event() == framewire.Close(4002, "enough")
        raw.write(raw.stream.pending())
        assert raw.socket.recv(100) == b""


def test_broken_connection_is_reported_as_1006():
    def handler(ws):
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv()
        ends.append((caught.value.code, ws.close_code))

    ends = []
    with serving(handler) as (_, port, _), Raw(port):
        pass
    assert ends == [(1006, 1006)]


def test_unanswered_close_disconnects_after_close_timeout():
    done = []

    def handler(ws):
        begin = time.monotonic()
        ws.close()
        done.append(time.monotonic() - begin)

    with serving(handler, close_timeout=0.2) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == framewire.Close(1000, "")
        assert raw.socket.recv(100) == b""
    assert 0.15 < done[0] < 2


def test_close_returns_even_if_the_peer_does_not_read():
    done = []

    def handler(ws):
        sender = threading.Thread(target=send_in_vain, args=(ws,))
        sender.start()
        until(lambda: ws._session.write_paused)
        ws.close()
        sender.join()
        done.append(ws.state)

    with serving(handler, close_timeout=0.2) as (_, port, _), Raw(port):
        until(lambda: done)
    assert done == [framewire.State.CLOSED]


def test_full_receive_queue_stops_reading():
    begun, go_on = threading.Event(), threading.Event()

    def handler(ws):
        begun.set()
        go_on.wait(10)
        assert sum(len(ws.recv()) for _ in range(200)) == 200 * 100_000
        ws.send("all")

    with serving(handler, max_queue=4) as (server, port, _), Raw(port) as raw:
        sent = []

        def send():
            for _ in range(200):
                raw.write(raw.stream.send(bytes(100_000)))
                sent.append(1)

        sender = threading.Thread(target=send)
        sender.start()
        begun.wait(10)
        (connection,) = server.connections
        until(lambda: not connection._session.reading)
        assert len(connection._session.queue.items) <= 5 + (1 << 16) // 100_000
        go_on.set()
        assert raw.read_event() == "all"
        sender.join()


def test_unread_pong_replies_stop_reading():
    def handler(ws):
        blocked = threading.Thread(target=send_in_vain, args=(ws,))
        blocked.start()
        until(lambda: ws._session.write_paused)
        stopped.append(ws)
        blocked.join()

    stopped = []
    with serving(handler) as (_, port, _), Raw(port) as raw:
        until(lambda: stopped)
        raw.socket.setblocking(False)
        ping = raw.stream.ping(bytes(125)) * 1000

        def flood():
            try:
                raw.socket.send(ping)
            except BlockingIOError:
                return True
            return False

        until(flood)
        assert stopped[0]._session.output_size < 3 * (1 << 16)


@pytest.mark.parametrize("way", ["send", "abort"])
def test_connection_that_breaks_while_its_queue_is_full_ends_within_close_timeout(way):
    broken, ended = threading.Event(), []

    def handler(ws):
        until(lambda: not ws._session.reading)
        full.append(ws)
        broken.wait(20)
        if way == "abort":
            ws.abort()
            ended.append(ws.wait_closed())
        else:
            with pytest.raises(ConnectionClosedError):
                while True:
                    ws.send("x")
            ended.append(None)

    full = []
    with serving(handler, max_queue=1, ping_interval=None, close_timeout=0.3) as (_, port, _), Raw(port) as raw:
        raw.write(*[raw.stream.send("text") for _ in range(10)])
        until(lambda: full)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.socket.close()
        broken.set()
        until(lambda: ended)


def test_shutdown_closes_with_1001_and_waits_for_handlers():
    done = []

    def handler(ws):
        echo(ws)
        done.append(ws.close_code)

    with serving(handler) as (server, _, uri):
        clients = [connect(uri) for _ in range(3)]
        until(lambda: len(server.connections) == 3)
        server.shutdown()
        for ws in clients:
            with pytest.raises(ConnectionClosedOK) as caught:
                ws.recv(10)
            assert caught.value.code == 1001
            ws.close()
        assert len(done) == 3
        with pytest.raises(OSError, match="refused"):
            connect(uri)


def test_shutdown_aborts_a_pending_opening_handshake():
    with serving() as (server, port, _), socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.sendall(REQUEST[:30])
        until(lambda: server._everyone)
        server.shutdown()
        assert plain.recv(100) == b""


def test_connection_attributes_describe_the_connection():
    with serving() as (server, port, uri), connect(uri) as ws:
        assert ws.remote_address == ("127.0.0.1", port)
        assert ws.local_address[0] == "127.0.0.1"
        assert isinstance(ws.id, uuid.UUID)
        assert ws.request.target == "/path"
        assert ws.state is framewire.State.OPEN
        assert ws.close_code is ws.close_reason is ws.subprotocol is None
        assert server.fileno() == server.socket.fileno()
        with pytest.raises(framewire.PayloadTooBigError):
            ws.ping(bytes(126))
        with pytest.raises(framewire.CloseCodeError):
            ws.close(1006)
        ws.send("unharmed")
        assert ws.recv(10) == "unharmed"


def test_message_over_max_size_closes_with_1009():
    with serving(max_size=100) as (_, _, uri), peer_connect(uri) as peer:
        peer.send(bytes(100))
        assert peer.recv() == bytes(100)
        with pytest.raises(PeerClosed):  # from recv, or from the empty fragment at the end of send
            peer.send(iter([bytes(50), bytes(51)]))
            peer.recv()
        assert peer.close_code == 1009


@pytest.mark.parametrize("options", [{"fragment_size": 0}, {"piece_size": 0}])
def test_fragment_size_and_piece_size_must_be_at_least_1_byte(options):
    for call in (lambda: serve(echo, "127.0.0.1", **options), lambda: connect("ws://localhost:9/", **options)):
        with pytest.raises(ValueError, match="is 1 to"):
            call()


def test_connect_rejects_invalid_arguments():
    with pytest.raises(framewire.UriError):
        connect("http://x/")
    with pytest.raises(ValueError, match="wss"):
        connect("ws://x/", ssl=ssl.create_default_context())


def test_server_serves_many_clients_at_once():
    with serving() as (_, _, uri):
        clients = [connect(uri) for _ in range(30)]
        for number, ws in zip(itertools.count(), clients, strict=False):
            ws.send(str(number))
        assert [ws.recv(10) for ws in clients] == [str(number) for number in range(30)]
        for ws in clients:
            ws.close()
