"""What one connection may take, with threads."""

from __future__ import annotations

from dataclasses import dataclass

from ..session.settings import BaseLimits

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(BaseLimits):
    """Those of every API, the size of a message in bytes, and the length of the queue in messages."""

    max_size: int | None = 1 << 20
    max_queue: int | None = 16
