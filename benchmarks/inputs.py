"""Inputs of the benchmarks: texts, payloads, frames created without framewire, and reads."""

from __future__ import annotations

import random
from functools import cache
from itertools import cycle

KIB = 1024
MIB = 1024 * KIB
#: Usual size of a read from a socket, in bytes.
READ = 64 * KIB

CONTINUATION, TEXT, BINARY, PING, PONG = 0, 1, 2, 9, 10

#: Letters of one script for each width of UTF-8.
ALPHABETS = {
    "ASCII": "abcdefghijklmnopqrstuvwxyz",
    "Latin": "abcdefghijklmnopqrstuvwxyz" + "äéèöüßçñåøáíóúâêîôû",
    "Cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "CJK": "".join(map(chr, range(0x4E00, 0x5E00))),
    "emoji": "".join(map(chr, range(0x1F600, 0x1F650))),
}


def size_name(size: int) -> str:
    """Format a size, as in 125 B, 16 KiB, 1 MiB."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


@cache
def text(script: str, size: int) -> str:
    """Return a text of exactly `size` bytes of UTF-8: random letters of a script, 1 in 8 a space.

    It is random because branch predictors learn a repetitive text.
    """
    source = random.Random(f"{script} {size}")
    alphabet = ALPHABETS[script]
    letters = source.choices(alphabet + " " * (len(alphabet) // 7), k=size)
    whole = "".join(letters).encode()[:size].decode(errors="ignore")
    return whole + "." * (size - len(whole.encode()))


@cache
def payload(size: int) -> bytes:
    """Return random bytes, the same in every run."""
    return random.Random(size).randbytes(size)


def keys(seed: int = 6455) -> cycle[bytes]:
    """Return an infinite iterator of masking keys, the same in every run."""
    source = random.Random(seed)
    return cycle([source.randbytes(4) for _ in range(251)])


def xor(data: bytes, key: bytes) -> bytes:
    """Mask a payload, as one large integer XOR another."""
    repeated = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")


def frame(opcode: int, data: bytes, key: bytes = b"", final: bool = True) -> bytes:
    """Return a frame, masked unless the key is empty (RFC 6455 5.2)."""
    mask_bit = 0x80 if key else 0
    first_byte = (0x80 if final else 0) | opcode
    if len(data) < 126:
        head = bytes((first_byte, mask_bit | len(data)))
    elif len(data) < 1 << 16:
        head = bytes((first_byte, mask_bit | 126)) + len(data).to_bytes(2, "big")
    else:
        head = bytes((first_byte, mask_bit | 127)) + len(data).to_bytes(8, "big")
    return head + key + (xor(data, key) if key else data)


def unframe(data: bytes) -> tuple[int, bytes]:
    """Return the first byte and the unmasked payload of one whole frame."""
    length = data[1] & 127
    start = 2 + {126: 2, 127: 8}.get(length, 0)
    if data[1] < 128:
        return data[0], data[start:]
    return data[0], xor(data[start + 4 :], data[start : start + 4])


def masked_frames(messages: list[str | bytes]) -> list[bytes]:
    """Return the frames in which a client sends these messages."""
    return [
        frame(TEXT if isinstance(message, str) else BINARY, encoded(message), key)
        for message, key in zip(messages, keys(), strict=False)
    ]


def encoded(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def repeated(message: str | bytes, total: int) -> list[str | bytes]:
    """Repeat a message until its frames have about `total` bytes, at least once."""
    return [message] * max(1, total // (len(encoded(message)) + 8))


def cut(stream: bytes, size: int = READ) -> list[bytes]:
    """Split a stream of bytes into reads of one size."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]
