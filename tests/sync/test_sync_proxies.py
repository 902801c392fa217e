"""The blocking client through minimal HTTP and SOCKS proxies over real sockets."""

import asyncio
import ssl
import time
from contextlib import contextmanager
from math import inf

import pytest
from backends import needed
from ends import CERTIFICATE
from proxies import OPEN, answering, proxying, socks5
from sync_ends import serving

from framewire import ResponseError
from framewire.errors import ProxyError
from framewire.sync import connect

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(CERTIFICATE)
TRUST = ssl.create_default_context(cafile=str(CERTIFICATE))


@contextmanager
def serving_at_localhost(secure=False):
    """Run an echo server; give its URI, with a host name for the proxy to resolve."""
    with serving(**({"ssl": TLS} if secure else {})) as (_, port, _):
        yield f"ws{'s' * secure}://localhost:{port}/"


def check(ws):
    with ws:
        for message in ("through", bytes(300_000)):
            ws.send(message)
            assert ws.recv(10) == message


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_sync_client_connects_through_http_proxy(secure):
    with serving_at_localhost(secure) as uri, proxying(answering(OPEN)) as port:
        check(connect(uri, proxy=f"http://127.0.0.1:{port}", ssl=TRUST if secure else None))


def test_sync_client_connects_through_https_proxy_and_verifies_it():
    with serving_at_localhost() as uri, proxying(answering(OPEN), ssl=TLS) as port:
        check(connect(uri, proxy=f"https://localhost:{port}", proxy_ssl=TRUST))
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri, proxy=f"https://localhost:{port}")


def test_sync_client_connects_by_tls_inside_of_tls():
    with serving_at_localhost(secure=True) as uri, proxying(answering(OPEN), ssl=TLS) as port:
        options = {"proxy": f"https://127.0.0.1:{port}", "proxy_ssl": TRUST, "proxy_server_hostname": "localhost"}
        ws = connect(uri, ssl=TRUST, **options)
        assert ws.remote_address[1] == port
        check(ws)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri, **options)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_sync_client_connects_through_socks_proxy(secure):
    needed("python_socks")
    with serving_at_localhost(secure) as uri, proxying(socks5) as port:
        for open_timeout in (10, inf):
            check(
                connect(
                    uri, proxy=f"socks5h://127.0.0.1:{port}", ssl=TRUST if secure else None, open_timeout=open_timeout
                )
            )


def test_open_timeout_holds_for_a_socks_proxy_that_answers_byte_by_byte():
    needed("python_socks")

    async def trickle(reader, writer):
        await reader.readexactly(3)
        writer.write(b"\x05\0")
        await reader.read(100)
        writer.write(b"\x05\0\0\x03\xff")
        for _ in range(30):
            writer.write(b"x")
            await asyncio.sleep(0.1)

    with proxying(trickle) as port:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            connect("ws://localhost:9/", proxy=f"socks5h://127.0.0.1:{port}", open_timeout=0.2)
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("limit", [None, 10])
def test_open_timeout_is_the_only_limit_of_a_socks_proxy(monkeypatch, limit):
    needed("python_socks")
    monkeypatch.setattr("python_socks.sync._proxy.DEFAULT_TIMEOUT", 0.05)

    async def late(reader, writer):
        await asyncio.sleep(0.3)
        return await socks5(reader, writer)

    with serving_at_localhost() as uri, proxying(late) as port:
        check(connect(uri, proxy=f"socks5h://127.0.0.1:{port}", open_timeout=limit))


def test_sync_client_sends_proxy_credentials():
    def answer(head):
        return (
            OPEN
            if b"\r\nProxy-Authorization: Basic YTpiIGM=\r\n" in head
            else b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n"
        )

    with serving_at_localhost() as uri, proxying(answering(answer)) as port:
        check(connect(uri, proxy=f"a:b%20c@127.0.0.1:{port}"))
        with pytest.raises(ProxyError, match="the proxy answered 407"):
            connect(uri, proxy=f"http://127.0.0.1:{port}")


def test_sync_client_reads_proxy_from_environment(monkeypatch):
    with serving_at_localhost() as uri, proxying(answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")) as port:
        monkeypatch.setenv("ws_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ProxyError, match="403"):
            connect(uri)
        check(connect(uri, proxy=None))
        monkeypatch.setenv("no_proxy", "localhost")
        check(connect(uri))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 200", "closed the connection"),
        (b"SSH-2.0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "bytes of its own"),
    ],
)
def test_sync_client_raises_proxy_error_for_invalid_proxy_response(answer, reason):
    async def greet(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    with proxying(greet) as port, pytest.raises(ProxyError, match=reason):
        connect("ws://localhost:9/", proxy=f"http://127.0.0.1:{port}")


def test_sync_client_times_out_if_proxy_does_not_respond():
    async def greet(reader, writer):
        await reader.read()

    with proxying(greet) as port, pytest.raises(TimeoutError):
        connect("ws://localhost:9/", proxy=f"http://127.0.0.1:{port}", open_timeout=0.1)


def test_sync_client_raises_rejection_by_server_through_proxy():
    with serving(origins=["http://other"]) as (_, port, _), proxying(answering(OPEN)) as proxy:
        with pytest.raises(ResponseError) as caught:
            connect(f"ws://localhost:{port}/", origin="http://wrong", proxy=f"http://127.0.0.1:{proxy}")
        assert caught.value.response.status == 403


@pytest.mark.parametrize(
    ("uri", "options"),
    [
        ("ws://h/", {"proxy": "ftp://localhost"}),
        ("ws://h/", {"proxy": "http://localhost/path"}),
        ("ws://h/", {"proxy": "http://"}),
        ("ws://h/", {"proxy": "http://localhost", "proxy_ssl": TRUST}),
    ],
)
def test_sync_client_rejects_invalid_proxy_options(uri, options):
    with pytest.raises(ValueError, match="proxy|proxies"):
        connect(uri, **options)
