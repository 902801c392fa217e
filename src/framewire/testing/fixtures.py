"""Fixtures of pytest: `pytest_plugins = ["framewire.testing.fixtures"]` in a `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ..sync.client import ClientConnection
from ..sync.server import ServerConnection
from .sync import Script, pair
from .sync import serve_peer as serve_scripts

__all__ = ["serve_peer", "websocket_pair"]


@pytest.fixture
def websocket_pair() -> Iterator[tuple[ClientConnection, ServerConnection]]:
    """Both ends of a connection with threads: see `framewire.testing.sync.pair`."""
    with pair() as ends:
        yield ends


@pytest.fixture
def serve_peer() -> Iterator[Callable[..., str]]:
    """Run scripted servers until the end of the test.

    A function that is called with the arguments of `framewire.testing.sync.serve_peer` and returns
    the URI.
    """
    with ExitStack() as stack:

        def start(*scripts: Script, timeout: float | None = 10) -> str:
            return stack.enter_context(serve_scripts(*scripts, timeout=timeout))

        yield start
