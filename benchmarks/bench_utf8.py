"""Validating UTF-8 (RFC 3629), called from Python: whole, and as it arrives."""

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
#: A text in pieces: how large it is, and its pieces, which cut code points.
ARRIVING, PIECE = 64 * KIB, 1001


def tables(effort: Effort) -> Iterator[Table]:
    yield whole(effort)
    yield pieces(effort)


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


def pieces(effort: Effort) -> Table:
    table = Table(
        "utf8",
        f"validating a text of {size_name(ARRIVING)} in pieces of {PIECE} B",
        "text",
        [f"{DECODE}: the incremental decoder of the standard library", f"{FLOOR}: one new object, one memcpy each"],
        rates=True,
    )
    for script in ALPHABETS:
        arriving = cut(encoded(text(script, ARRIVING)), PIECE)
        calls = {name: framewire(package, arriving) for name, package in backends().items()}
        calls |= available(PEERS, arriving)
        calls[DECODE] = decoder(arriving)
        check(calls, True)
        calls[FLOOR] = Call(load_extension("floor").copy_each, (arriving,))
        table.add(script, measure(calls, effort), GOALS, ARRIVING)
    return table


GOALS = (Goal(DECODE, 1, limit=EMPTY),)


def check(calls: dict[str, Call], answer: object) -> None:
    for name, call in calls.items():
        if call.function(*call.arguments) != answer:
            raise AssertionError(f"{name} takes a valid text for an invalid one")


def framewire(package: ModuleType, arriving: list[bytes]) -> Call:
    validator = package._backend.Utf8Validator()
    feed = validator.feed

    def run() -> bool:
        for part in arriving:
            if feed(part) != len(part):
                return False
        return validator.need == 0

    return Call(run)


def decoder(arriving: list[bytes]) -> Call:
    decode = codecs.getincrementaldecoder("utf-8")().decode

    def run() -> bool:
        for part in arriving:
            decode(part)
        decode(b"", True)
        return True

    return Call(run)


def wsaccel(arriving: list[bytes]) -> Call:
    from wsaccel.utf8validator import Utf8Validator

    validator = Utf8Validator()

    def run() -> bool:
        validator.reset()
        return all(validator.validate(part)[0] for part in arriving)

    return Call(run)


PEERS: dict[str, Callable[[list[bytes]], Call]] = {"wsaccel": wsaccel}
