"""The classes of wsaccel, for libraries that use it if it is installed.

After `install()`, `import wsaccel.xormask` and `import wsaccel.utf8validator` find them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

from .._backend import Utf8Validator as _Validator
from .._backend import apply_mask

__all__ = ["Utf8Validator", "XorMaskerNull", "XorMaskerSimple", "create_xor_masker", "install"]


class XorMaskerSimple:
    """Mask a payload in chunks (RFC 6455 5.3).

    Args:
        mask: The masking key.

    Raises:
        ValueError: If the key does not have 4 bytes.
    """

    __slots__ = ("_key", "_pointer")

    def __init__(self, mask: Any) -> None:
        key = bytes(mask)
        if len(key) != 4:
            raise ValueError("mask should be 4byte.")
        self._key = key
        self._pointer = 0

    def pointer(self) -> int:
        """Return the number of bytes masked since the beginning or the last `reset`."""
        return self._pointer

    def reset(self) -> None:
        """Start a new payload."""
        self._pointer = 0

    def process(self, data: Any) -> bytes:
        """Return the next chunk, any contiguous buffer, masked."""
        masked = apply_mask(data, self._key, self._pointer)
        self._pointer += len(masked)
        return masked


class XorMaskerNull:
    """Count the bytes of a payload that is not masked."""

    __slots__ = ("_pointer",)

    def __init__(self, mask: Any = None) -> None:
        self._pointer = 0

    def pointer(self) -> int:
        """Return the number of bytes processed since the beginning or the last `reset`."""
        return self._pointer

    def reset(self) -> None:
        """Start a new payload."""
        self._pointer = 0

    def process(self, data: Any) -> Any:
        """Return the next chunk unchanged."""
        self._pointer += len(data)
        return data


def create_xor_masker(mask: Any, length: int | None = None) -> XorMaskerSimple:
    """Return a masker for a payload; its length, which wsaccel uses as a hint, is ignored."""
    return XorMaskerSimple(mask)


class Utf8Validator:
    """Validate UTF-8 in chunks."""

    UTF8_ACCEPT: Final = 0
    UTF8_REJECT: Final = 1

    __slots__ = ("_rejected", "_total", "_validator")

    def __init__(self) -> None:
        self._validator = _Validator()
        self.reset()

    def reset(self) -> None:
        """Start a new text."""
        self._validator.reset()
        self._rejected = False
        self._total = 0

    def validate(self, data: Any) -> tuple[bool, bool, int, int]:
        """Validate the next chunk.

        Args:
            data: Any contiguous buffer.

        Returns:
            Whether the chunk is valid, whether the text may end after it, and the number of valid
            bytes: of this chunk, and of the whole text. After an invalid byte, no chunk is valid
            until `reset`.
        """
        with memoryview(data) as view, view.cast("B") as octets:
            size = len(octets)
            valid_size = 0 if self._rejected else self._validator.feed(octets)
        self._total += valid_size
        if valid_size < size:
            self._rejected = True
        valid = valid_size == size
        return valid, valid and not self._rejected and not self._validator.need, valid_size, self._total


def install() -> None:
    """Make the classes importable as those of wsaccel, unless wsaccel is already imported."""
    if "wsaccel" in sys.modules:
        return
    package = ModuleType("wsaccel", __doc__)
    package.__path__ = []
    for stem, classes in (("xormask", (XorMaskerSimple, XorMaskerNull)), ("utf8validator", (Utf8Validator,))):
        module = ModuleType(f"wsaccel.{stem}")
        for cls in classes:
            setattr(module, cls.__name__, cls)
        setattr(package, stem, module)
        sys.modules[module.__name__] = module
    sys.modules["wsaccel"] = package
