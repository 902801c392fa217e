"""The blocking API beside messages: logs, redirects, reconnecting, Unix sockets, callbacks,
broadcast, shutdown.
"""

import logging
import socket
import ssl
import sys
import threading
from contextlib import contextmanager
from math import inf

import pytest
from ends import CERTIFICATE
from frames import REQUEST
from sync_ends import Raw, echo, serving, until

import framewire
from framewire import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, ResponseError, SecurityError
from framewire.errors import StatusError
from framewire.http.http11 import Response
from framewire.routes import Routes
from framewire.sync import (
    basic_auth,
    broadcast,
    connect,
    reconnect,
    serve,
    unix_connect,
    unix_reconnect,
    unix_serve,
)

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(CERTIFICATE)
TRUST = ssl.create_default_context(cafile=str(CERTIFICATE))


@contextmanager
def running(server):
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
    thread.join()


# Logs.


def test_connections_log_opening_and_closing_with_themselves(caplog):
    caplog.set_level(logging.INFO, "framewire")
    with serving() as (_, port, uri), connect(uri) as ws:
        assert ws.logger.extra == {"websocket": ws} or ws.logger.extra["websocket"].id == ws.id
    texts = [(record.name, record.message) for record in caplog.records]
    assert texts[0] == ("framewire.server", f"server listening on 127.0.0.1:{port}")
    for end in ("framewire.client", "framewire.server"):
        assert [text for name, text in texts if name == end and text.startswith("connection")] == [
            "connection open",
            "connection closed",
        ]
    assert texts[-1] == ("framewire.server", "server closed")
    assert all(hasattr(record, "websocket") for record in caplog.records if record.message.startswith("connection"))


def test_handshakes_and_frames_are_logged_at_debug(caplog):
    caplog.set_level(logging.DEBUG, "framewire.client")
    with serving(compression=None) as (_, _, uri), connect(uri, compression=None) as ws:
        ws.send("hello")
        assert ws.recv(10) == "hello"
    texts = [record.message for record in caplog.records if record.name == "framewire.client"]
    for text in (
        "> GET /path HTTP/1.1", "< HTTP/1.1 101 Switching Protocols", "> TEXT 'hello' [5 bytes]",
        "< TEXT 'hello' [5 bytes]", "> CLOSE 1000 [2 bytes]", "< CLOSE 1000 [2 bytes]",
    ):  # fmt: skip
        assert text in texts


def test_logger_of_the_caller_is_used(caplog):
    own = logging.getLogger("own")
    caplog.set_level(logging.INFO, "own")
    with serving(logger=own) as (_, _, uri), connect(uri, logger=own):
        pass
    assert {record.name for record in caplog.records} == {"own"}


# Ends.


def test_error_at_the_end_has_its_cause():
    def leave(ws):
        ws._driver.transport.abort()

    with serving(leave) as (_, _, uri), connect(uri) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(10)
        assert isinstance(caught.value.__cause__, EOFError)
        with pytest.raises(ConnectionClosedError) as caught:
            ws.send("late")
        assert isinstance(caught.value.__cause__, EOFError)


def test_orderly_end_has_no_cause():
    with serving(lambda ws: None) as (_, _, uri), connect(uri) as ws, pytest.raises(ConnectionClosedOK) as caught:
        ws.recv(10)
    assert caught.value.__cause__ is None


def test_silent_peer_at_close_is_a_timeout_error():
    with serving(lambda ws: ws.close(), close_timeout=0.05) as (server, port, _):
        ends = []

        def handler(ws):
            ws.close()
            with pytest.raises(ConnectionClosedError) as caught:
                ws.recv()
            ends.append(caught.value.__cause__)

        server.handler = handler
        with Raw(port):
            until(lambda: ends)
    assert isinstance(ends[0], TimeoutError)


def test_wait_closed_says_whether_the_connection_has_ended():
    go = threading.Event()
    with serving(lambda ws: go.wait(10)) as (_, _, uri), connect(uri) as ws:
        assert ws.wait_closed(0.01) is False
        go.set()
        assert ws.wait_closed(10) is True
        assert ws.close_code == 1000


def test_addresses_are_known_after_the_end():
    accepted = []
    with serving(accepted.append) as (_, port, uri), connect(uri) as ws:
        assert ws.wait_closed(10)
        assert accepted[0].wait_closed(10)
        assert ws.remote_address == accepted[0].local_address == ("127.0.0.1", port)
        assert ws.local_address == accepted[0].remote_address


# Sending.


def test_send_during_fragments_of_another_thread_raises_concurrency_error():
    begun, go = threading.Event(), threading.Event()

    def fragments():
        yield "a"
        begun.set()
        go.wait(10)
        yield "b"

    with serving() as (_, _, uri), connect(uri) as ws:
        thread = threading.Thread(target=ws.send, args=(fragments(),))
        thread.start()
        assert begun.wait(10)
        for message in ("whole", ["in", "parts"]):
            with pytest.raises(ConcurrencyError):
                ws.send(message)
        go.set()
        thread.join()
        ws.send("after")
        assert [ws.recv(10), ws.recv(10)] == ["ab", "after"]


@pytest.mark.parametrize("message", [["a", b"b"], [b"a", "b"], ["a", 1], [1]])
def test_mixed_fragments_raise_type_error(message):
    with serving() as (_, _, uri), connect(uri) as ws, pytest.raises(TypeError):
        ws.send(message)


@pytest.mark.parametrize("message", [{"a": "b"}, 1, None])
def test_message_of_another_type_raises_type_error_and_sends_nothing(message):
    with serving() as (_, _, uri), connect(uri) as ws:
        with pytest.raises(TypeError):
            ws.send(message)
        ws.send("fine")
        assert ws.recv(10) == "fine"


def test_ping_and_pong_take_data_by_name():
    with serving() as (_, _, uri), connect(uri) as ws:
        assert ws.ping(data="again").wait(10)
        ws.pong(data=b"heartbeat")


# Broadcast.


def test_broadcast_reaches_open_connections_and_skips_those_in_fragments(caplog):
    with serving() as (_, _, uri), connect(uri) as one, connect(uri) as two, connect(uri) as gone:
        gone.close()

        def fragments():
            yield "begun, "
            broadcast([one, two, gone], "to all")
            broadcast([one, two], b"to all", text=True)
            yield "ended"

        one.send(fragments())
        assert one.recv(10) == "begun, ended"
        assert [two.recv(10), two.recv(10)] == ["to all", "to all"]
        assert "skipped broadcast: sending a fragmented message" in caplog.text
        with pytest.raises(TypeError):
            broadcast([two], ["parts"])


def test_broadcast_raises_the_errors_of_connections_in_a_group_if_asked():
    with serving() as (_, _, uri), connect(uri) as one:

        def fragments():
            yield "begun, "
            if sys.version_info < (3, 11):
                with pytest.raises(ValueError, match="Python 3.11"):
                    broadcast([one], "skipped", raise_exceptions=True)
            else:
                with pytest.raises(ExceptionGroup) as caught:  # noqa: F821 - not on Python 3.10
                    broadcast([one], "skipped", raise_exceptions=True)
                assert [type(error) for error in caught.value.exceptions] == [ConcurrencyError]
            yield "ended"

        one.send(fragments())
        assert one.recv(10) == "begun, ended"


def test_broadcast_closes_a_connection_that_does_not_keep_up():
    with serving(lambda ws: threading.Event().wait(0.2), max_queue=1, close_timeout=1) as (server, _, _):
        with socket.create_connection(server.socket.getsockname()) as raw:
            raw.sendall(REQUEST)
            until(lambda: server.connections)
            (connection,) = server.connections
            for _ in range(100):
                broadcast([connection], bytes(1 << 20))
                if connection._session.close_state.sent is not None:
                    break
            assert connection._session.close_state.sent.code == 1013


def test_broadcast_keeps_a_peer_that_is_still_reading_a_long_message():
    release = threading.Event()
    with serving(lambda ws: release.wait(20)) as (server, port, _), Raw(port, max_message_size=None) as peer:
        until(lambda: server.connections)
        (ws,) = server.connections
        broadcast([ws], bytes(16 << 20))
        until(lambda: ws._session.write_paused)
        for number in range(10):
            broadcast([ws], str(number))
        event = b""
        while isinstance(event, bytes):
            event = peer.read_event()
        assert [event, *[peer.read_event() for _ in range(9)]] == [str(number) for number in range(10)]
        release.set()


def test_broadcast_is_compressed_once_by_each_connection_or_not():
    message = "one message for all " * 20
    with serving() as (server, _, uri), connect(uri) as one, connect(uri) as two:
        until(lambda: len(server.connections) == 2)
        connections = list(server.connections)
        codecs = [ws._session.stream._codecs[0] for ws in connections]
        broadcast(connections, message)
        assert [codec.deflater for codec in codecs] == [None] * 2
        broadcast(connections, message, compression="own")
        assert None not in [codec.deflater for codec in codecs]
        sent = [ws.bytes_sent for ws in connections]
        assert max(sent) < 200
        broadcast(connections, message, compression=None)
        # Another thread of the connection may be the one that writes.
        until(lambda: all(ws.bytes_sent - before > 400 for ws, before in zip(connections, sent, strict=True)))
        assert [ws.recv(10) for ws in (one, two) for _ in range(3)] == [message] * 6
        with pytest.raises(ValueError, match="gzip"):
            broadcast(connections, message, compression="gzip")


# Callbacks of the server.


def test_process_response_changes_or_replaces_the_answer():
    def change(connection, request, response):
        response.headers["X-Who"] = connection.subprotocol or "nobody"

    with serving(process_response=change, server_header="mine") as (_, _, uri), connect(uri) as ws:
        assert (ws.response.headers["X-Who"], ws.response.headers["Server"]) == ("nobody", "mine")

    def replace(connection, request, response):
        return connection.respond(410, "gone\n")

    with serving(process_response=replace) as (_, _, uri), pytest.raises(StatusError) as caught:
        connect(uri)
    assert caught.value.status == 410


def test_select_subprotocol_chooses():
    with (
        serving(subprotocols=["a", "b"], select_subprotocol=lambda connection, offered: offered[-1]) as (_, _, uri),
        connect(uri, subprotocols=["a", "b"]) as ws,
    ):
        assert ws.subprotocol == "b"


def test_async_callback_is_an_error_of_the_server(caplog):
    async def process_request(connection, request):
        from asyncio import sleep

        await sleep(1)

    with serving(process_request=process_request) as (_, _, uri), pytest.raises(StatusError) as caught:
        connect(uri)
    assert caught.value.status == 500


def test_coroutine_function_as_the_handler_of_a_route_is_an_error(caplog):
    async def handler(ws):
        raise AssertionError("it runs")

    routes = Routes()
    routes.add("/path")(handler)
    with serving(routes, process_request=routes.process_request) as (_, _, uri), connect(uri) as ws:
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(10)
    assert caught.value.code == 1011
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "connection handler failed"
    assert "framewire.asyncio" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "options", [{"credentials": ("ada", "1815")}, {"check_credentials": lambda *pair: pair[0] == "ada"}]
)
def test_basic_auth_lets_users_in_and_answers_others_401(options):
    users = []
    with serving(lambda ws: users.append(ws.username), process_request=basic_auth("here", **options)) as (_, port, _):
        with connect(f"ws://ada:1815@127.0.0.1:{port}/") as ws:
            assert ws.wait_closed(10)
        with pytest.raises(StatusError) as caught:
            connect(f"ws://bob:1815@127.0.0.1:{port}/")
        assert caught.value.status == 401
    assert users == ["ada"]


def test_origins_none_accepts_everyone_and_the_default_the_own_host():
    with serving() as (_, _, uri), pytest.raises(StatusError) as caught:
        connect(uri, origin="https://elsewhere.example")
    assert caught.value.status == 403
    with serving(origins=None) as (_, _, uri), connect(uri, origin="https://elsewhere.example"):
        pass


# Addresses.


def test_unix_socket_serves_and_connects(tmp_path):
    path = tmp_path / "socket"
    for _ in range(2):  # the second replaces the socket of the first
        with running(unix_serve(echo, path)):
            with unix_connect(path, open_timeout=inf) as ws:
                ws.send("local")
                assert ws.recv(10) == "local"
                assert ws.request.headers["Host"] == "localhost"
            for ws in unix_reconnect(str(path), "ws://name/path"):
                with ws:
                    assert ws.request.headers["Host"] == "name"
                break
    with running(unix_serve(echo, path, ssl=TLS)), unix_connect(path, ssl=TRUST) as ws:
        ws.send("local")
        assert ws.recv(10) == "local"


def test_arguments_for_two_sockets_are_refused(tmp_path):
    with pytest.raises(ValueError, match="path"):
        unix_serve(echo)
    for call in (unix_connect, unix_reconnect):
        with pytest.raises(ValueError, match="path or sock"):
            call()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        for options in ({"host": "127.0.0.1"}, {"port": 0}, {"path": "socket"}):
            with pytest.raises(ValueError, match="incompatible with sock"):
                serve(echo, sock=sock, **options)
        with pytest.raises(ValueError, match="path or sock"):
            unix_connect("socket", sock=sock)
    with pytest.raises(ValueError, match="port is incompatible with a Unix socket"):
        unix_serve(echo, tmp_path / "socket", port=0)


def test_arguments_that_are_not_used_are_refused(tmp_path):
    path = tmp_path / "socket"
    with serving() as (_, port, _), socket.create_connection(("127.0.0.1", port)) as sock:
        uri = f"ws://127.0.0.1:{port}/"
        for call in (
            lambda: connect(uri, ping_intervall=3),
            lambda: connect(uri, sock=sock, write_limit=3),
            lambda: connect(uri, sock=sock, address=("127.0.0.1", port)),
            lambda: unix_connect(path, ping_intervall=3),
            lambda: serve(echo, sock=sock, ping_intervall=3),
            lambda: serve(echo, sock=sock, backlog=3),
            lambda: serve(echo, path=path),
        ):
            with pytest.raises(TypeError, match="unexpected keyword argument"):
                call()


@pytest.mark.parametrize("options", [{"ping_intervall": 3}, {"ping_interval": "x"}, {"host": "h"}])
def test_unix_server_that_cannot_start_leaves_the_socket_of_another_one(tmp_path, options):
    path = tmp_path / "socket"
    with running(unix_serve(echo, path)):
        with pytest.raises((TypeError, ValueError)):
            unix_serve(echo, path, **options)
        with unix_connect(path) as ws:
            ws.send("x")
            assert ws.recv(10) == "x"


def test_another_host_and_port_than_those_of_the_uri():
    with serving() as (_, port, _), connect("ws://name.invalid/", address=("127.0.0.1", port)) as ws:
        assert ws.request.headers["Host"] == "name.invalid"


def test_arguments_of_create_server_are_passed_on():
    with serving(backlog=1, family=socket.AF_INET) as (server, _, _):
        assert server.socket.family == socket.AF_INET


# Redirects and reconnecting.


@contextmanager
def redirecting(location, status=302):
    def process_request(connection, request):
        if request.path.startswith("/from"):
            response = connection.respond(status, "")
            response.headers["Location"] = location
            return response
        return None

    with serving(process_request=process_request) as (server, port, _):
        yield server, port


def test_redirect_is_followed_and_another_origin_gets_no_credentials():
    with serving() as (_, other, _), redirecting(f"ws://localhost:{other}/to") as (_, port):
        with connect(f"ws://a:b@127.0.0.1:{port}/from", additional_headers={"Cookie": "secret", "X-Kept": "1"}) as ws:
            assert ws.request.path == "/to"
            assert "Cookie" not in ws.request.headers
            assert "Authorization" not in ws.request.headers
            assert ws.request.headers["X-Kept"] == "1"
        with pytest.raises(ValueError, match="redirect"):
            connect("ws://name/from", address=("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)) as sock, pytest.raises(ValueError, match="redirect"):
            connect(f"ws://127.0.0.1:{port}/from", sock=sock)


def test_redirects_without_end_are_a_security_error():
    with redirecting("/from") as (_, port), pytest.raises(SecurityError):
        connect(f"ws://127.0.0.1:{port}/from")


def test_reconnect_opens_one_connection_after_another():
    attempts = []

    def process_request(connection, request):
        attempts.append(request)
        return Response(503, "Busy", framewire.handshake.Headers(), b"") if len(attempts) == 2 else None

    rounds = []
    with serving(process_request=process_request) as (_, _, uri):
        for ws in reconnect(uri, reconnect_delays=lambda: iter([0.0])):
            rounds.append(ws)
            ws.send("again")
            assert ws.recv(10) == "again"
            if len(rounds) == 3:
                break
    assert len(attempts) == 4
    assert all(ws.close_code == 1000 for ws in rounds[:2])


@pytest.mark.parametrize("verdict", [lambda error: error, lambda error: ZeroDivisionError("mine")])
def test_reconnect_raises_what_process_exception_returns(verdict):
    with (
        serving(lambda ws: None, process_request=lambda connection, request: connection.respond(503, "")) as (
            _,
            _,
            uri,
        ),
        pytest.raises((StatusError, ZeroDivisionError)) as caught,
    ):
        for _ in reconnect(uri, process_exception=verdict):
            pass
    assert isinstance(caught.value, type(verdict(caught.value)))


def test_reconnect_is_a_context_too_and_connect_may_return_it():
    with serving() as (_, _, uri):
        opening = connect(uri, legacy=False)
        assert isinstance(opening, reconnect)
        with opening as ws:
            with pytest.raises(RuntimeError):
                opening.__enter__()
            ws.send("here")
            assert ws.recv(10) == "here"
        with connect(uri, legacy=True) as ws:
            assert ws.state is framewire.State.OPEN


def test_reset_before_the_answer_is_a_response_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse():
            sock, _ = listener.accept()
            sock.recv(1)
            sock.close()  # with input unread: a reset

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(ResponseError):
            connect(f"ws://127.0.0.1:{port}/")
        thread.join()


# Shutdown.


def test_shutdown_answers_503_to_a_client_in_its_handshake():
    asked, go = threading.Event(), threading.Event()

    def process_request(connection, request):
        asked.set()
        go.wait(10)

    caught = []
    with serving(process_request=process_request) as (server, _, uri):

        def open_connection():
            with pytest.raises(StatusError) as error:
                connect(uri)
            caught.append(error.value.status)

        client = threading.Thread(target=open_connection)
        client.start()
        assert asked.wait(10)
        stopper = threading.Thread(target=server.shutdown)
        stopper.start()
        until(lambda: server.closing)
        go.set()
        stopper.join(10)
        client.join(10)
    assert caught == [503]


def test_shutdown_without_close_connections_waits_for_handlers():
    with serving() as (server, _, uri), connect(uri) as ws:
        stopper = threading.Thread(target=server.shutdown, args=(False,))
        stopper.start()
        until(lambda: server.closing)
        ws.send("still served")
        assert ws.recv(10) == "still served"
        ws.close()
        stopper.join(10)
        assert not stopper.is_alive()


def test_shutdown_closes_with_code_and_reason():
    with serving() as (server, _, uri), connect(uri) as ws:
        server.shutdown(code=1012, reason="restart")
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(10)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1012, "restart")
