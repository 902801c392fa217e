"""`BaseConnect` and `StreamOpening`: a client over streams of bytes, with a stand-in for the streams."""

import contextlib
import logging
import ssl

import pytest

from framewire import HeadLimits
from framewire.errors import ProxyError, ResponseError, StatusError
from framewire.handshake import accept_key
from framewire.session.base_client import BaseConnect, unix_uri
from framewire.session.stream_client import StreamOpening

pytestmark = pytest.mark.both_backends

LOGGER = logging.getLogger("framewire.test")
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
DEFAULTS = dict.fromkeys(
    [
        "additional_headers", "compression", "create_connection", "extensions", "head_limits", "logger", "origin",
        "proxy", "ssl", "subprotocols", "user_agent_header",
    ]
)  # fmt: skip
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno"
ESTABLISHED = b"HTTP/1.1 200 OK\r\n\r\n"
FUNCTIONS = {"process_exception": lambda error: None, "reconnect_delays": lambda: iter([2.0])}


def client(uri="ws://h/", given=None, kwargs=None, **arguments):
    arguments = {**DEFAULTS, **FUNCTIONS, "uri": uri, "kwargs": kwargs or {}, **arguments}
    return BaseConnect(arguments, Connection, given, fixed=("host",))


class Connection:
    logger = LOGGER
    request = response = subprotocol = begun = None
    ended = False

    @property
    def _driver(self):
        return self  # whose `end_unopened` follows

    def end_unopened(self):
        self.ended = True

    def begin(self, rest, codecs):
        self.begun = rest, codecs


class Opening(StreamOpening):
    """Streams are lists of the answers to come: bytes, a function of the request, or an exception."""

    lost = (ConnectionError,)

    def __init__(self, client, *answers):
        super().__init__(client)
        self.answers = list(answers)
        self.log = []

    async def _open(self, *step):
        self.log.append(step)
        return self.answers

    async def open_tcp(self, host, port):
        return await self._open("tcp", host, port)

    async def open_unix(self, path):
        return await self._open("unix", path)

    async def open_socks(self, arguments, host, port):
        return await self._open("socks", arguments[1:3], host, port)

    async def start_tls(self, stream, context, hostname):
        return await self._open("tls", context, hostname)

    async def send(self, stream, data):
        self.log.append(("send", data.split()[0].decode()))
        self.sent = data

    async def receive(self, stream):
        answer = stream.pop(0) if stream else b""
        if isinstance(answer, Exception):
            raise answer
        return answer(self.sent) if callable(answer) else answer

    async def abort(self, stream):
        self.log.append(("abort",))

    def make_connection(self, stream):
        return self.client.create_connection()


def accept(request):
    key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")).split()[1]
    return (
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_key(key)
        + b"\r\n\r\nrest"
    )


def run(opening):
    with pytest.raises(StopIteration) as returned:
        opening.run().send(None)
    assert returned.value.value.begun == (b"rest", [])
    return opening.log


def test_client_opens_tcp_and_performs_the_handshake():
    assert run(Opening(client("ws://h:8/"), accept)) == [("tcp", "h", 8), ("send", "GET")]


def test_client_starts_tls_for_the_name_of_the_server():
    tls = ("tls", None, "h")
    assert run(Opening(client("wss://h/"), accept)) == [("tcp", "h", 443), tls, ("send", "GET")]
    other = client("wss://h/", ssl=CONTEXT, server_hostname="other")
    assert run(Opening(other, accept))[1] == ("tls", CONTEXT, "other")


def test_client_has_a_logger_and_settings():
    made = client(ping_interval=3)
    assert (made.logger.name, made.settings.ping_interval) == ("framewire.client", 3)


def test_client_offers_its_subprotocols_and_limits_the_answer():
    opening = Opening(client(subprotocols=["chat"]), accept)
    run(opening)
    assert b"\r\nSec-WebSocket-Protocol: chat\r\n" in opening.sent
    limited = Opening(client(head_limits=HeadLimits(max_line=256)), b"HTTP/1.1 403 No\r\nX: " + b"x" * 300)
    with pytest.raises(ResponseError, match="line of over 256 bytes"):
        limited.run().send(None)


def test_client_uses_the_stream_of_the_caller():
    assert run(Opening(client(given=[accept]))) == [("send", "GET")]


def test_client_opens_a_unix_socket():
    assert run(Opening(client(kwargs={"unix": True, "path": "/p"}), accept)) == [("unix", "/p"), ("send", "GET")]


def test_client_asks_an_http_proxy_for_a_tunnel():
    tcp, connect, get = ("tcp", "p", 80), ("send", "CONNECT"), ("send", "GET")
    assert run(Opening(client(proxy="http://p"), ESTABLISHED[:5], ESTABLISHED[5:], accept)) == [tcp, connect, get]
    secure = client(proxy="https://p", proxy_ssl=CONTEXT, proxy_server_hostname="name")
    log = run(Opening(secure, ESTABLISHED, accept))
    assert log == [("tcp", "p", 443), ("tls", CONTEXT, "name"), connect, get]


def test_client_connects_through_a_socks_proxy():
    pytest.importorskip("python_socks")
    assert run(Opening(client(proxy="socks5://p"), accept))[0] == ("socks", ("p", 1080), "h", 80)


@pytest.mark.parametrize("name", ["ProxyTimeoutError", "ProxyError", "ProxyConnectionError"])
def test_errors_of_a_socks_proxy_are_those_of_the_client(name):
    socks = pytest.importorskip("python_socks")
    expected = {"ProxyTimeoutError": TimeoutError, "ProxyError": ProxyError, "ProxyConnectionError": OSError}[name]

    class Failing(Opening):
        async def open_socks(self, *arguments):
            raise getattr(socks, name)("mine")

    with pytest.raises(expected, match="mine"):
        Failing(client(proxy="socks5://p")).run().send(None)


def test_proxy_of_the_environment_is_used_unless_the_caller_has_chosen_the_server(monkeypatch):
    monkeypatch.setenv("ws_proxy", "http://p:9")
    assert run(Opening(client(proxy=True), ESTABLISHED, accept))[0] == ("tcp", "p", 9)
    assert run(Opening(client(proxy=True, kwargs={"host": "other"}), accept))[0] == ("tcp", "h", 80)


def test_tls_context_for_a_proxy_without_tls_is_rejected():
    with pytest.raises(ValueError, match="proxy_ssl"):
        Opening(client(proxy="http://p", proxy_ssl=CONTEXT)).run().send(None)


@pytest.mark.parametrize("proxy", [None, "http://p"])
@pytest.mark.parametrize(
    "answers",
    [[], [ConnectionResetError()], [b"HTTP/1.1 200 OK\r\nX: y", ConnectionResetError()]],
    ids=["end", "reset", "reset within the answer"],
)
def test_connection_that_is_lost_is_an_incomplete_answer(proxy, answers):
    opening = Opening(client(proxy=proxy), *answers)
    with pytest.raises(ResponseError if proxy is None else ProxyError):
        opening.run().send(None)
    assert opening.log[-1] == ("abort",)


def test_connection_that_never_opens_has_ended():
    made = []
    opening = Opening(client(create_connection=lambda: made.append(Connection()) or made[0]), REFUSAL)
    with pytest.raises(ResponseError):
        opening.run().send(None)
    assert made[0].ended


def test_connection_that_never_opens_has_ended_though_its_stream_cannot_be_aborted():
    class Failing(Opening):
        async def abort(self, stream):
            raise OSError("mine")

    made = []
    opening = Failing(client(create_connection=lambda: made.append(Connection()) or made[0]), REFUSAL)
    with pytest.raises(OSError, match="mine"):
        opening.run().send(None)
    assert made[0].ended


def test_stream_is_aborted_when_tls_fails():
    class WithoutTls(Opening):
        async def start_tls(self, stream, context, hostname):
            raise ConnectionResetError

    opening = WithoutTls(client("wss://h/"))
    with pytest.raises(ConnectionResetError):
        opening.run().send(None)
    assert opening.log == [("tcp", "h", 443), ("abort",)]


@pytest.mark.parametrize("proxy", [None, "http://p"])
def test_refusal_whose_body_does_not_end_is_known_at_the_timeout(proxy):
    opening = Opening(client(proxy=proxy), REFUSAL, TimeoutError())
    assert opening.refusal_error() is None
    with pytest.raises(TimeoutError):
        opening.run().send(None)
    assert opening.refusal_error().response.status == 403


def test_redirect_is_not_followed_with_a_stream_of_the_caller():
    answer = b"HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n"
    attempt = [("tcp", "h", 80), ("send", "GET")]
    assert run(Opening(client(), answer, accept)) == [*attempt, ("abort",), *attempt]
    with pytest.raises(ValueError, match="redirect") as caught:
        Opening(client(given=[answer])).run().send(None)
    assert isinstance(caught.value.__cause__, StatusError)


def test_client_has_the_functions_for_reconnecting():
    reconnection = client().begin_reconnecting()
    assert reconnection.failed(OSError()) == 2.0


def test_client_cannot_be_entered_twice():
    ours = client()
    with pytest.raises(OSError, match="no connection"), ours.entering():
        raise OSError("no connection")
    with ours.entering():
        with pytest.raises(RuntimeError, match="entered already"), ours.entering():
            pass
        ours._entered = "connection"
    with pytest.raises(RuntimeError, match="entered already"), ours.entering():
        pass
    assert ours._entered == "connection"


def test_tls_context_for_a_uri_without_tls_is_rejected():
    with pytest.raises(ValueError, match="wss"):
        client("ws://h/", ssl=CONTEXT)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"additional_headers": {"Upgrade": "x"}}, ValueError),
        ({"create_connection": 1}, TypeError),
        ({"logger": "chat"}, TypeError),
        ({"process_exception": 1}, TypeError),
        ({"proxy": False}, TypeError),
        ({"proxy_ssl": True}, TypeError),
        ({"reconnect_delays": 1}, TypeError),
        ({"ssl": True}, TypeError),
    ],
)
def test_arguments_that_cannot_be_used_are_rejected(arguments, error):
    with pytest.raises(error, match=rf"\b{next(iter(arguments)).replace('additional_headers', 'Upgrade')}\b"):
        client("wss://h/", **arguments)


def test_client_of_another_driver_may_take_true_for_a_context_that_verifies_the_server():
    class Other(BaseConnect):
        _verifying_ssl = True

    arguments = {**DEFAULTS, **FUNCTIONS, "uri": "ws://h/", "kwargs": {}, "ssl": True}
    assert Other(arguments, Connection, None, ()).ssl is True


def connect_tcp(host, *, local_address=None):
    """Stand for the function of a driver that connects to TCP."""


@pytest.mark.parametrize(
    ("kwargs", "given", "error"),
    [
        ({}, None, None),
        ({"host": "h", "local_address": "l"}, None, None),
        ({"hots": "h"}, None, "unexpected keyword argument 'hots'"),
        ({}, object(), None),
        ({"host": "h"}, object(), "unexpected keyword argument 'host' with stream"),
        ({"unix": True, "path": "/p"}, None, None),
        ({"unix": True, "path": None}, object(), None),
        ({"unix": True, "path": "/p", "host": "h"}, None, "unexpected keyword argument 'host' with a Unix socket"),
        ({"path": "/p"}, None, "unexpected keyword argument 'path'"),
    ],
)
def test_arguments_for_the_driver_are_those_that_it_uses(kwargs, given, error):
    made = client(kwargs=kwargs, given=given)
    with contextlib.nullcontext() if error is None else pytest.raises(TypeError, match=error):
        made.check_kwargs(connect_tcp, "stream")


def test_unix_socket_has_the_uri_of_localhost_by_default():
    assert [unix_uri(None, None), unix_uri(None, object())] == ["ws://localhost/", "wss://localhost/"]
    assert unix_uri("ws://h/", None) == "ws://h/"
