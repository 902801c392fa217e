"""Whole masked messages in reads of 64 KiB, cut anywhere: what a busy server does."""

from __future__ import annotations

from collections.abc import Iterator

from .compiled import load_extension
from .inputs import KIB, READ, cut, encoded, masked_frames, payload, repeated, size_name, text
from .receivers import SETTINGS, check, receivers
from .recorded import LIBMICROHTTPD_TEXT
from .tables import FLOOR, PURE, Goal, Row, Table
from .timing import Call, Effort, measure

AREA = "decode"
SIZES = (16, 125, KIB, 4 * KIB, 16 * KIB)
RECORDED = "libmicrohttpd (recorded)"
#: How many times as fast as it, by payload size.
RECORDED_GOALS = {16: 1, 125: 2, KIB: 7, 16 * KIB: 12}
#: Payload in one timed pass, in bytes.
TOTAL = 512 * KIB


def floor(messages: list[str | bytes], frames: list[bytes]) -> Call:
    """Makes the objects, read by read, that these messages are, and nothing else."""
    module = load_extension("floor")
    first = messages[0]
    make = module.make_texts if isinstance(first, str) else module.make_bytes
    size, stride = len(encoded(first)), len(frames[0])
    memory = b"".join(encoded(message).rjust(stride) for message in messages)
    ends = [index // stride for index in range(READ, len(memory), READ)] + [len(messages)]
    runs = [
        (begin * stride + stride - size, stride, size, end - begin)
        for begin, end in zip([0, *ends], ends)
    ]

    def run() -> None:
        for first, stride, size, count in runs:
            make(memory, first, stride, size, count)

    made = [item for first, stride, size, count in runs for item in make(memory, first, stride, size, count)]
    if made != messages:
        raise AssertionError("the floor does not make the messages")
    return Call(run)


def goals(kind: str, size: int) -> Iterator[Goal]:
    yield Goal(FLOOR, 1.25 if size <= 4 * KIB else 1.5)
    if size <= 125:
        yield Goal.faster("wsproto", 80)
        yield Goal.faster("websockets", 25)
        yield Goal.faster("aiohttp", 8)
    if kind == "text" and size in RECORDED_GOALS:
        yield Goal.faster(RECORDED, RECORDED_GOALS[size])
    yield Goal("wsproto", 1, PURE)
    yield Goal("websockets py", 1, PURE)


def tables(effort: Effort) -> Iterator[Table]:
    table = Table(AREA, "masked messages in 64 KiB reads, cut anywhere", "message")
    table.notes = [
        "floor: a C loop that makes the same objects from unmasked memory and appends them to a list",
        *(f"{name}: {setting}" for name, setting in SETTINGS.items()),
    ]
    for kind in ("text", "binary"):
        for size in SIZES:
            message = text("ASCII", size) if kind == "text" else payload(size)
            messages = repeated(message, TOTAL)
            frames = masked_frames(messages)
            reads = cut(b"".join(frames))
            contenders = receivers()
            for name, receiver in contenders.items():
                check(name, receiver, reads, messages)
            calls = {name: Call(receiver.run, (reads,)) for name, receiver in contenders.items()}
            calls[FLOOR] = floor(messages, frames)
            figures = measure(calls, effort, per=len(messages))
            if kind == "text" and size in LIBMICROHTTPD_TEXT:
                figures[RECORDED] = LIBMICROHTTPD_TEXT[size]
            table.rows.append(
                Row(f"{kind}, {size_name(size)}", figures, tuple(goals(kind, size)), size)
            )
    yield table
