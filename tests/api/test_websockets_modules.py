"""Modules and top-level names of `websockets` exist here, or docs/how-to/migrating.md explains."""

import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import websockets
import websockets.exceptions
import websockets.frames
import websockets.headers
import websockets.uri

import framewire
import framewire.headers
import framewire.uri
from framewire import exceptions

#: websockets 17 needs Python 3.11; other versions have other names.
pytestmark = pytest.mark.skipif(
    not version("websockets").startswith("17."), reason="the names are those of websockets 17"
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "migrating.md"

#: Missing names, by their module in websockets.
ABSENT = {
    "client": {"ClientProtocol"},
    "frames": {"Frame"},
    "protocol": {"Protocol", "SEND_EOF"},
    "server": {"ServerProtocol"},
}

#: All of these.
ABSENT_HERE = set().union(*ABSENT.values())

#: Modules whose names are compared: those that programs import.
MODULES = ["datastructures", "exceptions", "frames", "headers", "http11", "protocol", "typing", "uri"]

#: Exceptions with other base classes than in websockets; see docs/how-to/migrating.md.
OTHER_BASES = {
    "InvalidOrigin": {"InvalidHeader"},  # a server raises it, and answers 403
    "InvalidState": {"AssertionError"},
}


@pytest.mark.parametrize("name", websockets.__all__)
def test_top_level_name_exists_or_is_explained(name):
    absent = name in ABSENT_HERE
    assert hasattr(framewire, name) is not absent
    assert (name in framewire.__all__) is not absent
    if absent:
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\|[^|]*\w[^|]*\|$", PAGE.read_text(), re.MULTILINE)


def test_number_of_top_level_names_is_that_of_the_documentation():
    assert f"{len(set(websockets.__all__) - ABSENT_HERE)} of the {len(websockets.__all__)} names" in PAGE.read_text()


@pytest.mark.parametrize("module", MODULES)
def test_module_has_the_public_names_of_websockets(module):
    theirs = importlib.import_module(f"websockets.{module}")
    ours = importlib.import_module(f"framewire.{module}")
    names = {name for name in theirs.__all__ if not hasattr(ours, name)}
    assert names == ABSENT.get(module, set())
    for name in set(theirs.__all__) - names:
        assert name in ours.__all__
        if name in websockets.__all__:
            assert getattr(framewire, name) is getattr(ours, name)


@pytest.mark.parametrize("name", websockets.exceptions.__all__)
def test_exception_is_caught_by_the_classes_that_catch_it_in_websockets(name):
    ours, theirs = getattr(exceptions, name), getattr(websockets.exceptions, name)
    caught = {base.__name__ for base in theirs.__mro__}
    missing = {
        base
        for base in caught
        if not issubclass(ours, getattr(exceptions, base, None) or getattr(sys.modules["builtins"], base))
    }
    assert missing == OTHER_BASES.get(name, set())


#: Classes that catch more than in websockets; see docs/how-to/migrating.md.
COARSE = {"InvalidHandshake", "PayloadTooBig", "ProtocolError", "TooManyFragments", "WebSocketException"}


@pytest.mark.parametrize("name", sorted(set(websockets.exceptions.__all__) - COARSE))
def test_exception_catches_no_other_one_than_in_websockets(name):
    ours, theirs = getattr(exceptions, name), getattr(websockets.exceptions, name)
    for other in websockets.exceptions.__all__:
        if issubclass(getattr(exceptions, other), ours):
            assert issubclass(getattr(websockets.exceptions, other), theirs), other


@pytest.mark.parametrize("name", websockets.exceptions.__all__)
def test_exception_takes_the_arguments_of_websockets(name):
    ours, theirs = getattr(exceptions, name), getattr(websockets.exceptions, name)
    if "__init__" in vars(theirs) and "__init__" in vars(ours):
        wanted = inspect.signature(theirs.__init__).parameters
        assert list(inspect.signature(ours.__init__).parameters)[: len(wanted)] == list(wanted)


@pytest.mark.parametrize("name", websockets.headers.__all__)
def test_header_function_takes_the_arguments_of_websockets(name):
    ours, theirs = getattr(framewire.headers, name), getattr(websockets.headers, name)
    assert [
        (parameter.name, parameter.kind, parameter.default) for parameter in inspect.signature(ours).parameters.values()
    ] == [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(theirs).parameters.values()
    ]


VALUES = [
    "", ",", "Upgrade", "keep-alive, Upgrade", ",,\t,  , ,Upgrade  ,,", "???", "a; b", "websocket", "a/b/c", "/", "a b",
    "http/3.0, websocket", "foo", "foo, bar", 'foo; a; b=c; d="e", bar', "foo;", "foo; a=", 'foo; a="b', 'foo; a=" "',
    ",\t, ,  ,foo  ;bar = 42,,   baz,,", "permessage-deflate; client_max_window_bits", "\u00e9",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ["parse_connection", "parse_upgrade", "parse_extension", "parse_subprotocol"])
def test_header_is_parsed_or_refused_as_in_websockets(name, value):
    results = []
    for package in (websockets, framewire):
        try:
            results.append(getattr(package.headers, name)(value))
        except package.exceptions.InvalidHeaderFormat as error:
            results.append(error.name)
    assert results[0] == results[1]


AUTHORIZATIONS = [
    "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic YTo=", "Basic YQ==",
    "Basic /w==", "Basic YTr/", "Basic", "Basic ", "Basic\tYTo=", "Basic ***", "Basic YTo= x", "Basic YTo", "Digest x",
    "// Basic", "", "Basically YTo=", "Bearer YTo=",
]  # fmt: skip


@pytest.mark.parametrize("value", AUTHORIZATIONS)
def test_authorization_is_parsed_or_refused_as_in_websockets(value):
    results = []
    for package in (websockets, framewire):
        try:
            results.append(package.headers.parse_authorization_basic(value))
        except package.exceptions.InvalidHeader as error:
            results.append(type(error).__name__)
    assert results[0] == results[1]


@pytest.mark.parametrize("code", [*range(1000, 1016), 2000, 2999, 3000, 3999, 4000, 4999, 5000])
@pytest.mark.parametrize("reason", ["", "bye"])
def test_close_frame_is_described_as_in_websockets(code, reason):
    assert str(framewire.Close(code, reason)) == str(websockets.frames.Close(code, reason))


def test_authorization_is_built_as_in_websockets():
    for username, password in [("a", "b"), ("", ""), ("a", "b:c"), ("caf\u00e9", "123\u00a3"), ("\udcff", "\udcfe")]:
        header = framewire.headers.build_authorization_basic(username, password)
        assert header == websockets.headers.build_authorization_basic(username, password)
        assert framewire.headers.parse_authorization_basic(header) == (username, password)
    with pytest.raises(ValueError, match="colon"):
        framewire.headers.build_authorization_basic("a:b", "c")


def test_challenge_is_built_as_in_websockets():
    for realm in ("", "foo", 'a "b" \\c', "caf\u00e9"):
        assert framewire.headers.build_www_authenticate_basic(realm) == (
            websockets.headers.build_www_authenticate_basic(realm)
        )
    with pytest.raises(ValueError, match="control"):
        framewire.headers.build_www_authenticate_basic("\x07")


@pytest.mark.parametrize("host", ["localhost", "example.com", "127.0.0.1", "::1"])
@pytest.mark.parametrize(("port", "secure"), [(80, False), (80, True), (443, False), (443, True), (8000, False)])
def test_host_is_built_as_in_websockets(host, port, secure):
    for always in (False, True):
        assert framewire.headers.build_host(
            host, port, secure, always_include_port=always
        ) == websockets.headers.build_host(host, port, secure, always_include_port=always)


@pytest.mark.parametrize("subprotocols", [[], ["sip"], ("sip", "v1.usp"), {"sip": None}, {"sip"}, "sip", [""], ["a b"]])
def test_subprotocols_are_validated_as_in_websockets(subprotocols):
    results = []
    for package in (websockets, framewire):
        try:
            results.append(package.headers.validate_subprotocols(subprotocols))
        except (TypeError, ValueError) as error:
            results.append(type(error))
    assert results[0] == results[1]


URIS = [
    "ws://localhost/", "wss://localhost/", "ws://localhost", "ws://localhost/path?query",
    "ws://localhost?query", "ws://localhost/?", "WS://LOCALHOST/PATH?QUERY", "ws://localhost:8765/", "wss://h:443/",
    "ws://user:pass@localhost/", "ws://us%40er:p%3Aass@localhost/", "ws://h\u00f8st/", "ws://[::1]:8080/a",
    "ws://\u00fcser:p\u00e5ss@h\u00f8st/\u03c0ass?q\u00f9\u00e9ry", "ws://user:@localhost/", "http://localhost/",
    "https://localhost/", "ws://localhost/path#fragment", "ws://user@localhost/", "ws:///path", "",
]  # fmt: skip


@pytest.mark.parametrize("text", URIS)
def test_uri_is_parsed_or_refused_as_in_websockets(text):
    results = []
    for package in (websockets, framewire):
        try:
            uri = package.uri.parse_uri(text)
        except package.exceptions.InvalidURI as error:
            results.append(error.uri)
        else:
            names = ("secure", "host", "port", "path", "query", "username", "password", "resource_name", "user_info")
            results.append({name: getattr(uri, name) for name in names})
            assert uri == package.uri.WebSocketURI(*[results[-1][name] for name in names[:7]])
    assert results[0] == results[1]


PROGRAM = """
import asyncio, http, logging
import {package}
from {package} import connect, ConnectionClosed, Data, Headers, Origin, Subprotocol, WebSocketException
from {package}.asyncio.client import ClientConnection
from {package}.asyncio.server import ServerConnection, serve
from {package}.datastructures import HeadersLike
from {package}.exceptions import ConnectionClosedOK, InvalidHandshake, InvalidStatus
from {package}.frames import CloseCode
from {package}.headers import build_authorization_basic, parse_authorization_basic
from {package}.http11 import Request, Response
from {package}.protocol import State
from {package}.typing import LoggerLike
from {package}.uri import parse_uri

def process_request(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/health":
        return Response(200, "OK", Headers({{"Content-Type": "text/plain"}}), b"fine")
    if request.path == "/length":
        headers = Headers([("Content-Length", "4"), ("Content-Type", "text/plain")])
        return Response(status_code=http.HTTPStatus.OK, reason_phrase="OK", headers=headers, body=b"four")
    if "Authorization" in request.headers:
        connection.username = parse_authorization_basic(request.headers["Authorization"])[0]

def process_response(connection: ServerConnection, request: Request, response: Response) -> Response | None:
    headers = response.headers.copy()
    headers["X-Path"] = request.path
    return Response(response.status_code, response.reason_phrase, headers, response.body)

async def handler(connection: ServerConnection) -> None:
    assert connection.state is State.OPEN
    async for message in connection:
        await connection.send(f"{{connection.username}}: {{message}}")
    assert connection.close_code == CloseCode.GOING_AWAY

async def main() -> None:
    async with serve(
        handler, "localhost", 0, process_request=process_request, process_response=process_response,
        subprotocols=[Subprotocol("chat")], origins=[Origin("https://a"), None],
    ) as server:
        host = f"localhost:{{server.sockets[0].getsockname()[1]}}"
        print(parse_uri(f"ws://{{host}}/a?b").resource_name)
        for path in ("/health", "/length"):
            try:
                await connect(f"ws://{{host}}{{path}}")
            except InvalidStatus as error:
                response = error.response
                names = sorted(set(response.headers) - {{"connection", "content-length", "date", "server"}})
                print(response.status_code, bytes(response.body), names, isinstance(error, InvalidHandshake))
        headers: HeadersLike = {{"Authorization": build_authorization_basic("ada", "secret")}}
        async with connect(f"ws://{{host}}/a", additional_headers=headers, subprotocols=["chat"]) as connection:
            print(connection.response.headers["X-Path"], connection.subprotocol, connection.state.name)
            await connection.send("hello")
            print(await connection.recv())
            await connection.close(CloseCode.GOING_AWAY, "home")
            try:
                await connection.recv()
            except ConnectionClosed as end:
                print(type(end).__name__, end, isinstance(end, WebSocketException), end.sent.code.real)
    print({package}.State.CLOSED.value, {package}.Side.CLIENT.name, {package}.Opcode.PING.value)

asyncio.run(asyncio.wait_for(main(), 20))
"""


def test_program_of_many_modules_prints_the_same_under_both_imports():
    said = {}
    for package in ("websockets", "framewire"):
        program = PROGRAM.format(package=package)
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        said[package] = run.stdout
    assert said["framewire"] == said["websockets"]
