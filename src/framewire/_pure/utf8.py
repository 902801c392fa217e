"""Stage 3 of the data path: UTF-8 as it arrives (RFC 6455 8.1, RFC 3629)."""

from __future__ import annotations

from typing import NoReturn

from .header import Buffer

#: What may follow a lead byte: (continuation bytes, lowest and highest first one). Others follow as
#: 80 to BF.
_FOLLOW = {
    **dict.fromkeys(range(0xC2, 0xE0), (1, 0x80, 0xBF)),
    0xE0: (2, 0xA0, 0xBF),
    **dict.fromkeys(range(0xE1, 0xF0), (2, 0x80, 0xBF)),
    0xED: (2, 0x80, 0x9F),
    0xF0: (3, 0x90, 0xBF),
    **dict.fromkeys(range(0xF1, 0xF4), (3, 0x80, 0xBF)),
    0xF4: (3, 0x80, 0x8F),
}


class Utf8Validator:
    """Validates UTF-8 in pieces, cut anywhere; it fails at the first byte that cannot be right.

    `need` is the number of bytes, 0 to 3, that the last code point still lacks: at 0 the text may end.
    """

    __slots__ = ("_high", "_low", "need")

    need: int

    def __init__(self) -> None:
        self.reset()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def reset(self) -> None:
        """Begin a new text."""
        self.need = 0
        self._low, self._high = 0x80, 0xBF

    def feed(self, data: Buffer) -> int:
        """Validate the next piece; return the number of its bytes before the first invalid one.

        That is the length of `data` if all of it is valid. After an invalid byte, the state is as before that
        byte. Accepts any contiguous buffer, of any item type.
        """
        if type(data) is not bytes:
            with memoryview(data) as whole, whole.cast("B") as octets:
                data = bytes(octets)
        start, size = 0, len(data)
        if self.need:
            start = self._step(data, 0, self.need)
            if self.need:
                return start
        if data.isascii():
            return size
        try:
            (data[start:] if start else data).decode()  # PyPy's str(data, "utf-8") lets surrogates through
        except UnicodeDecodeError as error:
            # All before error.start is valid; which byte is at fault, or missing, takes a closer
            # look.
            return self._step(data, start + error.start, 4)
        return size

    def _step(self, data: bytes, start: int, most: int) -> int:
        """Read up to `most` bytes; stop at the end of a code point or before an invalid byte."""
        stop = min(start + most, len(data))
        for index in range(start, stop):
            byte = data[index]
            if self.need:
                if not self._low <= byte <= self._high:
                    return index
                self.need -= 1
                self._low, self._high = 0x80, 0xBF
                if not self.need:
                    return index + 1
            elif byte in _FOLLOW:
                self.need, self._low, self._high = _FOLLOW[byte]
            else:
                return index
        return stop
