"""framewire's class for uvicorn, with the timers that uvicorn's tests read."""

from framewire import State
from framewire.adapters.uvicorn import WebSocketProtocol


class ObservedProtocol(WebSocketProtocol):
    """The class with three attributes of uvicorn's own classes, for its tests."""

    @property
    def close_timer(self):
        """The timer of the wait for the peer's close frame; None if there is none."""
        waits = self.opened and self.session.state is State.CLOSING and not self.transport.is_closing()
        return self._end_timer if waits else None

    @property
    def ping_timer(self):
        """The time of the next ping; None without keepalive."""
        return self.session.next_timer()

    @property
    def ping_sent_at(self):
        """A value above 0 after the first ping."""
        return float(self.session.pings_sent)
