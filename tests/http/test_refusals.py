"""Servers and proxies that refuse a client, on real sockets: the exceptions of the client of every API."""

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
from framewire.errors import ResponseError, StatusError
from framewire.exceptions import InvalidProxyStatus

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
def test_silent_server_raises_timeout_error(connect):
    with answering() as (port, _), pytest.raises(TimeoutError):
        connect(f"ws://127.0.0.1:{port}/", proxy=None, open_timeout=0.1)


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


@every_client
def test_server_that_speaks_another_protocol_raises_response_error(connect):
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as (port, requests), pytest.raises(ResponseError, match="not HTTP"):
        connect(f"ws://127.0.0.1:{port}/", proxy=None)
    assert len(requests) == 1
