"""What a peer must not send, by name: functions of the receiver's settings and of whether frames are masked."""

from __future__ import annotations

from typing import Any

__all__ = ["VIOLATIONS", "failure_codes", "make_frame"]


def make_frame(first: int, payload: bytes, masked: bool) -> bytes:
    """Return a frame; its masking key is zero, which leaves the payload as it is."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 1 << 16:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def _plain(first: int, payload: bytes = b"") -> Any:
    return lambda settings, masked: make_frame(first, payload, masked)


VIOLATIONS: dict[str, Any] = {
    "reserved opcode": _plain(0x83),
    "reserved bit": _plain(0xA1, b"a"),
    "reserved control opcode": _plain(0x8B),
    "continuation of nothing": _plain(0x80, b"a"),
    "fragmented ping": _plain(0x09),
    "long ping": _plain(0x89, bytes(126)),
    "close of one byte": _plain(0x88, b"\x03"),
    "close code 1005": _plain(0x88, b"\x03\xed"),
    "close reason that is not UTF-8": _plain(0x88, b"\x03\xe8\xff"),
    "text that is not UTF-8": _plain(0x81, b"ab\xffcd"),
    "text that ends within a character": _plain(0x81, b"ab\xe2\x82"),
    "fragments that are not UTF-8": lambda settings, masked: (
        make_frame(0x01, b"ab\xe2", masked) + make_frame(0x80, b"ab", masked)
    ),
    "a message within a message": lambda settings, masked: (
        make_frame(0x01, b"ab", masked) + make_frame(0x81, b"ab", masked)
    ),
    "wrong masking": lambda settings, masked: make_frame(0x81, b"a", not masked),
    "a message over the limit": lambda settings, masked: make_frame(
        *((0x83, b"") if settings.sizes[0] is None else (0x82, bytes(settings.sizes[0] + 1))), masked
    ),
    "a length over 2**63": lambda settings, masked: (
        bytes([0x82, (0x80 if masked else 0) | 127]) + b"\xff" * 8 + (bytes(4) if masked else b"")
    ),
}


def failure_codes(name: str, settings: Any) -> set[int]:
    """Return the close codes with which a receiver may fail the connection for a violation.

    Args:
        name: The name of the violation.
        settings: The settings of the receiver.
    """
    limit = settings.sizes[0]
    if name == "a message over the limit":
        return {1002 if limit is None else 1009}
    code = 1007 if "UTF-8" in name or "within a character" in name else 1002
    return {code} if limit is None or limit > 5 else {code, 1009}
