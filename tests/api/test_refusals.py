"""Servers and proxies that refuse a client, on real sockets: the exceptions of the client of every
API.
"""

import asyncio
import socket
import ssl
import struct
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
import trio
from backends import needed

import framewire.asyncio
import framewire.sync
import framewire.trio
from framewire.errors import ConnectionClosed, ResponseError, StatusError
from framewire.exceptions import InvalidMessage, InvalidProxyStatus
from framewire.http.reconnect import process_exception

#: A refusal whose body does not end.
ENDLESS = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99\r\n\r\nno ent"


@contextmanager
def answering(*chunks, reset=False):
    """Run a server that answers each connection with `chunks`, then waits for its end or resets it.

    An empty chunk waits for the next bytes of the client.
    Give its port and a list with the request of each connection.
    """
    requests = []

    def answer(listening_socket):
        with suppress(OSError):  # the listening socket is shut down at the end
            while True:
                sock, _ = listening_socket.accept()
                with sock, suppress(ConnectionError):
                    sock.settimeout(10)
                    requests.append(sock.recv(65536))
                    for chunk in chunks:
                        sock.sendall(chunk) if chunk else sock.recv(65536)
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    while not reset and sock.recv(65536):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        thread = Thread(target=answer, args=(listening_socket,))
        thread.start()
        try:
            yield listening_socket.getsockname()[1], requests
        finally:
            listening_socket.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def closing_at_once():
    """Run a server that accepts each connection and closes it with 1013; give its port."""

    def close(connection):
        connection.close(1013)

    with framewire.sync.serve(close, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


async def open_asyncio(uri, options):
    async with framewire.asyncio.connect(uri, **options):
        pass


def connect_asyncio(uri, **options):
    asyncio.run(open_asyncio(uri, options))


def connect_uvloop(uri, **options):
    loop = needed("uvloop").new_event_loop()
    try:
        loop.run_until_complete(open_asyncio(uri, options))
    finally:
        loop.close()


def connect_sync(uri, **options):
    with framewire.sync.connect(uri, **options):
        pass


def connect_trio(uri, **options):
    async def main():
        async with framewire.trio.connect(uri, **options):
            pass

    trio.run(main)


every_client = pytest.mark.parametrize("connect", [connect_asyncio, connect_uvloop, connect_sync, connect_trio])


@every_client
def test_refusal_with_endless_body_raises_its_status_at_the_timeout(connect):
    with answering(ENDLESS) as (port, _), pytest.raises(StatusError, match="403") as caught:
        connect(f"ws://127.0.0.1:{port}/", proxy=None, open_timeout=0.2)
    assert caught.value.response.body == b"no ent"


@every_client
def test_refusal_of_a_proxy_with_endless_body_raises_its_status_at_the_timeout(connect):
    with answering(ENDLESS) as (port, _), pytest.raises(InvalidProxyStatus, match="403") as caught:
        connect("ws://server.example/", proxy=f"http://127.0.0.1:{port}", open_timeout=0.2)
    assert caught.value.response.body == b"no ent"


@every_client
def test_refusal_before_a_reset_raises_its_status(connect):
    with answering(ENDLESS, reset=True) as (port, _), pytest.raises(StatusError, match="403"):
        connect(f"ws://127.0.0.1:{port}/", proxy=None)


@every_client
def test_reset_before_a_response_raises_invalid_message_after_which_another_attempt_may_succeed(connect):
    with answering(reset=True) as (port, _), pytest.raises(InvalidMessage) as raised:
        connect(f"ws://127.0.0.1:{port}/")
    assert isinstance(raised.value.__cause__, EOFError)
    assert process_exception(raised.value) is None


@every_client
def test_silent_server_raises_timeout_error(connect):
    with answering() as (port, _), pytest.raises(TimeoutError):
        connect(f"ws://127.0.0.1:{port}/", proxy=None, open_timeout=0.1)


@every_client
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"])
def test_client_sends_its_request_alone_until_the_response_is_complete(connect, answer):
    """A server reads everything until the client gives up: it is one request head."""
    received = bytearray()

    def read_to_end(listening_socket):
        sock, _ = listening_socket.accept()
        with sock:
            sock.settimeout(10)
            sock.sendall(answer)
            while chunk := sock.recv(65536):
                received.extend(chunk)

    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        thread = Thread(target=read_to_end, args=(listening_socket,))
        thread.start()
        with pytest.raises(TimeoutError):
            connect(f"ws://127.0.0.1:{listening_socket.getsockname()[1]}/", proxy=None, open_timeout=0.2)
        thread.join(10)
    assert not thread.is_alive()
    assert received.startswith(b"GET / HTTP/1.1\r\n")
    assert received.index(b"\r\n\r\n") == len(received) - 4


@every_client
def test_interim_response_of_a_proxy_is_passed_over(connect):
    tunnel = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    with answering(tunnel) as (port, requests), pytest.raises(TimeoutError):
        connect("ws://server.example/", proxy=f"http://127.0.0.1:{port}", open_timeout=0.3)
    assert requests[0].startswith(b"CONNECT server.example:80 ")


@every_client
def test_tls_failure_behind_a_proxy_raises_the_tls_error(connect, caplog):
    error = trio.BrokenResourceError if connect is connect_trio else ssl.SSLError
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", b"", b"not TLS at all") as (port, _), pytest.raises(error):
        connect("wss://server.example/", proxy=f"http://127.0.0.1:{port}")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def iterate_asyncio(uri, options, body):
    async def main():
        async for connection in framewire.asyncio.connect(uri, **options):
            if body(connection):
                break
            await connection.wait_closed()

    asyncio.run(main())


def iterate_sync(uri, options, body):
    for connection in framewire.sync.reconnect(uri, **options):
        if body(connection):
            break
        with pytest.raises(ConnectionClosed):
            connection.recv()


def iterate_trio(uri, options, body):
    async def main():
        async with trio.open_nursery() as nursery:

            async def run():
                async for connection in framewire.trio.connect(uri, **options):
                    if body(connection):
                        break
                    await connection.wait_closed()

            nursery.start_soon(run)

    trio.run(main)


every_iteration = pytest.mark.parametrize("iterate", [iterate_asyncio, iterate_sync, iterate_trio])


def numbered_delays():
    """Delays that tell their number: 0.001, 0.002 and so on."""
    yield from (number / 1000 for number in range(1, 1000))


@every_iteration
def test_reconnection_to_a_server_that_closes_at_once_is_delayed(iterate, caplog):
    caplog.set_level("INFO")
    opened = []

    def body(connection):
        opened.append(connection)
        return len(opened) == 3

    with closing_at_once() as port:
        options = {"proxy": None, "reconnect_delays": numbered_delays}
        iterate(f"ws://127.0.0.1:{port}/", options, body)
    lines = [record.getMessage() for record in caplog.records if "reconnecting" in record.getMessage()]
    assert lines == ["connection closed at once; reconnecting in 0.0 seconds"] * 2


@every_iteration
def test_iteration_goes_on_after_a_tls_handshake_that_the_server_resets(iterate):
    options = {"proxy": None, "reconnect_delays": lambda: iter([0.001, 0.001])}
    with answering(reset=True) as (port, hellos), suppress(Exception):
        iterate(f"wss://127.0.0.1:{port}/", options, lambda connection: True)
    assert len(hellos) == 3


@every_iteration
def test_iteration_raises_at_once_if_the_server_speaks_another_protocol(iterate):
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as (port, requests), pytest.raises(BaseException) as caught:
        iterate(f"ws://127.0.0.1:{port}/", {"proxy": None}, lambda connection: True)
    error = caught.value
    assert isinstance(getattr(error, "exceptions", (error,))[0], ResponseError)  # trio has a group
    assert len(requests) == 1


@every_client
def test_server_that_speaks_another_protocol_raises_response_error(connect):
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as (port, requests), pytest.raises(ResponseError, match="not HTTP"):
        connect(f"ws://127.0.0.1:{port}/", proxy=None)
    assert len(requests) == 1
