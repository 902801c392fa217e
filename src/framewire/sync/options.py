"""What one connection may take: times in seconds (None: no limit), sizes in bytes, the queue in messages."""

from __future__ import annotations

from dataclasses import dataclass

from ..assembly import TextErrors

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """The limits that all connections of one `serve` or `connect` share; the names are those of its arguments."""

    open_timeout: float | None = 10
    ping_interval: float | None = 20
    ping_timeout: float | None = 20
    close_timeout: float | None = 10
    idle_timeout: float | None = None
    total_timeout: float | None = None
    max_size: int | None = 1 << 20
    max_queue: int | None = 16
    fragment_size: int | None = None
    piece_size: int | None = None
    max_send_size: int | None = None
    text_errors: TextErrors = "strict"

    def __post_init__(self) -> None:
        for size in (self.fragment_size, self.piece_size):
            if size is not None and size < 1:
                raise ValueError("fragments and pieces have at least 1 byte")
