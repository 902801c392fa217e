"""`msgutil`: functions for the methods of `request.ws_stream`, and threads to receive and send."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from .exceptions import (
    BadOperationException,
    ConnectionTerminatedException,
    InvalidFrameException,
    InvalidUTF8Exception,
    UnsupportedFrameException,
)
from .request import HandlerRequest

__all__ = [
    "BadOperationException",
    "ConnectionTerminatedException",
    "InvalidFrameException",
    "MessageReceiver",
    "MessageSender",
    "UnsupportedFrameException",
    "close_connection",
    "receive_message",
    "send_message",
    "send_ping",
]

logger = logging.getLogger("framewire.pywebsocket")

#: The exceptions of `receive_message` at the end of a connection.
_ENDS: Final = (ConnectionTerminatedException, BadOperationException, InvalidUTF8Exception)


def close_connection(request: HandlerRequest) -> None:
    """Call `request.ws_stream.close_connection`."""
    request.ws_stream.close_connection()


def send_message(request: HandlerRequest, payload_data: str | bytes, end: bool = True, binary: bool = False) -> None:
    """Call `request.ws_stream.send_message`."""
    request.ws_stream.send_message(payload_data, end, binary)


def receive_message(request: HandlerRequest) -> str | bytes | None:
    """Call `request.ws_stream.receive_message`."""
    message: str | bytes | None = request.ws_stream.receive_message()
    return message


def send_ping(request: HandlerRequest, body: str | bytes) -> None:
    """Call `request.ws_stream.send_ping`."""
    request.ws_stream.send_ping(body)


class MessageReceiver(threading.Thread):
    """A thread that receives messages until the connection ends, and then closes it: with the code
    for the client's violation if there was one, else with 1000.

    After the last message, None is delivered.

    Args:
        request: The request of the connection.
        onmessage: Called with each message in this thread; None puts messages into a queue for
            `receive`.
    """

    def __init__(
        self, request: HandlerRequest, onmessage: Callable[[str | bytes | None], object] | None = None
    ) -> None:
        super().__init__(name="framewire message receiver", daemon=True)
        self._request = request
        self._messages: queue.Queue[str | bytes | None] = queue.Queue()
        self._deliver = onmessage or self._messages.put
        self._stop_requested = False
        self.start()

    def run(self) -> None:
        """Receive messages; the constructor starts the thread."""
        try:
            while not self._stop_requested and (message := self._receive_next()) is not None:
                self._deliver(message)
            self._deliver(None)
        finally:
            with suppress(*_ENDS):  # the connection may have ended already
                self._request.ws_stream.close_after_receiving()

    def _receive_next(self) -> str | bytes | None:
        """Return the next message; None at the end of the connection."""
        try:
            return receive_message(self._request)
        except _ENDS:
            return None
        except Exception:  # of the handler's answer to the close frame
            logger.exception("the end of %s could not be received", self._request.ws_resource)
            return None

    def receive(self) -> str | bytes | None:
        """Wait for the next message; return None at each call after the last one."""
        message = self._messages.get()
        if message is None:
            self._messages.put(None)  # for the next call
        return message

    def receive_nowait(self) -> str | bytes | None:
        """Return the next message, or None if there is none."""
        try:
            message = self._messages.get_nowait()
        except queue.Empty:
            return None
        if message is None:
            self._messages.put(None)  # for `receive`
        return message

    def stop(self) -> None:
        """End after the next message."""
        self._stop_requested = True


class MessageSender(threading.Thread):
    """A thread that sends queued messages in order until the handler has returned and the connection
    has ended.

    Args:
        request: The request of the connection.
    """

    def __init__(self, request: HandlerRequest) -> None:
        super().__init__(name="framewire message sender", daemon=True)
        self._request = request
        self._lock = threading.Lock()
        self._ended = False  # guarded by `_lock`
        self._messages: queue.Queue[tuple[str | bytes, threading.Event] | None] = queue.Queue()
        self.start()
        request.ws_stream.call_at_end(self._end)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            self._messages.put(None)

    def run(self) -> None:
        """Send messages; the constructor starts the thread."""
        while (queued := self._messages.get()) is not None:
            message, done = queued
            try:
                self._send(message)
            finally:
                done.set()

    def _send(self, message: str | bytes) -> None:
        try:
            send_message(self._request, message, binary=not isinstance(message, str))
        except (ConnectionTerminatedException, BadOperationException):
            pass  # the handler gets the exception when it receives
        except Exception:  # later messages are sent nevertheless
            logger.exception("a message to %s could not be sent", self._request.ws_resource)

    def send(self, message: str | bytes) -> None:
        """Queue a message, and wait until the thread has sent it. An error is logged, not raised.

        Once the thread has ended, messages are dropped.
        """
        if threading.current_thread() is self:  # in a handler of pings, which is called before a message is sent
            self._send(message)
        else:
            self._queue(message).wait()

    def send_nowait(self, message: str | bytes) -> None:
        """Queue a message without waiting."""
        self._queue(message)

    def _queue(self, message: str | bytes) -> threading.Event:
        """Queue a message; return an event that is set when the thread is done with it."""
        done = threading.Event()
        with self._lock:
            if self._ended:
                done.set()
            else:
                self._messages.put((message, done))
        return done
