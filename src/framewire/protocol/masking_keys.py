"""Masking keys (RFC 6455 5.3, 10.3): unpredictable, and different for each frame.

A stream takes keys with `pop`. If that raises IndexError, `refill` returns a key and makes further
keys available to `pop`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, cast

from ..errors import MaskSourceError

__all__ = ["KeyPool", "SourcedKeys", "pool"]

#: Keys are read 256 at a time, because a system call costs as much as hundreds of keys.
_KEYS: Final = Struct("4s" * 256)


class KeyPool(deque[bytes]):
    """Keys from the system's random source. It is safe for several threads."""

    __slots__ = ()

    def refill(self) -> bytes:
        """Read keys ahead and return one more."""
        key, *rest = _KEYS.unpack(os.urandom(_KEYS.size))
        self.extend(rest)
        return cast(bytes, key)


class SourcedKeys:
    """Keys from a function of the caller. MaskSourceError if it does not return 4 bytes."""

    __slots__ = ("_source",)

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source

    def pop(self) -> bytes:
        """Return the next key of the source."""
        key = self._source(4)
        if type(key) is not bytes or len(key) != 4:
            raise MaskSourceError("mask_source(4) returns 4 bytes")
        return key

    refill = pop


#: The pool that all streams share.
pool: Final = KeyPool()

# A child process must not use the keys of its parent.
if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=pool.clear)
