"""`framewire inspect`: every test vector is explained, every fault is reported with its rule."""

import ast
import json
import os
import struct
import sys
import threading
from pathlib import Path

import pytest

from framewire import CLIENT, SERVER, Stream
from framewire.cli import inspect, main
from framewire.cli.capture import join_segments
from framewire.cli.dissect import RULES, dissect, find_rule
from framewire.protocol import receiver
from framewire.protocol.permessage_deflate import CLIENT_DEFAULT, SERVER_DEFAULT

VECTORS = json.loads(Path(__file__).parents[1].joinpath("engine", "rfc6455.json").read_text())
CODES = {"PROTO": 1002, "UTF8": 1007}
HELLO = "81 85 37 fa 21 3d 7f 9f 4d 51 58"


def explain(capsys, *arguments):
    """Run the command with --json; return its status and its output."""
    status = main(["inspect", "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"].replace(" ", "_"))
def test_inspect_explains_every_frame_and_fault_of_a_vector(vector, capsys):
    sender = "client" if vector["role"] == "server" else "server"
    status, (direction,) = explain(capsys, "--from", sender, vector["input_hex"])
    faults = [frame["fault"] for frame in direction["frames"] if frame["fault"]]
    names = [name for name, _ in vector["expect"]]
    if "CLOSE" in names:  # later frames are ignored and marked as unread
        assert all("5.5.1" in frame["unread"] for frame in direction["frames"][names.index("CLOSE") + 1 :])
        names = names[: names.index("CLOSE")]
    assert [fault["code"] for fault in faults] == [CODES[name] for name in names if name in CODES]
    assert all(fault["rule"] for fault in faults)
    assert status == bool(faults)
    frames = direction["frames"]
    assert "".join(frame["header"] + frame["wire"] for frame in frames) == vector["input_hex"]


def reasons():
    """Yield every string with a space in the code of the receiver, up to its first placeholder."""
    for node in ast.walk(ast.parse(Path(receiver.__file__).read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.value


def test_every_failure_reason_maps_to_an_rfc_section():
    """Every reason of the receiver must have a section of the RFC in `RULES`."""
    found = [reason for reason in reasons() if not reason.startswith(" ")]
    assert len(found) > 12
    assert [reason for reason in found if not find_rule(reason)] == []
    assert {find_rule(reason) for reason in found} | {"RFC 7692 7.2.2"} == set(RULES.values())
    assert find_rule("the connection ended without a close frame") == ""


def test_json_output_describes_all_frame_fields(capsys):
    status, (direction,) = explain(capsys, HELLO)
    assert status == 0
    assert direction["sender"] == "client"
    assert direction["frames"] == [
        {
            "offset": 0,
            "header": "818537fa213d",
            "fin": True,
            "rsv": [],
            "opcode": 1,
            "name": "text",
            "masked": True,
            "key": "37fa213d",
            "length": 5,
            "missing": 0,
            "wire": "7f9f4d5158",
            "payload": "48656c6c6f",
            "events": ["text message, 5 bytes: 'Hello'"],
            "unread": "",
            "fault": None,
        }
    ]


def test_fault_gives_code_reason_offset_and_rfc_section(capsys):
    status, (direction,) = explain(capsys, HELLO + "c1 80 00 00 00 00" + HELLO)
    assert status == 1
    _, bad, after = direction["frames"]
    assert bad["rsv"] == [1]
    assert bad["fault"] == {
        "code": 1002,
        "reason": "a reserved bit is set and no extension gives it a meaning",
        "offset": 11,
        "rule": "RFC 6455 5.2",
    }
    assert after["unread"] == "not read: the connection has failed"


def test_frames_after_a_close_are_reported_as_unread():
    *_, last = dissect(bytes.fromhex("8802 03e8 8100"), CLIENT)
    assert "5.5.1" in last.unread
    assert last.events == ()


@pytest.mark.parametrize("size", range(1, 14))
def test_truncated_frame_is_shown_with_missing_byte_count(size):
    data = Stream(CLIENT).send("x" * 300)[:size]
    (frame,) = dissect(data, SERVER)
    assert frame.header + frame.wire == data
    assert frame.fault is None
    assert frame.length == (None if size < 8 else 300)
    assert frame.missing == (0 if size < 8 else 308 - size)


def test_frame_with_invalid_length_consumes_remaining_input():
    (frame,) = dissect(bytes.fromhex("82 7e 0001 41 82 00"), CLIENT)
    assert frame.length == -1
    assert frame.fault.offset == 4


@pytest.mark.parametrize(
    "written", [HELLO, HELLO.replace(" ", ""), "0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58",
                r"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "81:85:37:FA:21:3D\n7F:9F:4D:51:58\n"]
)  # fmt: skip
def test_hex_input_accepts_common_notations(written, capsys, tmp_path):
    bytes_of_it = explain(capsys, written)[1][0]["frames"]
    assert bytes_of_it[0]["payload"] == b"Hello".hex()
    path = tmp_path / "hex.txt"
    path.write_text(written)
    assert explain(capsys, str(path))[1][0]["frames"] == bytes_of_it
    assert explain(capsys, *written.split())[1][0]["frames"] == bytes_of_it


def test_binary_file_may_begin_with_the_handshake_head(capsys, tmp_path):
    head = b"GET /chat HTTP/1.1\r\nHost: example.com\r\n\r\n"
    path = tmp_path / "bytes"
    path.write_bytes(head + bytes.fromhex(HELLO))
    _, (direction,) = explain(capsys, str(path))
    assert direction["head"].encode() == head
    assert [frame["offset"] for frame in direction["frames"]] == [len(head)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other named pipes")
def test_inspect_reads_named_pipes(tmp_path, capsys):
    """Shells pass them for `<(command)`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"8100",), daemon=True)
    writer.start()
    assert main(["inspect", "--json", str(pipe)]) == 0
    writer.join()
    assert json.loads(capsys.readouterr().out)[0]["frames"][0]["name"] == "text"


@pytest.mark.parametrize("written", ["", "8", "818", "nothing/here", "81 8g"])
def test_inspect_rejects_input_that_is_neither_file_nor_hex(written, capsys):
    assert main(["inspect", written]) == 2
    assert "neither a file nor whole bytes in hex" in capsys.readouterr().err


def test_tree_output_shows_header_payload_and_fault(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["inspect", HELLO + "81 00"]) == 1
    said = capsys.readouterr().out
    for part in (
        "opcode 0x1, FIN, 5 bytes, masked",
        "48 65 6c 6c 6f",
        "'Hello'",
        "a client must mask its frames (RFC 6455 5.1)",
    ):
        assert part in said


def test_output_contains_no_terminal_escapes_from_payload(capsys):
    wire = Stream(SERVER).send("\x1b]0;owned\x07")
    assert main(["inspect", wire.hex()]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_inspect_without_cli_extra_supports_only_json(capsys, monkeypatch):
    monkeypatch.setattr("framewire.cli.optional_packages.find_spec", lambda name: None)
    assert main(["inspect", HELLO]) == 69
    assert "pip install 'framewire[cli]'" in capsys.readouterr().err
    assert main(["inspect", "--json", HELLO]) == 0


# Captures


def tcp(source, destination, number, payload, flags=0x18):
    """Return an Ethernet packet with IPv4 and TCP, padded to 60 bytes as by a network card."""
    segment = struct.pack("!HHIIBBHHH", source, destination, number % 2**32, 0, 5 << 4, flags, 4096, 0, 0) + payload
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
    return (bytes(12) + b"\x08\x00" + packet + segment).ljust(60, b"\0")


def pcap(*packets):
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return header + b"".join(struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet for packet in packets)


REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def test_capture_is_reassembled_in_both_directions(capsys, tmp_path):
    client, server = Stream(CLIENT).send("from the client"), Stream(SERVER).send("from the server")
    start = 2**32 - 10  # the sequence numbers wrap around
    path = tmp_path / "talk.pcap"
    path.write_bytes(
        pcap(
            tcp(5000, 80, start - 1, b"", flags=2),
            tcp(5000, 80, start, REQUEST),
            tcp(80, 5000, 7, RESPONSE + server[:4]),
            tcp(5000, 80, start + len(REQUEST) + 8, client[8:]),  # out of order
            tcp(5000, 80, start + len(REQUEST), client[:8]),
            tcp(5000, 80, start + len(REQUEST), client[:8]),  # retransmitted
            tcp(80, 5000, 7 + len(RESPONSE) + 4, server[4:]),
            tcp(9, 10, 1, b"something else"),
        )
    )
    status, directions = explain(capsys, str(path))
    assert status == 0
    assert [direction["source"] for direction in directions] == [
        "127.0.0.1 port 5000 > 127.0.0.1 port 80",
        "127.0.0.1 port 80 > 127.0.0.1 port 5000",
    ]
    assert [direction["frames"][0]["events"] for direction in directions] == [
        ["text message, 15 bytes: 'from the client'"],
        ["text message, 15 bytes: 'from the server'"],
    ]


DEFLATED = (
    "server_no_context_takeover; client_max_window_bits=10",
    "client_no_context_takeover; server_max_window_bits=9",
    "",
)


@pytest.mark.parametrize("parameters", DEFLATED)
def test_capture_is_inflated_with_negotiated_parameters(parameters, capsys, tmp_path):
    """Both directions are inflated with the parameters in the server's response."""
    answer = [part.strip().partition("=") for part in parameters.split(";") if part]
    terms = [(name, value or None) for name, _, value in answer]
    client = Stream(CLIENT, extensions=[CLIENT_DEFAULT.agree(terms)])
    server = Stream(SERVER, extensions=[SERVER_DEFAULT.accept(terms)[1]])
    text = "compress this, please " * 20
    field = f"Sec-WebSocket-Extensions: permessage-deflate; {parameters}".rstrip("; ").encode()
    path = tmp_path / "talk.pcap"
    path.write_bytes(
        pcap(
            tcp(5000, 80, 1, REQUEST + client.send(text) + client.send(text)),
            tcp(80, 5000, 1, RESPONSE[:-2] + field + b"\r\n\r\n" + server.send(text) + server.send(text)),
        )
    )
    status, directions = explain(capsys, str(path))
    assert status == 0
    for direction in directions:
        assert [frame["rsv"] for frame in direction["frames"]] == [[1], [1]]
        assert all(f"text message, {len(text)} bytes" in frame["events"][0] for frame in direction["frames"])


def test_deflate_option_inflates_messages(capsys):
    hello = "c1 07 f2 48 cd c9 c9 07 00"  # RFC 7692 7.2.3.1
    _, (direction,) = explain(capsys, "--deflate", hello)
    assert direction["frames"][0]["events"] == ["text message, 5 bytes: 'Hello'"]
    _, (direction,) = explain(capsys, "--deflate", "c1 03 ff ff ff")
    assert direction["frames"][0]["fault"]["rule"] == "RFC 7692 7.2.2"
    assert explain(capsys, hello)[0] == 1


@pytest.mark.parametrize("size", [4, 23])
def test_capture_without_a_whole_header_is_rejected(size, capsys, tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(tcp(5000, 443, 1, b"\x16\x03\x01"))[:size])
    assert main(["inspect", str(path)]) == 2
    assert capsys.readouterr().err == "framewire: the capture is damaged: Not a supported capture file\n"


def test_capture_without_opening_handshake_is_rejected(capsys, tmp_path):
    path = tmp_path / "tls.pcap"
    path.write_bytes(pcap(tcp(5000, 443, 1, b"\x16\x03\x01")))
    assert main(["inspect", str(path)]) == 2
    assert "no opening handshake" in capsys.readouterr().err


def test_join_segments_stops_at_a_gap():
    assert join_segments([(10, b"ab"), (12, b"cd"), (11, b"bc"), (15, b"f")]) == b"abcd"


def test_every_event_type_has_a_description():
    stream = Stream(SERVER)
    wire = Stream(CLIENT)
    data = wire.send("é") + wire.send(b"\0") + wire.ping(b"?") + wire.pong() + wire.close(3000, "bye")
    described = [inspect.describe(event) for event in stream.receive(data)]
    assert described == [
        "text message, 2 bytes: 'é'",
        "binary message, 1 byte",
        "ping b'?'",
        "pong b''",
        "close 3000 'bye'",
    ]
