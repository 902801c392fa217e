"""The two classes of wsaccel, for libraries that look for it.

`install()` lets `import wsaccel.xormask` and `import wsaccel.utf8validator` find them, without a package of that name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

from .._backend import Utf8Validator as _Validator
from .._backend import apply_mask

__all__ = ["Utf8Validator", "XorMaskerNull", "XorMaskerSimple", "create_xor_masker", "install"]


class XorMaskerSimple:
    """Masks a payload in pieces (RFC 6455 5.3). `mask` is 4 bytes; ValueError if it is not."""

    __slots__ = ("_key", "_pointer")

    def __init__(self, mask: Any) -> None:
        key = bytes(mask)
        if len(key) != 4:
            raise ValueError("mask should be 4byte.")
        self._key = key
        self._pointer = 0

    def pointer(self) -> int:
        """How many bytes were masked since the beginning or `reset`."""
        return self._pointer

    def reset(self) -> None:
        """Begins a new payload."""
        self._pointer = 0

    def process(self, data: Any) -> bytes:
        """Returns the next piece, any contiguous buffer, masked."""
        masked = apply_mask(data, self._key, self._pointer)
        self._pointer += len(masked)
        return masked


class XorMaskerNull:
    """Counts the bytes of a payload that is not masked."""

    __slots__ = ("_pointer",)

    def __init__(self, mask: Any = None) -> None:
        self._pointer = 0

    def pointer(self) -> int:
        """How many bytes passed since the beginning or `reset`."""
        return self._pointer

    def reset(self) -> None:
        """Begins a new payload."""
        self._pointer = 0

    def process(self, data: Any) -> Any:
        """Returns the next piece as it is."""
        self._pointer += len(data)
        return data


def create_xor_masker(mask: Any, length: int | None = None) -> XorMaskerSimple:
    """A masker for a payload of `length` bytes, which makes no difference here."""
    return XorMaskerSimple(mask)


class Utf8Validator:
    """Validates UTF-8 in pieces."""

    UTF8_ACCEPT: Final = 0
    UTF8_REJECT: Final = 1

    __slots__ = ("_rejected", "_total", "_validator")

    def __init__(self) -> None:
        self._validator = _Validator()
        self.reset()

    def reset(self) -> None:
        """Begins a new text."""
        self._validator.reset()
        self._rejected = False
        self._total = 0

    def validate(self, data: Any) -> tuple[bool, bool, int, int]:
        """Reads the next piece, any contiguous buffer.

        Returns whether it is valid, whether the text may end here, and the index behind the last valid byte, in this
        piece and in the whole text. After an invalid byte nothing more is valid until `reset`.
        """
        with memoryview(data) as whole, whole.cast("B") as octets:
            size = len(octets)
            taken = 0 if self._rejected else self._validator.feed(octets)
        self._total += taken
        if taken < size:
            self._rejected = True
        valid = taken == size
        return valid, valid and not self._rejected and not self._validator.need, taken, self._total


def install() -> None:
    """Makes the classes importable as those of wsaccel, unless it is imported already."""
    if "wsaccel" in sys.modules:
        return
    package = ModuleType("wsaccel", __doc__)
    package.__path__ = []
    for stem, classes in (("xormask", (XorMaskerSimple, XorMaskerNull)), ("utf8validator", (Utf8Validator,))):
        module = ModuleType(f"wsaccel.{stem}")
        for one in classes:
            setattr(module, one.__name__, one)
        setattr(package, stem, module)
        sys.modules[module.__name__] = module
    sys.modules["wsaccel"] = package
