"""`World`: a client and a server on one driver, in virtual time, and what has to hold at the end."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from math import inf
from typing import Any

from framewire import State
from framewire.session.settings import LINGER

from .network import Network
from .programs import LAST_STEP, End, broken, check, logger
from .rates import OVER_RATE
from .schedule import Schedule
from .wire import KeySource, WireReader

__all__ = ["World"]

#: When the simulated time ends, in seconds: long after every deadline of a schedule.
HORIZON = 300.0

NETWORK_OPTIONS = {"delay": 0.001, "window": 1 << 16, "cut": 1 << 18, "lag": 0.0, "keeps_unread": False}


class _Records(logging.Handler):
    """Collects records of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.texts.append(f"{record.levelname} {record.getMessage()} {error!r}")


class World(ABC):
    """Runs one schedule and checks what has to hold in between and at the end. End 0 is the client.

    Args:
        schedule: The schedule.
    """

    #: The loggers besides `logger` in which nothing may be logged.
    watched: tuple[str, ...] = ()
    make_network: Any = Network
    make_end: Any = End
    #: Whether an earlier run has failed, whose garbage is not yet collected.
    has_garbage = False

    def __init__(self, schedule: Schedule) -> None:
        options = schedule.options
        self.schedule = schedule
        chosen = {**NETWORK_OPTIONS, **{name: options[name] for name in NETWORK_OPTIONS.keys() & options.keys()}}
        self.network = self.make_network(schedule.random(), **chosen)
        self.prompt = bool(options.get("good"))
        self.ended = False
        self.server: Any = None
        self.ends = [
            self.make_end(
                self, number, {name[2:]: value for name, value in options.items() if name.startswith(f"{number}.")}
            )
            for number in (0, 1)
        ]
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        self.errors: list[str] = []
        self.keys = KeySource()
        self.network.idle = self._look

    @property
    def compression(self) -> Any:
        """The argument `compression` of both ends."""
        return "deflate" if self.schedule.options.get("compression") else None

    @property
    def lag(self) -> float:
        """How much later than its deadline something may end, in seconds."""
        lag: float = self.schedule.options.get("lag", 0.0)
        return 0.1 + 60 * lag

    # Running.

    def run(self) -> str:
        """Run the schedule; return a line that tells how it went."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a transport that is left open warns
            return self._run()

    def _run(self) -> str:
        broken.clear()
        if World.has_garbage:
            sys.unraisablehook, hook = lambda _: None, sys.unraisablehook
            gc.collect()  # else this run would be blamed for what an earlier one has left open
            sys.unraisablehook = hook
        World.has_garbage = True
        records = _Records()
        watched = logger, *map(logging.getLogger, self.watched)
        for each in watched:
            each.addHandler(records)
        hook = sys.unraisablehook
        sys.unraisablehook = self._note_unraisable
        for when, number, name, arguments in self.schedule.faults:
            self.network.at(when, getattr(self, f"_{name}"), (self.ends[number], arguments))
        self.network.at(LAST_STEP + 5, self._close_all)
        self.network.at(HORIZON, self._hang)
        gc.disable()  # a finalizer must not run at a moment that depends on earlier runs
        try:
            try:
                with self.keys.installed():
                    self.run_programs()
            finally:
                self.ended = True
                if broken:
                    raise broken[0]
            self.check_end_of_world()
            line = self._describe()
            self.forget()
            World.has_garbage = False
            gc.collect()  # futures whose exception nobody has retrieved tell so when they are collected
        finally:
            for each in watched:
                each.removeHandler(records)
            sys.unraisablehook = hook
            gc.enable()
        check(not self.errors, "error", "; ".join(self.errors))
        check(not records.texts, "log", "; ".join(records.texts))
        return line

    def _describe(self) -> str:
        return " ".join(
            f"{self.network._count} {end.received} {end.ended_at} {end.connection is not None}" for end in self.ends
        )

    def _note_unraisable(self, unraisable: Any) -> None:
        if not self.is_known(unraisable.exc_value):
            self.errors.append(f"unraisable {unraisable.exc_value!r}")

    def is_known(self, error: BaseException) -> bool:
        """Return whether an exception in a finalizer is the fault of the I/O library."""
        return False

    @abstractmethod
    def run_programs(self) -> None:
        """Run the programs of both ends until they, and everything of their connections, have ended."""

    def forget(self) -> None:  # noqa: B027 - not every driver keeps something
        """Drop what would keep futures and tasks."""

    @abstractmethod
    def check_idle(self) -> None:
        """Check that nothing waits that could go on; called when time is to pass."""

    @abstractmethod
    def list_running(self) -> list[str]:
        """Return the names of what has not ended."""

    @abstractmethod
    def start_closing(self, connection: Any) -> None:
        """Have a connection closed, without waiting."""

    @abstractmethod
    def is_answered(self, ping: Any) -> bool:
        """Return whether the result of `ping` tells that it is over."""

    # Faults.

    def _close_all(self, _: object) -> None:
        """Close what is open because the one that was to close it was cancelled."""
        for end in self.ends:
            if end.connection is not None:
                self.start_closing(end.connection)

    def _hang(self, _: object) -> None:
        check(self.ended, "hang", f"at {self.network.now} still there: {sorted(self.list_running())}")

    def _stall(self, what: tuple[End, float]) -> None:
        """Deliver nothing of what an end sends, for a time."""
        end, seconds = what
        receiver = end.peer.socket
        if receiver is not None:
            receiver.stalled_until = self.network.now + seconds
            if seconds == inf:
                receiver.deaf = True

    def _reset(self, what: tuple[End, Any]) -> None:
        if what[0].socket is not None and not what[0].socket.closed:
            what[0].socket.break_connection()

    def _fin(self, what: tuple[End, Any]) -> None:
        """End what an end sends, as if its process had been killed."""
        if what[0].peer.socket is not None:
            what[0].peer.socket.end_input()

    # What holds in between, and at the end.

    def _look(self) -> None:
        for end in self.ends:
            end.look()
        self.check_idle()

    def check_opening(self, end: End, begin: float, error: BaseException) -> None:
        """Check the failure of a client that began to connect at a time."""
        end.failure = error
        check(not self.prompt, "opening", repr(error))
        limit = end.limits.open_timeout
        check(limit is None or self.network.now - begin <= limit + self.lag, "open_timeout")

    def check_deadline(self, end: End, begin: float) -> None:
        """Check that closing did not take longer than it may."""
        limit = end.limits.close_timeout
        if limit is not None:
            took = self.network.now - begin
            if end.session is None:
                limit = max(limit, LINGER)
            check(took <= limit + self.lag, "close_timeout", f"closing took {took} s, the limit is {limit}")

    def check_end_of_world(self) -> None:
        """Check what has to hold when everything has ended."""
        for socket in self.network.sockets.values():
            check(socket.closed or not socket.used, "a socket is left open")
        self._read_wire()
        for end in self.ends:
            if end.session is not None:
                self._check_end(end)
        server = self.ends[1]
        limit = server.limits.open_timeout
        if server.session is None and limit is not None and server.socket is not None and server.socket.used:
            check(server.socket.closed_at <= limit + self.lag + 1, "open_timeout", f"{server.socket.closed_at}")

    def _read_wire(self) -> None:
        """Read what both ends have written, if there was an opening handshake."""
        if self.schedule.options.get("tls"):
            return
        heads = [bytes(each.written).partition(b"\r\n\r\n") for each in (end.socket for end in self.ends) if each]
        if len(heads) < 2 or b" 101 " not in heads[1][0]:
            return
        for end, (_, _, frames) in zip(self.ends, heads, strict=True):
            if end.options["api"] != "scripted":
                end.wire = WireReader(self.keys if end.number == 0 else None, b"permessage-deflate" in heads[1][0])
                end.wire.feed(frames)

    def _check_end(self, end: End) -> None:
        session, peer = end.session, end.peer
        state = session.close_state
        check(session.state is State.CLOSED, "state", str(session.state))
        check(all(map(self.is_answered, end.pings)), "a ping that nobody ends")
        if end.left_at is not None and end.limits.close_timeout is not None:
            assert end.socket is not None
            limit = end.left_at + end.limits.close_timeout + self.lag
            check(end.socket.closed_at <= limit, "close_timeout", f"closed at {end.socket.closed_at}, after {limit}")
        if end.options["api"] == "listener":
            check(end.opened == end.closed == 1, "on_close", f"{end.opened} {end.closed}")
        self._check_deadlines(end)
        self._check_wire(end)
        if state.rcvd is not None and peer.session is not None:
            sent = peer.session.close_state.sent
            check(sent is not None and sent.code == state.rcvd.code, "close", f"received {state.rcvd}, sent {sent}")
            dropping = session.queue is not None and session.queue.dropping
            if not (dropping or end.gave_up or peer.misbehaves or self._stops_receiving(end)):
                end.check_all_received()
        if self.prompt and not end.gave_up and not peer.gave_up:
            check(not isinstance(state.cause, TimeoutError), "close", "one end had to wait for the other one")
            codes = [None if each is None else each.code for each in (state.rcvd, state.sent)]
            client = self.ends[0]
            if client.session is not None and client.socket is not None and not self.schedule.options.get("tls"):
                first = client.socket.output_ended_at < client.socket.input_ended_at
                check(not first, "end of TCP", "the client has ended it first")
            check(None not in codes and not {1002, 1006, 1007, 1008, 1009} & set(codes), "close", f"{codes}")

    def _check_deadlines(self, end: End) -> None:
        assert end.deadlines is not None
        assert end.socket is not None
        end.look()
        end.deadlines.check_end(min(self.network.now, end.socket.closed_at))

    def _check_wire(self, end: End) -> None:
        """Check what an end knows about close frames, and its pongs, by what both have written."""
        state, wire, peer_wire = end.session.close_state, end.wire, end.peer.wire
        if wire is not None and wire.close is not None:
            check(
                state.sent is not None and state.sent.code == wire.close[0], "close", f"{state.sent}, not {wire.close}"
            )
            explained = state.failure is not None and not wire.close[1]
            check(explained or state.sent.reason == wire.close[1], "close", f"{state.sent}, not {wire.close}")
            if state.rcvd_then_sent:
                check(wire.close == (state.rcvd.code, state.rcvd.reason), "close", f"{wire.close} answers {state.rcvd}")
            elif state.failure is None or state.failure.code == 1006:
                causes = self._causes(end)
                check(wire.close in causes, "close", f"{wire.close}, where there is no cause but for {causes}")
        if state.failure is not None and state.failure.code != 1006:
            codes = [*end.peer.offences, {1009} if end.limits.sizes[0] is not None else set()]
            caused = end.peer.misbehaves and any(state.failure.code in each for each in codes)
            check(caused, "failure", f"{state.failure} after {codes}")
        check(state.rcvd is None or not end.peer.closes_after_offence, "offence", f"{state.rcvd} after a violation")
        if state.rcvd is not None and state.sent is not None:
            order = state.rcvd_then_sent is not None
            if end.peer.session is not None:
                order = order and not (state.rcvd_then_sent and end.peer.session.close_state.rcvd_then_sent)
            check(order, "close", f"the order is {state.rcvd_then_sent}")
        if peer_wire is not None and state.rcvd is not None:
            rcvd = state.rcvd.code, state.rcvd.reason
            check(rcvd == peer_wire.close, "close", f"received {rcvd}, but {peer_wire.close} is written")
        if wire is not None and peer_wire is not None:
            pongs = [each for each in wire.pongs if each]  # those of the program are empty
            check(pongs == peer_wire.pings[: len(pongs)], "pongs", f"{pongs} answers {peer_wire.pings}")

    def _causes(self, end: End) -> set[tuple[int, str]]:
        """Return the close frames that an end may send by itself."""
        limits, names = end.limits, {name for _, number, name, _ in self.schedule.steps if number == end.number}
        causes = set(end.causes)
        if limits.ping_interval is not None and limits.ping_timeout is not None:
            causes.add((1011, "keepalive ping timeout"))
        if limits.idle_timeout is not None:
            causes.add((1008, "no messages for too long"))
        if limits.total_timeout is not None:
            causes.add((1008, "the time for this connection is over"))
        if limits.rate_limit is not None and limits.rate_limit.close:
            causes.add(OVER_RATE)
        if "parts" in names or limits.fragment_size is not None:
            causes |= {(1011, "close during fragmented message"), (1011, "error in fragmented message")}
        if "broadcast" in names:
            causes.add((1013, "reading too slowly"))
        if end.number == 1:
            causes.add((1001, ""))  # of a server that closes
        if any(name == "cancel_main" and number == end.number for _, number, name, _ in self.schedule.faults):
            causes.add((1011, ""))
        return causes

    def _stops_receiving(self, end: End) -> bool:
        return end.options["leaves"] is not None or any(
            name == "cancel_main" and number == end.number for _, number, name, _ in self.schedule.faults
        )
