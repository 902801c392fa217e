"""`framewire inspect`: what the bytes of a WebSocket mean, frame by frame, and which rule they break."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..http.headers import parse_extensions
from ..protocol.codecs import Parameters
from ..protocol.constants import CLIENT, SERVER, Role
from ..protocol.events import Close, Event, Failure, Fragment, Ping, Pong, Text
from .capture import CAPTURE_MAGIC, read_capture
from .dissect import Frame, dissect
from .extra import need

__all__ = ["add_parser", "read_input"]

#: What may stand between the digits of hex: blanks, and how programs write bytes.
_BETWEEN: Final = re.compile(rb"0x|\\x|[\s:,]")
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_HEAD: Final = re.compile(rb"(GET [^\r\n]* HTTP/1\.1|HTTP/1\.1 101[^\r\n]*)\r\n.*?\r\n\r\n", re.DOTALL)


def add_parser(commands: Any) -> None:
    """Adds this command to the command line."""
    parser = commands.add_parser("inspect", help="explain the bytes of a WebSocket", description=__doc__)
    parser.add_argument("input", help="hex, or a file of hex, bytes or packets (pcap, pcapng), - for standard input")
    parser.add_argument(
        "--from",
        dest="sender",
        choices=("client", "server"),
        help="who sent the bytes (default: a client if the first frame is masked)",
    )
    parser.add_argument("--deflate", action="store_true", help="permessage-deflate was agreed on, as it is by default")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Direction:
    """What one end sent: a title, the HTTP head that came first (or b""), and the bytes after it."""

    title: str
    sender: Role
    head: bytes
    data: bytes
    compression: Parameters | None = None

    def frames(self) -> Iterator[Frame]:
        """The frames, with offsets that count the head too."""
        return dissect(self.data, SERVER if self.sender is CLIENT else CLIENT, len(self.head), self.compression)


def run(arguments: argparse.Namespace) -> int:
    """Prints the frames; 1 if one of them is at fault."""
    sender = {"client": CLIENT, "server": SERVER, None: None}[arguments.sender]
    try:
        directions = list(read_input(arguments.input, sender))
        if arguments.deflate:
            directions = [replace(each, compression=each.compression or ()) for each in directions]
        taken = [(direction, list(direction.frames())) for direction in directions]
    except ValueError as error:
        print(f"framewire: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([_to_json(*pair) for pair in taken], indent=2))
    else:
        for direction, frames in taken:
            _print_tree(direction, frames)
    return 1 if any(frame.fault for _, frames in taken for frame in frames) else 0


def read_input(source: str, sender: Role | None) -> Iterator[Direction]:
    """Finds out what `source` is, and gives what is in it; ValueError if it is none of what can be read."""
    if source != "-" and not (source and Path(source).is_file()):
        data = _BETWEEN.sub(b"", source.encode())
        if not _HEX.fullmatch(data):
            raise ValueError(f"{source!r} is neither a file nor whole bytes in hex")
        yield _direction("bytes", bytes.fromhex(data.decode()), sender)
        return
    content = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    title = "standard input" if source == "-" else source
    if content.startswith(CAPTURE_MAGIC):
        streams = read_capture(content)
        found = {ends: data for ends, data in streams.items() if _HEAD.match(data)}
        if not found:
            raise ValueError("the capture holds no opening handshake of a WebSocket (what TLS protects cannot be read)")
        for (here, there), data in found.items():
            yield _direction(f"{here} > {there}", data, sender, found.get((there, here), b""))
        return
    digits = _BETWEEN.sub(b"", content)
    if _HEX.fullmatch(digits):
        content = bytes.fromhex(digits.decode())
    yield _direction(title, content, sender)


def _direction(title: str, data: bytes, sender: Role | None, answer: bytes = b"") -> Direction:
    """What stands in `data`; `answer` is what came the other way, if that is known."""
    match = _HEAD.match(data)
    head = match[0] if match else b""
    data = data[len(head) :]
    if sender is None and head:
        sender = CLIENT if head.startswith(b"GET") else SERVER
    if sender is None:
        sender = CLIENT if len(data) > 1 and data[1] > 127 else SERVER
    return Direction(title, sender, head, data, find_compression(head if sender is SERVER else answer))


def find_compression(answer: bytes) -> Parameters | None:
    """The parameters of permessage-deflate that a server's answer agrees to; None if it does not."""
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    terms = parse_extensions(value for name, value in fields if name == "sec-websocket-extensions")
    return dict(terms).get("permessage-deflate")


# As JSON


def _to_json(direction: Direction, frames: Sequence[Frame]) -> dict[str, object]:
    return {
        "source": direction.title,
        "sender": direction.sender.value,
        "head": direction.head.decode("latin-1"),
        "frames": [_frame_to_json(frame) for frame in frames],
    }


def _frame_to_json(frame: Frame) -> dict[str, object]:
    return {
        "offset": frame.offset,
        "header": frame.header.hex(),
        "fin": frame.final,
        "rsv": list(frame.reserved),
        "opcode": frame.opcode,
        "name": frame.name,
        "masked": frame.masked,
        "key": frame.key.hex(),
        "length": frame.length,
        "missing": frame.missing,
        "wire": frame.wire.hex(),
        "payload": frame.payload.hex(),
        "events": [describe(event) for event in frame.events],
        "unread": frame.unread,
        "fault": asdict(frame.fault) if frame.fault else None,
    }


def describe(event: Event) -> str:
    """What the user of the stream sees, in one line that cannot command a terminal."""
    match event:
        case str():
            return f"text message, {len(event.encode()):,} bytes: {_shorten(repr(event))}"
        case bytes():
            return f"binary message, {len(event):,} bytes"
        case Ping(payload) | Pong(payload):
            return f"{type(event).__name__.lower()} {payload!r}"
        case Close(code, reason):
            return f"close {code} {reason!r}" if reason else f"close {code}"
        case Text() | Fragment() | Failure():  # not with the settings of `dissect`
            raise AssertionError(event)


# As a tree


def _print_tree(direction: Direction, frames: Sequence[Frame]) -> None:
    need("rich", "inspect without --json")
    from rich.console import Console
    from rich.text import Text as Styled
    from rich.tree import Tree

    console = Console(highlight=False)
    size = sum(len(frame.header) + len(frame.wire) for frame in frames)
    title = f"{direction.title}: {size:,} bytes in {len(frames)} frames from a {direction.sender.value}"
    tree = Tree(Styled(title, style="bold"), guide_style="dim")
    for line in direction.head.decode("latin-1").splitlines()[:-1]:
        tree.add(Styled(_printable(line), style="dim"))
    for frame in frames:
        node = tree.add(Styled.assemble(*_headline(frame)))
        for line, style in _details(frame):
            node.add(Styled(line, style=style))
    console.print(tree)


def _headline(frame: Frame) -> Iterator[tuple[str, str]]:
    dim = "dim" if frame.unread else ""
    yield f"byte {frame.offset:<5}", dim or "cyan"
    yield f" {frame.name}", dim or ("magenta" if frame.opcode & 8 else "green")
    bits = ["FIN"] * frame.final + [f"RSV{n}" for n in frame.reserved]
    length = {None: "header cut short", -1: "length not valid"}.get(frame.length, f"{frame.length} bytes")
    mask = ["masked"] * frame.masked
    yield f"  {', '.join([f'opcode {frame.opcode:#x}', *bits, length, *mask])}", dim


def _details(frame: Frame) -> Iterator[tuple[str, str]]:
    dim = "dim" if frame.unread else ""
    yield f"{'header':<9}{frame.header.hex(' ')}", "dim"
    if frame.wire:
        yield f"{'payload':<9}{_clip(frame.wire)}", "dim"
        if frame.key:
            yield f"{'unmasked':<9}{_clip(frame.payload)}", dim
    if frame.missing:
        yield f"{frame.missing:,} bytes are missing", "yellow"
    for event in frame.events:
        yield describe(event), dim or "bold"
    if frame.unread:
        yield frame.unread, "dim"
    if fault := frame.fault:
        rule = f" ({fault.rule})" if fault.rule else ""
        yield f"byte {fault.offset}: {fault.reason}{rule}; the connection closes with {fault.code}", "bold red"


def _clip(data: bytes) -> str:
    return data[:16].hex(" ") + (" …" if len(data) > 16 else "")


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
