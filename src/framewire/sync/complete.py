"""`complete`: runs a coroutine that waits for nothing, so that threads share code with event
loops.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["complete"]

Returned = TypeVar("Returned")


def complete(coroutine: Coroutine[Any, Any, Returned]) -> Returned:
    """Run a coroutine to its end and return its result.

    Raises:
        TypeError: It waits for something, as a callback that needs an event loop would.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Returned = end.value
        return result
    coroutine.close()
    raise TypeError("a callback waits for an event loop: framewire.sync calls functions that return their result")
