"""The scripts of the client that runs against handlers: offers, queries and frames to send."""

from dataclasses import dataclass, replace

from frames import BINARY, CLOSE, KEY, PING, PONG, TEXT, frame


@dataclass(frozen=True)
class Scenario:
    """What a client does with one handler.

    Attributes:
        name: The name in the table.
        query: What follows the path of the handler in the request.
        headers: Header lines of the request, besides those of every handshake.
        steps: Frames to send one after another, each when the answer to the one before has come.
        request: The request, if it is not that of a handshake: "{path}" and "{host}" are replaced.
    """

    name: str
    query: str = ""
    headers: tuple[str, ...] = ()
    steps: tuple[bytes, ...] = ()
    request: str = ""


def send(first, payload=b""):
    """Return a masked frame."""
    return frame(first, payload, KEY)


def close(code=None, reason=b""):
    """Return a masked close frame."""
    return send(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


DEFLATE = ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",)

#: "Hello" and "Goodbye" compressed, each with an empty window (RFC 7692 7.2.3).
HELLO, GOODBYE = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("72cfcf4fa9ac4a0500")

MESSAGES = (send(TEXT, b"Hello"), send(BINARY, b"\x00\xff"), send(TEXT, b""), send(TEXT, "é€🎉".encode()))

#: The scenarios of every handler.
EVERY = (
    Scenario("messages", steps=(*MESSAGES, close(1000))),
    Scenario("query", "?q=a%20b&c", steps=(send(TEXT, b"echo"), close(3001, b"why"))),
    Scenario("goodbye", steps=(send(TEXT, b"Goodbye"),)),
    Scenario("close at once", steps=(close(1001),)),
    Scenario("empty close", steps=(close(),)),
    Scenario("ping", steps=(send(PING, b"p"), send(PONG, b"q"), send(TEXT, b"x"), close(4999, "é".encode()))),
    Scenario("fragments", steps=(send(0x01, b"on"), send(0x00, b""), send(0x80, b"e"), close(1000))),
    Scenario("deflate", headers=DEFLATE, steps=(send(0xC1, HELLO), send(TEXT, b"plain"), send(0xC1, GOODBYE))),
    Scenario("end of TCP"),
    Scenario("protocols", headers=("Sec-WebSocket-Protocol: echo, foobar",), steps=(send(TEXT, b"x"), close(1000))),
    Scenario("one protocol", headers=("Sec-WebSocket-Protocol: foobar",), steps=(send(TEXT, b"x"), close(1000))),
    Scenario(
        "headers",
        headers=("Cookie: a=b; c=d", "Referer: http://r/", "Authorization: Basic Zm9vOmJhcg=="),
        steps=(send(TEXT, b"x"), close(1000)),
    ),
)


def queries(*values, steps=(), headers=()):
    """Return a scenario for each query; by default the client closes at once."""
    steps = steps or (close(1000),)
    return [Scenario(value, value, headers, steps) for value in values]


COMPRESSED = (send(0xC1, HELLO), send(0xC1, HELLO), send(BINARY, b"bytes"))
SWITCHED = (send(TEXT, b"DisableCompression"), send(0xC1, HELLO), send(TEXT, b"EnableCompression"), *COMPRESSED)
DEFLATE_CASES = [
    *queries(
        *(f"?client_max_window_bits={bits}" for bits in (8, 9, 12, 15)),
        "?client_no_context_takeover",
        "?client_no_context_takeover&client_max_window_bits=10",
        steps=(*COMPRESSED, send(TEXT, b"Goodbye")),
        headers=DEFLATE,
    ),
    Scenario("switched", "", DEFLATE, (*SWITCHED, close(1000))),
    Scenario("no offer of bits", "?client_max_window_bits=10", ("Sec-WebSocket-Extensions: permessage-deflate",)),
    Scenario(
        "server parameters",
        "",
        (
            "Sec-WebSocket-Extensions: x-other, permessage-deflate; server_no_context_takeover; "
            "server_max_window_bits=10",
        ),
        (*COMPRESSED, close(1000)),
    ),
    Scenario(
        "two offers",
        "",
        ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-deflate",),
        (*COMPRESSED, close(1000)),
    ),
    Scenario("compressed fragments", "", DEFLATE, (send(0x41, HELLO[:3]), send(0x80, HELLO[3:]), close(1000))),
    # Last, as the handlers keep this choice for later connections.
    Scenario("bfinal", "?set_bfinal", DEFLATE, (*COMPRESSED, *COMPRESSED, close(1000))),
    Scenario("bfinal, large", "?set_bfinal", DEFLATE, (send(TEXT, b"ab" * 40_000), send(TEXT, b"Goodbye"))),
]

#: The further scenarios of handlers that do something else with these requests or frames, by the
#: last component of their path.
BY_NAME = {
    "permessage-deflate": DEFLATE_CASES,
    "permessage-deflate-manual": DEFLATE_CASES,
    "permessage-deflate-invalid-parameter": queries("?foo", "?client_max_window_bits%3D16", "?a%3B%20b"),
    "check-binary-messages": [
        Scenario("expected", "", (), (send(BINARY, b"Hello, world!"), send(BINARY), send(BINARY, bytes(range(256)))))
    ],
    "close-code-and-reason": [
        Scenario(text.decode(), "", (), (send(TEXT, text),))
        for text in (b"-", b"--", b"1000 ok", b"3000 \xc3\xa9", b"1005 never", b"0 zero", b"65535 x")
    ],
    "close-on-unload": queries("?p=a", steps=(send(TEXT, b"one"), send(TEXT, b"two"))),
    "connection-throttling": queries("?mode=new_test", "?mode=new_test", "?mode=do_test&id=1", steps=(close(1000),)),
    "expect-unfragmented": [
        Scenario("expected", "", (), tuple(send(BINARY, bytes([each])) for each in range(32))),
        Scenario("fragment", "", (), (send(BINARY, b"whole"), send(0x02, b"part"))),
        Scenario("at once", "", (), (b"".join(send(BINARY, bytes([each])) for each in range(32)),)),
        Scenario("long", "", (), (send(BINARY, bytes(70_000)), send(BINARY, bytes(200)), send(TEXT, b"x"))),
    ],
    "close-on-frame": [
        Scenario("fragment", "", (), (send(0x02, bytes(300)), close(1000))),
        Scenario("unmasked", "", (), (b"\x82\x01x",)),
    ],
    "invalid-encode-length": queries("?case=126_125", "?case=127_65535", "?case=127_1", "?case=1_1"),
    "network_emulation": queries("?role=broadcaster", "?role=listener", "?role=x"),
    "permessage-deflate-split-frames": [
        Scenario("text", "", DEFLATE, (send(TEXT, b"any"), close(1000))),
    ],
    "pong": [
        Scenario("answered", "?payload=abc", (), (send(PONG, b"abc"), close(1000))),
        Scenario("wrong pong", "?payload=abc", (), (send(PONG, b"abd"), close(1000))),
    ],
    "protocol-test": [
        Scenario("chosen", "?protocol=b", ("Sec-WebSocket-Protocol: a, b",), (close(1000),)),
        Scenario("not offered", "?protocol=c", ("Sec-WebSocket-Protocol: a, b",)),
    ],
    "reserved-bits": queries(
        *(f"?compressed={word}&bitNumber={bit}" for word in ("true", "false") for bit in range(5))
    ),
    "reserved-opcodes": queries(*(f"?opcode={opcode}" for opcode in (0, 2, 3, 7, 8, 11, 15, 16))),
    "send-file-blob": [Scenario("expected", "", DEFLATE, (send(BINARY, b"Hello, world!"), close(1000)))],
    "set-cookie": queries("?clear", "?clear=1"),
    "set-co-policies": queries("?coep=require-corp&corp=same-site"),
    "unicode": [
        Scenario("expected", "", (), (send(TEXT, "\u3053\u3093\u306b\u3061\u306f".encode()), close(1000))),
    ],
    "no-onmessage-in-sync-op": [Scenario("expected", "", (), tuple(send(TEXT, text) for text in (b"1", b"2", b"3")))],
    "unmasked-frames": [Scenario("ping first", "", (), (send(PING), close(1000)))],
    "count-received-bytes": [Scenario("large", "", DEFLATE, (send(BINARY, bytes(100_000)), *MESSAGES, close(1000)))],
    "echo": [
        Scenario(
            "no handshake",
            request="GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        ),
        Scenario(
            "old version",
            request="GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n",
        ),
        Scenario(
            "bad key",
            request="GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
        ),
        Scenario("large", "", (), (send(TEXT, b"x" * 70_000), send(BINARY, bytes(65_536)), close(1000))),
        Scenario("unmasked", "", (), (b"\x81\x01x",)),
        Scenario("reserved bit", "", (), (send(0xC1, b"x"),)),
        Scenario("reserved opcode", "", (), (send(0x83, b"x"),)),
        Scenario("not UTF-8", "", (), (send(TEXT, b"\xff"),)),
        Scenario("continuation", "", (), (send(0x80, b"x"),)),
        Scenario("interleaved", "", (), (send(0x01, b"x"), send(TEXT, b"y"))),
        Scenario("fragmented ping", "", (), (send(0x09, b"x"),)),
        Scenario("long ping", "", (), (send(PING, bytes(126)),)),
        Scenario("close with one byte", "", (), (send(CLOSE, b"x"),)),
        Scenario("close with 1005", "", (), (close(1005),)),
        Scenario("close with 999", "", (), (close(999),)),
        Scenario("close, not UTF-8", "", (), (close(1000, b"\xff"),)),
        Scenario("length not minimal", "", (), (frame(TEXT, b"x", KEY, 16), close(1000))),
        Scenario("corrupt deflate", "", DEFLATE, (send(0xC1, b"\xff\xff"),)),
        Scenario("text after close", "", (), (close(1000) + send(TEXT, b"late"),)),
    ],
    "echo-query": queries("?", "?a?b"),
    "echo_raw": [Scenario("raw", "", (), (send(TEXT, rb"\x81\x02hi"), send(TEXT, b"exit"), close(1000)))],
    "empty-message": [Scenario("empty", "", (), (send(TEXT, b""), close(1000)))],
}


def scenarios_for(path):
    """Return the scenarios of a handler by its path; names are unique."""
    found = []
    for scenario in (*EVERY, *BY_NAME.get(path.rpartition("/")[2], ())):
        count = sum(each.name.partition(" #")[0] == scenario.name for each in found)
        found.append(replace(scenario, name=f"{scenario.name} #{count + 1}") if count else scenario)
    return found
