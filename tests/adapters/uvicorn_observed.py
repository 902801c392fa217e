"""framewire's class for uvicorn with the timers that uvicorn's own tests look at; see `run_upstream.py`."""

from framewire import State
from framewire.adapters.uvicorn import WebSocketProtocol


class ObservedProtocol(WebSocketProtocol):
    """The class with three more attributes of uvicorn's own classes, as far as its tests read them."""

    @property
    def close_timer(self):
        """Limits the wait for the peer's close frame; None while nothing waits for that."""
        waits = self.opened and self.session.state is State.CLOSING and not self.transport.is_closing()
        return self._end_timer if waits else None

    @property
    def ping_timer(self):
        """When the next ping is due; None without keepalive."""
        return self.session.next_timer()

    @property
    def ping_sent_at(self):
        """Not 0 after the first ping."""
        return float(self.session.pings_sent)
