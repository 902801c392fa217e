"""Masking keys (RFC 6455 5.3, 10.3): unpredictable, fresh for each frame, and cheap."""

from __future__ import annotations

import os
from collections import deque
from typing import Final

__all__ = ["next_key"]

#: Keys read ahead; one call to the system costs as much as hundreds of keys.
_POOL_SIZE: Final = 256
_pool: deque[bytes] = deque()

# A child process must not send with the keys that its parent sends with.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)


def next_key() -> bytes:
    """Returns 4 bytes from the system's random source. Safe to call from several threads and after a fork."""
    try:
        return _pool.pop()
    except IndexError:
        entropy = os.urandom(4 * _POOL_SIZE)
        _pool.extend(entropy[i : i + 4] for i in range(4, len(entropy), 4))
        return entropy[:4]
