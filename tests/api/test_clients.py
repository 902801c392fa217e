"""The handshake requests of the client of every API, as received by a raw server."""

import asyncio
import socket
from base64 import b64encode
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
import trio
from backends import needed

import framewire.asyncio
import framewire.sync
import framewire.trio
from framewire import HeadLimits
from framewire.exceptions import InvalidMessage, InvalidProxyMessage, InvalidProxyStatus
from framewire.handshake import Headers, ServerHandshake


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


HAS_IPV6 = socket.has_ipv6 and has_ipv6()

FOUND = "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def recording(*locations, address="127.0.0.1"):
    """Run a server that answers requests with redirects to `locations`, then with 101.

    Give its port and the list of all requests. In the locations `{port}` stands for the port.
    """
    requests = []

    def answer(listening_socket):
        port = listening_socket.getsockname()[1]
        for location in (*locations, None):
            connection, _ = listening_socket.accept()
            with connection:
                connection.settimeout(10)
                handshake = ServerHandshake()
                while handshake.request is None:
                    handshake.receive(connection.recv(4096))
                requests.append(handshake.request)
                if location is None:
                    handshake.check()
                    connection.sendall(handshake.accept() + b"\x88\x00")
                    connection.recv(4096)  # the answer to the close
                    connection.shutdown(socket.SHUT_WR)
                else:
                    connection.sendall(FOUND.format(location.format(port=port)).encode())
                with suppress(ConnectionError):  # the client aborts after a redirect
                    while connection.recv(4096):
                        pass

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listening_socket:
        listening_socket.settimeout(10)
        thread = Thread(target=answer, args=(listening_socket,))
        thread.start()
        try:
            yield listening_socket.getsockname()[1], requests
        finally:
            thread.join()


def connect_on(new_loop, uri, proxy=None, **options):
    async def connect():
        async with framewire.asyncio.connect(uri, proxy=proxy, **options):
            pass

    loop = new_loop()
    try:
        loop.run_until_complete(connect())
    finally:
        loop.close()


def connect_asyncio(uri, **options):
    connect_on(asyncio.new_event_loop, uri, **options)


def connect_uvloop(uri, **options):
    connect_on(needed("uvloop").new_event_loop, uri, **options)


def connect_sync(uri, proxy=None, **options):
    with framewire.sync.connect(uri, proxy=proxy, **options):
        pass


def connect_trio(uri, proxy=None, **options):
    async def connect():
        async with framewire.trio.connect(uri, proxy=proxy, **options):
            pass

    trio.run(connect)


every_client = pytest.mark.parametrize("connect", [connect_asyncio, connect_uvloop, connect_sync, connect_trio])


@every_client
@pytest.mark.parametrize("kind", [dict, list, Headers])
def test_additional_headers_replace_user_agent_and_origin(connect, kind):
    with recording() as (port, requests):
        ours = f"http://127.0.0.1:{port}"
        added = kind([("user-agent", "mine/1"), ("ORIGIN", ours), ("X", "1")])
        connect(f"ws://127.0.0.1:{port}/", additional_headers=added, origin="http://replaced.example")
    (request,) = requests
    assert request.headers.get_all("User-Agent") == ["mine/1"]
    assert request.headers.get_all("Origin") == [ours]
    assert request.headers.get_all("X") == ["1"]


@every_client
def test_repeated_additional_headers_are_all_sent(connect):
    with recording() as (port, requests):
        connect(f"ws://127.0.0.1:{port}/", additional_headers=[("Cookie", "a=1"), ("Cookie", "b=2")])
    assert requests[0].headers.get_all("Cookie") == ["a=1", "b=2"]
    assert len(requests[0].headers.get_all("User-Agent")) == 1


@every_client
def test_host_of_additional_headers_replaces_that_of_the_uri_and_stays_within_the_origin(connect):
    with recording("/same", "ws://localhost:{port}/other") as (port, requests):
        connect(f"ws://127.0.0.1:{port}/", additional_headers={"host": "chat.example"})
    hosts = [request.headers.get_all("Host") for request in requests]
    assert hosts == [["chat.example"], ["chat.example"], [f"localhost:{port}"]]


@pytest.mark.parametrize("connect", [framewire.asyncio.connect, framewire.sync.reconnect, framewire.trio.connect])
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"additional_headers": {"X": "a\nb"}}, ValueError, "the value of X has a control character"),
        ({"additional_headers": {"a b": "c"}}, ValueError, "a header name is a token"),
        ({"additional_headers": {"Upgrade": "x"}}, ValueError, "Upgrade is written by the handshake itself"),
        ({"create_connection": 5}, TypeError, "create_connection is a function, not int"),
        ({"logger": "chat"}, TypeError, "logger is a Logger or a LoggerAdapter, not str"),
        ({"origin": 5}, TypeError, "Origin is text or None, not int"),
        ({"process_exception": 5}, TypeError, "process_exception is a function, not int"),
        ({"proxy": False}, TypeError, "proxy is a URL, True or None, not bool"),
        ({"reconnect_delays": 5}, TypeError, "reconnect_delays is a function, not int"),
        ({"ssl": "certificate.pem"}, TypeError, "ssl is an SSLContext or None, not str"),
        ({"ssl": False}, TypeError, "ssl is an SSLContext or None, not bool"),
        ({"subprotocols": ["a", "a"]}, ValueError, "each once"),
        ({"user_agent_header": 5}, TypeError, "User-Agent is text or None, not int"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_when_they_are_given(connect, options, error, text):
    with pytest.raises(error, match=text):
        connect("wss://127.0.0.1:9/", **options)


@pytest.mark.parametrize("connect", [framewire.sync.reconnect, framewire.trio.connect])
@pytest.mark.parametrize("name", ["ssl", "proxy_ssl"])
def test_tls_without_a_context_is_none_with_threads_and_on_trio(connect, name):
    with pytest.raises(TypeError, match=f"{name} is an SSLContext or None, not bool"):
        connect("wss://127.0.0.1:9/", **{name: True})


@every_client
def test_head_limits_of_another_type_are_refused_before_connecting(connect):
    with pytest.raises(TypeError, match="head_limits is HeadLimits or None, not int"):
        connect("ws://127.0.0.1:9/", head_limits=8192)


@every_client
def test_head_limits_of_the_client_decide_which_responses_are_too_long(connect):
    long = "/b\r\nX: " + "a" * 9000
    with recording(long, long) as (port, requests):
        with pytest.raises(InvalidMessage, match="header line of over 8192"):
            connect(f"ws://127.0.0.1:{port}/", head_limits=HeadLimits())
        connect(f"ws://127.0.0.1:{port}/", head_limits=HeadLimits(max_line=16384))
    assert [request.target for request in requests] == ["/", "/", "/b"]


@every_client
@pytest.mark.parametrize(
    ("limits", "error", "text"),
    [
        (None, InvalidProxyMessage, "header line of over 8192"),
        (HeadLimits(max_line=16384, max_body=2), InvalidProxyStatus, "407"),
    ],
)
def test_head_limits_of_the_client_hold_for_the_answer_of_its_proxy(connect, limits, error, text):
    def refuse():
        connection, _ = listening_socket.accept()
        with connection, suppress(ConnectionError):  # the client may abort before the end of the answer
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 407 No\r\nX: %b\r\nContent-Length: 5\r\n\r\nlogin" % (b"a" * 9000))
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        thread = Thread(target=refuse)
        thread.start()
        proxy = f"http://127.0.0.1:{listening_socket.getsockname()[1]}"
        with pytest.raises(error, match=text) as caught:
            connect("ws://server.example/", proxy=proxy, head_limits=limits)
        thread.join()
    assert limits is None or caught.value.response.body == b"lo"


@pytest.mark.skipif(not HAS_IPV6, reason="the machine has no IPv6")
@every_client
def test_zone_of_an_ipv6_address_is_used_and_not_sent(connect):
    loopback = next(index for index, name in socket.if_nameindex() if name.startswith("lo"))
    with recording(address="::1") as (port, requests):
        connect(f"ws://[::1%25{loopback}]:{port}/")
    assert requests[0].headers["Host"] == f"[::1]:{port}"


@every_client
@pytest.mark.parametrize("headers", ["X: 1", ["X: 1"], [("X", 1)], {"X": None}])
def test_additional_headers_of_another_shape_raise_type_error(connect, headers):
    with pytest.raises(TypeError, match="additional_headers"):
        connect("ws://127.0.0.1:9/", additional_headers=headers)


@every_client
def test_authorization_of_additional_headers_replaces_credentials_of_the_uri(connect):
    with recording() as (port, requests):
        connect(f"ws://bob:pw@127.0.0.1:{port}/", additional_headers={"authorization": "Bearer x"})
    assert requests[0].headers.get_all("Authorization") == ["Bearer x"]


@every_client
def test_origin_and_user_agent_may_be_left_out(connect):
    with recording() as (port, requests):
        connect(f"ws://127.0.0.1:{port}/", user_agent_header=None)
    assert {"user-agent", "origin"}.isdisjoint(requests[0].headers)


@every_client
def test_credentials_of_the_uri_are_sent(connect):
    with recording() as (port, requests):
        connect(f"ws://bob:pw@127.0.0.1:{port}/")
    assert requests[0].headers["Authorization"] == "Basic " + b64encode(b"bob:pw").decode()


@every_client
@pytest.mark.parametrize("location", ["/new/", "new/", "ws://127.0.0.1:{port}/new/", "http://127.0.0.1:{port}/new/"])
def test_credentials_are_kept_by_redirects_within_the_origin(connect, location):
    with recording(location) as (port, requests):
        connect(f"ws://bob:pw@127.0.0.1:{port}/old", additional_headers={"Cookie": "a=1"})
    first, second = requests
    assert (first.target, second.target) == ("/old", "/new/")
    assert first.headers["Authorization"] == second.headers["Authorization"]
    assert second.headers["Cookie"] == "a=1"


@every_client
def test_credentials_are_not_sent_to_another_origin(connect):
    with recording("ws://localhost:{port}/new") as (port, requests):
        added = {"Cookie": "a=1", "X": "1"}
        connect(f"ws://bob:pw@127.0.0.1:{port}/old", additional_headers=added)
    first, second = requests
    assert {"authorization", "cookie", "x"} <= set(first.headers)
    assert {"authorization", "cookie"}.isdisjoint(second.headers)
    assert second.headers["X"] == "1"


@every_client
def test_credentials_do_not_return_with_a_redirect_back_to_the_origin(connect):
    with recording("ws://localhost:{port}/other", "ws://127.0.0.1:{port}/back") as (port, requests):
        connect(f"ws://bob:pw@127.0.0.1:{port}/", additional_headers={"Cookie": "a=1"})
    assert ["authorization" in request.headers for request in requests] == [True, False, False]
    assert ["cookie" in request.headers for request in requests] == [True, False, False]


def loop_of_asyncio(uri, sock, options):
    async def main():
        return [
            await connection.wait_closed() async for connection in framewire.asyncio.connect(uri, sock=sock, **options)
        ]

    return asyncio.run(asyncio.wait_for(main(), 10))


def loop_of_threads(uri, sock, options):
    return [connection.wait_closed() for connection in framewire.sync.client.reconnect(uri, sock=sock, **options)]


def loop_of_trio(uri, sock, options):
    async def main():
        with trio.fail_after(10):
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            async with trio.open_nursery():
                connecting = framewire.trio.connect(uri, stream=stream, **options)
                return [await connection.wait_closed() async for connection in connecting]

    return trio.run(main)


@pytest.mark.parametrize("loop", [loop_of_asyncio, loop_of_threads, loop_of_trio])
def test_loop_over_a_socket_of_the_caller_has_one_connection(loop):
    with recording() as (port, _), socket.create_connection(("127.0.0.1", port)) as sock:
        uri = f"ws://127.0.0.1:{port}/"
        assert len(loop(uri, sock, {"reconnect_delays": lambda: iter([0.0])})) == 1
        with pytest.raises(OSError, match="descriptor"):
            loop(uri, sock, {})
