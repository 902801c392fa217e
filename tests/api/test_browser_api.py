"""The WebSocket API of Chromium, with all its attributes, against `framewire serve`."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from backends import LOADED

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Open a socket, apply the actions of `act` to it, and return all its events at the end.
DRIVE = """
async ([url, protocols, binaryType, act]) => {
    const seen = [], socket = new WebSocket(url, protocols);
    if (binaryType) socket.binaryType = binaryType;
    const actions = (0, eval)(`(${act})`);
    return await new Promise(resolve => {
        socket.onopen = () => { seen.push(["open", socket.readyState]); actions.open?.(socket, seen); };
        socket.onerror = () => seen.push(["error", socket.readyState]);
        socket.onmessage = async event => {
            const {data} = event;
            if (typeof data === "string") seen.push(["text", data]);
            else if (data instanceof Blob) seen.push(["blob", data.size]);
            else seen.push(["arraybuffer", data.byteLength]);
            actions.message?.(socket, event, seen);
        };
        socket.onclose = ({code, reason, wasClean}) => {
            seen.push(["close", socket.readyState, code, reason, wasClean]);
            resolve(seen);
        };
        actions.created?.(socket, seen);
    });
}
"""


class HandlerServer:
    """`framewire serve` with the example handlers, running in a new process."""

    def __init__(self, backend):
        command = [sys.executable, "-m", "framewire", "serve", "-p", "0", "-d", str(EXAMPLES), "-w", "pywebsocket"]
        environment = {**os.environ, "FRAMEWIRE_BACKEND": backend}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.page = re.search(r"http://\S+", self.process.stdout.readline())[0] + "websocket_api.html"
        self.uri = self.page.replace("http", "ws").replace("websocket_api.html", "")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.communicate(timeout=10)


@pytest.fixture(scope="module", params=list(LOADED))
def server(request):
    server = HandlerServer(request.param)
    yield server
    server.stop()


@pytest.fixture
def page(browser, server):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.page)
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def drive(page, server):
    def drive(resource, act, protocols=(), binary_type=None):
        return page.evaluate(DRIVE, [server.uri + resource, list(protocols), binary_type, act])

    return drive


def test_new_websocket_has_the_standard_attributes_and_constants(page, server):
    seen = page.evaluate(
        """url => {
            const socket = new WebSocket(url), names = ["CONNECTING", "OPEN", "CLOSING", "CLOSED"];
            const {readyState, bufferedAmount, extensions, protocol, binaryType, onopen} = socket;
            return [socket.url, readyState, bufferedAmount, extensions, protocol, binaryType, onopen,
                    names.map(name => WebSocket[name]), names.map(name => socket[name])];
        }""",
        server.uri + "echo",
    )
    assert seen == [server.uri + "echo", 0, 0, "", "", "blob", None, [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("resource", ["echo", "fragments"])
def test_browser_text_of_every_size_is_echoed(drive, resource):
    act = """{
        open: socket => { for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) socket.send("é".repeat(size)); },
        message: (socket, {data}, seen) => {
            seen[seen.length - 1][1] = data.length;
            if (data.length === 1 << 20) socket.close();
        },
    }"""
    sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20]
    assert drive(resource, act) == [["open", 1], *(["text", n] for n in sizes), ["close", 3, 1000, "", True]]


@pytest.mark.parametrize(("resource", "binary_type"), [("echo", "blob"), ("fragments", "arraybuffer")])
def test_browser_binary_up_to_16_mib_is_echoed(drive, resource, binary_type):
    act = """{
        open: socket => {
            socket.send(new Uint8Array(0));
            socket.send(new Blob([new Uint8Array(70000)]));
            socket.send(new Uint8Array((1 << 24)).buffer);
        },
        message: (socket, {data}) => { if ((data.size ?? data.byteLength) === 1 << 24) socket.close(1000, "enough"); },
    }"""
    seen = drive(resource, act, binary_type=binary_type)
    assert seen == [
        ["open", 1],
        *([binary_type, size] for size in (0, 70000, 1 << 24)),
        ["close", 3, 1000, "", True],
    ]


def test_browser_negotiates_a_subprotocol(drive, page, server):
    act = "{message: (socket, event, seen) => { seen.push([socket.protocol, socket.extensions]); socket.close(); }}"
    seen = drive("subprotocol", act, ["chat", "better-chat"])
    assert seen[1] == ["text", "chat better-chat"]
    assert seen[2][0] == "better-chat"
    # The client offers a subprotocol and the server selects none: the browser fails the connection.
    with_none = drive("echo", "{}", ["chat"])
    assert with_none == [["error", 3], ["close", 3, 1006, "", False]]


def test_browser_compresses_only_if_the_extension_is_accepted(drive):
    act = """{
        open: (socket, seen) => { seen.push([socket.extensions]); socket.send("x".repeat(100000)); },
        message: (socket, {data}, seen) => { seen.splice(-1, 1, data === "x".repeat(100000)); socket.close(); },
    }"""
    compressed, plain = drive("echo", act), drive("echo_noext", act)
    assert compressed[1][0].startswith("permessage-deflate")
    assert plain[1] == [""]
    assert compressed[2] is plain[2] is True


def test_browser_buffered_amount_counts_unsent_bytes(drive):
    act = """{
        open: (socket, seen) => {
            socket.send("€");
            seen.push(["after text", socket.bufferedAmount]);
            socket.send(new Uint8Array(5));
            seen.push(["after bytes", socket.bufferedAmount]);
        },
        message: (socket, {data}, seen) => {
            if (typeof data === "string") return;
            seen.push(["sent", socket.bufferedAmount]);
            socket.close();
            socket.send("late");
            seen.push(["dropped", socket.bufferedAmount]);
        },
    }"""
    seen = drive("echo", act)
    assert ["after text", 3] in seen
    assert ["after bytes", 8] in seen
    assert ["sent", 0] in seen
    assert ["dropped", 4] in seen


def test_browser_close_codes_pass_in_both_directions(drive):
    assert drive("close", "{open: socket => socket.close(3456, 'grüße')}")[-1] == ["close", 3, 3456, "grüße", True]
    assert drive("close", "{open: socket => socket.close()}")[-1] == ["close", 3, 1005, "", True]
    assert drive("close", "{open: socket => socket.send('4000 bye')}")[-1] == ["close", 3, 4000, "bye", True]
    assert drive("close", "{open: socket => socket.send('1001 ')}")[-1] == ["close", 3, 1001, "", True]


def test_browser_reports_1006_for_an_aborted_connection(drive):
    assert drive("abort", "{}")[-1] == ["close", 3, 1006, "", False]


@pytest.mark.parametrize("resource", ["origin_check", "missing", "abort_handshake"])
def test_browser_reports_an_error_and_1006_for_refused_handshakes(drive, resource):
    assert drive(resource, "{}") == [["error", 3], ["close", 3, 1006, "", False]]


def test_browser_receives_1011_for_a_handler_error(drive):
    assert drive("internal_error", "{}")[-1] == ["close", 3, 1011, "", True]


def test_browser_answers_pings_while_idle(drive):
    act = "{open: socket => setTimeout(() => socket.send('how many?'), 1500), message: socket => socket.close()}"
    assert drive("ping", act)[1] == ["text", "0 1 2 3 4 5 6 7 8 9"]


def test_browser_close_while_connecting_reports_1006(drive):
    seen = drive("echo", "{created: (socket, seen) => { socket.close(); seen.push(['state', socket.readyState]); }}")
    assert seen == [["state", 2], ["error", 3], ["close", 3, 1006, "", False]]


def test_browser_throws_standard_errors_for_misuse(page, server):
    names = page.evaluate(
        """url => {
            const attempts = [
                () => new WebSocket(url + "#fragment"), () => new WebSocket("ftp://localhost/"),
                () => new WebSocket(url, ["a", "a"]), () => new WebSocket(url, "not a token"),
                () => new WebSocket(url).send("x"), () => new WebSocket(url).close(1001),
                () => new WebSocket(url).close(1000, "x".repeat(124)),
            ];
            return attempts.map(attempt => { try { attempt(); } catch (error) { return error.name; } });
        }""",
        server.uri + "echo",
    )
    assert names == ["SyntaxError"] * 4 + ["InvalidStateError", "InvalidAccessError", "SyntaxError"]


def test_each_of_many_tabs_receives_its_own_message(browser, server):
    context = browser.new_context()
    pages = [context.new_page() for _ in range(8)]
    for page in pages:
        page.goto(server.page)
        page.evaluate(
            "url => { window.own = new WebSocket(url); own.onmessage = e => window.got = e.data; }", server.uri + "echo"
        )
    for number, page in enumerate(pages):
        page.wait_for_function("own.readyState === 1")
        page.evaluate("text => own.send(text)", f"tab {number}")
    for number, page in enumerate(pages):
        page.wait_for_function("window.got !== undefined")
        assert page.evaluate("got") == f"tab {number}"
    context.close()


@pytest.mark.parametrize("backend", list(LOADED))
def test_browser_reports_1006_when_the_server_is_killed(browser, backend):
    server = HandlerServer(backend)
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(server.page)
        page.evaluate(
            "url => { window.own = new WebSocket(url); own.onclose = e => window.end = [e.code, e.wasClean]; }",
            server.uri + "echo",
        )
        page.wait_for_function("own.readyState === 1")
        server.stop(signal.SIGKILL)
        page.wait_for_function("window.end !== undefined")
        assert page.evaluate("end") == [1006, False]
    finally:
        context.close()


def test_browser_event_listeners_run_in_order(page, server):
    """Listeners and handlers: their order, `once`, removal, and the attributes of an event."""
    seen = page.evaluate(
        """url => new Promise(resolve => {
            const socket = new WebSocket(url), seen = [], removed = () => seen.push("removed");
            socket.addEventListener("open", event => seen.push(["first", event.type, event.target === socket]));
            socket.addEventListener("open", removed);
            socket.onopen = () => { seen.push("handler"); socket.send("1"); socket.send("2"); socket.send("3"); };
            socket.removeEventListener("open", removed);
            socket.addEventListener("message", ({data}) => seen.push("once " + data), {once: true});
            socket.addEventListener("message", event => {
                seen.push([event instanceof MessageEvent, event.data, event.origin === new URL(url).origin]);
                if (event.data === "3") socket.close();
            });
            socket.addEventListener("close", event => {
                seen.push([event instanceof CloseEvent, event.code]);
                resolve(seen);
            });
        })""",
        server.uri + "echo",
    )
    messages = [[True, number, True] for number in "123"]
    assert seen == [["first", "open", True], "handler", "once 1", *messages, [True, 1000]]


def test_browser_replaces_lone_surrogates(drive):
    act = r"{open: socket => socket.send('a\ud800b'), message: socket => socket.close()}"
    assert drive("echo", act)[1] == ["text", "a\ufffdb"]


def test_browser_binary_type_applies_at_delivery(drive):
    act = """{
        open: (socket, seen) => {
            socket.binaryType = "neither";
            seen.push([socket.binaryType]);
            for (let i = 0; i < 2; i++) socket.send(new Uint8Array(9));
        },
        message: (socket, {data}, seen) => {
            if (data instanceof Blob) socket.binaryType = "arraybuffer";
            else socket.close();
        },
    }"""
    seen = drive("echo", act)
    assert seen[1:-1] == [["blob"], ["blob", 9], ["arraybuffer", 9]]


def test_browser_delivers_no_message_after_close(drive):
    act = """{
        open: socket => { for (let i = 0; i < 9; i++) socket.send("x".repeat(10000)); },
        message: (socket, event, seen) => {
            seen[seen.length - 1][1] = socket.readyState;
            if (seen.length === 4) socket.close();
        },
    }"""
    seen = drive("echo", act)
    assert seen == [["open", 1], *[["text", 1]] * 3, ["close", 3, 1000, "", True]]


def test_example_chat_page_exchanges_messages(browser):
    command = [sys.executable, str(EXAMPLES / "chat_server.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            context = browser.new_context()
            pages = [context.new_page() for _ in range(2)]
            for page in pages:
                page.goto(url)
                page.wait_for_function("document.getElementById('state').textContent === 'connected'")
                page.locator("#lines .note", has_text="Welcome").wait_for()
            for text, where, shown in (
                ("/name Ada", pages[1], "User1 is now Ada"),
                ("Grüße | <b>all</b>", pages[1], "Ada: Grüße | <b>all</b>"),
                ("/private 2 psst", pages[1], "Ada, in private: psst"),
                ("/ping 2", pages[0], "User2 is"),
            ):
                pages[0].fill("#text", text)
                pages[0].press("#text", "Enter")
                where.locator("#lines p", has_text=shown).wait_for()
            pages[0].close()
            pages[1].locator("#lines .note", has_text="Ada left").wait_for()
            context.close()
        finally:
            process.send_signal(signal.SIGTERM)


def test_websocket_api_page_logs_events_and_errors(page):
    def log():
        return page.inner_text("#log").splitlines()

    page.click("text=new WebSocket")
    page.wait_for_function("document.getElementById('log').textContent.includes('open')")
    assert page.inner_text("#is-readyState") == "1 (OPEN)"
    page.fill("#text", "Hello")
    page.click("#send >> text=send >> nth=0")
    page.select_option("#binaryType", "arraybuffer")
    page.fill("#size", "1000")
    page.click("#sendBytes")
    page.wait_for_function("document.getElementById('log').textContent.includes('ArrayBuffer')")
    page.fill("#code", "999")
    page.click("#close >> text=close")
    page.fill("#code", "4999")
    page.click("#close >> text=close")
    page.wait_for_function("document.getElementById('log').textContent.includes('clean')")
    lines = log()
    origin = page.evaluate("location.origin.replace('http', 'ws')")
    assert lines[:3] == ["open", f'message: text "Hello" from {origin}', f"message: ArrayBuffer of 1000 from {origin}"]
    assert lines[3].startswith("InvalidAccessError: ")
    assert lines[4] == 'close: 1000 "" clean'
