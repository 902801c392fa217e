"""Servers behind proxies: the address of the client is the same on every driver."""

import logging
import socket
import time
from contextlib import suppress

import pytest
from drivers import PATIENCE, every_driver, read_head, receive_all
from ends import client_side
from frames import REQUEST
from sync_ends import until

from framewire import TrustedProxies

pytestmark = pytest.mark.both_backends

LOCAL = ["127.0.0.0/8"]
V1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes([192, 0, 2, 1, 10, 0, 0, 1]) + b"\xc3\x50\x01\xbb"
FORWARDED = REQUEST.removesuffix(b"\r\n") + b"X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\n\r\n"

proxied = every_driver(tls=True, without=["uvicorn"])
over_tls = pytest.mark.parametrize("driver", [driver for driver in proxied.args[1] if driver.tls], ids=str)


def address_after(server, header, request=REQUEST, *, pieces=1):
    """Open a WebSocket after the bytes `header`; return the address that the application sees."""
    size = -(-len(header) // pieces) or 1
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain:
        for start in range(0, len(header), size):
            plain.sendall(header[start : start + size])
        sock = client_side().wrap_socket(plain, server_hostname="127.0.0.1") if server.tls else plain
        with sock:
            sock.settimeout(PATIENCE)
            sock.sendall(request)
            assert read_head(sock)[0].startswith(b"HTTP/1.1 101 ")
            until(lambda: server.records and server.records[-1]._connection is not None)
            return server.records[-1]._connection.remote_address


def read_to_end(sock):
    """Return what arrives until the end of the connection, or its reset."""
    data = b""
    with suppress(ConnectionResetError):
        while chunk := sock.recv(1000):
            data += chunk
    return data


@proxied
@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("pieces", [1, 3])
def test_proxy_protocol_gives_the_address_of_the_client(driver, header, pieces):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        assert address_after(server, header, FORWARDED, pieces=pieces) == ("192.0.2.1", 50000)


@every_driver(without=["uvicorn"])
def test_header_and_request_may_arrive_together(driver):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        assert address_after(server, b"", V2 + REQUEST) == ("192.0.2.1", 50000)


@proxied
@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"])
def test_header_without_an_address_leaves_that_of_the_proxy(driver, header):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        assert address_after(server, header)[0] == "127.0.0.1"


@proxied
def test_client_that_is_no_trusted_proxy_is_served_without_header(driver):
    proxies = TrustedProxies(["10.0.0.0/8"], proxy_protocol=True, forwarded=True)
    with driver.serve(receive_all, trusted_proxies=proxies) as server:
        for _ in range(10):
            assert address_after(server, b"", FORWARDED)[0] == "127.0.0.1"


@proxied
def test_forwarded_header_gives_the_address_of_the_client(driver):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, forwarded=True)) as server:
        assert address_after(server, b"", FORWARDED) == ("198.51.100.7", 0)


@proxied
def test_forwarded_header_gives_the_scheme_of_the_client(driver):
    """The proxy that connects is trusted, whether or not X-Forwarded-For names another client."""
    request = FORWARDED.replace(b"X-Forwarded-For", b"X-Forwarded-Proto: https\r\nX-Forwarded-For")
    for addresses, scheme in ((LOCAL, "wss"), (["10.0.0.0/8"], None)):
        with driver.serve(receive_all, trusted_proxies=TrustedProxies(addresses, forwarded=True)) as server:
            address_after(server, b"", request)
            assert server.records[-1]._connection.client_scheme == scheme


@proxied
@pytest.mark.parametrize(
    ("addresses", "client"), [(LOCAL, ("192.0.2.1", 50000)), ([*LOCAL, "192.0.2.1"], ("198.51.100.7", 0))]
)
def test_forwarded_header_counts_after_the_proxy_protocol_if_its_source_is_trusted(driver, addresses, client):
    proxies = TrustedProxies(addresses, proxy_protocol=True, forwarded=True)
    with driver.serve(receive_all, trusted_proxies=proxies) as server:
        assert address_after(server, V1, FORWARDED) == client


@proxied
@pytest.mark.parametrize("begin", [REQUEST, b"PROXY TCP4 x\r\n", V2.replace(b"\x21\x11", b"\x21\x12")])
def test_invalid_header_closes_the_connection_with_a_line_in_the_log(driver, caplog, begin):
    caplog.set_level(logging.WARNING, "framewire.server")
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
            sock.sendall(begin)
            assert read_to_end(sock) == b""
        until(lambda: caplog.records)
        (record,) = caplog.records
        assert record.getMessage().startswith("invalid header of the PROXY protocol: ")
        assert server.records == []


@proxied
@pytest.mark.parametrize("begin", [b"", V2[:20]])
def test_header_that_ends_early_is_no_warning(driver, caplog, begin):
    caplog.set_level(logging.DEBUG, "framewire.server")
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
            sock.sendall(begin)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        until(lambda: "the connection ended within the header" in caplog.text)
        assert {record.levelno for record in caplog.records} <= {logging.DEBUG, logging.INFO}


@proxied
@pytest.mark.parametrize("begin", [b"", V2[:20], V2])
def test_header_has_to_arrive_within_open_timeout(driver, begin):
    proxies = TrustedProxies(LOCAL, proxy_protocol=True)
    with driver.serve(receive_all, trusted_proxies=proxies, open_timeout=0.2) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
            sock.sendall(begin)
            assert read_to_end(sock) == b""


@pytest.mark.parametrize(
    ("driver", "header"),
    [(driver, header) for driver in proxied.args[1] for header in (b"", V2) if driver.tls or header],
)
def test_open_timeout_is_one_deadline_for_the_header_tls_and_the_request(driver, header):
    proxies = TrustedProxies(LOCAL, proxy_protocol=True) if header else None
    with driver.serve(receive_all, trusted_proxies=proxies, open_timeout=1.5) as server:
        begin = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as plain:
            time.sleep(1)
            plain.sendall(header)
            sock = client_side().wrap_socket(plain, server_hostname="127.0.0.1") if server.tls else plain
            with sock:
                assert read_to_end(sock) == b""
        assert 1.4 < time.monotonic() - begin < 2.4


@proxied
@pytest.mark.parametrize("begin", [V2[:20], V2])
def test_server_that_closes_waits_for_no_header(driver, begin):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        sock.sendall(begin)
        assert address_after(server, V1) == ("192.0.2.1", 50000)  # the first is accepted by now
    with sock:
        sock.settimeout(1)
        assert read_to_end(sock)[:12] in (b"", b"HTTP/1.1 503")


@over_tls
@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01"])
def test_server_that_closes_cuts_clients_in_their_tls_handshake(driver, begin):
    with driver.serve(receive_all, open_timeout=20) as server:
        sock = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        sock.sendall(begin)
        address_after(server, b"")  # the first is accepted by now
        start = time.monotonic()
    assert time.monotonic() - start < 10
    with sock:
        sock.settimeout(1)
        assert read_to_end(sock) == b""


@over_tls
def test_tls_that_fails_after_the_header_closes_the_connection(driver):
    with driver.serve(receive_all, trusted_proxies=TrustedProxies(LOCAL, proxy_protocol=True)) as server:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as sock:
            sock.sendall(V2 + REQUEST)
            assert b"HTTP" not in read_to_end(sock)
