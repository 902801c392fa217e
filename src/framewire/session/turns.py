"""`Turns`: the order in which tasks that wait to send on one connection are served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from .session import Session

__all__ = ["Turns"]


class Event(Protocol):
    """An event of an event loop, such as `trio.Event`."""

    def set(self) -> None:
        """Wake the task that waits."""

    def wait(self) -> Awaitable[Any]:
        """Wait for `set`."""


class Turn:
    """The place of a task that waits."""

    __slots__ = ("event",)

    event: Event


class Turns:
    """First come, first served: who sends next, once the transport has room.

    The first tasks are woken, and look one after the other whether they are the first and there is
    room. If so, the task leaves the line and sends; otherwise it keeps its place. Newcomers queue
    behind those who wait.

    Args:
        session: The session of the connection.
        new_event: Makes an event.
        at_once: How many tasks are woken together, on an event loop that runs them in this order.
    """

    __slots__ = ("_at_once", "_between", "_line", "_new_event", "_session", "in_parts", "paused")

    def __init__(self, session: Session, new_event: Callable[[], Event], at_once: int = 1) -> None:
        self._session = session
        self._new_event = new_event
        self._at_once = at_once
        #: Whether a message is being sent in parts; when it has ended, call `give`.
        self.in_parts = False
        #: Whether everybody has to wait for something else; when that has ended, call `give`.
        self.paused = False
        self._line: list[Turn | Callable[[], object]] = []
        # Those of the line that may send between the parts of a message.
        self._between: list[Turn | Callable[[], object]] = []

    @property
    def blocked(self) -> bool:
        """Whether a whole message has to wait."""
        return self.in_parts or self.paused or self._session.write_paused or bool(self._line)

    def must_wait(self, whole: bool) -> bool:
        """Return whether a newcomer has to `wait`.

        Args:
            whole: See `wait`.
        """
        return not self._session.over and (bool(self._served()) or not self._may_send(whole))

    def _served(self) -> list[Turn | Callable[[], object]]:
        """Return those who are served now."""
        return self._between if self.in_parts and not self._session.over else self._line

    def _may_send(self, whole: bool) -> bool:
        return not (self.paused or self._session.write_paused or (whole and self.in_parts))

    async def wait(self, whole: bool) -> None:
        """Wait for a turn, or for the end of the connection; see `must_wait`.

        At the end, even if it was cancelled, the caller passes the turn on: it calls `give`, or, if
        `calls_next`, arranges that `give` is called after it has sent.

        Args:
            whole: Whether it is a message that waits until no other is being sent in parts. Control
                frames and the parts themselves do not.
        """
        lines = (self._line,) if whole else (self._line, self._between)
        turn = Turn()
        for line in lines:
            line.append(turn)
        try:
            while not (self._session.over or (self._may_send(whole) and self._served()[0] is turn)):
                turn.event = self._new_event()
                await turn.event.wait()
        finally:
            for line in lines:
                line.remove(turn)

    @property
    def calls_next(self) -> bool:
        """Whether the first of those who wait is a function, which `give` calls."""
        return bool(self._line) and callable(self._line[0])

    def add(self, function: Callable[[], object]) -> None:
        """Let `give` call a function that sends whole messages, when it is its turn or the connection
        is over.
        """
        self._line.append(function)

    def call_all(self) -> None:
        """Call all functions that wait, whether or not there is room: for a connection whose own messages
        do not wait either, and must not overtake them.
        """
        waiting = [each for each in self._line if callable(each)]
        self._line = [each for each in self._line if not callable(each)]
        for function in waiting:
            function()

    def give(self) -> None:
        """Give a turn to the first who may send; to be called when that may have changed."""
        session = self._session
        while session.over or not (self.paused or session.write_paused):
            line = self._served()
            first = line[0] if line else None
            if not callable(first):
                for turn in line[: self._at_once]:
                    if callable(turn):
                        break
                    turn.event.set()
                return
            del line[0]
            first()
