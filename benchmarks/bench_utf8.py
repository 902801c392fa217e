"""Validation of UTF-8 (RFC 3629), called from Python: whole texts, and texts in chunks."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from types import ModuleType

from .compiled import load_extension
from .contenders import available, backends
from .inputs import ALPHABETS, KIB, MIB, cut, encoded, size_name, text
from .tables import EMPTY, FLOOR, Goal, Table
from .timing import Call, Effort, measure

SIZES = (64, 125, KIB, 4 * KIB, 64 * KIB, MIB)
DECODE = "bytes.decode"
#: Size of a text in chunks, and of a chunk: an odd number, so that code points are split.
CHUNKED_TEXT, CHUNK = 64 * KIB, 1001


def tables(effort: Effort) -> Iterator[Table]:
    yield whole(effort)
    yield chunked(effort)


def whole(effort: Effort) -> Table:
    notes = [f"{FLOOR}: one new object, one memcpy", f"{EMPTY}: a compiled method of one argument that does nothing"]
    table = Table("utf8", "validating a text", "text", notes, rates=True)
    for script in ALPHABETS:
        for size in effort.sizes(*SIZES):
            data = encoded(text(script, size))
            calls = {name: Call(package._backend.Utf8Validator().feed, (data,)) for name, package in backends().items()}
            check(calls, size)
            peers = available(PEERS, [data])
            check(peers, True)
            calls |= peers
            calls[DECODE] = Call(data.decode)
            calls[FLOOR] = Call(load_extension("floor").copy_of, (data,))
            calls[EMPTY] = Call(load_extension("floor").EmptyValidator().feed, (data,))
            table.add(f"{script}, {size_name(size)}", measure(calls, effort), GOALS, size)
    return table


def chunked(effort: Effort) -> Table:
    table = Table(
        "utf8",
        f"validating a text of {size_name(CHUNKED_TEXT)} in chunks of {CHUNK} B",
        "text",
        [f"{DECODE}: the incremental decoder of the standard library", f"{FLOOR}: one new object, one memcpy each"],
        rates=True,
    )
    for script in ALPHABETS:
        chunks = cut(encoded(text(script, CHUNKED_TEXT)), CHUNK)
        calls = {name: framewire(package, chunks) for name, package in backends().items()}
        calls |= available(PEERS, chunks)
        calls[DECODE] = decoder(chunks)
        check(calls, True)
        calls[FLOOR] = Call(load_extension("floor").copy_each, (chunks,))
        table.add(script, measure(calls, effort), GOALS, CHUNKED_TEXT)
    return table


GOALS = (Goal(DECODE, 1, limit=EMPTY),)


def check(calls: dict[str, Call], expected: object) -> None:
    for name, call in calls.items():
        if call.function(*call.arguments) != expected:
            raise AssertionError(f"{name} rejects a valid text")


def framewire(package: ModuleType, chunks: list[bytes]) -> Call:
    validator = package._backend.Utf8Validator()
    feed = validator.feed

    def run() -> bool:
        for chunk in chunks:
            if feed(chunk) != len(chunk):
                return False
        return validator.need == 0

    return Call(run)


def decoder(chunks: list[bytes]) -> Call:
    decode = codecs.getincrementaldecoder("utf-8")().decode

    def run() -> bool:
        for chunk in chunks:
            decode(chunk)
        decode(b"", True)
        return True

    return Call(run)


def wsaccel(chunks: list[bytes]) -> Call:
    from wsaccel.utf8validator import Utf8Validator

    validator = Utf8Validator()

    def run() -> bool:
        validator.reset()
        return all(validator.validate(chunk)[0] for chunk in chunks)

    return Call(run)


PEERS: dict[str, Callable[[list[bytes]], Call]] = {"wsaccel": wsaccel}
