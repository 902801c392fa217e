"""Receiving whole masked messages, as a server: many per read, one per read, non-ASCII text, and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from .compiled import load_extension
from .contenders import available, backends
from .inputs import ALPHABETS, KIB, READ, cut, encoded, masked_frames, payload, repeated, size_name, text
from .receivers import SETTINGS, contend
from .recorded import LIBMICROHTTPD_TEXT
from .tables import FAST, FLOOR, PURE, Goal, Table
from .timing import Call, Effort, measure

SIZES = (16, 125, KIB, 4 * KIB, 16 * KIB)
RECORDED = "libmicrohttpd (recorded)"
XOR_FLOOR = "XOR floor"
#: The factor by which framewire must be faster than the recorded library, by payload size.
RECORDED_GOALS = {16: 1, 125: 2, KIB: 7, 16 * KIB: 12}
#: Bytes of payloads and headers in one timed pass.
TOTAL = 512 * KIB
#: The pure backend must be as fast as the fastest peers that are not compiled.
PURE_GOALS = (Goal("wsproto", 1, PURE), Goal("websockets py", 1, PURE))


def tables(effort: Effort) -> Iterator[Table]:
    yield from (batches(effort), singles(effort), scripts(effort))
    if available({"orjson": orjson_loads}) and FAST in backends():
        yield documents(effort)


def batches(effort: Effort) -> Table:
    """Measure reads of 64 KiB."""
    table = Table(
        "decode",
        "masked messages in reads of 64 KiB, split anywhere",
        "message",
        [
            "floor: a C loop that creates the same objects from unmasked memory and appends them to a list",
            f"{XOR_FLOOR}: the same, filled by one XOR pass at full width instead of memcpy; no header",
            *SETTINGS,
        ],
    )
    for kind in ("text", "binary"):
        for size in SIZES:
            message = text("ASCII", size) if kind == "text" else payload(size)
            messages = repeated(message, min(TOTAL, 8 * effort.largest))
            frames = masked_frames(messages)
            counts = messages_by_read(frames)
            floors = {
                FLOOR: make_only(messages, frames, counts, "make_texts" if kind == "text" else "make_bytes"),
                XOR_FLOOR: make_only([encoded(message)] * len(messages), frames, counts, "make_unmasked"),
            }
            figures = contend(messages, cut(b"".join(frames)), effort, floors)
            if kind == "text" and size in LIBMICROHTTPD_TEXT:
                figures[RECORDED] = LIBMICROHTTPD_TEXT[size]
            table.add(f"{kind}, {size_name(size)}", figures, batch_goals(kind, size), size)
    return table


def batch_goals(kind: str, size: int) -> Iterator[Goal]:
    yield Goal(FLOOR, 1.25 if size <= 4 * KIB else 1.5, limit=XOR_FLOOR)
    if size <= 125:
        yield Goal.faster("wsproto", 80)
        yield Goal.faster("websockets", 25)
        yield Goal.faster("aiohttp", 8)
    if kind == "text" and size in RECORDED_GOALS:
        yield Goal.faster(RECORDED, RECORDED_GOALS[size])
    yield from PURE_GOALS


def singles(effort: Effort) -> Table:
    """Measure reads of one message each, where the cost per call dominates."""
    table = Table("decode", "one masked message in each read", "message", [*SETTINGS])
    for kind, message in (("text", text("ASCII", 16)), ("binary", payload(16))):
        messages = repeated(message, min(TOTAL, effort.largest) // 16)
        frames = masked_frames(messages)
        floor = make_only(messages, frames, [1] * len(frames), "make_texts" if kind == "text" else "make_bytes")
        figures = contend(messages, frames, effort, {FLOOR: floor})
        goals = (Goal.faster("websockets", 10), Goal.faster("aiohttp", 4), *PURE_GOALS)
        table.add(f"{kind}, 16 B", figures, goals, 16)
    return table


def scripts(effort: Effort) -> Table:
    """Measure text that must be validated and decoded."""
    decoder = "unmask + decode"
    table = Table(
        "decode",
        "masked text of other scripts in reads of 64 KiB, split anywhere",
        "message",
        [f"{decoder}: a C loop of one XOR pass at full width and bytes.decode for each message; no header", *SETTINGS],
    )
    module = load_extension("floor")
    for script in list(ALPHABETS)[1:]:
        for size in effort.sizes(125, KIB, 4 * KIB, 64 * KIB):
            messages = repeated(text(script, size), min(TOTAL, 8 * effort.largest))
            frames = masked_frames(messages)
            payloads = [frame[-size:] for frame in frames]
            keys = [frame[-size - 4 : -size] for frame in frames]
            if module.unmask_and_decode(payloads, keys) != messages:
                raise AssertionError("the floor does not create the messages")
            others = {
                decoder: Call(module.unmask_and_decode, (payloads, keys)),
                FLOOR: Call(module.make_wide_texts, (messages,)),
            }
            figures = contend(messages, cut(b"".join(frames)), effort, others)
            goals = [*PURE_GOALS]
            if size != KIB:
                goals.append(Goal.faster(decoder, 1.5 if size == 125 else 4))
            table.add(f"{script}, {size_name(size)}", figures, goals, size)
    return table


def orjson_loads() -> Callable[[str | bytes], Any]:
    import orjson

    return orjson.loads


def documents(effort: Effort) -> Table:
    """Measure JSON that is not ASCII, from frames to objects."""
    decoded, package, loads = "str, then orjson", backends()[FAST], orjson_loads()
    table = Table(
        "decode",
        "masked JSON in reads of 64 KiB to objects, by orjson",
        "message",
        [
            'framewire: Stream(SERVER, max_message_size=None, text_as_bytes="bare"), whose messages are bytes',
            f"{decoded}: the same without text_as_bytes, whose messages are str",
            f"{FLOOR}: orjson alone, of the bytes of each message",
        ],
    )

    def receive(reads: list[bytes], **settings: Any) -> list[Any]:
        stream = package.Stream(package.SERVER, max_message_size=None, **settings)
        return [loads(message) for read in reads for message in stream.receive(read)]

    def receive_bytes(reads: list[bytes]) -> list[Any]:
        return receive(reads, text_as_bytes="bare")

    def parse(payloads: list[bytes]) -> list[Any]:
        return [loads(payload) for payload in payloads]

    for script in list(ALPHABETS)[1:]:
        document = {"id": 12345, "user": "me", "text": text(script, KIB - 60)}
        message = json.dumps(document, ensure_ascii=False)
        messages = repeated(message, effort.largest)
        reads = cut(b"".join(masked_frames(messages)))
        calls = {
            FAST: Call(receive_bytes, (reads,)),
            decoded: Call(receive, (reads,)),
            FLOOR: Call(parse, ([encoded(message)] * len(messages),)),
        }
        for name, (function, arguments) in calls.items():
            if function(*arguments) != [document] * len(messages):
                raise AssertionError(f"{name} does not return the documents")
        table.add(f"{script}, 1 KiB", measure(calls, effort, len(messages)), [Goal.faster(decoded, 1.5)], KIB)
    return table


def messages_by_read(frames: list[bytes]) -> list[int]:
    """Return how many of the frames, all of one size, each read of 64 KiB completes."""
    stride, total = len(frames[0]), sum(map(len, frames))
    ends = [min(end, total) // stride for end in range(READ, total + READ, READ)]
    return [end - start for start, end in pairwise([0, *ends])]


def make_only(messages: Sequence[str | bytes], frames: list[bytes], counts: Iterable[int], maker: str) -> Call:
    """Return the floor: a call that only creates the messages, `counts` for each read.

    Args:
        messages: The messages, all of one size.
        frames: Their frames.
        counts: The number of messages in each read.
        maker: The function of floor.pyx that creates the objects.
    """
    make = getattr(load_extension("floor"), maker)
    size, stride = len(encoded(messages[0])), len(frames[0])
    memory = b"".join(encoded(message).rjust(stride) for message in messages)
    runs, start = [], stride - size
    for count in counts:
        runs.append((memory, start, stride, size, count))
        start += stride * count

    def run() -> None:
        for arguments in runs:
            make(*arguments)

    if [message for arguments in runs for message in make(*arguments)] != messages:
        raise AssertionError("the floor does not create the messages")
    return Call(run)
