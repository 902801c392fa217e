"""Messages that are sent as an iterable of fragments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Mapping
from contextlib import asynccontextmanager

from .session import Data

__all__ = ["closing_generator", "end_of", "is_whole", "mark_last"]


def is_whole(message: object, *, asynchronous: bool) -> bool:
    """Return whether a message is whole; otherwise it is an iterable of fragments.

    Args:
        message: What is to be sent.
        asynchronous: Whether it may be an async iterable.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(message, Data):
        return True
    iterable = isinstance(message, Iterable) or (asynchronous and isinstance(message, AsyncIterable))
    if not iterable or isinstance(message, Mapping):
        raise TypeError(f"a message is str, bytes or an iterable of them, not {type(message).__name__}")
    return False


def end_of(fragment: Data) -> Data:
    """Return the empty last fragment of a message with `fragment`.

    Raises:
        TypeError: `fragment` is neither text nor binary.
    """
    if not isinstance(fragment, Data):
        raise TypeError(f"a fragment is str or bytes, not {type(fragment).__name__}")
    return "" if isinstance(fragment, str) else b""


@asynccontextmanager
async def closing_generator(fragments: object) -> AsyncIterator[None]:
    """Close `fragments` after the block if it is a generator, begun or not: its owner cannot know when
    that is due.
    """
    try:
        yield
    finally:
        if isinstance(fragments, AsyncGenerator):
            await fragments.aclose()
        elif isinstance(fragments, Generator):
            fragments.close()


async def mark_last(fragments: Iterable[Data] | AsyncIterable[Data]) -> AsyncGenerator[tuple[Data, bool], None]:
    """Yield each fragment at once, with whether it is the last.

    Which one is the last is only known later, so an empty one ends the message.
    """
    end: Data | None = None
    if isinstance(fragments, AsyncIterable):
        async for fragment in fragments:
            end = end_of(fragment)
            yield fragment, False
    else:
        for fragment in fragments:
            end = end_of(fragment)
            yield fragment, False
    if end is not None:
        yield end, True
