"""`StreamMembers`: the members of topics on drivers of streams: threads and trio."""

from __future__ import annotations

from collections.abc import Container
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

from .base_driver import BaseDriver
from .base_topics import Members, OnSlow
from .broadcast import SLOW_READER, Broadcast
from .topics import Outcome, Patterns, SlowPolicy

__all__ = ["StreamMembers"]

C = TypeVar("C")


class StreamMembers(Members[BaseDriver, C], Generic[C]):
    """The members of topics. Locks are acquired in this order: `publishing`, that of a driver, `lock`.

    Args:
        patterns: See `BaseTopics`.
        policy: See `BaseTopics`.
        on_slow: See `BaseTopics`.
        lock: See `Members`.
        publishing: A reentrant lock, where several threads publish: all receivers get the messages
            in the same order.
    """

    def __init__(
        self,
        patterns: Patterns,
        policy: SlowPolicy,
        on_slow: OnSlow[C] | None,
        lock: AbstractContextManager[Any] | None = None,
        publishing: AbstractContextManager[Any] | None = None,
    ) -> None:
        super().__init__(patterns, policy, on_slow, lock)
        self._publishing = nullcontext() if publishing is None else publishing

    def subscribe(self, driver: BaseDriver, connection: C, topic: str) -> bool:
        """Subscribe a connection. See `BaseTopics.subscribe`."""
        session = driver.opened_session()
        with driver.lock:  # the connection cannot end meanwhile, and would not leave
            if driver.ended:
                raise session.error()
            with self._lock:
                added = self.tree.subscribe(driver, topic)
                self._connections[driver] = connection
            driver.topics[self] = None
        return added

    def publish(self, topic: str, message: Broadcast, excluded: Container[BaseDriver]) -> int:
        """Send a message to the subscribers of its topic. See `BaseTopics.publish`."""
        reached = 0
        with self._publishing:
            with self._lock:
                receivers = [(driver, self._connections[driver]) for driver in self.tree.receivers(topic)]
                self.counters.published += 1
            for driver, connection in receivers:
                if driver not in excluded:
                    try:
                        outcome = self._offer(driver, topic, message)
                    except Exception as error:
                        self.note_failure(driver, error)
                        continue
                    reached += outcome in (None, Outcome.HELD, Outcome.REPLACED)
                    self.report(connection, topic, outcome)
        self.log_failures()
        return reached

    def _offer(self, driver: BaseDriver, topic: str, message: Broadcast) -> Outcome | None:
        session = driver.opened_session()
        with driver.lock:
            with self._lock:
                outcome = self._delivery.offer(driver, session, topic, message, driver.refused)
            if outcome is Outcome.CLOSED:
                driver.start_closing(*SLOW_READER)
            elif outcome is None:
                driver.update()
            elif outcome in (Outcome.HELD, Outcome.REPLACED):
                driver.holding[self] = None
        return outcome

    def release(self, driver: BaseDriver) -> None:
        """Send the messages that are held for a connection. The caller holds the lock of its driver."""
        with self._lock:
            self._delivery.release(driver, driver.opened_session())
