"""What the benchmarks feed: texts, payloads, frames made apart from framewire, and reads cut as a socket cuts them."""

from __future__ import annotations

import random
from itertools import cycle, islice

KIB = 1024
MIB = 1024 * KIB
#: What one read from a socket commonly brings, in bytes.
READ = 64 * KIB

CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9

#: One sample for each width of UTF-8. A text of any size repeats its sample.
SAMPLES = {
    "ASCII": "The quick brown fox jumps over the lazy dog; 0123456789. ",
    "Latin": "Zwölf große Boxkämpfer jagen Viktor quer über den Sylter Deich. Ça, là, où? ",
    "Cyrillic": "Съешь ещё этих мягких французских булок, да выпей чаю. ",
    "CJK": "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏。",
    "emoji": "😀😃😄😁😆🥹😅😂🤣🥲🙂🙃😉😊😇🥰😍🤩",
}


def size_name(size: int) -> str:
    """As in 125 B, 16 KiB, 1 MiB."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def text(script: str, size: int) -> str:
    """A text of exactly `size` bytes of UTF-8: whole code points, then as many full stops as are missing."""
    sample = SAMPLES[script].encode()
    whole = (sample * (size // len(sample) + 1))[:size].decode(errors="ignore")
    return whole + "." * (size - len(whole.encode()))


def payload(size: int) -> bytes:
    """Random bytes, the same in every run."""
    return random.Random(size).randbytes(size)


def keys(seed: int = 6455) -> cycle[bytes]:
    """Masking keys without end, the same in every run."""
    source = random.Random(seed)
    return cycle([source.randbytes(4) for _ in range(251)])


def xor(data: bytes, key: bytes) -> bytes:
    """The payload masked: one long number XOR another."""
    repeated = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")


def frame(opcode: int, data: bytes, key: bytes = b"", final: bool = True) -> bytes:
    """One frame, masked unless the key is empty (RFC 6455 5.2)."""
    masked = 0x80 if key else 0
    first = (0x80 if final else 0) | opcode
    if len(data) < 126:
        head = bytes((first, masked | len(data)))
    elif len(data) < 1 << 16:
        head = bytes((first, masked | 126)) + len(data).to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + len(data).to_bytes(8, "big")
    return head + key + (xor(data, key) if key else data)


def masked_frames(messages: list[str | bytes]) -> list[bytes]:
    """The frames in which a client sends these messages."""
    return [
        frame(TEXT if isinstance(message, str) else BINARY, encoded(message), key)
        for message, key in zip(messages, keys())
    ]


def encoded(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


def repeated(message: str | bytes, total: int) -> list[str | bytes]:
    """The message as often as about `total` bytes of payload take, at least 4 times."""
    return list(islice(cycle([message]), max(4, total // (len(encoded(message)) + 8))))


def cut(stream: bytes, size: int = READ) -> list[bytes]:
    """The reads in which a stream of bytes arrives: cut anywhere."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]
