"""Masking keys (RFC 6455 5.3, 10.3): unpredictable, fresh for each frame, and cheap.

A stream takes them one by one with `pop`; when that raises IndexError, `refill` returns one and
makes more for `pop`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, cast

from ..errors import MaskSourceError

__all__ = ["KeyPool", "SourcedKeys", "pool"]

#: How many keys are read ahead: one system call costs as much as hundreds of keys.
_KEYS: Final = Struct("4s" * 256)


class KeyPool(deque[bytes]):
    """Keys from the system's random source. Several threads may take from it."""

    __slots__ = ()

    def refill(self) -> bytes:
        """Read keys ahead and return one more."""
        key, *rest = _KEYS.unpack(os.urandom(_KEYS.size))
        self.extend(rest)
        return cast(bytes, key)


class SourcedKeys:
    """Keys from a caller's function. Raises MaskSourceError if it does not return 4 bytes."""

    __slots__ = ("_source",)

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source

    def pop(self) -> bytes:
        """Ask the source for the next key."""
        key = self._source(4)
        if type(key) is not bytes or len(key) != 4:
            raise MaskSourceError("mask_source(4) returns 4 bytes")
        return key

    refill = pop


#: The pool that all streams share.
pool: Final = KeyPool()

# A child process must not send with the keys of its parent.
if hasattr(os, "register_at_fork"):  # pragma: no branch - all but Windows
    os.register_at_fork(after_in_child=pool.clear)
