"""tornado: the frame loop and the writer of `WebSocketProtocol13`, for its server and its client."""

from __future__ import annotations

from tornado.websocket import WebSocketProtocol, WebSocketProtocol13

from ..accelerate import Replacement
from .protocol import abort, receive_frame, write_frame, write_message
from .self_test import run_self_test

__all__ = ["replacements"]


def replacements() -> list[Replacement]:
    """Return replacements of the methods that receive and write frames, and of `_abort`.

    Raises:
        Mismatch: The self-test fails.
    """
    run_self_test()
    return [
        Replacement(WebSocketProtocol13, "_receive_frame", receive_frame),
        Replacement(WebSocketProtocol13, "_write_frame", write_frame),
        Replacement(WebSocketProtocol13, "write_message", write_message),
        Replacement(WebSocketProtocol, "_abort", abort),
    ]
