"""Every compiled function and its pure Python twin, and `Stream` on both backends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from .contenders import backends
from .inputs import BINARY, KIB, MIB, TEXT, encoded, frame, size_name, text
from .tables import Table
from .timing import Call, Effort, measure

KEY = b"\x37\xfa\x21\x3d"
ACCEPT_KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

#: Returns the call to time for a copy of the package and a message.
Maker = Callable[[ModuleType, bytes], Call]


def framed(data: bytes, opcode: int = BINARY) -> bytes:
    return frame(opcode, data, KEY)


def stream(package: ModuleType, role: str) -> Any:
    return package.Stream(package.Role[role], max_message_size=None, mask_source=lambda size: KEY)


def writer(package: ModuleType) -> Any:
    """Return a writer without a socket, whose transport drops the frames."""
    transport = SimpleNamespace(write=deque[bytes](maxlen=1).append)
    return package._backend.SocketWriter(stream(package, "SERVER"), transport, None, 1 << 62)


def of_size(size: int) -> dict[str, Maker]:
    """Return the makers for a payload size; their `data` is an ASCII text of that size."""
    return {
        "read_header": lambda package, data: Call(package._backend.read_header, (framed(data), 0, len(framed(data)))),
        "write_header": lambda package, data: Call(package._backend.write_header, (0x82, size, KEY)),
        "apply_mask": lambda package, data: Call(package._backend.apply_mask, (data, KEY)),
        "apply_mask_in_place": lambda package, data: Call(package._backend.apply_mask_in_place, (bytearray(data), KEY)),
        "Utf8Validator.feed": lambda package, data: Call(package._backend.Utf8Validator().feed, (data,)),
        "make_frame": lambda package, data: Call(package._backend.make_frame, (0x82, data, KEY)),
        "Stream.receive, text": lambda package, data: Call(stream(package, "SERVER").receive, (framed(data, TEXT),)),
        "Stream.receive, binary": lambda package, data: Call(stream(package, "SERVER").receive, (framed(data),)),
        "Stream.send, server": lambda package, data: Call(stream(package, "SERVER").send, (data,)),
        "SocketWriter.send, server": lambda package, data: Call(writer(package).send, (data,)),
        "Stream.send, client": lambda package, data: Call(stream(package, "CLIENT").send, (data,)),
    }


def tables(effort: Effort) -> Iterator[Table]:
    notes = ["masking keys are constant, not generated"]
    table = Table("twins", "each compiled function and its twin", "call", notes)
    packages = backends()
    calls = {name: Call(package._backend.accept_key, (ACCEPT_KEY,)) for name, package in packages.items()}
    table.add("accept_key", compared(calls, effort))
    for size in effort.sizes(16, 125, KIB, 16 * KIB, MIB):
        data = encoded(text("ASCII", size))
        for name, make in of_size(size).items():
            calls = {column: make(package, data) for column, package in packages.items()}
            table.add(f"{name}, {size_name(size)}", compared(calls, effort), size=size)
    yield table


def compared(calls: dict[str, Call], effort: Effort) -> dict[str, float]:
    """Check that the twins return the same, then time them."""
    result, *others = (call.function(*call.arguments) for call in calls.values())
    if any(other != result for other in others):
        raise AssertionError("the twins differ")
    return measure(calls, effort)
