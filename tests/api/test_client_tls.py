"""TLS of the clients of every API, as a server that records its handshakes sees it."""

import ssl
from contextlib import contextmanager, suppress
from socket import create_server
from threading import Thread

import pytest
import trio
from ends import client_side, server_side
from test_clients import connect_asyncio, connect_sync, connect_uvloop

import framewire.trio
from framewire.errors import ResponseError


def connect_trio(uri, **options):
    async def connect():
        async with framewire.trio.connect(uri, proxy=None, **options):
            pass

    trio.run(connect)


@contextmanager
def handshaking():
    """Run a server that completes one TLS handshake and then closes.

    Give its port and the list of the names that clients ask for.
    """
    names = []
    context = server_side()
    context.sni_callback = lambda socket, name, context: names.append(name)

    def shake(listening_socket):
        with suppress(OSError), listening_socket.accept()[0] as connection:
            connection.settimeout(10)
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(4096)  # the request

    with create_server(("127.0.0.1", 0)) as listening_socket:
        listening_socket.settimeout(10)
        thread = Thread(target=shake, args=(listening_socket,))
        thread.start()
        try:
            yield listening_socket.getsockname()[1], names
        finally:
            thread.join()


@pytest.mark.parametrize("connect", [connect_asyncio, connect_uvloop, connect_sync, connect_trio])
def test_client_names_the_server_in_the_tls_handshake(connect):
    with handshaking() as (port, names), pytest.raises((ResponseError, ssl.SSLError)):
        connect(f"wss://localhost:{port}/", ssl=client_side())
    assert names == ["localhost"]
