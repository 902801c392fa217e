"""Handlers that read and write frames themselves, and that configure extensions."""

import logging
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from functools import partial
from math import inf

import pytest
from frames import KEY, REQUEST, frame
from handler_ends import ADMIT, end_of, serving, upgraded
from sync_ends import until

from framewire import Close, Pong, ResponseError
from framewire.pywebsocket import frame_driver, options, standalone
from framewire.sync import connect

IMPORTS = "from mod_pywebsocket import common, handshake, msgutil, stream, util\n"


def handler(transfer, handshake="pass"):
    """Return the source of a handler with the bodies of its functions."""
    functions = {"do_extra_handshake": handshake, "transfer_data": transfer}
    return IMPORTS + "".join(
        f"def web_socket_{name}(request):\n" + "".join(f"    {line}\n" for line in body.splitlines())
        for name, body in functions.items()
    )


def closing(raw):
    """Answer the server's close frame, and return it."""
    event = raw.read_event()
    raw.write(raw.stream.close(1000))
    return event


# Reading.


def test_receive_frame_returns_frames_that_have_no_other_effect(handle):
    uri = handle(
        handler(
            "for _ in range(3):\n"
            "    request.ws_stream.send_message(repr(request.ws_stream._receive_frame()))\n"
            "frame = request.ws_stream._receive_frame_as_frame_object()\n"
            "request.ws_stream.send_message(f'{frame.opcode} {frame.fin} {frame.rsv1} {len(frame.payload)}')\n"
            "request.ws_stream.send_message(request.ws_stream.receive_message())\n"
        )
    )
    with upgraded(uri) as raw:
        frames = [frame(0x89, b"ping", KEY), frame(0x41, b"part", KEY), frame(0x83, b"", KEY)]
        raw.write(*frames, frame(0xC2, bytes(70_000), KEY), frame(0x81, b"message", KEY))
        assert [raw.read_event() for _ in range(5)] == [
            "(9, b'ping', 1, 0, 0, 0)", "(1, b'part', 0, 1, 0, 0)", "(3, b'', 1, 0, 0, 0)", "2 1 1 70000", "message",
        ]  # fmt: skip
        assert raw.read_event() == Close(1000, "")


def test_frames_and_messages_are_received_in_turn(handle):
    uri = handle(
        handler(
            "while True:\n"
            "    message = request.ws_stream.receive_message()\n"
            "    request.ws_stream.send_message(f'{message} {request.ws_stream._receive_frame()[1].decode()}')\n"
        )
    )
    with upgraded(uri) as raw:
        raw.write(*(raw.stream.send(text) for text in ("one", "two", "three", "four")))
        assert [raw.read_event(), raw.read_event()] == ["one two", "three four"]


def test_receive_bytes_returns_frames_as_they_came(handle):
    uri = handle(handler("request.ws_stream.send_message(request.ws_stream.receive_bytes(8).hex())"))
    with upgraded(uri) as raw:
        raw.write(frame(0x88, b"\x03\xe8", KEY)[:5])
        raw.write(frame(0x88, b"\x03\xe8", KEY)[5:])
        assert raw.read_event() == frame(0x88, b"\x03\xe8", KEY).hex()


@pytest.mark.parametrize(
    ("sent", "raised"),
    [
        (b"", "ConnectionTerminatedException"),
        (frame(0x81, b"cut off", KEY)[:-1], "ConnectionTerminatedException"),
        (frame(0x81, b"unmasked"), "InvalidFrameException"),
        (frame(0x82, b"", KEY, 64)[:2] + (1 << 24).to_bytes(8, "big") + KEY, "ConnectionTerminatedException"),
        (frame(0x82, b"", KEY, 64)[:2] + (1 << 24 | 1).to_bytes(8, "big") + KEY, "InvalidFrameException"),
    ],
    ids=["nothing", "cut", "unmasked", "at the limit", "above the limit"],
)
def test_receive_frame_raises_at_the_end_and_for_invalid_frames(handle, printed, sent, raised):
    uri = handle(
        handler(
            "try:\n"
            "    request.ws_stream._receive_frame()\n"
            "except Exception as error:\n"
            "    print(type(error).__name__, flush=True)\n"
        )
    )
    with upgraded(uri) as raw:
        raw.write(sent)
        raw.socket.shutdown(socket.SHUT_WR)
        assert printed(1) == [raised]


def test_handler_processes_frames_it_has_received(handle):
    uri = handle(
        handler(
            "seen = []\n"
            "stream = request.ws_stream\n"
            "request.on_pong_handler = lambda request, payload: seen.append(payload)\n"
            "while True:\n"
            "    frame = stream.receive_filtered_frame()\n"
            "    message = stream._get_message_from_frame(frame)\n"
            "    if frame.opcode == common.OPCODE_PING:\n"
            "        stream._process_ping_message(message)\n"
            "    elif frame.opcode == common.OPCODE_PONG:\n"
            "        stream._process_pong_message(message)\n"
            "    elif frame.opcode == common.OPCODE_CLOSE:\n"
            "        stream.send_message(repr(seen))\n"
            "        stream._process_close_message(message)\n"
            "        return\n"
            "    elif message is not None:\n"
            "        stream.send_message(message, binary=True)\n"
        )
    )
    with upgraded(uri, auto_close=False) as raw:
        raw.write(
            raw.stream.send(b"a", last=False), raw.stream.pong(b"?"), raw.stream.send(b"b"), raw.stream.ping(b"!")
        )
        assert [raw.read_event(), raw.read_event()] == [b"ab", Pong(b"!")]
        raw.write(raw.stream.close(3001, "why"))
        assert [raw.read_event(), raw.read_event()] == ["[b'?']", Close(1000, "")]
        assert raw.socket.recv(1) == b""


def test_fragment_without_message_is_an_invalid_frame(handle):
    body = "while True:\n    request.ws_stream._get_message_from_frame(request.ws_stream.receive_filtered_frame())"
    for sent in (frame(0x80, b"x", KEY), frame(0x01, b"x", KEY) + frame(0x81, b"y", KEY)):
        with upgraded(handle(handler(body))) as raw:
            raw.write(sent)
            assert raw.read_event() == Close(1002, "")


@pytest.mark.parametrize("payload", [b"x", b"\x03\xe8" + bytes(124), b"\x03\xe8" + bytes(200)])
def test_invalid_close_message_closes_with_1002(handle, payload):
    uri = handle(handler("request.ws_stream._process_close_message(request.ws_stream._receive_frame()[1])"))
    with upgraded(uri) as raw:
        raw.write(frame(0x88, payload, KEY))
        assert raw.read_event() == Close(1002, "")


def test_message_of_frames_is_limited_in_size(handle):
    body = "while True:\n    request.ws_stream._get_message_from_frame(request.ws_stream.receive_filtered_frame())"
    with upgraded(handle(handler(body), max_message_size=1000)) as raw:
        raw.write(frame(0x02, bytes(600), KEY), frame(0x00, bytes(400), KEY), frame(0x80, b"x", KEY))
        assert raw.read_event() == Close(1002, "")
    with upgraded(handle(handler(body + "\n    return"), max_message_size=1000)) as raw:
        raw.write(frame(0x82, bytes(1000), KEY))
        assert raw.read_event() == Close(1000, "")


def test_reply_to_a_message_precedes_the_answer_to_a_close(handle):
    uri = handle(
        handler(
            "while (message := request.ws_stream.receive_message()) is not None:\n"
            "    request.ws_stream.send_message(message)\n"
            "    request.ws_stream.send_message(message)\n"
        )
    )
    with upgraded(uri, auto_close=False) as raw:
        raw.write(raw.stream.send("x" * 70_000), raw.stream.send("last"), raw.stream.close(1000))
        assert [raw.read_event() for _ in range(5)] == ["x" * 70_000, "x" * 70_000, "last", "last", Close(1000, "")]


def test_handler_that_only_sends_answers_pings_and_close(handle, monkeypatch):
    monkeypatch.setattr(frame_driver, "_PATIENCE", 0.05)
    uri = handle(handler("import time\nwhile True:\n    request.ws_stream.send_message('tick')\n    time.sleep(0.01)"))
    with upgraded(uri, auto_close=False) as raw:
        raw.write(raw.stream.ping(b"p"))
        while (event := raw.read_event()) == "tick":
            pass
        assert event == Pong(b"p")
        raw.write(raw.stream.close(3000))
        while (event := raw.read_event()) == "tick":
            pass
        assert event == Close(1000, "")


def test_input_waits_while_handler_does_not_receive(handle, printed):
    uri = handle(
        handler(
            "import time\n"
            "deadline = time.monotonic() + 20\n"
            "while len(request.ws_stream._connection._driver._held) <= 65536 and time.monotonic() < deadline:\n"
            "    time.sleep(0.005)\n"
            "print(len(request.ws_stream._connection._driver._held) <= 2 * 65536, flush=True)\n"
            "request.ws_stream.send_message(str(len(request.ws_stream.receive_message())))\n"
        )
    )
    with connect(uri, compression=None) as ws:
        ws.send(bytes(1 << 20))
        assert ws.recv(10) == str(1 << 20)
    assert printed(1) == ["True"]


def test_messages_before_the_end_of_tcp_are_received(handle, printed):
    uri = handle(
        handler(
            "for _ in range(3):\n"
            "    print(request.ws_stream.receive_message(), flush=True)\n"
            "try:\n"
            "    request.ws_stream.receive_message()\n"
            "except msgutil.ConnectionTerminatedException:\n"
            "    print('terminated', flush=True)\n"
        )
    )
    with upgraded(uri) as raw:
        raw.write(*(raw.stream.send(text) for text in ("one", "two", "three")), frame(0x81, b"cut", KEY)[:1])
        raw.socket.shutdown(socket.SHUT_WR)
        assert printed(4) == ["one", "two", "three", "terminated"]


def test_threads_that_receive_get_each_message_once(handle):
    uri = handle(
        handler(
            "import threading\n"
            "seen = []\n"
            "def receive():\n"
            "    try:\n"
            "        while (message := request.ws_stream.receive_message()) is not None:\n"
            "            seen.append(message)\n"
            "            if len(seen) == 40:\n"
            "                request.ws_stream.send_message(str(sorted(int(each[:3]) for each in seen)))\n"
            "    except msgutil.BadOperationException:\n"
            "        pass\n"
            "threads = [threading.Thread(target=receive) for _ in range(2)]\n"
            "for thread in threads: thread.start()\n"
            "for thread in threads: thread.join()\n"
        )
    )
    with connect(uri, compression=None) as ws:
        for number in range(40):
            ws.send(f"{number:03}" + "x" * 100_000)
        assert ws.recv(20) == str(list(range(40)))


def test_shutdown_ends_connection_whose_input_is_not_received(tmp_path, monkeypatch, printed):
    monkeypatch.setattr(options, "serve", partial(options.serve, close_timeout=0.1))
    body = "print('started', flush=True)\nprint(request.ws_stream._connection.wait_closed(20), flush=True)"
    (tmp_path / "h_wsh.py").write_text(handler(body))
    with serving(tmp_path) as where, upgraded(f"ws://{where}/h") as raw:
        raw.write(raw.stream.send(bytes(300_000)))
        printed(1)
    assert printed(2) == ["started", "True"]


def test_handler_that_only_sends_learns_of_a_lost_connection(handle, printed):
    uri = handle(
        handler(
            "try:\n"
            "    while True:\n"
            "        request.ws_stream.send_message('x' * 10_000)\n"
            "except msgutil.ConnectionTerminatedException:\n"
            "    print('terminated', flush=True)\n"
        )
    )
    with upgraded(uri) as raw:
        raw.write(raw.stream.send("never received"))
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset TCP
    assert printed(1) == ["terminated"]


# Writing.


def test_written_bytes_leave_as_they_are_in_turn(handle):
    uri = handle(
        handler(
            "request.ws_stream.send_message('one')\n"
            "request.ws_stream._write(stream.create_header(3, 2, 1, 0, 1, 0, 0) + b'hi')\n"
            "request.ws_stream._send_pong(b'pong')\n"
            "request.connection.write(stream.create_ping_frame(b'ping'))\n"
        )
    )
    expected = b"\x81\x03one\xa3\x02hi\x8a\x04pong\x89\x04ping\x88\x02\x03\xe8"
    with upgraded(uri) as raw:
        assert raw.read_exactly(len(expected)) == expected


@pytest.mark.parametrize("answered", [True, False])
def test_close_frame_written_by_handler_is_the_only_one(handle, answered):
    uri = handle(
        handler(
            "request.connection.write(stream.create_close_frame(b'\\x0b\\xb8mine'))\n"
            "request.server_terminated = True\n" + "request.ws_stream.receive_message()" * answered
        )
    )
    with upgraded(uri, auto_close=False) as raw:
        assert closing(raw) == Close(3000, "mine")
        assert raw.socket.recv(100) == b""


def test_input_after_a_close_frame_written_by_handler_is_discarded(handle, monkeypatch):
    monkeypatch.setattr(options, "serve", partial(options.serve, close_timeout=60))
    body = "request.connection.write(stream.create_close_frame(b''))\nrequest.server_terminated = True"
    with upgraded(handle(handler(body)), auto_close=False) as raw:
        assert raw.read_event() == Close(1005, "")
        readers = [thread for thread in threading.enumerate() if thread.name == "framewire reader"]
        for _ in range(40):
            raw.write(raw.stream.send(bytes(100_000)))
    assert readers
    until(lambda: not any(thread.is_alive() for thread in readers))


def test_handler_waits_any_time_for_the_answer_to_its_close(handle, monkeypatch, printed):
    monkeypatch.setattr(options, "serve", partial(options.serve, close_timeout=inf))
    body = "request.ws_stream.close_connection()\nprint('closed', flush=True)"
    with upgraded(handle(handler(body)), auto_close=False) as raw:
        assert closing(raw) == Close(1000, "")
        assert printed(1) == ["closed"]


def test_passive_closing_handler_may_write_the_answer_and_abort(handle):
    source = handler("request.ws_stream.receive_message()")
    source += (
        "def web_socket_passive_closing_handshake(request):\n"
        "    request.connection.write(stream.create_close_frame(b''))\n"
        "    raise handshake.AbortedByUserException('done')\n"
    )
    with connect(handle(source)) as ws:
        ws.close(1000)
        assert ws.close_code == 1005


def test_send_closing_handshake_does_not_wait(handle, printed):
    uri = handle(handler("request.ws_stream._send_closing_handshake(4000, 'x')\nprint('sent', flush=True)"))
    with upgraded(uri, auto_close=False) as raw:
        assert raw.read_event() == Close(4000, "x")
        assert printed(1) == ["sent"]


def test_handler_may_answer_the_handshake_and_abort(handle):
    uri = handle(
        handler(
            "pass",
            "from mod_pywebsocket.handshake.hybi import compute_accept_from_unicode\n"
            "accept = compute_accept_from_unicode(request.headers_in['Sec-WebSocket-Key'])\n"
            "request.connection.write(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n'\n"
            "    b'Connection: Upgrade\\r\\nSec-WebSocket-Accept: %s\\r\\n\\r\\n' % accept)\n"
            "request.connection.write(stream.create_text_frame('x'))\n"
            "raise handshake.AbortedByUserException('answered')\n",
        )
    )
    with connect(uri) as ws:
        assert ws.recv(10) == "x"
        assert end_of(ws)[0] == 1006


def test_handler_waits_for_bytes_before_the_handshake_without_limit(handle, monkeypatch):
    monkeypatch.setattr(options, "serve", partial(options.serve, open_timeout=0.05))
    uri = handle(handler("pass", "request.ws_protocol = request.connection.read(1).decode()"))
    with socket.create_connection(uri[5:-2].split(":"), 10) as plain:
        plain.sendall(REQUEST.replace(b"/path", b"/h")[:-2] + b"Sec-WebSocket-Protocol: a\r\n\r\n")
        plain.settimeout(0.2)
        with pytest.raises(TimeoutError):
            plain.recv(100)
        plain.settimeout(10)
        plain.sendall(b"a")
        assert plain.recv(1000).startswith(b"HTTP/1.1 101 ")


def test_client_that_does_not_read_the_response_is_cut(handle, monkeypatch, caplog):
    monkeypatch.setattr(options, "serve", partial(options.serve, open_timeout=0.1))
    caplog.set_level(logging.DEBUG, "framewire")
    uri = handle(handler("pass", "request.extra_headers.append(('X', 'x' * (32 << 20)))"))
    with socket.create_connection(uri[5:-2].split(":"), 10) as plain:
        plain.sendall(REQUEST.replace(b"/path", b"/h"))
        until(lambda: "opening handshake failed" in caplog.text)
        assert sum(map(len, iter(lambda: plain.recv(1 << 16), b""))) < 32 << 20


# The handshake.


def test_handler_may_decide_that_no_subprotocol_was_requested(handle):
    with connect(handle(handler("pass", "request.ws_requested_protocols = None")), subprotocols=["a"]) as ws:
        assert ws.subprotocol is None


def test_extra_header_value_may_contain_further_lines(handle):
    lines = "request.extra_headers += [('X-One', '1\\r\\nSec-WebSocket-Origin: x'), ('X-Empty', '')]"
    with connect(handle(handler("pass", lines))) as ws:
        headers = ws.response.headers
        assert (headers["X-One"], headers["Sec-WebSocket-Origin"], headers["X-Empty"]) == ("1", "x", "")


def test_invalid_extra_header_is_refused(handle):
    with pytest.raises(ResponseError) as caught:
        connect(handle(handler("pass", "request.extra_headers.append(('X', 'a\\nb'))")))
    assert caught.value.response.status == 400


# Extensions.

DEFLATE = (
    "from mod_pywebsocket.extensions import PerMessageDeflateExtensionProcessor\n"
    "[deflate] = request.ws_extension_processors\n"
)


def inflate(payload):
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


def received(raw):
    """Return the next frame of the server: first byte and payload."""
    first, size = raw.read_exactly(2)
    return first, raw.read_exactly(size)


def offering(uri, offer="permessage-deflate; client_max_window_bits"):
    """Connect a raw client that offers an extension; return it and the response."""
    plain = socket.create_connection(uri[5:-2].split(":"), 10)
    plain.sendall(REQUEST.replace(b"/path", b"/h")[:-2] + f"Sec-WebSocket-Extensions: {offer}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = plain.recv(1)
        assert byte, head
        head += byte
    return plain, head.decode()


def test_deflate_processor_configures_the_connection(handle):
    uri = handle(
        handler(
            "request.ws_stream.send_message(request.ws_stream.receive_message() * 2)",
            DEFLATE + "assert isinstance(deflate, PerMessageDeflateExtensionProcessor)\n"
            "deflate.set_client_max_window_bits(10)\ndeflate.set_client_no_context_takeover(True)",
        )
    )
    plain, head = offering(uri)
    with plain:
        agreed = re.search("Sec-WebSocket-Extensions: (.*)\r", head)[1]
        assert agreed == "permessage-deflate; client_max_window_bits=10; client_no_context_takeover"
        plain.sendall(frame(0xC1, bytes.fromhex("f248cdc9c90700"), KEY))
        first, size = plain.recv(2, socket.MSG_WAITALL)
        assert (first, inflate(plain.recv(size, socket.MSG_WAITALL))) == (0xC1, b"HelloHello")


def test_first_accepted_offer_of_an_extension_counts(handle):
    plain, head = offering(
        handle(handler("pass")), "permessage-deflate; unknown, permessage-deflate; server_no_context_takeover, "
        "permessage-deflate, x-other"
    )  # fmt: skip
    with plain:
        assert (
            re.search("Sec-WebSocket-Extensions: (.*)\r", head)[1] == "permessage-deflate; server_no_context_takeover"
        )


@pytest.mark.parametrize("edit", ["request.ws_extension_processors = [None]", "deflate.set_active(False)"])
def test_declined_extension_is_not_in_the_response(handle, edit):
    plain, head = offering(handle(handler("pass", DEFLATE + edit)))
    with plain:
        assert "Extensions" not in head


def test_parameters_added_to_an_offer_are_answered(handle):
    edit = DEFLATE + "deflate._request.add_parameter('server_max_window_bits', '15')"
    plain, head = offering(handle(handler("pass", edit)))
    with plain:
        assert "permessage-deflate; server_max_window_bits=15\r\n" in head


def test_processor_switches_compression_and_final_blocks(handle):
    uri = handle(
        handler(
            "[deflate] = request.ws_extension_processors\n"
            "send = request.ws_stream.send_message\n"
            "send('Hello')\n"
            "deflate.disable_outgoing_compression()\n"
            "send('plain')\n"
            "deflate.enable_outgoing_compression()\n"
            "deflate.set_bfinal(True)\n"
            "send('Hello')\n"
            "send('Hel', end=False)\n"
            "send('lo')\n"
            "deflate.set_bfinal(False)\n"
            "send('Hello')\n",
        )
    )
    plain, _ = offering(uri)
    hello, final = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f348cdc9c9070000")
    with plain:
        frames = []
        for _ in range(6):
            first, size = plain.recv(2, socket.MSG_WAITALL)
            frames.append((first, plain.recv(size, socket.MSG_WAITALL)))
    assert frames[:3] == [(0xC1, hello), (0x81, b"plain"), (0xC1, final)]
    assert (frames[3][0], frames[4][0], frames[5]) == (0x41, 0x80, (0xC1, hello))
    assert zlib.decompressobj(-15).decompress(frames[3][1] + frames[4][1]) == b"Hello"
    assert frames[4][1].endswith(b"\0")


def test_bfinal_may_be_set_before_the_handshake(handle):
    uri = handle(handler("request.ws_stream.send_message('Hello')", DEFLATE + "deflate.set_bfinal(True)"))
    plain, _ = offering(uri)
    with plain:
        assert plain.recv(10, socket.MSG_WAITALL) == b"\xc1\x08" + bytes.fromhex("f348cdc9c9070000")
    with connect(uri) as ws:
        assert ws.recv(10) == "Hello"


def test_extension_of_a_handler_is_answered(handle):
    uri = handle(
        handler(
            "pass",
            "from mod_pywebsocket.extensions import ExtensionProcessorInterface\n"
            "class Processor(ExtensionProcessorInterface):\n"
            "    def _get_extension_response_internal(self):\n"
            "        return self.request()\n"
            "request.ws_extension_processors = [Processor(each) for each in request.ws_requested_extensions]\n",
        )
    )
    plain, head = offering(uri, "x-own; a=1")
    with plain:
        assert "Sec-WebSocket-Extensions: x-own; a=1\r\n" in head


# The command.


def test_missing_package_is_named_in_the_log(tmp_path, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "six", None)
    for name, package in (("one", "six"), ("two", "no_such_package")):
        (tmp_path / f"{name}_wsh.py").write_text(f"import {package}.moves\n{ADMIT}")
    with serving(tmp_path):
        pass
    assert "which is not installed: pip install framewire[pywebsocket]" in caplog.text
    assert "no_such_package, which is not installed: install the package that has no_such_package" in caplog.text


PROGRAM = "import sys\nfrom framewire.pywebsocket import standalone\nstandalone._main(sys.argv[1:])\n"
THREAD = """
import sys, threading
from framewire.pywebsocket import standalone
thread = threading.Thread(target=standalone._main, args=(sys.argv[1:],), daemon=True)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (["-m", "framewire.pywebsocket"], 0),
        (["-m", "framewire.pywebsocket.standalone"], 0),
        (["-c", PROGRAM], 0),
        (["-c", THREAD], -signal.SIGTERM),
    ],
)
def test_module_command_serves_with_flags_of_standalone(tmp_path, start, status):
    (tmp_path / "h_wsh.py").write_text(handler("request.ws_stream.send_message('served')"))
    command = [sys.executable, *start, "--server_host", "127.0.0.1", "--port", "0", "-d", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        uri = re.search(r"ws://127\S+/h$", process.stdout.readline() + process.stdout.readline())[0]
        with connect(uri) as ws:
            assert ws.recv(10) == "served"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == status


#: The flags of pywebsocket3 4.0.2's standalone, an argument, and the name and the value of the option.
FLAGS = """
--config                                                      {file}       websock_handlers               here
-H --server-host --server_host                                ::1          server_host                    ::1
-V --validation-host --validation_host                        example.com  validation_host                example.com
-p --port                                                     81           port                           81
-P --validation-port --validation_port                        82           validation_port                82
-w --websock-handlers --websock_handlers                      there        websock_handlers               there
-m --websock-handlers-map-file --websock_handlers_map_file    map          websock_handlers_map_file      map
-s --scan-dir --scan_dir                                      below        scan_dir                       below
--allow-handlers-outside-root-dir                             -            allow_handlers_outside_root_dir True
--allow_handlers_outside_root_dir                             -            allow_handlers_outside_root_dir True
-d --document-root --document_root                            root         document_root                  root
-x --cgi-paths --cgi_paths                                    /cgi,/bin    cgi_paths                      /cgi,/bin
-t --tls                                                      -            use_tls                        True
-k --private-key --private_key                                key          private_key                    key
-c --certificate                                              cert         certificate                    cert
--tls-client-auth                                             -            tls_client_auth                True
--tls-client-cert-optional                                    -            tls_client_cert_optional       True
--tls-client-ca                                               ca           tls_client_ca                  ca
--basic-auth                                                  -            use_basic_auth                 True
--basic-auth-credential                                       me:secret    basic_auth_credential          me:secret
-l --log-file --log_file                                      log          log_file                       log
--log-level --log_level                                       fine         log_level                      fine
--deflate-log-level --deflate_log_level                       debug        deflate_log_level              debug
--thread-monitor-interval-in-sec                              3            thread_monitor_interval_in_sec 3
--thread_monitor_interval_in_sec                              3            thread_monitor_interval_in_sec 3
--log-max --log_max                                           9            log_max                        9
--log-count --log_count                                       9            log_count                      9
-q --queue                                                    7            request_queue_size             7
--handler-encoding --handler_encoding                         latin-1      handler_encoding               latin-1
"""


@pytest.mark.parametrize("line", FLAGS.split("\n")[1:-1])
def test_standalone_has_every_flag_of_pywebsocket(tmp_path, line):
    file = tmp_path / "options.ini"
    file.write_text("[pywebsocket]\nwebsock_handlers = here\n")
    *flags, argument, name, value = line.format(file=file).split()
    for flag in flags:
        parsed, rest = standalone._parse_args_and_config([flag] if argument == "-" else [flag, argument])
        assert (str(getattr(parsed, name)), rest) == (value, [])


def test_standalone_has_the_defaults_of_pywebsocket(monkeypatch, tmp_path):
    settings = []
    monkeypatch.setattr(standalone, "run", lambda each: settings.append(each) or 0)
    assert standalone.main([]) == 0
    assert standalone.main(["-p", "9998", "-H", "::1", "-w", "handlers", "-d", str(tmp_path)]) == 0
    assert [(each.host, each.port, each.websock_handlers) for each in settings] == [
        ("", 80, "."),
        ("::1", 9998, "handlers"),
    ]
    assert settings[1].document_root == str(tmp_path)
    file = tmp_path / "options.ini"
    file.write_text("[pywebsocket]\nport = 81\nwebsock_handlers = other\n")
    standalone.main(["--config", str(file)])
    assert (settings[2].port, settings[2].websock_handlers) == (81, "other")


def test_standalone_server_runs_in_a_thread_of_a_program(tmp_path):
    (tmp_path / "h_wsh.py").write_text(handler("request.ws_stream.send_message('served')"))
    parsed, _ = standalone._parse_args_and_config(["-w", str(tmp_path)])
    parsed.server_host, parsed.port, parsed.cgi_directories = "127.0.0.1", 0, []
    del parsed.handler_encoding  # programs older than the flag lack it
    server = standalone.WebSocketServer(parsed)
    [(listening, _)] = server._sockets
    assert listening.getsockname() == ("127.0.0.1", server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with connect(f"ws://127.0.0.1:{server.server_port}/h") as ws:
        assert ws.recv(10) == "served"
        server.shutdown()
        thread.join()
    server.server_close()
    assert "mod_pywebsocket" not in sys.modules


def test_standalone_reports_invalid_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        standalone.main(["-p", "0", "-t"])
    assert caught.value.code == 2
    assert "--tls needs" in capsys.readouterr().err
