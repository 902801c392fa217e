"""Sec-WebSocket-Accept (RFC 6455 4.2.2): the base64 of a hash of 60 bytes."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator

from .compiled import build_program, load_extension
from .contenders import available, backends
from .recorded import LIBMICROHTTPD_ACCEPT
from .tables import FLOOR, Goal, Table
from .timing import Call, Effort, measure

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY, ANSWER = b"dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
STDLIB, RECORDED, KERNEL = "hashlib + base64", "libmicrohttpd (recorded)", "kernel"


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def websockets() -> Call:
    from websockets.utils import accept_key

    return Call(accept_key, (KEY.decode(),))


def tables(effort: Effort) -> Iterator[Table]:
    notes = [
        "floor: one new object of 28 bytes, one memcpy",
        f"{KERNEL}: the same function without Python; each key depends on the previous result, so that hashes cannot"
        " overlap",
    ]
    table = Table("accept", "the accept key", "key", notes)
    calls = {name: Call(package._backend.accept_key, (KEY,)) for name, package in backends().items()}
    calls[STDLIB] = Call(accept_key, (KEY,))
    calls |= available({"websockets": websockets})
    for name, call in calls.items():
        if call.function(*call.arguments) not in (ANSWER, ANSWER.decode()):
            raise AssertionError(f"{name} returns a wrong value")
    calls[FLOOR] = Call(load_extension("floor").copy_of, (ANSWER,))
    command = [build_program("kernels"), "1", "accept"]
    kernel_output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {**measure(calls, effort), KERNEL: float(kernel_output.split()[1]), RECORDED: LIBMICROHTTPD_ACCEPT}
    table.add("the example of the RFC", figures, (Goal.faster(STDLIB, 5, limit=KERNEL), Goal(RECORDED, 1)))
    yield table
