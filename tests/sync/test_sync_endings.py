"""How connections, servers and their threads end: deadlines, interruptions, and threads that cannot be
started.
"""

import contextlib
import queue
import signal
import socket
import ssl
import sys
import threading
import time
from math import inf

import pytest
from ends import client_side, server_side
from frames import REQUEST, TEXT, to
from sync_ends import Raw, echo, serving, until

import framewire.sync.client
import framewire.sync.driver
import framewire.sync.transport
import framewire.sync.waits
from framewire import (
    SERVER,
    Close,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    Ping,
    Pong,
    State,
    StatusError,
)
from framewire.sync import ClientConnection, ServerConnection, Topics, broadcast, connect, serve
from framewire.sync.transport import Transport
from framewire.testing.sync import serve_peer

#: More than a connection and its buffers hold while the peer does not read.
LONG = bytes(1 << 25)


class InterruptError(BaseException):
    """Raised by a signal handler."""


def is_main():
    return threading.current_thread() is threading.main_thread()


@pytest.fixture
def interruption(monkeypatch):
    """Return the list of the functions of which a signal handler in the main thread calls one each time
    that the network takes no more of what the thread writes.
    """

    def wait_for(sock, writing, seconds):
        if writing and is_main() and actions:
            signal.raise_signal(signal.SIGINT)
        return wait(sock, writing, seconds)

    def expire(*_):
        raise AssertionError("the main thread still waits")

    actions = []
    wait = framewire.sync.transport.wait_for
    monkeypatch.setattr(framewire.sync.transport, "wait_for", wait_for)
    before = signal.signal(signal.SIGINT, lambda *_: actions.pop(0)()), signal.signal(signal.SIGALRM, expire)
    signal.alarm(30)
    yield actions
    signal.alarm(0)
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGALRM, before[1])
    assert actions == []


@pytest.fixture
def interrupted_wait(interruption):
    """Raise InterruptError in the main thread, once, when its write finds the buffer of the socket full."""

    def interrupt():
        raise InterruptError

    interruption.append(interrupt)


class Reading:
    """The script of a peer that reads until the close frame or the end, once `go` is set."""

    def __init__(self):
        self.go = threading.Event()
        self.events = []
        self.done = threading.Event()

    def __call__(self, peer):
        assert self.go.wait(20)
        with contextlib.suppress(EOFError):
            while not self.events or not isinstance(self.events[-1], Close):
                self.events.append(peer.receive())
        self.done.set()


# Interruptions by signal handlers.


@pytest.mark.parametrize("error", [InterruptError, TimeoutError])
@pytest.mark.parametrize("fragment_size", [None, (1 << 24) + 1])
@pytest.mark.parametrize("following", [[], ["next"]])
def test_message_whose_send_is_interrupted_arrives_before_the_next_one(interruption, following, fragment_size, error):
    def interrupt():
        raise error

    interruption.append(interrupt)
    reading = Reading()
    with serve_peer(reading) as uri, connect(uri, fragment_size=fragment_size) as ws:
        with pytest.raises(error):
            ws.send(LONG)
        reading.go.set()
        for message in following:
            ws.send(message)
        until(lambda: reading.events == [LONG, *following])
        ws._driver.abort()


def test_iterable_whose_send_is_interrupted_fails_the_connection(interrupted_wait):
    reading = Reading()
    with serve_peer(reading) as uri:
        ws = connect(uri)
        with pytest.raises(InterruptError):
            ws.send([LONG, b"rest"])
        reading.go.set()
        with pytest.raises(ConnectionClosed):
            ws.send("next")
        assert reading.done.wait(20)
        ws.wait_closed()
    assert reading.events == [Close(1011, "error in fragmented message")]


@pytest.mark.parametrize("message", [LONG, [LONG, b"rest"]], ids=["whole", "iterable"])
def test_signal_handler_that_interrupts_send_can_send_control_frames_and_no_message(interruption, message):
    def act():
        for another in ("whole", ["in", "fragments"]):
            with pytest.raises(ConcurrencyError):
                ws.send(another)
        ws.ping(b"ping")
        ws.pong(b"pong")
        reading.go.set()

    reading = Reading()
    with serve_peer(reading) as uri, connect(uri, fragment_size=None, ping_interval=None) as ws:
        interruption.append(act)
        ws.send(message)
        ws.send("after")
        until(lambda: "after" in reading.events)
        controls = [each for each in reading.events if isinstance(each, (Ping, Pong))]
        messages = [each for each in reading.events if isinstance(each, (str, bytes))]
        assert controls == [Ping(b"ping"), Pong(b"pong")]
        assert messages == [LONG if message is LONG else LONG + b"rest", "after"]
        ws._driver.abort()


def test_signal_handler_that_interrupts_send_can_broadcast(interruption):
    def act():
        broadcast([ws], "all")
        reading.go.set()

    reading = Reading()
    with serve_peer(reading) as uri, connect(uri, ping_interval=None) as ws:
        interruption.append(act)
        ws.send(LONG)
        until(lambda: reading.events == [LONG, "all"])
        ws._driver.abort()


class InterruptedTopic(str):
    """A topic that a signal handler interrupts when its subscribers are looked up."""

    __slots__ = ()

    def split(self, *args):
        signal.raise_signal(signal.SIGINT)
        return super().split(*args)


def test_signal_handler_that_interrupts_publish_can_publish(interruption):
    reading, topics = Reading(), Topics(patterns="mqtt")
    reading.go.set()
    with serve_peer(reading) as uri, connect(uri) as ws:
        topics.subscribe(ws, "news")
        interruption.append(lambda: topics.publish("news", "first"))
        assert topics.publish(InterruptedTopic("news"), "second") == 1
    assert reading.events[:-1] == ["first", "second"]


class InterruptedSocket(socket.socket):
    """A socket whose `send` is interrupted after it has sent something."""

    armed = None  # or the exception

    def send(self, data):
        sent = super().send(data)
        if self.armed is not None:
            error, self.armed = self.armed, None
            raise error
        return sent


def test_interruption_that_loses_output_ends_the_connection(monkeypatch):
    def data_to_send():
        take()
        raise InterruptError

    reading = Reading()
    reading.go.set()
    with serve_peer(reading) as uri:
        ws = connect(uri, ping_interval=None)
        take = ws._session.data_to_send
        with monkeypatch.context() as patch, pytest.raises(InterruptError):
            patch.setattr(framewire.session.session.Session, "data_to_send", lambda session: data_to_send())
            ws.send("lost")
        with pytest.raises(ConnectionClosed):
            ws.send("next")
        assert reading.done.wait(20)
        ws.wait_closed()
    assert reading.events == []


@pytest.mark.parametrize("error", [InterruptError, TimeoutError])
def test_interrupted_call_of_the_system_fails_the_connection(error):
    reading = Reading()
    reading.go.set()
    with serve_peer(reading) as uri:
        sock = InterruptedSocket()
        sock.connect(("127.0.0.1", int(uri.rpartition(":")[2].rstrip("/"))))
        ws = connect(uri, sock=sock)
        sock.armed = error
        with pytest.raises(error):
            ws.send("once")
        with pytest.raises(ConnectionClosed):
            ws.send("next")
        assert reading.done.wait(20)
        ws.wait_closed()
    assert reading.events == ["once"]


def test_interrupted_close_aborts_the_connection(monkeypatch):
    def wait_ended(timeout=None):
        if interrupted:
            return wait(timeout)
        interrupted.append(True)
        raise InterruptError

    interrupted = []
    reading = Reading()  # which answers no close
    with serve_peer(reading) as uri:
        ws = connect(uri, ping_interval=None)
        wait = ws._driver.wait_ended
        monkeypatch.setattr(ws._driver, "wait_ended", wait_ended)
        with pytest.raises(InterruptError):
            ws.close()
        assert ws.wait_closed(5)
        reading.go.set()


def test_signal_handler_can_close_a_connection_whose_send_it_interrupts(monkeypatch):
    def wait_for(sock, writing, seconds):
        if writing and is_main() and not closed:
            closed.append(True)
            ws.close()
        return wait(sock, writing, seconds)

    closed = []
    reading = Reading()  # nothing
    wait = framewire.sync.transport.wait_for
    monkeypatch.setattr(framewire.sync.transport, "wait_for", wait_for)
    with serve_peer(reading) as uri:
        ws = connect(uri, close_timeout=0.2)
        with pytest.raises(ConnectionClosed):
            ws.send(LONG)
        assert ws.socket.fileno() == -1
        reading.go.set()
    assert closed


class InterruptedTls(ssl.SSLSocket):
    """A TLS socket whose `send` in the main thread a signal handler interrupts, once `armed`."""

    armed = False

    def send(self, data):
        if is_main() and self.armed:
            self.armed = False
            signal.raise_signal(signal.SIGINT)
        return super().send(data)


def test_signal_handler_can_close_a_connection_whose_call_of_openssl_it_interrupts(interruption):
    context = client_side()
    context.sslsocket_class = InterruptedTls
    with serving(ssl=server_side()) as (_, _, uri):
        ws = connect(uri, ssl=context, close_timeout=0.2, proxy=None)
        interruption.append(ws.close)
        ws.socket.armed = True
        with pytest.raises(ConnectionClosed):
            ws.send("text")
        assert ws.socket.fileno() == -1


@pytest.mark.usefixtures("interruption")  # for its deadline
@pytest.mark.parametrize("call", [lambda ws: ws.recv(), lambda ws: ws.ping(), lambda ws: ws.send("late")])
def test_signal_handler_that_interrupts_close_waits_for_close_timeout_at_most(monkeypatch, call):
    def wait_ended(timeout=None):
        if not interrupted:
            interrupted.append(True)
            with pytest.raises(ConnectionClosed):
                call(ws)
        return wait(timeout)

    interrupted = []
    reading = Reading()  # which answers no close
    with serve_peer(reading) as uri:
        ws = connect(uri, ping_interval=None, close_timeout=0.2)
        wait = ws._driver.wait_ended
        monkeypatch.setattr(ws._driver, "wait_ended", wait_ended)
        ws.close()
        assert ws.socket.fileno() == -1
        reading.go.set()


@pytest.mark.parametrize("step", ["_stop_accepting", "_wait_for_handlers", "stop"])
def test_interrupted_shutdown_cuts_all_connections(monkeypatch, step):
    def interrupt(*_):
        raise InterruptError

    with serving(lambda ws: ws.wait_closed(20), ping_interval=None) as (server, port, _), Raw(port) as raw:
        until(lambda: server.connections)
        with monkeypatch.context() as patch:
            patch.setattr(ServerConnection if step == "stop" else server, step, interrupt)
            with pytest.raises(InterruptError):
                server.shutdown()
        while raw.socket.recv(100):  # until the end
            pass


# Senders that wait for each other.


def test_message_that_is_cut_arrives_whole_before_a_broadcast_and_a_close():
    reading = Reading()
    with serve_peer(reading) as uri, connect(uri, fragment_size=1 << 20, ping_interval=None) as ws:
        sender = threading.Thread(target=ws.send, args=(LONG,), daemon=True)
        sender.start()
        until(lambda: ws._session.write_paused)
        broadcast([ws], "all")
        ws.start_closing(4000)
        reading.go.set()
        sender.join(20)
        assert reading.done.wait(20)
    assert reading.events == [LONG, "all", Close(4000, "")]


def test_iterable_can_wait_for_a_thread_that_waited_to_send_before_it_began():
    def feed():
        with contextlib.suppress(ConcurrencyError):
            ws.send("another message")
        fragments.put("fragment")
        fragments.put(None)

    reading, fragments = Reading(), queue.Queue()
    with serve_peer(reading) as uri, connect(uri, ping_interval=None) as ws:
        senders = []
        for target, *args in [(ws.send, LONG), (ws.send, iter(fragments.get, None)), (feed,)]:
            senders.append(threading.Thread(target=target, args=args, daemon=True))
            senders[-1].start()
            until(lambda: ws._session.write_paused)  # the first one waits for the network, the others for it
        reading.go.set()
        for sender in senders:
            sender.join(20)
        assert not any(sender.is_alive() for sender in senders)
        ws.send("after")
        until(lambda: "after" in reading.events)
        assert reading.events[0] == LONG
        assert "fragment" in reading.events
        ws._driver.abort()


# Deadlines.


@pytest.fixture
def short_waits(monkeypatch):
    """Have each single wait last 10 ms at most; return the list of the threads that wait, by name."""

    def limit_wait(seconds):
        waits.append(threading.current_thread().name)
        return limit(seconds)

    waits = []
    limit = framewire.sync.waits.limit_wait
    monkeypatch.setattr(framewire.sync.waits, "LONGEST_WAIT", 0.01)
    for module in (framewire.sync.driver, framewire.sync.transport):
        monkeypatch.setattr(module, "limit_wait", limit_wait)
    return waits


def test_recv_waits_longer_than_the_longest_single_wait(short_waits):
    with serving(lambda ws: ws.send(ws.recv(20)), ping_interval=None) as (_, _, uri), connect(uri) as ws:
        until(lambda: short_waits.count("framewire handler") > 5)
        ws.send("late")
        assert ws.recv(10) == "late"


def test_opening_handshake_waits_longer_than_the_longest_single_wait(short_waits):
    with serving() as (_, port, _), socket.create_connection(("127.0.0.1", port), 10) as plain:
        until(lambda: short_waits.count("framewire handler") > 5)
        plain.sendall(REQUEST)
        assert plain.recv(1 << 16).startswith(b"HTTP/1.1 101 ")


def test_wait_closed_waits_longer_than_the_longest_single_wait(short_waits):
    go = threading.Event()
    with serving(lambda ws: go.wait(20)) as (_, _, uri), connect(uri) as ws:
        start = time.monotonic()
        assert not ws.wait_closed(0.1)
        assert time.monotonic() - start >= 0.1
        go.set()
        assert ws.wait_closed(20)


def test_end_of_a_connection_wakes_a_wait_of_any_length():
    go = threading.Event()
    with serving(lambda ws: go.wait(20)) as (_, _, uri), connect(uri) as ws:
        waiting = threading.Thread(target=ws.wait_closed, args=(inf,))
        waiting.start()
        go.set()
        with pytest.raises(ConnectionClosed):
            ws.recv(inf)
        waiting.join(20)
        assert not waiting.is_alive()


@pytest.mark.parametrize("longest_wait", [86400, 0.02])
def test_close_by_a_broadcast_is_limited_by_close_timeout_while_the_handler_is_busy(monkeypatch, longest_wait):
    monkeypatch.setattr(framewire.sync.waits, "LONGEST_WAIT", longest_wait)
    go = threading.Event()
    with serving(lambda ws: go.wait(20), ping_interval=None, close_timeout=0.2) as (server, port, _), Raw(port):
        (ws,) = until(lambda: server.connections)
        until(lambda: broadcast([ws], LONG) or ws.state is not State.OPEN)
        assert ws._session.close_state.sent.code == 1013
        assert ws.wait_closed(5)
        go.set()


def test_shutdown_by_a_handler_limits_the_end_of_its_own_connection():
    ended = []

    def handler(ws):
        ws.server.shutdown()
        ended.append(ws.wait_closed(5))

    with serving(handler, ping_interval=None, close_timeout=0.2) as (_, port, _), Raw(port, auto_close=False) as raw:
        assert raw.read_event() == Close(1001, "")
        until(lambda: ended)
    assert ended == [True]


def test_deadline_of_the_transport_holds_for_a_peer_that_never_makes_it_wait():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = Transport(ours)
        theirs.sendall(b"here")
        transport.limit(0)
        with pytest.raises(TimeoutError):
            transport.recv(4)


def test_open_timeout_is_the_time_for_all_addresses_of_a_name(monkeypatch):
    now, timeouts = [0.0], []

    def refuse(address, timeout):
        timeouts.append((address[0], timeout))
        now[0] += 4
        raise TimeoutError

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", port)) for number in range(9)]

    module = framewire.sync.client
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(module.socket, "create_connection", refuse)
    with pytest.raises(TimeoutError):
        connect("ws://name.invalid/", open_timeout=10, proxy=None)
    assert timeouts == [("192.0.2.0", 10), ("192.0.2.1", 6), ("192.0.2.2", 2)]


# Shutdown.


def test_handlers_that_shut_the_server_down_do_not_wait_for_each_other():
    both, done = threading.Barrier(2), []

    def handler(ws):
        both.wait(20)
        ws.server.shutdown()
        done.append(ws)

    with serving(handler) as (_, port, _), Raw(port) as one, Raw(port) as other:
        assert {raw.read_event() for raw in (one, other)} == {Close(1001, "")}
        for raw in (one, other):
            raw.write(raw.stream.pending())
            raw.socket.close()
        until(lambda: len(done) == 2)


def test_handler_that_shuts_the_server_down_waits_for_the_others():
    go, order = threading.Event(), []

    def handler(ws):
        if ws.request.path == "/path":
            ws.server.shutdown()
            order.append("shut down")
        else:
            assert go.wait(20)
            order.append("other")

    with serving(handler) as (server, _, uri), connect(uri + "/other"):
        until(lambda: server.connections)
        with connect(uri):
            until(lambda: server._stopping)
            go.set()
            until(lambda: len(order) == 2)
    assert order == ["other", "shut down"]


def test_handler_and_accepting_thread_can_both_shut_the_server_down():
    """A signal handler calls `shutdown` in the thread that accepts, here `create_connection` does."""
    done = []

    def make_connection(transport, settings, server):
        if server.connections:
            server.shutdown()
            done.append("acceptor")
        return ServerConnection(transport, settings, server)

    def handler(ws):
        until(lambda: ws.server.closing)
        ws.server.shutdown()
        done.append("handler")

    with serving(handler, create_connection=make_connection) as (server, port, _), Raw(port) as raw:
        until(lambda: server.connections)
        with socket.create_connection(("127.0.0.1", port)):
            assert raw.read_event() == Close(1001, "")
            raw.write(raw.stream.pending())
            raw.socket.close()
            until(lambda: len(done) == 2)


def is_closed(server):
    return {sock.fileno() for sock in (server.socket, server._woken, server._waker)} == {-1}


def test_server_that_was_shut_down_before_it_serves_returns():
    server = serve(echo, "127.0.0.1")
    server.shutdown()
    assert is_closed(server)
    server.serve_forever()
    server.__exit__(None, None, None)


def test_shutdown_closes_the_sockets_of_a_server_that_serves():
    server = serve(echo, "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"):
        server.shutdown()
    thread.join(20)
    assert is_closed(server)


@pytest.mark.parametrize("raises", [False, True])
def test_signal_handler_that_interrupts_serve_forever_can_shut_down_or_raise(monkeypatch, raises):
    def accept_one():
        if raises:
            raise InterruptError
        server.shutdown()

    server = serve(echo, "127.0.0.1")
    monkeypatch.setattr(server, "_accept_one", accept_one)
    with socket.create_connection(server.socket.getsockname(), 10), contextlib.suppress(InterruptError):
        server.serve_forever()
    if raises:
        assert not is_closed(server)
        server.shutdown()
    assert is_closed(server)


# Connections that never open.


def test_end_of_a_connection_that_never_opened_is_not_waited_for():
    kept = []

    def refuse(connection, request):
        kept.append(connection)
        return connection.respond(403, "")

    def keep(*arguments):
        kept.append(ClientConnection(*arguments))
        return kept[-1]

    with serving(process_request=refuse) as (_, _, uri):
        with pytest.raises(StatusError):
            connect(uri, create_connection=keep)
        for connection in kept:
            assert connection.wait_closed(5)
            connection.close()
            assert connection.state is State.CLOSED
    assert len(kept) == 2


def test_several_threads_can_close_a_connection():
    with serving() as (_, _, uri), connect(uri) as ws:
        threads = [threading.Thread(target=ws.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        assert ws.close_code == 1000


# Handlers and threads that fail.


def test_exit_in_a_handler_closes_its_connection_only(caplog, monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with serving(lambda ws: ws.recv() == "exit" and sys.exit(1)) as (_, _, uri):
        with connect(uri) as other, connect(uri) as ws:
            ws.send("exit")
            with pytest.raises(ConnectionClosedError) as caught:
                ws.recv(10)
            assert caught.value.code == 1011
            assert other.ping().wait(10)
    assert failures == caplog.records == []


def test_connection_whose_session_is_broken_ends(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    failures = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: failures.append(arguments.exc_type))
    with serving() as (_, _, uri):
        ws = connect(uri)
        monkeypatch.setattr(framewire.session.session.Session, "receive", fail)
        monkeypatch.setattr(framewire.session.session.Session, "receive_eof", fail)
        ws.send("to an echo")
        for call in (ws.recv, ws.recv):
            with pytest.raises(ConnectionClosedError):
                call()
        assert ws.wait_closed(5)
    assert set(failures) == {ZeroDivisionError}


@pytest.mark.usefixtures("interruption")  # for its deadline
def test_connection_that_frames_after_its_request_break_ends(monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(framewire.session.session.Session, "receive", fail)
    with serving(ping_interval=None) as (server, port, _):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(REQUEST + to(SERVER, TEXT, b"early"))
            while plain.recv(1 << 16):  # until the end
                pass
        until(lambda: not server._everyone)
    assert caplog.messages == ["connection failed"]


@pytest.fixture
def no_threads(monkeypatch):
    """Have no thread start, once, whose name is put into the list."""

    def start(thread):
        if thread.name in names:
            names.remove(thread.name)
            raise RuntimeError("can't start new thread")
        return really_start(thread)

    names = []
    really_start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    yield names
    assert names == []


@pytest.mark.parametrize("name", ["framewire handler", "framewire reader"])
def test_connection_without_a_thread_is_closed_and_the_server_goes_on(no_threads, caplog, name):
    with serving() as (server, port, uri):
        no_threads.append(name)
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(REQUEST)
            with contextlib.suppress(ConnectionError):
                while plain.recv(1 << 16):
                    pass
        until(lambda: not server._everyone)
        with connect(uri) as ws:
            ws.send("served")
            assert ws.recv(10) == "served"
    assert [record.message for record in caplog.records] == ["connection failed"]


def test_connection_that_cannot_be_made_is_closed_and_the_server_goes_on(caplog):
    def make_connection(*arguments):
        if failures:
            raise failures.pop()
        return ServerConnection(*arguments)

    failures = [ValueError("no connection")]
    with serving(create_connection=make_connection) as (_, port, uri):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            assert plain.recv(1) == b""
        with connect(uri) as ws:
            ws.send("served")
            assert ws.recv(10) == "served"
    assert [record.message for record in caplog.records] == ["connection failed"]


def test_client_without_a_thread_raises_and_closes_its_connection(no_threads):
    with serve_peer(lambda peer: peer.receive()) as uri:
        no_threads.append("framewire reader")
        with pytest.raises(RuntimeError):
            connect(uri)


@pytest.mark.parametrize("name", ["framewire writer", "framewire timer"])
def test_connection_ends_if_no_thread_can_write_on_or_watch_its_deadline(no_threads, name):
    go = threading.Event()
    with serving(lambda ws: go.wait(20), ping_interval=None) as (server, port, _), Raw(port):
        (ws,) = until(lambda: server.connections)
        no_threads.append(name)
        until(lambda: broadcast([ws], LONG) or ws.state is not State.OPEN)
        assert ws.wait_closed(5)
        go.set()
