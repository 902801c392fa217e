"""`framewire.pywebsocket`: handlers, files and CGI programs."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import parsedate_to_datetime
from hmac import compare_digest
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from bounds import assert_linear
from ends import CERTIFICATE
from frames import REQUEST
from handler_ends import ADMIT, end_of, serving, upgraded
from sync_ends import until

import framewire
from framewire import SERVER, ConnectionClosed, ConnectionClosedError, ResponseError
from framewire.pywebsocket import modules, options, server
from framewire.pywebsocket.exceptions import ConnectionTerminatedException
from framewire.pywebsocket.frame_driver import FrameDriver
from framewire.pywebsocket.options import OptionError, Settings, read_settings
from framewire.pywebsocket.server import HandlerConnection, credential
from framewire.pywebsocket.stream import MessageStream
from framewire.session.settings import ConnectionSettings
from framewire.sync import connect
from framewire.sync.transport import Transport

EXAMPLES = Path(__file__).parents[2] / "examples" / "pywebsocket"


@pytest.fixture
def examples():
    with serving(EXAMPLES, websock_handlers_map_file=str(EXAMPLES / "handlers.map")) as where:
        yield f"ws://{where}"


# Example handlers


@pytest.mark.parametrize("resource", ["/echo", "/", "/echo?query=1", "/echo_noext"])
def test_echo_example_echoes_until_goodbye(examples, resource):
    with connect(examples + resource) as ws:
        for message in ("Hello", "", "Grüße 🎉", b"", b"\x00\xff", "x" * 70_000):
            ws.send(message)
            assert ws.recv(10) == message
        ws.send("Goodbye")
        assert ws.recv(10) == "Goodbye"
        assert end_of(ws) == (1000, "")


def test_close_example_closes_with_the_requested_code_and_reason(examples):
    with connect(examples + "/close") as ws:
        ws.send("4000 bye")
        assert end_of(ws) == (4000, "bye")


@pytest.mark.parametrize(("code", "echoed"), [(1000, 1000), (1001, 1001), (3333, 3333), (None, 1005)])
def test_client_close_is_answered_with_the_code_chosen_by_handler(examples, code, echoed):
    with connect(examples + "/close") as ws:
        ws.close(code)
        assert ws.close_code == echoed


def test_client_close_without_passive_handler_is_answered_with_1000(examples):
    with connect(examples + "/echo") as ws:
        ws.close(4321, "mine")
        assert (ws.close_code, ws.close_reason) == (1000, "")


def test_abort_example_ends_with_1006(examples):
    with connect(examples + "/abort") as ws:
        assert end_of(ws) == (1006, "")


def test_abort_in_the_handshake_sends_no_response(examples):
    with pytest.raises((ResponseError, ConnectionError)) as caught:
        connect(examples + "/abort_handshake")
    assert getattr(caught.value, "response", None) is None


def test_origin_check_example_rejects_other_origins_with_403(examples):
    with connect(examples + "/origin_check", origin="http://example.com") as ws:
        assert end_of(ws) == (1000, "")
    for origin in ("http://example.org", None):
        with pytest.raises(ResponseError) as caught:
            connect(examples + "/origin_check", origin=origin)
        assert caught.value.response.status == 403


def test_hsts_example_adds_a_response_header(examples):
    with connect(examples + "/hsts") as ws:
        assert ws.response.headers["Strict-Transport-Security"] == "max-age=86400"
        assert ws.recv(10) == "Hello"


def test_internal_error_example_closes_with_1011(examples):
    with connect(examples + "/internal_error") as ws:
        assert end_of(ws) == (1011, "")


def test_cookie_example_sets_and_returns_cookies(examples):
    for query, count in (("set", 1), ("set_httponly", 1), ("clear", 2), ("other", 0)):
        with connect(f"{examples}/cookie?{query}", additional_headers=[("Cookie", "a=b")]) as ws:
            assert len(ws.response.headers.get_all("Set-Cookie")) == count
            assert ws.recv(10) == "a=b"


def test_bench_example_sends_the_requested_messages(examples):
    with connect(examples + "/bench") as ws:
        ws.send("0.01 3 tick tock")
        assert list(ws) == ["tick tock"] * 3


def test_benchmark_helper_example_sends_and_receives_data(examples):
    with connect(examples + "/benchmark_helper", max_size=None) as ws:
        ws.send("receive 1000000")
        assert ws.recv(10) == b"a" * 1_000_000
        ws.send("send 1")
        ws.send(bytes(300_000))
        assert ws.recv(10) == "300000"


# Request object


def test_request_attributes_describe_the_handshake(handle):
    uri = handle(
        "r = request\n"
        "for value in (r.method, r.uri, r.unparsed_uri, r.ws_resource, r.protocol, r.ws_origin, r.ws_version,\n"
        "              r.ws_protocol, r.ws_requested_protocols, r.ws_extensions, r.ws_deflate, r.is_https(),\n"
        "              r.headers_in['x-own'], r.client_terminated, r.server_terminated, r.connection.remote_addr[0],\n"
        "              r.connection.local_addr[0], r.ws_close_code, r.extra_headers):\n"
        "    r.ws_stream.send_message(str(value))\n"
    )
    with connect(uri + "?q", compression=None, origin="http://o", additional_headers=[("X-Own", "yes")]) as ws:
        assert list(ws) == [
            "GET", "/h?q", "/h?q", "/h?q", "HTTP/1.1", "http://o", "13", "None", "None", "None", "False", "False",
            "yes", "False", "False", "127.0.0.1", "127.0.0.1", "None", "[]",
        ]  # fmt: skip


def test_request_holds_client_close_code_and_reason(handle, printed):
    uri = handle(
        "assert request.ws_stream.receive_message() is None\n"
        "assert request.client_terminated and request.server_terminated\n"
        "assert request.ws_stream.get_last_received_opcode() == common.OPCODE_CLOSE\n"
        "print(request.ws_close_code, request.ws_close_reason, flush=True)\n"
        "for call in (request.ws_stream.receive_message, lambda: request.ws_stream.send_message('x')):\n"
        "    try:\n"
        "        call()\n"
        "    except msgutil.BadOperationException:\n"
        "        print('refused', flush=True)\n"
    )
    with connect(uri) as ws:
        ws.close(3001, "why not")
    assert printed(3) == ["3001 why not", "refused", "refused"]


CHOOSE = """
def web_socket_do_extra_handshake(request):
    request.ws_protocol = {}
def web_socket_transfer_data(request):
    request.ws_stream.send_message(str(request.ws_requested_protocols))
"""


@pytest.mark.parametrize(
    ("choice", "offered", "status"),
    [
        ("'two'", ["one", "two"], 101),
        ("None", ["one"], 400),
        ("'other'", ["one"], 400),
        ("'not a token'", ["one"], 400),
        ("'one'", [], 400),
        ("None", [], 101),
    ],
)
def test_handler_must_choose_an_offered_subprotocol(handle, choice, offered, status):
    uri = handle(CHOOSE.format(choice))
    if status == 101:
        with connect(uri, subprotocols=offered) as ws:
            assert ws.subprotocol == (offered[1] if offered else None)
            assert ws.recv(10) == str(offered or None)
    else:
        with pytest.raises(ResponseError) as caught:
            connect(uri, subprotocols=offered)
        assert caught.value.response.status == status


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        ("handshake.HandshakeException('no', 404)", 404),
        ("handshake.HandshakeException('no')", 400),
        ("handshake.HandshakeException('no', 101)", 500),
        ("handshake.HandshakeException('no', 600)", 500),
        ("handshake.HandshakeException('no', 'text')", 500),
        ("KeyError('no')", 403),
    ],
)
def test_handshake_exception_becomes_http_status(handle, raised, status):
    uri = handle(
        "from mod_pywebsocket import handshake\n"
        f"def web_socket_do_extra_handshake(request): raise {raised}\n"
        "def web_socket_transfer_data(request): pass\n"
    )
    with pytest.raises(ResponseError) as caught:
        connect(uri)
    assert caught.value.response.status == status


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("msgutil.BadOperationException", 1011),
        ("msgutil.InvalidFrameException", 1002),
        ("msgutil.UnsupportedFrameException", 1003),
        ("stream.InvalidUTF8Exception", 1007),
        ("msgutil.ConnectionTerminatedException", 1006),
        ("handshake.AbortedByUserException", 1006),
        ("KeyError", 1006),
    ],
)
def test_handler_exception_becomes_close_code(handle, raised, code):
    uri = handle(f"from mod_pywebsocket import common, handshake, msgutil, stream\nraise {raised}('on purpose')")
    with connect(uri) as ws:
        assert end_of(ws)[0] == code


def test_handshake_handler_may_read_and_write_raw_bytes(handle):
    uri = handle(
        "from mod_pywebsocket import handshake\n"
        "def web_socket_do_extra_handshake(request):\n"
        "    if request.connection.read(4) != b'more': raise KeyError\n"
        "    request.connection.write(b'HTTP/1.1 299 Mine\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
        "    raise handshake.AbortedByUserException('done')\n"
        "def web_socket_transfer_data(request): pass\n"
    )
    with socket.create_connection(uri[5:-2].split(":"), 10) as plain:
        plain.sendall(REQUEST.replace(b"/path", b"/h") + b"mo")
        time.sleep(0.05)  # the server reads the two parts apart
        plain.sendall(b"re")
        assert plain.recv(100).startswith(b"HTTP/1.1 299 Mine")


def test_raw_bytes_are_read_in_linear_time_however_they_are_cut():
    class Bytes:
        def recv(self, size):
            return b"x"

    class Reading(HandlerConnection):
        def __init__(self):
            self._ahead, self._driver = b"", SimpleNamespace(transport=Bytes())

    assert_linear(lambda size: Reading().read_raw(size), 100_000)


def test_frames_after_bytes_read_by_the_handshake_are_delivered(handle):
    uri = handle(
        "def web_socket_do_extra_handshake(request):\n"
        "    if request.connection.read(4) != b'more': raise KeyError\n"
        "def web_socket_transfer_data(request): request.ws_stream.send_message(request.ws_stream.receive_message())\n"
    )
    with socket.create_connection(uri[5:-2].split(":"), 10) as plain:
        client = framewire.Stream(framewire.CLIENT)
        plain.sendall(REQUEST.replace(b"/path", b"/h") + b"more" + client.send("behind"))
        answer = b""
        while not answer.endswith(b"\x81\x06behind\x88\x02\x03\xe8"):
            more = plain.recv(4096)
            assert more
            answer += more


def test_handler_may_write_raw_bytes_after_the_handshake(handle):
    with connect(handle("request.connection.write(b'\\x81\\x02hi')")) as ws:
        assert ws.recv(10) == "hi"


EXTENSIONS = """
def web_socket_do_extra_handshake(request):
    assert [each.name() for each in request.ws_requested_extensions] == ["permessage-deflate"]
    request.ws_extension_processors = {}
def web_socket_transfer_data(request):
    agreed = [each.name() for each in request.ws_extensions or []]
    request.ws_stream.send_message(str(agreed) + "x" * 1000)
"""


@pytest.mark.parametrize(("chosen", "agreed"), [("request.ws_extension_processors", True), ("[]", False)])
def test_handshake_handler_chooses_the_extensions(handle, chosen, agreed):
    with connect(handle(EXTENSIONS.format(chosen))) as ws:
        assert ("Sec-WebSocket-Extensions" in ws.response.headers) is agreed
        assert ws.recv(10) == str(["permessage-deflate"] * agreed) + "x" * 1000


# Stream


ECHO = """
while True:
    message = request.ws_stream.receive_message()
    if message is None:
        break
    request.ws_stream.send_message(message, binary=isinstance(message, bytes))
"""


def test_ping_between_fragments_is_answered(handle):
    with upgraded(handle(ECHO)) as raw:
        raw.write(raw.stream.send("one ", last=False), raw.stream.ping(b"?"), raw.stream.send("message"))
        assert raw.read_event() == framewire.Pong(b"?")
        assert raw.read_event() == "one message"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("8380 00000000", 1002),  # a reserved opcode
        ("c180 00000000", 1002),  # a reserved bit
        ("8181 00000000 ff", 1007),
        ("8882 00000000 03ee", 1002),  # 1006 may not be sent
        ("8883 00000000 03e8 ff", 1007),
        ("82fe 0001 00000000 00", 1002),  # non-minimal length
        ("82ff 0000000001000001 00000000", 1009),
    ],
)
def test_protocol_violation_is_closed_with_rfc_6455_code(handle, frame, code):
    with upgraded(handle(ECHO)) as raw:
        raw.write(bytes.fromhex(frame))
        assert raw.read_event() == framewire.Close(code, "")


def test_client_disconnect_raises_connection_terminated_in_handler(handle, printed):
    uri = handle(
        "try:\n"
        "    request.ws_stream.receive_message()\n"
        "except msgutil.ConnectionTerminatedException:\n"
        "    print('terminated', flush=True)\n"
        "    raise\n"
    )
    with upgraded(uri):
        pass
    assert printed(1) == ["terminated"]


def test_send_message_with_end_false_writes_fragments(handle):
    uri = handle(
        "send = request.ws_stream.send_message\n"
        "send('one ', end=False)\n"
        "try:\n"
        "    send(b'two', end=True, binary=True)\n"
        "except msgutil.BadOperationException:\n"
        "    send('two', end=False)\n"
        "    send('')\n"
    )
    with upgraded(uri, fragments=True) as raw:
        assert [raw.read_event() for _ in range(3)] == [
            framewire.Fragment("one ", True, False),
            framewire.Fragment("two", False, False),
            framewire.Fragment("", False, True),
        ]
        assert raw.read_event() == framewire.Close(1000, "")


@pytest.mark.parametrize(
    "misuse",
    [
        "request.ws_stream.send_message('text', binary=True)",
        "request.ws_stream.send_message(b'\\xff')",
        "request.ws_stream.send_ping(bytes(126))",
        "request.ws_stream.close_connection(999)",
        "request.ws_stream.close_connection(1005)",
        "request.ws_stream.close_connection(1006)",
        "request.ws_stream.close_connection(1015)",
        "request.ws_stream.close_connection(5000)",
        "request.ws_stream.close_connection(None, 'reason')",
        "request.ws_stream.close_connection(1000, 'x' * 124)",
        "request.ws_stream.close_connection(1001); request.ws_stream.send_message('late')",
    ],
)
def test_misuse_raises_bad_operation_exception(handle, misuse):
    uri = handle(f"try:\n    {misuse}\nexcept msgutil.BadOperationException:\n    raise KeyError('seen')")
    with connect(uri) as ws:
        assert end_of(ws)[0] == (1001 if "late" in misuse else 1006)


def test_close_connection_without_code_sends_an_empty_close(handle):
    with connect(handle("request.ws_stream.close_connection(None)")) as ws:
        assert end_of(ws) == (1005, "")


def test_close_connection_waits_for_the_close_reply(handle, printed):
    uri = handle("request.ws_stream.close_connection(4000)\nprint(request.ws_close_code, flush=True)")
    with upgraded(uri, auto_close=False) as raw:
        assert raw.read_event() == framewire.Close(4000, "")
        assert printed(0) == []
        raw.write(raw.stream.close(4001))
        assert raw.socket.recv(10) == b""
    assert printed(1) == ["4001"]


@pytest.mark.parametrize(("code", "wait"), [(4000, False), (1001, True), (1002, True)])
def test_close_connection_does_not_wait_if_told_or_for_1001_and_1002(handle, printed, code, wait):
    uri = handle(f"request.ws_stream.close_connection({code}, wait_response={wait})\nprint('returned', flush=True)")
    with upgraded(uri, auto_close=False) as raw:
        assert raw.read_event() == framewire.Close(code, "")
        assert printed(1) == ["returned"]


def test_data_instead_of_the_close_reply_terminates_the_connection(handle, printed):
    uri = handle(
        "try:\n"
        "    request.ws_stream.close_connection(4000)\n"
        "except msgutil.ConnectionTerminatedException:\n"
        "    print('terminated', flush=True)\n"
        "    raise\n"
    )
    with upgraded(uri, auto_close=False) as raw:
        assert raw.read_event() == framewire.Close(4000, "")
        raw.write(b"\x81\x80\x00\x00\x00\x00")
        assert raw.socket.recv(100) == b""
    assert printed(1) == ["terminated"]


def test_ping_and_pong_handlers_receive_payloads(handle):
    uri = handle(
        "seen = []\n"
        "request.on_ping_handler = lambda request, payload: seen.append(payload)\n"
        "request.on_pong_handler = lambda request, payload: seen.append(payload)\n"
        "for payload in ('1', '1', '2'):\n"
        "    request.ws_stream.send_ping(payload)\n"
        "request.ws_stream.receive_message()\n"
        "request.ws_stream.send_message(repr(seen))\n"
    )
    with upgraded(uri, auto_pong=False) as raw:
        assert [raw.read_event().payload for _ in range(3)] == [b"1", b"1", b"2"]
        raw.write(raw.stream.pong(b"2"), raw.stream.pong(b"unasked"), raw.stream.ping(b"ping"), raw.stream.send("go"))
        assert raw.read_event() == "[b'2', b'unasked', b'ping']"


def test_exception_of_a_ping_handler_during_the_close_loses_no_close_frame(handle, caplog):
    uri = handle(
        "request.on_ping_handler = request.on_pong_handler = lambda request, payload: 1 / 0\n"
        "request.ws_stream.receive_message()\n"
        "request.ws_stream.close_connection(wait_response=False)\n"
    )
    with upgraded(uri) as raw:
        start = time.monotonic()
        key = b"\0\0\0\0"
        raw.write(b"\x81\x80" + key, b"\x89\x81" + key + b"p", b"\x8a\x80" + key, b"\x88\x82" + key + b"\x03\xe8")
        assert raw.read_event().code == 1000
        assert raw.socket.recv(100) == b""
        assert time.monotonic() - start < 9  # the close timeout is 10 seconds
    assert caplog.text.count("the handler of pings and pongs of /h failed") == 2


def test_exception_of_a_ping_handler_is_raised_to_the_handler_that_receives(handle, printed):
    uri = handle(
        "request.on_ping_handler = lambda request, payload: 1 / 0\n"
        "try:\n"
        "    request.ws_stream.receive_message()\n"
        "except ZeroDivisionError:\n"
        "    print('raised', flush=True)\n"
        "print(request.ws_stream.receive_message(), flush=True)\n"
    )
    with connect(uri) as ws:
        ws.ping()
        ws.send("after the ping")
        assert printed(2) == ["raised", "after the ping"]


def test_handler_of_pings_may_wait_for_a_thread_that_sends(handle):
    uri = handle(
        "sender = msgutil.MessageSender(request)\n"
        "request.on_ping_handler = lambda request, payload: sender.send(payload)\n"
        "request.ws_stream.receive_message()\n"
    )
    with connect(uri) as ws:
        ws.ping(b"p")
        assert ws.recv(10) == b"p"


def test_handler_of_pings_may_use_the_thread_that_sends_if_nothing_is_received(handle):
    uri = handle(
        "import time\n"
        "sender = msgutil.MessageSender(request)\n"
        "answered = []\n"
        "request.on_ping_handler = lambda request, payload: answered.append(sender.send(payload))\n"
        "while not answered:\n"
        "    sender.send('tick')\n"
        "    time.sleep(0.01)\n"
    )
    with connect(uri) as ws:
        ws.ping(b"p")
        assert b"p" in iter(lambda: ws.recv(10), None)


@pytest.mark.parametrize("closing", [False, True])
def test_sender_at_the_end_waits_for_handlers_of_pings_up_to_close_timeout(closing):
    observing, done = threading.Event(), threading.Event()

    def observe(events):
        observing.set()
        done.wait(10)

    ours, peer = socket.socketpair()
    driver = FrameDriver(Transport(ours), SERVER, ConnectionSettings(close_timeout=0.1), observe=observe)
    driver.open(b"", [], lambda session: None)
    driver.release()
    peer.sendall(b"\x89\x80\0\0\0\0")
    assert observing.wait(10)
    if closing:
        driver.start_closing(1000, "")
    else:
        peer.close()
        with driver.lock:
            driver.session.send_raw(b"x")
    with pytest.raises(ConnectionClosed):
        if closing:
            with driver.lock:
                driver.sendable()
        else:
            driver.flush(wait=True)
    assert not driver.ended
    done.set()
    assert driver.wait_ended(10)
    peer.close()


def test_ping_after_more_messages_than_the_queue_holds_is_answered(handle):
    uri = handle(
        "while request.ws_stream.receive_message() != 'last': pass\n"
        "request.ws_stream.send_message('received')\n"
        "request.ws_stream.receive_message()\n"
    )
    with upgraded(uri) as raw:
        raw.write(
            *[raw.stream.send("in one read") for _ in range(3000)], raw.stream.ping(b"p"), raw.stream.send("last")
        )
        assert {raw.read_event(), raw.read_event()} == {framewire.Pong(b"p"), "received"}


def test_client_close_ends_a_handler_that_only_sends(handle):
    uri = handle("import time\nwhile True:\n    request.ws_stream.send_message('tick')\n    time.sleep(0.01)")
    with connect(uri) as ws:
        assert ws.recv(10) == "tick"
        ws.close(3000)
        assert ws.close_code == 1000


# msgutil.


def test_msgutil_functions_send_receive_and_close(handle):
    uri = handle(
        "msgutil.send_message(request, msgutil.receive_message(request) + '!')\n"
        "msgutil.send_message(request, b'12', end=False, binary=True)\n"
        "msgutil.send_message(request, b'34', binary=True)\n"
        "msgutil.send_ping(request, 'p')\n"
        "msgutil.close_connection(request)\n"
    )
    with connect(uri) as ws:
        ws.send("hello")
        assert list(ws) == ["hello!", b"1234"]


def test_message_receiver_and_sender_echo_messages(handle):
    uri = handle(
        "receiver = msgutil.MessageReceiver(request)\n"
        "sender = msgutil.MessageSender(request)\n"
        "assert receiver.receive_nowait() is None\n"
        "sender.send('ready')\n"
        "while (message := receiver.receive()) is not None:\n"
        "    sender.send_nowait(message)\n"
        "receiver.join()\n"
    )
    with connect(uri) as ws:
        assert ws.recv(10) == "ready"
        for message in ("one", b"two", "three"):
            ws.send(message)
            assert ws.recv(10) == message
        ws.close()
        assert ws.close_code == 1000


def test_message_receiver_calls_callback_for_each_message(handle):
    uri = handle(
        "import threading\n"
        "done = threading.Event()\n"
        "def onmessage(message):\n"
        "    done.set() if message is None else request.ws_stream.send_message(message.upper())\n"
        "receiver = msgutil.MessageReceiver(request, onmessage)\n"
        "done.wait()\n"
        "receiver.stop()\n"
        "receiver.join()\n"
    )
    with connect(uri) as ws:
        ws.send("called back")
        assert ws.recv(10) == "CALLED BACK"


@pytest.mark.parametrize(("violation", "code"), [(b"\x81\x81\0\0\0\0\xff", 1007), (b"\x83\x80\0\0\0\0", 1002)])
def test_message_receiver_ends_after_a_violation_with_its_code(handle, printed, violation, code):
    uri = handle(
        "receiver = msgutil.MessageReceiver(request)\n"
        "print(list(iter(receiver.receive, None)), flush=True)\n"
        "receiver.join()\n"
    )
    with upgraded(uri) as raw:
        raw.write(b"\x81\x81\0\0\0\0a" + violation)
        assert raw.read_event().code == code
    assert printed(1) == ["['a']"]


def test_message_receiver_ends_if_the_passive_closing_handshake_fails(handle, caplog):
    uri = handle(
        "import logging\nfrom mod_pywebsocket import msgutil\n"
        + ADMIT
        + "def web_socket_passive_closing_handshake(request): 1 / 0\n"
        "def web_socket_transfer_data(request):\n"
        "    receiver = msgutil.MessageReceiver(request)\n"
        "    logging.warning('received %s', receiver.receive())\n"
        "    receiver.join()\n"
    )
    with connect(uri) as ws:
        ws.close()
        until(lambda: "received None" in caplog.text)
    assert "the end of /h could not be received" in caplog.text


def test_message_sender_sends_messages_after_one_that_cannot_be_sent(handle, caplog):
    uri = handle(
        "sender = msgutil.MessageSender(request)\n"
        "for message in ('one', 5, bytearray(b'two')):\n"
        "    sender.send(message)\n"
    )
    with connect(uri) as ws:
        assert [ws.recv(10), ws.recv(10)] == ["one", b"two"]
    assert "a message to /h could not be sent" in caplog.text


def test_message_sender_ends_with_the_connection(handle, printed):
    uri = handle(
        "import threading\n"
        "sender = msgutil.MessageSender(request)\n"
        "sender.send('sent')\n"
        "def send_late():\n"
        "    sender.join()\n"
        "    sender.send('dropped')\n"
        "    print('returned', flush=True)\n"
        "threading.Thread(target=send_late).start()\n"
        "msgutil.receive_message(request)\n"
    )
    with connect(uri) as ws:
        assert ws.recv(10) == "sent"
    assert printed(1) == ["returned"]


def test_message_sender_made_after_the_end_ends(handle, printed):
    uri = handle(
        "import threading\n"
        "def send_late():\n"
        "    handler.join()\n"
        "    sender = msgutil.MessageSender(request)\n"
        "    sender.send('dropped')\n"
        "    sender.join()\n"
        "    print('returned', flush=True)\n"
        "handler = threading.current_thread()\n"
        "threading.Thread(target=send_late).start()\n"
    )
    with connect(uri):
        pass
    assert printed(1) == ["returned"]


@pytest.mark.parametrize("ending", ["receiver.stop()", ""])
def test_message_receiver_returns_none_at_each_call_after_the_last_message(handle, printed, ending):
    uri = handle(
        "receiver = msgutil.MessageReceiver(request)\n"
        "assert receiver.receive() == 'one'\n"
        f"{ending}\n"
        "msgutil.send_message(request, 'received')\n"
        "assert list(iter(receiver.receive, None)) in ([], ['two'])\n"
        "print(receiver.receive_nowait(), receiver.receive(), receiver.receive(), flush=True)\n"
    )
    with connect(uri) as ws:
        ws.send("one")
        assert ws.recv(10) == "received"
        ws.send("two")
    assert printed(1) == ["None None None"]


def test_message_before_a_close_that_a_sender_has_noticed_is_received(handle, printed):
    uri = handle(
        "try:\n"
        "    while True:\n"
        "        request.ws_stream.send_message('x' * 10_000)\n"
        "except msgutil.ConnectionTerminatedException:\n"
        "    pass\n"
        "received = request.ws_stream.receive_message(), request.ws_stream.receive_message()\n"
        "try:\n"
        "    request.ws_stream.receive_message()\n"
        "except msgutil.BadOperationException:\n"
        "    print(received, flush=True)\n"
    )
    with upgraded(uri) as raw:
        raw.write(b"\x81\x81\0\0\0\0a\x88\x80\0\0\0\0")
        assert raw.read_event() == "x" * 10_000
    assert printed(1) == ["('a', None)"]


def test_passive_closing_handshake_is_called_once_if_another_thread_sends(handle, printed):
    uri = handle(
        "import threading\nfrom mod_pywebsocket import msgutil\n"
        + ADMIT
        + "calls, answering, refused = [], threading.Event(), threading.Event()\n"
        "def web_socket_passive_closing_handshake(request):\n"
        "    calls.append(request)\n"
        "    answering.set()\n"
        "    refused.wait(10)\n"
        "    return 4000, 'bye'\n"
        "def send_late(request):\n"
        "    answering.wait(10)\n"
        "    try: msgutil.send_message(request, 'late')\n"
        "    except msgutil.ConnectionTerminatedException: refused.set()\n"
        "def web_socket_transfer_data(request):\n"
        "    threading.Thread(target=send_late, args=(request,)).start()\n"
        "    msgutil.receive_message(request)\n"
        "    print(len(calls), flush=True)\n"
    )
    with connect(uri) as ws:
        ws.close()
        assert (ws.close_code, ws.close_reason) == (4000, "bye")
    assert printed(1) == ["1"]


def test_receive_message_returns_after_another_thread_has_answered_the_close():
    answering, go_on, closes, received = threading.Event(), threading.Event(), [], []

    def end(*arguments, **options):
        raise framewire.ConnectionClosedOK(None, None)

    def end_later(timeout):
        assert answering.wait(10)
        end()

    def choose_answer():
        answering.set()
        assert go_on.wait(10)
        return 4000, "bye"

    link = SimpleNamespace(
        client_close=framewire.Close(1000, ""), failure=None, receive=end_later, send_piece=end,
        choose_answer=choose_answer, start_closing=lambda *close: closes.append(close),
    )  # fmt: skip
    request = SimpleNamespace(client_terminated=False, server_terminated=False)
    stream = MessageStream(request, link)

    def send():
        with pytest.raises(ConnectionTerminatedException):
            stream.send_message("late")

    threads = [
        threading.Thread(target=send),
        threading.Thread(target=lambda: received.append((stream.receive_message(), list(closes)))),
    ]
    for thread in reversed(threads):
        thread.start()
    assert answering.wait(10)
    threads[1].join(0.1)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert received == [(None, [(4000, "bye")])]


# Directories.


@pytest.fixture
def tree(tmp_path):
    """Create a directory of valid and invalid handlers, and a handler outside of it.

    Return its path.
    """
    good = ADMIT + "def web_socket_transfer_data(request): request.ws_stream.send_message(__name__)\n"
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a_wsh.py").write_text(good)
    (tmp_path / "in" / "sub" / "b_wsh.py").write_text(good)
    (tmp_path / "in" / "syntax_wsh.py").write_text("def (")
    (tmp_path / "in" / "half_wsh.py").write_text(ADMIT)
    (tmp_path / "in" / "not_a_handler.py").write_text("raise SystemExit")
    (tmp_path / "out_wsh.py").write_text(good)
    (tmp_path / "in" / "link_wsh.py").symlink_to(tmp_path / "out_wsh.py")
    return tmp_path / "in"


def load(directory, **settings):
    with modules.installed():
        return options.load(Settings(websock_handlers=str(directory), **settings))


def test_only_valid_handlers_inside_the_root_are_loaded(tree, caplog):
    assert load(tree).resources == ["/a", "/sub/b"]
    assert "half_wsh.py is left out: web_socket_transfer_data is not a function" in caplog.text
    assert "syntax_wsh.py is left out: it cannot be loaded: SyntaxError" in caplog.text
    assert load(tree, allow_handlers_outside_root_dir=True).resources == ["/a", "/link", "/sub/b"]
    assert load(tree, scan_dir=str(tree / "sub")).resources == ["/sub/b"]
    with pytest.raises(OptionError, match="is not in"):
        load(tree / "sub", scan_dir=str(tree))


def test_alias_file_maps_resources_and_skips_invalid_lines(tree, caplog):
    aliases = tree / "aliases"
    aliases.write_text("# comment\n\n/x /a\n/y /missing\none two three\n")
    handlers = load(tree, websock_handlers_map_file=str(aliases))
    assert handlers.resources == ["/a", "/sub/b", "/x"]
    assert handlers.find("/x?query") is handlers.find("/a")
    assert "line 4 is left out" in caplog.text
    assert "line 5 is left out" in caplog.text


def test_handler_encoding_setting_is_used_to_read_handlers(tmp_path):
    text = ADMIT + "def web_socket_transfer_data(request): request.ws_stream.send_message('é')\n"
    (tmp_path / "h_wsh.py").write_text(text, encoding="utf-16")
    with serving(tmp_path, handler_encoding="utf-16") as where, connect(f"ws://{where}/h") as ws:
        assert ws.recv(10) == "é"


def test_request_uri_with_fragment_is_rejected(examples):
    with socket.create_connection(examples[5:].split(":"), 10) as plain:
        plain.sendall(REQUEST.replace(b"/path", b"/echo#part"))
        assert plain.recv(100).startswith(b"HTTP/1.1 400 ")


def test_resource_without_handler_is_404(examples):
    with pytest.raises(ResponseError) as caught:
        connect(examples + "/missing")
    response = caught.value.response
    assert (response.status, response.headers["Server"]) == (404, framewire.http.server_policy.SERVER_HEADER)
    assert parsedate_to_datetime(response.headers["Date"])


def test_absolute_uri_must_match_validation_host_and_port(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(EXAMPLES, validation_host="good.example", validation_port=81) as where:
        for uri, status in ((b"http://good.example:81/echo", b"101"), (b"http://bad.example:81/echo", b"404")):
            with socket.create_connection(where.split(":"), 10) as plain:
                plain.sendall(REQUEST.replace(b"/path", uri))
                assert plain.recv(100).startswith(b"HTTP/1.1 " + status)


def test_validation_ignores_case_of_hosts_and_knows_default_ports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = b"ws://good.example/echo", b"http://GOOD.example:80/echo", b"WS://Good.Example/echo"
    with serving(EXAMPLES, validation_host="Good.Example", validation_port=80) as where:
        for uri, status in (*((uri, b"101") for uri in good), (b"wss://good.example/echo", b"404")):
            with socket.create_connection(where.split(":"), 10) as plain:
                plain.sendall(REQUEST.replace(b"/path", uri))
                assert plain.recv(100).startswith(b"HTTP/1.1 " + status), uri


@pytest.mark.parametrize("uri", ["ws://h:99999/echo", "ws://h:bad/echo", "ws://[::1/echo", "http://h:bad/"])
def test_invalid_absolute_uri_is_400(examples, caplog, uri):
    for request in (REQUEST, b"GET /path HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(examples[5:].split(":"), 10) as plain:
            plain.sendall(request.replace(b"/path", uri.encode()))
            assert plain.recv(100).startswith(b"HTTP/1.1 400 ")
    assert not caplog.records


def test_mod_pywebsocket_is_importable_only_while_installed():
    with modules.installed():
        first = import_module("mod_pywebsocket.handshake")
        assert import_module("pywebsocket3.common").STATUS_NORMAL_CLOSURE == 1000
        assert import_module("mod_pywebsocket.handshake.base").HandshakeException is first.HandshakeException
        assert import_module("mod_pywebsocket.common").is_control_opcode(9)
        with modules.installed():
            pass
        assert sys.modules["mod_pywebsocket.handshake"] is first
    with pytest.raises(ImportError):
        import_module("mod_pywebsocket")


# Files.


def get(where, path, method="GET", *lines):
    with socket.create_connection(where.split(":"), 10) as plain:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""])
        plain.sendall(head.encode())
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def test_only_files_below_the_document_root_are_served(tmp_path, monkeypatch):
    root = tmp_path / "www"
    (root / "dir").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "dir" / "a b.txt").write_text("text")
    (root / ".hidden").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "loop.txt").symlink_to(root / "loop.txt")
    monkeypatch.chdir(root)
    with serving(EXAMPLES) as where:
        assert get(where, "/")[::2] == (200, b"<p>home")
        assert "Content-Type: text/html" in get(where, "/index.html?x")[1]
        assert get(where, "/dir/a%20b.txt")[::2] == (200, b"text")
        assert b"a b.txt" in get(where, "/dir/")[2]
        status, head, _ = get(where, "/dir")
        assert (status, "Location: /dir/" in head) == (301, True)
        status, head, body = get(where, "/index.html", "HEAD")
        assert (status, "Content-Length: 7" in head, body) == (200, True, b"")
        assert get(where, "/index.html", "POST", "Content-Length: 0")[0] == 405
        assert get(where, "http://example.com/index.html?x")[::2] == (200, b"<p>home")
        assert get(where, "http://example.com")[::2] == (200, b"<p>home")
        for path in (
            "/../secret.txt", "/%2e%2e/secret.txt", "/link.txt", "/loop.txt", "/.hidden", "/dir/a%20b.txt/", "/no",
            "/%00", "http://example.com/../secret.txt", f"/{'a' * 300}",
        ):  # fmt: skip
            assert get(where, path)[::2] == (404, b"Not Found\n"), path


# Programs.

SHOW = """#!{python}
import os, sys
body = sys.stdin.buffer.read()
print("Content-Type: text/plain; charset=utf-8\\nX-Own: yes\\n")
for name in sys.argv[1:] or {names}:
    print(name, os.environ.get(name))
print(os.path.basename(os.getcwd()), body)
"""
NAMES = [
    "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "CONTENT_LENGTH", "GATEWAY_INTERFACE",
    "SERVER_PROTOCOL", "REMOTE_ADDR", "HTTP_HOST", "HTTP_X_ONE", "HTTP_AUTHORIZATION", "HTTP_PROXY",
]  # fmt: skip


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Serve a document root with CGI programs.

    Give a function that writes a program, and host:port.
    """
    monkeypatch.setenv("HTTP_PROXY", "the server's own")
    root = tmp_path / "www"
    (root / "cgi-bin" / "sub").mkdir(parents=True)
    monkeypatch.chdir(root)

    def write(name, source, mode=0o755):
        path = root / "cgi-bin" / name
        path.write_text(source)
        path.chmod(mode)

    write("show.py", SHOW.format(python=sys.executable, names=NAMES))
    with serving(EXAMPLES, cgi_paths="/none,/cgi-bin") as where:
        yield write, where


def test_cgi_program_receives_request_in_its_environment(programs):
    write, where = programs
    status, head, body = get(
        where, "/cgi-bin/show.py/a%20b/c?x=1&y", "GET", "X-One: 1", "X_ONE: 2", "Authorization: no"
    )
    assert (status, "X-Own: yes" in head) == (200, True)
    assert dict(line.split(" ", 1) for line in body.decode().splitlines()) == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/cgi-bin/show.py",
        "PATH_INFO": "/a b/c",
        "QUERY_STRING": "x=1&y",
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "x",
        "HTTP_X_ONE": "1",
        "HTTP_AUTHORIZATION": "None",
        "HTTP_PROXY": "None",
        "cgi-bin": "b''",
    }
    status, head, body = get(where, "/cgi-bin/show.py", "HEAD")
    assert (status, body) == (200, b"")
    write("sub/inner.py", SHOW.format(python=sys.executable, names=["SCRIPT_NAME", "PATH_INFO"]))
    lines = get(where, "/cgi-bin/sub/inner.py/")[2].splitlines()
    assert lines == [b"SCRIPT_NAME /cgi-bin/sub/inner.py", b"PATH_INFO /", b"sub b''"]


@pytest.mark.parametrize("path", ["a" * 300, "loop.py", "no.py"])
def test_cgi_program_that_cannot_be_found_is_404(programs, path):
    where = programs[1]
    loop = Path("cgi-bin", "loop.py")
    loop.symlink_to(loop.absolute())
    assert get(where, f"/cgi-bin/{path}")[::2] == (404, b"there is no such program\n")
    assert get(where, "http://example.com/cgi-bin/show.py?x")[0] == 200


@pytest.mark.parametrize("pause", [0, 0.05], ids=["one read", "two reads"])
def test_cgi_program_receives_request_body(programs, pause):
    where = programs[1]
    with socket.create_connection(where.split(":"), 10) as plain:
        plain.sendall(
            b"POST /cgi-bin/show.py HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nContent-Type: a/b\r\n\r\n12345"
        )
        time.sleep(pause)  # the server reads the two parts apart
        plain.sendall(b"67890")
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert {b"CONTENT_TYPE a/b", b"CONTENT_LENGTH 10", b"cgi-bin b'1234567890'"} <= set(answer.splitlines())
    assert get(where, "/cgi-bin/show.py", "POST", "Content-Length: 1048577")[0] == 413
    assert get(where, "/cgi-bin/show.py", "POST", "Transfer-Encoding: chunked")[0] == 411


def test_client_that_expects_100_is_asked_for_the_body_of_a_cgi_request(programs):
    head = b"POST /cgi-bin/show.py HTTP/1.%d\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(programs[1].split(":"), 10) as plain:
        plain.sendall(head % (1, 2))
        assert plain.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        plain.sendall(b"12")
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    assert b"cgi-bin b'12'" in answer.splitlines()
    # Refused at once; there is no body, or all of it has come; a client of HTTP/1.0 knows no 100.
    for version, length, body, status in (
        (1, 1 << 21, b"", b"413"),
        (1, 0, b"", b"200"),
        (1, 2, b"12", b"200"),
        (0, 2, b"12", b"200"),
    ):
        with socket.create_connection(programs[1].split(":"), 10) as plain:
            plain.sendall(head % (version, length) + body)
            assert plain.recv(65536).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("output", "status", "line"),
    [
        ("Status: 404 Nowhere\n\nbody", 404, "HTTP/1.1 404 Nowhere"),
        ("Location: /elsewhere\n\n", 302, "Location: /elsewhere"),
        ("Status: 204 None\r\nConnection: keep-alive\r\n\r\ndropped", 204, "Connection: close"),
        ("Content-Type: text/plain\nContent-Length: 99\n\nbody", 200, "Content-Length: 4"),
        ("Content-Type: text/plain\n", 502, ""),
        ("X-Other: text/plain\n\n", 502, ""),
        ("not a header\nContent-Type: text/plain\n\n", 502, ""),
        ("Status: 101\n\n", 502, ""),
        ("Status: many\n\n", 502, ""),
        ("", 502, ""),
    ],
)
def test_cgi_output_becomes_http_response(programs, output, status, line):
    write, where = programs
    write("say.py", f"#!{sys.executable}\nimport sys\nsys.stdout.write({output!r})\nsys.stderr.write('noted')\n")
    got, head, body = get(where, "/cgi-bin/say.py")
    assert (got, line in head, b"dropped" in body) == (status, True, False)
    assert ("Content-Length" in head) is (status != 204)


def test_invalid_cgi_program_gives_error_status(programs, tmp_path, monkeypatch):
    write, where = programs
    write("source.py", "secret", 0o644)
    write("broken", "#!/no/such/interpreter\n")
    write("slow.py", f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    (tmp_path / "outside").write_text("#!/bin/sh\n")
    (tmp_path / "outside").chmod(0o755)
    Path("cgi-bin", "link").symlink_to(tmp_path / "outside")
    Path("plain.txt").write_text("plain")
    monkeypatch.setattr("framewire.pywebsocket.programs.TIMEOUT", 0.2)
    for path, status in {
        "/cgi-bin/source.py": 403, "/cgi-bin/broken": 502, "/cgi-bin/slow.py": 504, "/cgi-bin/link": 404,
        "/cgi-bin/": 404, "/cgi-bin/missing": 404, "/cgi-bin/sub": 404, "/cgi-bin/../plain.txt": 404,
        "/plain.txt": 200, "/cgi-bing": 404,
    }.items():  # fmt: skip
        assert get(where, path)[0] == status, path


# Flags.


def test_basic_authentication_rejects_wrong_credentials_with_401(examples, monkeypatch):
    compared = []
    monkeypatch.setattr(server, "compare_digest", lambda *pair: compared.append(pair) or compare_digest(*pair))
    with serving(EXAMPLES, basic_auth=True, basic_auth_credential="ada:löve") as where:
        status, head, _ = get(where, "/")
        assert (status, "WWW-Authenticate: Basic" in head) == (401, True)
        for user, accepted in (("ada:l%C3%B6ve", True), ("ada:wrong", False)):
            uri = f"ws://{user}@{where}/echo"
            if accepted:
                with connect(uri) as ws:
                    ws.send("in")
                    assert ws.recv(10) == "in"
            else:
                with pytest.raises(ResponseError) as caught:
                    connect(uri)
                assert caught.value.response.status == 401
    assert len(compared) == 3


def test_tls_client_certificates_may_be_required_or_optional(handle):
    path = str(CERTIFICATE)
    files = {"tls": True, "certificate": path, "private_key": path}
    with serving(EXAMPLES, **files) as where:
        context = ssl.create_default_context(cafile=path)
        with connect(f"wss://{where}/echo", ssl=context, server_hostname="localhost") as ws:
            ws.send("safe")
            assert ws.recv(10) == "safe"
    with serving(EXAMPLES, **files, tls_client_auth=True, tls_client_ca=path) as where:
        with pytest.raises((ssl.SSLError, ResponseError, ConnectionError)):
            connect(f"wss://{where}/echo", ssl=context, server_hostname="localhost")
    with serving(EXAMPLES, **files, tls_client_auth=True, tls_client_cert_optional=True, tls_client_ca=path) as where:
        with connect(f"wss://{where}/echo", ssl=context, server_hostname="localhost") as ws:
            ws.send("unknown")
            assert ws.recv(10) == "unknown"
    with serving(EXAMPLES, **files, tls_client_auth=True, tls_client_ca=path) as where:
        context.load_cert_chain(path)
        with connect(f"wss://{where}/echo", ssl=context, server_hostname="localhost") as ws:
            ws.send("known")
            assert ws.recv(10) == "known"


@pytest.mark.parametrize(
    "given",
    [
        {"tls": True},
        {"tls_client_auth": True},
        {"tls_client_cert_optional": True},
        {"tls": True, "private_key": "x", "certificate": "y", "tls_client_cert_optional": True},
    ],
)
def test_incompatible_flags_raise_option_error(given):
    with pytest.raises(OptionError):
        options.start(Settings(port=0, **given), load(EXAMPLES))


def test_command_line_overrides_configuration_file(tmp_path):
    file = tmp_path / "options.ini"
    file.write_text(
        "[pywebsocket]\nport = 81\nserver-host = ::1\ntls = yes\nlog_level = info\nbasic-auth-credential = a:%%b\n"
        "strict = on\n"
    )
    settings = read_settings({"config_file": str(file), "port": 82, "run": None})
    assert settings == Settings(port=82, host="::1", tls=True, log_level="info", basic_auth_credential="a:%%b")


@pytest.mark.parametrize(
    "content",
    [
        b"port = 1\n",
        b"[other]\n",
        b"[pywebsocket]\nunknown = 1\n",
        b"[pywebsocket]\nport = many\n",
        b"[pywebsocket]\nport = 65536\n",
        b"[pywebsocket]\nport = 1\nport = 2\n",
        b"[pywebsocket]\nlog_level = loud\n",
        b"[pywebsocket]\nserver_host = a..b\n",
        b"\xff\xfe",
    ],
)
def test_invalid_configuration_file_raises_option_error(tmp_path, content):
    file = tmp_path / "options.ini"
    file.write_bytes(content)
    with pytest.raises(OptionError):
        read_settings({"config_file": str(file)})


@pytest.mark.parametrize(
    "given",
    [
        {"port": -1}, {"validation_port": 65536}, {"log_max": -1}, {"log_count": -1}, {"queue": 1 << 31},
        {"max_message_size": -1}, {"deflate_log_level": "none"}, {"host": "a" * 64},
    ],
)  # fmt: skip
def test_setting_out_of_range_raises_option_error(given):
    with pytest.raises(OptionError, match=re.escape(str(next(iter(given.values()))))):
        Settings(**given)


def test_alias_file_that_is_not_text_raises_option_error(tmp_path):
    (tmp_path / "map").write_bytes(b"\xff")
    with pytest.raises(OptionError, match="map: 'utf-8'"):
        load(EXAMPLES, websock_handlers_map_file=str(tmp_path / "map"))


def test_credential_may_have_bytes_that_are_not_utf_8():
    assert credential("a:\udcff") == "Basic YTr/"


def test_settings_without_handlers_select_the_chat():
    assert read_settings({"port": 1, "host": "x", "config_file": None, "run": None}) is None
    with pytest.raises(OptionError, match="goes with"):
        read_settings({"tls": True})


def test_serve_command_serves_handlers_until_sigterm(tmp_path):
    arguments = ["-p", "0", "-w", str(EXAMPLES), "-d", str(tmp_path), "-l", "log.txt", "--log_level", "info"]
    arguments += ["--strict", "--allow-draft75", "--tls-module=ssl", "-x", "/cgi-bin", "-q", "10"]
    command = [sys.executable, "-m", "framewire", "serve", *arguments]
    with subprocess.Popen(
        [*command, "--thread-monitor-interval-in-sec", "1"], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        lines = [process.stdout.readline() for _ in range(1 + len(list(EXAMPLES.glob("*_wsh.py"))))]
        uri = re.search(r"ws://\S+/echo$", "".join(lines), re.MULTILINE)[0]
        assert all(line.startswith("Handler: ") for line in lines[1:])
        with connect(uri) as ws:
            ws.send("served")
            assert ws.recv(10) == "served"
            process.send_signal(signal.SIGTERM)
            with pytest.raises((ConnectionClosed, ConnectionClosedError)) as caught:
                ws.recv(10)
            assert caught.value.code == 1001
        assert process.wait(10) == 0
    assert "threads: MainThread" in (tmp_path / "log.txt").read_text()
