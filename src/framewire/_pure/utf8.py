"""Stage 3 of the data path: incremental validation of UTF-8 (RFC 6455 8.1, RFC 3629)."""

from __future__ import annotations

from typing import NoReturn

from .header import Buffer

#: For each lead byte: (number of continuation bytes, lowest and highest value of the first one).
#: Further continuation bytes are 80 to BF.
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
    """Incremental UTF-8 validator, for any split of the text into chunks.

    `need` is the number of bytes, 0 to 3, that the last code point lacks; text may end if it is 0.
    """

    __slots__ = ("_high", "_low", "need")

    need: int

    def __init__(self) -> None:
        self.reset()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def reset(self) -> None:
        """Reset the state, to begin a new text."""
        self.need = 0
        self._low, self._high = 0x80, 0xBF

    def feed(self, data: Buffer) -> int:
        """Validate the next chunk; return the number of bytes before the first invalid one.

        That is the length of `data` if all of it is valid so far. After an invalid byte, the state
        is as before that byte. Accepts any contiguous buffer, of any item type.
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
            # All bytes before error.start are valid; _step locates the byte that is invalid or
            # missing.
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
