"""`framewire.asyncio.router`, `.sync.router` and `.trio.router`: one set of rules, on real
sockets.
"""

import functools
import socket
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from backends import needed
from drivers import trio_server_of_thread
from ends import client_side, server_side
from sync_ends import on_loop_of_thread

import framewire.asyncio.router
import framewire.sync.router
import framewire.trio.router
from framewire import TrustedProxies
from framewire.routes import Router, Routes, add_router
from framewire.sync import connect, unix_connect

REQUEST = (
    "GET {target} HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Asyncio:
    """Servers of asyncio in a thread.

    `handler` makes a handler that sends what a function returns.
    """

    module = framewire.asyncio.router

    def handler(self, answer):
        async def send(connection, **parameters):
            await connection.send(answer(connection, **parameters))

        return send

    @contextmanager
    def route(self, url_map, **options):
        with on_loop_of_thread(lambda: self.module.route(url_map, "127.0.0.1", 0, **options)) as server:
            yield server.sockets[0].getsockname()[1]

    def start(self, url_map):
        self.module.route(url_map)

    def unix_route(self, url_map, path):
        return on_loop_of_thread(lambda: self.module.unix_route(url_map, path))


class Threads:
    """Servers of `framewire.sync`; as `Asyncio`."""

    module = framewire.sync.router

    def handler(self, answer):
        def send(connection, **parameters):
            connection.send(answer(connection, **parameters))

        return send

    @contextmanager
    def run(self, server):
        thread = threading.Thread(target=server.serve_forever)
        with server:
            thread.start()
            yield server
        thread.join()

    @contextmanager
    def route(self, url_map, **options):
        with self.run(self.module.route(url_map, "127.0.0.1", 0, **options)) as server:
            yield server.socket.getsockname()[1]

    def start(self, url_map):
        self.module.route(url_map)

    def unix_route(self, url_map, path):
        return self.run(self.module.unix_route(url_map, path))


class Trio(Asyncio):
    """Servers of trio in a thread; as `Asyncio`."""

    module = framewire.trio.router

    @contextmanager
    def route(self, url_map, **options):
        serve = functools.partial(self.module.route, url_map, 0, host="127.0.0.1", **options)
        with trio_server_of_thread(serve) as server:
            yield server.listeners[0].socket.getsockname()[1]

    def start(self, url_map):
        trio.run(self.module.route, url_map)

    def unix_route(self, url_map, path):
        return trio_server_of_thread(functools.partial(self.module.unix_route, url_map, path))


@pytest.fixture(params=[Asyncio, Threads, Trio], ids=["asyncio", "sync", "trio"])
def api(request):
    return request.param()


@pytest.fixture
def url_map(api):
    """Return a map whose handlers send the parameters of the path."""
    routing = needed("werkzeug.routing")
    show = api.handler(lambda connection, **parameters: repr(parameters))
    return routing.Map(
        [
            routing.Rule("/count", defaults={"number": 1}, endpoint=show),
            routing.Rule("/count/<int:number>", endpoint=show),
            routing.Rule("/name/<name>", endpoint=show),
            routing.Rule("/folder/<name>/", endpoint=show),
            routing.Rule("/old", redirect_to="/count"),
            routing.Rule("/accents", redirect_to="/n\u00e9e?\u00fc=%20"),
            routing.Rule("/other-method", endpoint=show, methods=["POST"]),
            routing.Rule("/forbidden", redirect_to=forbid),
        ]
    )


def forbid(adapter):
    raise needed("werkzeug.exceptions").Forbidden


def receive(port, target):
    """Connect and return the first message."""
    with connect(f"ws://127.0.0.1:{port}{target}", proxy=None) as connection:
        return connection.recv(10)


def answer(port, target, host="example.com", more=""):
    """Send a request for a WebSocket; return the status, and the Location or Allow of the response."""
    lines = "".join(f"Host: {each}\r\n" for each in ([host] if isinstance(host, str) else host)) + more
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(REQUEST.format(target=target, host=lines).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            read = sock.recv(4096)
            assert read, "the server gives no answer"
            data += read
    head = data.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
    values = [line.partition(": ")[2] for line in head if line.lower().startswith(("location:", "allow:"))]
    assert len(values) <= 1
    return int(head[0].split()[1]), *values


@pytest.mark.parametrize(
    ("target", "parameters"),
    [
        ("/count", {"number": 1}),
        ("/count/7?number=8", {"number": 7}),
        ("/name/a%20b%C3%A9", {"name": "a b\u00e9"}),
        ("/folder/x", {"name": "x"}),
        ("/old", {"number": 1}),
    ],
)
def test_map_calls_handlers_with_the_decoded_parameters_of_the_path(api, url_map, target, parameters):
    with api.route(url_map) as port:
        assert receive(port, target) == repr(parameters)


def test_map_answers_redirects_and_paths_without_a_handler(api, url_map):
    with api.route(url_map) as port:
        assert answer(port, "/old") == (302, "ws://example.com/count")
        assert answer(port, "/old", "[::1]:8000") == (302, "ws://[::1]:8000/count")
        assert answer(port, "/folder/x%0d%0aA?b=%20") == (302, "ws://example.com/folder/x%0D%0AA/?b=%20")
        assert answer(port, "/accents") == (302, "ws://example.com/n%C3%A9e?%C3%BC=%20")
        assert answer(port, "/none") == (404,)
        assert answer(port, "//evil.example/count") == (404,)
        assert answer(port, "//evil.example//count") == (404,)
        assert answer(port, "/folder//evil.example") == (302, "ws://example.com/folder/evil.example/")
        assert answer(port, "*") == (404,)
        assert answer(port, "/other-method") == (405, "POST")
        assert answer(port, "/forbidden") == (403,)


def test_map_accepts_absolute_targets(api, url_map):
    with api.route(url_map) as port:
        assert answer(port, "http://example.com/count/7?x") == (101,)
        assert answer(port, "ws://example.com/none") == (404,)
        assert answer(port, "ws://example.com") == (404,)


def test_redirect_of_an_absolute_target_leads_to_its_host(api, url_map):
    with api.route(url_map) as port:
        assert answer(port, "http://target.example:81/old", "other.example") == (302, "ws://target.example:81/count")
        assert answer(port, "ws://[::1]/folder/x?y", "other.example") == (302, "ws://[::1]/folder/x/?y")
        assert answer(port, "http://[::1::]/old", "other.example") == (400,)
        assert answer(port, "http://target.example/old", "a b") == (400,)


@pytest.mark.parametrize("host", [[], ["a", "b"], "a b", "a..b", "[::::]", "h:abc", "x/y"])
def test_invalid_host_is_answered_400_without_a_log_record(api, url_map, host, caplog):
    with api.route(url_map) as port:
        for target in ("/old", "/count"):
            assert answer(port, target, host) == (400,)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_server_name_and_ssl_determine_redirects(api, url_map):
    with api.route(url_map, server_name="other:81") as port:
        assert answer(port, "/old") == (302, "ws://other:81/count")
    with api.route(url_map, ssl=True) as port:
        assert answer(port, "/old", "example.com:8000") == (302, "wss://example.com:8000/count")


def test_scheme_of_a_trusted_proxy_determines_redirects(api, url_map):
    forwarded = "X-Forwarded-Proto: https\r\n"
    for addresses, scheme in ((["127.0.0.1"], "wss"), (["10.0.0.1"], "ws")):
        with api.route(url_map, trusted_proxies=TrustedProxies(addresses, forwarded=True)) as port:
            assert answer(port, "/old", more=forwarded) == (302, f"{scheme}://example.com/count")
            assert answer(port, "/old") == (302, "ws://example.com/count")


def test_tls_context_is_used(api, url_map):
    with api.route(url_map, ssl=server_side()) as port:
        with connect(f"wss://127.0.0.1:{port}/old", ssl=client_side(), proxy=None) as connection:
            assert connection.recv(10) == "{'number': 1}"


def test_process_request_runs_before_the_routes(api, url_map):
    def process_request(connection, request):
        return connection.respond(403, "No") if request.path == "/count/403" else None

    with api.route(url_map, process_request=process_request) as port:
        assert answer(port, "/count/403") == (403,)
        assert answer(port, "/none") == (404,)
        assert receive(port, "/count") == "{'number': 1}"


def test_result_of_async_process_request_is_used(api, url_map):
    async def process_request(connection, request):
        return connection.respond(403, "No") if request.path == "/count/403" else None

    with api.route(url_map, process_request=process_request) as port:
        assert answer(port, "/count/403") == (403,)
        assert answer(port, "/none") == (404,)
        assert receive(port, "/count") == "{'number': 1}"


def test_subclass_of_router_changes_handlers_and_responses(api, url_map):
    class Numbered(Router):
        def get_server_name(self, connection, request):
            return "other"

        def not_found(self, connection):
            return connection.respond(410, "Gone")

        def handler(self, connection):
            connection.handler_kwargs = {"number": connection.handler_kwargs["number"] + 1}
            return super().handler(connection)

    with api.route(url_map, create_router=Numbered) as port:
        assert receive(port, "/count/7") == "{'number': 8}"
        assert answer(port, "/none") == (410,)
        assert answer(port, "/old", "a..b") == (302, "ws://other/count")


def test_routes_have_no_router_of_the_caller():
    with pytest.raises(ValueError, match="create_router is incompatible with Routes"):
        add_router(Routes(), create_router=Router)


def test_routes_work_in_place_of_a_map(api, monkeypatch):
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    routes = Routes()
    routes.add("/rooms/{room}", subprotocols=["chat"])(
        api.handler(lambda connection, room: f"{room} {connection.subprotocol}")
    )
    with api.route(routes, process_request=lambda connection, request: None) as port:
        uri = f"ws://127.0.0.1:{port}/rooms/a%20b"
        with connect(uri, subprotocols=["chat"], proxy=None) as connection:
            assert connection.recv(10) == "a b chat"
        assert answer(port, "/rooms/a") == (400,)
        assert answer(port, "/none") == (404,)
        assert answer(port, "ws://example.com/rooms/a") == (400,)


def test_route_without_subprotocols_leaves_those_of_the_server(api):
    routes = Routes()
    show = api.handler(lambda connection: str(connection.subprotocol))
    routes.add("/any")(show)
    routes.add("/own", subprotocols=["talk"])(show)
    with api.route(routes, subprotocols=["chat"]) as port:
        for path, offered, subprotocol in (("any", ["talk", "chat"], "chat"), ("own", ["chat", "talk"], "talk")):
            with connect(f"ws://127.0.0.1:{port}/{path}", subprotocols=offered, proxy=None) as connection:
                assert connection.recv(10) == connection.subprotocol == subprotocol
        assert receive(port, "/any") == "None"


def test_routes_match_paths_percent_encoded_or_not_as_a_map_does(api):
    routing = needed("werkzeug.routing")
    show = api.handler(lambda connection: "here")
    routes = Routes()
    patterns = ["/caf\u00e9", "/a b", "/a|b", "/~x"]
    for pattern in patterns:
        routes.add(pattern)(show)
    rules = [routing.Rule(pattern.replace("|", "\\|"), endpoint=show) for pattern in patterns]
    for url_map in (routes, routing.Map(rules)):
        with api.route(url_map) as port:
            for path in ("/caf\u00e9", "/caf%c3%a9", "/a%20b", "/~x", "/%7ex"):
                assert receive(port, path) == "here"
            assert answer(port, "/caf%E9") == (404,)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the system has no Unix sockets")
def test_unix_route_listens_on_a_path(api, url_map):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "socket"))
        with api.unix_route(url_map, path):
            with unix_connect(path, "ws://localhost/count/7") as connection:
                assert connection.recv(10) == "{'number': 7}"


@pytest.mark.parametrize("url_map", [None, {}, [("/", print)]])
def test_other_routes_are_refused(api, url_map):
    needed("werkzeug.routing")
    with pytest.raises(TypeError, match=r"^url_map is a werkzeug\.routing\.Map or framewire\.routes\.Routes, not "):
        api.start(url_map)


def test_missing_werkzeug_is_named(api, monkeypatch):
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    with pytest.raises(ImportError, match="pip install werkzeug"):
        api.start(object())
