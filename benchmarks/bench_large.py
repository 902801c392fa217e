"""Large messages that arrive in many reads; the time shows how often each byte is copied."""

from __future__ import annotations

from collections.abc import Iterator

from .compiled import load_extension
from .inputs import KIB, MIB, cut, encoded, masked_frames, payload, size_name, text
from .receivers import SETTINGS, contend
from .tables import FLOOR, PURE, Goal, Table
from .timing import Call, Effort


def tables(effort: Effort) -> Iterator[Table]:
    table = Table(
        "large",
        "one masked message in many reads",
        "message",
        ["floor: one new object, the payload copied into it, then one XOR pass over it at full width", *SETTINGS],
    )
    module = load_extension("floor")
    for size in effort.sizes(MIB, 16 * MIB):
        for kind in ("binary", "text"):
            message = payload(size) if kind == "binary" else text("ASCII", size)
            (frame,) = masked_frames([message])
            header = len(frame) - size
            for read in (64 * KIB, 256 * KIB):
                reads = cut(frame, read)
                floor = Call(module.copy_then_xor, (reads, header, size, frame[header - 4 : header]))
                if floor.function(*floor.arguments) != encoded(message):
                    raise AssertionError("the floor does not create the message")
                figures = contend([message], reads, effort, {FLOOR: floor})
                goals = (
                    Goal(FLOOR, 1.5 if kind == "binary" else 2),
                    Goal("wsproto", 1, PURE),
                    Goal("websockets py", 1, PURE),
                )
                table.add(f"{kind}, {size_name(size)} in {size_name(read)}", figures, goals, size)
    yield table
