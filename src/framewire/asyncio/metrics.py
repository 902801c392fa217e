"""What happens on a server, as numbers: for logs, and for Prometheus as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..session.connection import BaseConnection

__all__ = ["Counters"]

#: What each connection counts by itself; see `BaseConnection`.
_COUNTED: Final = (
    "messages_received", "messages_sent", "bytes_received", "bytes_sent", "pings_received", "pings_sent",
)  # fmt: skip

_HELP: Final = {
    "connections_open": "WebSockets that are open now.",
    "connections_accepted": "Connections by TCP that were accepted.",
    "connections_busy": "Connections that were refused because there were too many.",
    "messages_received": "Messages from the peers.",
    "messages_sent": "Messages to the peers.",
    "bytes_received": "Bytes of frames from the peers.",
    "bytes_sent": "Bytes of frames to the peers.",
    "pings_received": "Pings from the peers.",
    "pings_sent": "Pings to the peers.",
}


class Counters:
    """The sums over all connections of a server, past and present, from its start."""

    def __init__(self) -> None:
        self.accepted = 0
        self.refused_busy = 0
        self.open = 0
        self.counted: Counter[str] = Counter()
        #: How many connections ended with which close code of the peer (1005: empty, 1006: none).
        self.closes: Counter[int] = Counter()

    def add(self, connection: BaseConnection) -> None:
        """Add one that has ended."""
        self._count(connection)
        code = connection.close_code
        if code is not None:
            self.closes[code] += 1

    def _count(self, connection: BaseConnection) -> None:
        session = connection._session
        if session is not None:
            stream, counted = session.stream, self.counted
            counted["messages_received"] += stream.messages_received
            counted["messages_sent"] += stream.messages_sent
            counted["bytes_received"] += stream.bytes_received
            counted["bytes_sent"] += connection.bytes_sent
            counted["pings_received"] += session.pings_received
            counted["pings_sent"] += session.pings_sent

    def plus(self, connections: Iterable[BaseConnection]) -> Counters:
        """These, and what the open `connections` have counted so far."""
        total = Counters()
        total.accepted, total.refused_busy = self.accepted, self.refused_busy
        total.counted.update(self.counted)
        total.closes.update(self.closes)
        for connection in connections:
            total._count(connection)
            total.open += connection.state.name == "OPEN"
        return total

    def merge(self, numbers: Mapping[str, Any]) -> None:
        """Add what `as_dict` says of another server, such as one in another process."""
        self.open += numbers["connections_open"]
        self.accepted += numbers["connections_accepted"]
        self.refused_busy += numbers["connections_busy"]
        self.counted.update({name: numbers[name] for name in _COUNTED})
        self.closes.update(numbers["closes"])

    def as_dict(self) -> dict[str, Any]:
        """All of them by name; `closes` is a dict itself, by close code."""
        return {
            "connections_open": self.open,
            "connections_accepted": self.accepted,
            "connections_busy": self.refused_busy,
            **{name: self.counted[name] for name in _COUNTED},
            "closes": dict(sorted(self.closes.items())),
        }

    def as_text(self) -> str:
        """All of them in the text format of Prometheus, version 0.0.4."""
        lines = []
        for name, value in self.as_dict().items():
            if name == "closes":
                continue
            metric, kind = ("", "gauge") if name == "connections_open" else ("_total", "counter")
            metric = f"framewire_{name}{metric}"
            lines += [f"# HELP {metric} {_HELP[name]}", f"# TYPE {metric} {kind}", f"{metric} {value}"]
        lines += [
            "# HELP framewire_closes_total Connections that ended, by the peer's close code.",
            "# TYPE framewire_closes_total counter",
            *(f'framewire_closes_total{{code="{code}"}} {count}' for code, count in sorted(self.closes.items())),
        ]
        return "\n".join(lines) + "\n"
