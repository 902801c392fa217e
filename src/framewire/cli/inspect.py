"""`framewire inspect`: explain the bytes of a WebSocket, and the rules that they violate."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from os.path import exists, isdir
from pathlib import Path
from typing import Any, Final

from ..http.headers import parse_extensions
from ..protocol.codecs import Parameters
from ..protocol.constants import CLIENT, SERVER, Role
from ..protocol.events import Close, Event, Failure, Fragment, Ping, Pong, Text
from .capture import CAPTURE_MAGIC, read_capture
from .dissect import Frame, dissect
from .optional_packages import require_package
from .output import make_console
from .reporting import FAILURE, INTERRUPTED, USAGE, CommandError, count
from .standard_input import read_standard_input

__all__ = ["add_parser", "read_input"]

#: Separators and prefixes of hex digits in common notations.
_HEX_SEPARATOR: Final = re.compile(rb"0x|\\x|[\s:,]")
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_HEAD: Final = re.compile(rb"(GET [^\r\n]* HTTP/1\.1|HTTP/1\.1 101[^\r\n]*)\r\n.*?\r\n\r\n", re.DOTALL)


def add_parser(commands: Any) -> None:
    """Add this subcommand to the command line."""
    parser = commands.add_parser("inspect", help="explain the bytes of a WebSocket", description=__doc__)
    parser.add_argument(
        "input",
        nargs="+",
        help="hex digits, or a file of hex digits, bytes or packets (pcap, pcapng), or - for standard input",
    )
    parser.add_argument(
        "--from",
        dest="sender",
        choices=("client", "server"),
        help="the sender of the bytes (default: a client if the first frame is masked)",
    )
    parser.add_argument(
        "--deflate", action="store_true", help="assume that permessage-deflate was negotiated, without parameters"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class Direction:
    """The bytes that one end sent.

    Attributes:
        title: Where the bytes come from.
        sender: The end that sent them.
        head: The HTTP head of the opening handshake, or b"".
        data: The bytes after the head.
        compression: The negotiated parameters of permessage-deflate; None without compression.
    """

    title: str
    sender: Role
    head: bytes
    data: bytes
    compression: Parameters | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; their offsets are relative to the start of the head."""
        return dissect(self.data, SERVER if self.sender is CLIENT else CLIENT, len(self.head), self.compression)


def run(arguments: argparse.Namespace) -> int:
    """Print the frames; return 1 if one of them violates a rule, 130 after Ctrl-C.

    Raises:
        CommandError: The input cannot be read.
    """
    source = " ".join(arguments.input)
    content, interrupted = _read_standard_input() if source == "-" else (b"", False)
    sender = {"client": CLIENT, "server": SERVER, None: None}[arguments.sender]
    try:
        directions = list(read_input(source, sender, content))
        if arguments.deflate:
            directions = [replace(each, compression=each.compression or ()) for each in directions]
        dissected = [(direction, list(direction.frames())) for direction in directions]
    except ValueError as error:
        raise CommandError(str(error), USAGE) from error
    if arguments.json:
        print(json.dumps([_to_json(*pair) for pair in dissected], indent=2))
    else:
        for direction, frames in dissected:
            _print_tree(direction, frames)
    if interrupted:
        return INTERRUPTED
    return FAILURE if any(frame.fault for _, frames in dissected for frame in frames) else 0


def _read_standard_input() -> tuple[bytes, bool]:
    """Read until the end or Ctrl-C; return the bytes, and whether it was Ctrl-C."""
    content = bytearray()
    try:
        for data in read_standard_input():
            content += data
    except KeyboardInterrupt:
        return bytes(content), True
    return bytes(content), False


def read_input(source: str, sender: Role | None, standard_input: bytes = b"") -> Iterator[Direction]:
    """Read the input in whatever format it has.

    Args:
        source: Hex digits, the name of a file, or "-" for standard input.
        sender: The sender of the bytes, or None to derive it from them.
        standard_input: The bytes of standard input.

    Yields:
        The bytes of each sender. A capture has two senders for each connection.

    Raises:
        ValueError: If the format is none of those supported.
    """
    if source != "-" and (isdir(source) or not exists(source)):
        data = _HEX_SEPARATOR.sub(b"", source.encode())
        if not _HEX.fullmatch(data):
            raise ValueError(f"{source!r} is neither a file nor whole bytes in hex")
        yield _make_direction("bytes", bytes.fromhex(data.decode()), sender)
        return
    content = standard_input if source == "-" else Path(source).read_bytes()
    title = "standard input" if source == "-" else source
    if content.startswith(CAPTURE_MAGIC):
        streams = {ends: data for ends, data in read_capture(content).items() if _HEAD.match(data)}
        if not streams:
            raise ValueError("the capture holds no opening handshake of a WebSocket (encrypted traffic cannot be read)")
        for (source_end, other_end), data in streams.items():
            reverse = streams.get((other_end, source_end), b"")
            yield _make_direction(f"{source_end} > {other_end}", data, sender, reverse)
        return
    digits = _HEX_SEPARATOR.sub(b"", content)
    if _HEX.fullmatch(digits):
        content = bytes.fromhex(digits.decode())
    yield _make_direction(title, content, sender)


def _make_direction(title: str, data: bytes, sender: Role | None, reverse: bytes = b"") -> Direction:
    """Describe the bytes of one sender.

    Args:
        title: Where the bytes come from.
        data: The bytes, which may begin with the HTTP head.
        sender: The sender; None derives it from the head, or from the mask bit of the first frame.
        reverse: The bytes of the reverse direction, if known; they may hold the server's response.
    """
    match = _HEAD.match(data)
    head = match[0] if match else b""
    data = data[len(head) :]
    if sender is None and head:
        sender = CLIENT if head.startswith(b"GET") else SERVER
    if sender is None:
        sender = CLIENT if len(data) > 1 and data[1] > 127 else SERVER
    return Direction(title, sender, head, data, find_compression(head if sender is SERVER else reverse))


def find_compression(response: bytes) -> Parameters | None:
    """Return the parameters of permessage-deflate in a server's response; None without it."""
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    terms = parse_extensions(value for name, value in fields if name == "sec-websocket-extensions")
    return dict(terms).get("permessage-deflate")


# JSON output


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
    """Describe an event in one line without control characters."""
    match event:
        case str():
            return f"text message, {count(len(event.encode()), 'byte')}: {_shorten(repr(event))}"
        case bytes():
            return f"binary message, {count(len(event), 'byte')}"
        case Ping(payload) | Pong(payload):
            return f"{type(event).__name__.lower()} {payload!r}"
        case Close(code, reason):
            return f"close {code} {reason!r}" if reason else f"close {code}"
        case Text() | Fragment() | Failure():  # `dissect` does not ask for the first two and removes the third
            raise AssertionError(event)


# Tree output


def _print_tree(direction: Direction, frames: Sequence[Frame]) -> None:
    require_package("rich", "inspect without --json")
    from rich.text import Text as Styled
    from rich.tree import Tree

    size = sum(len(frame.header) + len(frame.wire) for frame in frames)
    title = f"{direction.title}: {count(size, 'byte')} in {count(len(frames), 'frame')} from a {direction.sender.value}"
    tree = Tree(Styled(title, style="bold"), guide_style="dim")
    for line in direction.head.decode("latin-1").splitlines()[:-1]:
        tree.add(Styled(_printable(line), style="dim"))
    for frame in frames:
        node = tree.add(Styled.assemble(*_headline(frame)))
        for line, style in _details(frame):
            node.add(Styled(line, style=style))
    make_console().print(tree)


def _headline(frame: Frame) -> Iterator[tuple[str, str]]:
    """Yield pieces of text with their styles."""
    unread_style = "dim" if frame.unread else ""
    yield f"byte {frame.offset:<5}", unread_style or "cyan"
    yield f" {frame.name}", unread_style or ("magenta" if frame.opcode & 8 else "green")
    bits = ["FIN"] * frame.final + [f"RSV{n}" for n in frame.reserved]
    length = {None: "header cut short", -1: "length not valid"}.get(frame.length, count(frame.length or 0, "byte"))
    mask = ["masked"] * frame.masked
    yield f"  {', '.join([f'opcode {frame.opcode:#x}', *bits, length, *mask])}", unread_style


def _details(frame: Frame) -> Iterator[tuple[str, str]]:
    """Yield lines of text with their styles."""
    unread_style = "dim" if frame.unread else ""
    yield f"{'header':<9}{frame.header.hex(' ')}", "dim"
    if frame.wire:
        yield f"{'payload':<9}{_clip(frame.wire)}", "dim"
        if frame.key:
            yield f"{'unmasked':<9}{_clip(frame.payload)}", unread_style
    if frame.missing:
        verb = "is" if frame.missing == 1 else "are"
        yield f"{count(frame.missing, 'byte')} {verb} missing", "yellow"
    for event in frame.events:
        yield describe(event), unread_style or "bold"
    if frame.unread:
        yield frame.unread, "dim"
    if fault := frame.fault:
        rule = f" ({fault.rule})" if fault.rule else ""
        yield f"byte {fault.offset}: {fault.reason}{rule}; the connection closes with {fault.code}", "bold red"


def _clip(data: bytes) -> str:
    return data[:16].hex(" ") + (" ..." if len(data) > 16 else "")


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
