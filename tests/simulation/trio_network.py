"""The simulated network on trio's own clock of virtual time, and trio streams on its sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import trio
import trio.testing

from .network import Network, SimulatedSocket

__all__ = ["SimulatedListener", "SimulatedStream", "TrioNetwork"]

Result = TypeVar("Result")


class TrioNetwork(Network):
    """A network whose clock is trio's; `run` is its task."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        #: The clock for `trio.run`: it goes on when every task waits.
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self._alarm = trio.CancelScope()
        super().__init__(*arguments, **options)

    @property
    def now(self) -> float:
        return self.clock.current_time()

    @now.setter
    def now(self, now: float) -> None:
        assert now == 0.0

    def at(self, when: float, callback: Callable[[Any], object], argument: Any = None) -> None:
        super().at(when, callback, argument)
        self._alarm.deadline = min(self._alarm.deadline, when)

    async def run(self) -> None:
        """Do everything at its time, until cancelled."""
        while True:
            self.clock.jump(self.lateness())
            self.process()
            await trio.testing.wait_all_tasks_blocked()
            self.idle()
            with trio.CancelScope(deadline=self.next_time) as self._alarm:
                await trio.sleep_forever()


class _Waiting:
    """A simulated socket whose operations wait, as those of trio do."""

    def __init__(self, sock: SimulatedSocket) -> None:
        self.socket = sock
        sock.used = True
        self._lot = trio.lowlevel.ParkingLot()
        sock.changed = self._lot.unpark_all

    async def attempt(self, operation: Callable[[], Result]) -> Result:
        """Repeat an operation until it does not block."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self.socket.closed:
                raise trio.ClosedResourceError("this stream has been closed")
            try:
                result = operation()
            except BlockingIOError:
                await self._lot.park()
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return result

    async def aclose(self) -> None:
        self.socket.close()
        self._lot.unpark_all()
        await trio.lowlevel.checkpoint()


class SimulatedStream(_Waiting, trio.abc.HalfCloseableStream):
    """A stream with the answers of `trio.SocketStream`."""

    def __init__(self, sock: SimulatedSocket) -> None:
        super().__init__(sock)
        self._sending = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            with memoryview(data) as view:
                sent = 0
                while sent < len(view):
                    with view[sent:] as rest:
                        sent += await self.attempt(lambda rest=rest: self.socket.send(rest))  # type: ignore[misc]
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.attempt(lambda: self.socket.recv(max_bytes or 1 << 16))

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        await self.attempt(lambda: self.socket.shutdown(1))


class SimulatedListener(_Waiting, trio.abc.Listener[SimulatedStream]):
    """A listener with the answers of `trio.SocketListener`."""

    async def accept(self) -> SimulatedStream:
        sock, _ = await self.attempt(self.socket.accept)
        return SimulatedStream(sock)
