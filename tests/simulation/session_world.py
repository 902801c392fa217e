"""Two sessions, without an event loop: the driver of each end, the network and the clock are simulated.

Each end has a write buffer with marks. A link of limited capacity takes parts of it, delays them
and delivers them in cuts; it also carries the end of TCP and resets. End 0 is the client.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Any

from framewire import (
    CLIENT,
    SERVER,
    Close,
    ConnectionClosedError,
    ConnectionClosedOK,
    Failure,
    Fragment,
    Ping,
    State,
    StateError,
)
from framewire.errors import PayloadTooBigError
from framewire.protocol.permessage_deflate import PerMessageDeflate
from framewire.session.broadcast import Broadcast
from framewire.session.session import ABANDONED_MESSAGE, Ending, Session
from framewire.session.settings import QUEUE_SIZE, REPLIES_LIMIT, ConnectionSettings

from .deadlines import Deadlines
from .rates import OVER_RATE, Rate
from .schedule import Schedule, check, make_message
from .violations import VIOLATIONS, failure_codes
from .wire import KeySource, WireReader

__all__ = ["SessionWorld"]

#: Largest read of a driver, in bytes.
READ_SIZE = 1 << 16

#: Bytes of the longest pong of a client.
MAX_PONG = 131

#: Cuts after which those that follow are long.
MAX_CUTS = 50

#: Events in one run at most: more are a loop that waits for nothing.
MAX_EVENTS = 200_000

#: When the simulation ends, in seconds. Later deadlines are not checked.
HORIZON = 80.0

# Members of enums are slow to look up before Python 3.12.
NONE, WAIT, CLOSE, ABORT, OPEN, CLOSED = Ending.NONE, Ending.WAIT, Ending.CLOSE, Ending.ABORT, State.OPEN, State.CLOSED

#: The close code and reason after a close in the middle of a fragmented message.
IN_MESSAGE = (1011, "close during fragmented message")

#: Bytes of an incomplete control frame at most, and some more.
CONTROL_FRAME = 140

#: Options of an end that are no settings of its connection, with their defaults.
END_OPTIONS = {
    "queue": True, "auto_close": True, "auto_pong": True, "fragments": False,
    "receiver": 0.0,  # seconds between two receptions; 0: at once; None: never
    "pieces": False,  # receive in pieces
    "replies": None,  # without a queue: the size of the reply to each message; None: there is none
    "patient": True,  # senders wait while writing is paused
    "late": 0.0,  # seconds that timers are late
}  # fmt: skip

#: Options of the world.
WORLD_OPTIONS = {"compression": False, "delay": 0.001, "window": 1 << 16, "cut": READ_SIZE, "keeps_unread": False}


class Link:
    """One direction of TCP."""

    __slots__ = ("ended", "in_flight", "last_arrival", "lost", "stalled_until", "unread")

    def __init__(self) -> None:
        self.unread = bytearray()  # arrived, in the kernel of the receiver
        self.in_flight = 0
        self.last_arrival = 0.0
        self.stalled_until = 0.0
        self.ended = False  # the end of TCP has arrived
        self.lost = False  # nothing more arrives


class End:
    """One session, its driver and its application."""

    def __init__(self, world: SessionWorld, number: int, options: dict[str, Any]) -> None:
        self.world = world
        self.number = number
        self.options = {**END_OPTIONS, **{name: options[name] for name in END_OPTIONS.keys() & options.keys()}}
        settings = {name: value for name, value in options.items() if name not in END_OPTIONS}
        self.settings = ConnectionSettings(**settings)
        flags = {name: self.options[name] for name in ("queue", "auto_close", "auto_pong", "fragments")}
        role = (CLIENT, SERVER)[number]
        codecs = world.codecs[number : number + 1]
        self.session = Session(role, self.settings, 0.0, codecs=codecs, **flags)
        self.stream, self.close_state = self.session.stream, self.session.close_state
        self.high, self.low = self.settings.write_marks
        self.max_size = self.settings.sizes[0]
        self.full = self.settings.queue_marks[0]
        self.replies = None if self.options["queue"] else self.options["replies"]
        self.receiver, self.pieces, self.late = (self.options[name] for name in ("receiver", "pieces", "late"))
        self.incoming, self.outgoing = world.links[1 - number], world.links[number]
        self.peer: End
        self.unsent = bytearray()
        self.written = 0
        self.output_ends = self.output_ended = False
        self.gone_at: float | None = None
        self.busy_until = 0.0
        self.timer_at = inf
        # The application.
        self.sent: list[str | bytes] = []
        self.received: list[str | bytes] = []
        self.parts: list[str | bytes] = []  # of a message that arrives
        self.backlog: list[tuple[str, Any]] = []  # steps that wait for their turn
        self.in_parts = False
        self.receives_later = False
        self.misbehaves = False  # has sent what is forbidden
        self.offences: list[tuple[int, set[int]]] = []  # until which byte, and the close codes for it
        self.pings = self.pongs = self.unsolicited = 0
        self.biggest = 0
        self.unread_replies = 0  # bytes of replies sent since writing was paused
        # What is checked.
        self.wire = WireReader(world.keys if number == 0 else None, bool(world.codecs))
        self.causes: set[tuple[int, str]] = set()  # the close frames that the application has asked for
        self.over_limit = False  # more than `max_unsent` waited
        self.close_sent = self.close_heard = False
        self.heard_at = 0.0
        self.waited_at = self.paused_at = 0.0  # when bytes were unsent, and reading was paused, last
        self.has_waited = False  # what is unsent was not taken at once
        self.paused_size = 0  # bytes that were unsent when writing was paused
        self.fed = 0  # bytes that the session has received before the end
        self.kept = 0  # bytes that it has processed before it dropped messages
        self.timer_handled_at, self.timers_at_once = -1.0, 0
        busy = sum(each[3] for each in world.schedule.faults if each[2] == "busy" and each[1] == number)
        lag = 0.1 + 4 * self.late + busy
        self.deadlines = Deadlines(self.settings, lag)
        self.rate = None if self.settings.rate_limit is None else Rate(self.settings.rate_limit, lag)

    # The transport.

    def follow(self) -> None:
        """Do what the session asks for."""
        session, world = self.session, self.world
        self.deadlines.note_processed(world.now, self.stream.bytes_received)
        if session.output:
            self.flush()
        if session.output_size:
            check(False, "output is complete")
        if self.stream.state is not OPEN or self.stream.failing is not None or self.deadlines.failing_at is not None:
            self._note_end()
        if self.gone_at is not None:
            return
        ending = session.ending
        if ending is not NONE:
            if ending is ABORT:
                self.abort()
                return
            if ending is not WAIT:
                self.output_ends = True
        if self.unsent or self.output_ends or session.write_paused:
            self.pump()
            if self.gone_at is not None:
                return
        if not session.reading:
            self.paused_at = world.now
        elif self.incoming.unread or self.incoming.ended:
            world.at(world.now, self.feed)
        self.deadlines.note_reading(world.now, not (session.reading or self.unsent))
        if self.deadlines.may_be_idle:
            self._note_messages()
        when = session.next_timer()
        if when is not None and when < self.timer_at:
            self.timer_at = when
            world.at(when + self.late, self.handle_timer, when)
        if session.reading and session.has_held_back:
            self.handle(session.process([], world.now))

    def flush(self, legal: bool = True) -> None:
        """Take what the session has to say into the write buffer.

        Args:
            legal: Whether it has to be frames.
        """
        data = self.session.data_to_send()
        if legal:
            self.wire.feed(data)
            check(self.wire.between_frames, "wire", "half a frame")
        else:
            self.wire.skip(len(data))
        if self.session.ending is not ABORT and not self.output_ended and self.gone_at is None:
            self.unsent += data
            self.written += len(data)

    def _note_messages(self) -> None:
        """Take note of the time of messages, for `idle_timeout`."""
        messages = self.stream.messages_received + self.session.messages_sent
        self.deadlines.note_messages(self.world.now, messages)

    def _note_end(self) -> None:
        """Check how the end begins, and take note of the time."""
        session = self.session
        self._note_messages()
        self.deadlines.note_state(self.world.now, session)
        heard = self._has_heard_close()
        if not self.close_sent and session.close_state.sent is not None:
            self.close_sent = True
            self._check_cause(heard)
        self.close_heard = heard

    def _has_heard_close(self) -> bool:
        """Return whether the peer's close frame has been processed."""
        return self.peer.wire.close is not None and self.stream.bytes_received >= self.peer.wire.close_end

    def _check_cause(self, heard: bool) -> None:
        """Check that there is a cause for the close frame that is sent now."""
        session, settings, state, now = self.session, self.settings, self.session.close_state, self.world.now
        sent = self.wire.close
        cut = self.over_limit and session.ending is ABORT  # so the frames that it has queued are not written
        if sent is None or cut:
            check(cut, "close", f"{state.sent} is not on the wire")
            return
        check(session.state is not OPEN, "close", "it is sent, but the connection is open")
        answers = state.rcvd_then_sent is True
        check(heard or not answers, "close", "the answer to nothing")
        if self.close_heard:
            check(answers, "close", "it was sent after the peer's, but it is no answer")
        if sent in self.causes:
            return
        if answers:
            check(sent == self.peer.wire.close, "close", f"{sent} answers {self.peer.wire.close}")
        elif state.failure is not None and state.failure.code != 1006:
            check(sent[0] == state.failure.code, "close", f"{sent} after {state.failure}")
            check(settings.send_close_reasons or not sent[1], "close", f"{sent} has a reason")
        elif sent == (1011, "keepalive ping timeout"):
            self._check_keepalive()
        elif sent == OVER_RATE:
            self._note_rate(stopped=False)
            check(self.rate is not None and self.rate.limit.close and self.rate.used_up, "rate_limit", f"{sent}")
            self.fed = self.stream.bytes_received  # what else has arrived is not received
        else:
            idle = settings.idle_timeout is not None and now - self.deadlines.message_at >= settings.idle_timeout - 1e-6
            over = settings.total_timeout is not None and now >= settings.total_timeout
            expected = {(1008, "no messages for too long")} if idle else set()
            if over:
                expected.add((1008, "the time for this connection is over"))
            if self.stream.message_open and expected:
                expected = {IN_MESSAGE}
            check(sent in expected, "close", f"{sent} at {now}, where there is no cause but for {expected}")

    def _check_keepalive(self) -> None:
        """Check that a failure of the keepalive is not too early."""
        now, session = self.world.now, self.session
        silence = now - self.heard_at
        limit = self.settings.ping_timeout - 1e-6  # type: ignore[operator]
        check(silence >= limit, "keepalive", f"failed after a silence of {silence} s")
        if now - self.waited_at > limit:  # nothing has waited for the peer
            silence = now - (self.paused_at if session.reading else now)
            check(silence >= limit, "keepalive", f"failed, though it did not read until {silence} s before")
        check(not self.world.prompt, "keepalive", "a peer that answers was failed")

    def _note_rate(self, stopped: bool) -> None:
        if self.rate is not None:
            messages, size = self.stream.messages_received, self.stream.bytes_received
            if self.rate.note(self.world.now, messages, size, stopped):
                self.deadlines.note_activity(self.world.now)

    def _check_bounds(self) -> None:
        session, queue = self.session, self.session.queue
        is_open = self.stream.state is OPEN
        if self.rate is not None and is_open and self.stream.failing is None:
            stopped = not (session.reading or session.write_paused or (queue is not None and queue.items))
            self._note_rate(stopped)
            if stopped:
                return
        if queue is not None:
            items, size = queue.items, 0
            if items:
                size = sum(map(_length, items))
                if self.max_size is not None:
                    bound = QUEUE_SIZE + self.max_size + READ_SIZE
                    check(size <= bound, "queue", f"{size} is over {bound}")
            if queue.size != size:
                check(False, "queue", f"{queue.size} is not {size}")
            if is_open:
                if not session.reading:
                    check(items or session.write_paused, "queue", "reading stopped without a reason")
                elif items:
                    full = len(items) > self.full or size > QUEUE_SIZE
                    check(not full, "queue", "reading goes on though it is full")
            elif len(items) > self.full and self.stream.state is not CLOSED:
                check(queue.dropping, "queue", "it grows after our own close")
        elif self.unread_replies > REPLIES_LIMIT and is_open:
            check(not session.reading, "replies", f"reading goes on after {self.unread_replies} bytes")
        elif not session.reading and self.rate is None:
            replies = self.unread_replies + MAX_PONG * session.pings_received
            check(replies > REPLIES_LIMIT, "replies", f"reading stopped after {replies} bytes")
        if is_open and self.stream.failing is None:
            held = self.fed - self.stream.bytes_received
            if held > CONTROL_FRAME:
                check(not session.reading, "held back", f"{held} bytes, without a reason")
                check(held <= READ_SIZE + CONTROL_FRAME, "held back", f"{held} bytes")
        waits = self.options["patient"] and self.replies is None
        if len(self.unsent) > REPLIES_LIMIT and waits and not self.misbehaves:
            # A broadcast may follow `write_limit` bytes after the message that has filled the buffer.
            bound = 2 * self.high + 2 * self.biggest + REPLIES_LIMIT + 2 * READ_SIZE + 1000
            check(len(self.unsent) <= bound, "write buffer", f"{len(self.unsent)} is over {bound}")

    def pump(self, *_: object) -> None:
        """Give the network what it takes."""
        world, link = self.world, self.outgoing
        if self.unsent:
            self.waited_at = world.now
            if not self.output_ended:
                space = world.window - link.in_flight - len(link.unread)
                if space > 0:
                    size = min(space, len(self.unsent), world.cut_size())
                    data = bytes(self.unsent[:size])
                    del self.unsent[:size]
                    if self.unsent or self.has_waited or not self.session.reading:
                        self.deadlines.note_activity(world.now)
                    link.in_flight += size
                    link.last_arrival = max(world.now + world.delay(), link.last_arrival, link.stalled_until)
                    world.at(link.last_arrival, self.peer.arrive, data)
                    if self.unsent and size < space:
                        world.at(world.now + world.delay() / 4, self.pump)
            self.has_waited = bool(self.unsent)
        if self.session.write_paused:
            if len(self.unsent) <= self.low:
                self.session.resume_writing()
                self.unread_replies = 0
                if self.session.has_held_back:
                    self.handle(self.session.process([], world.now))
                world.at(world.now, self.catch_up)
        elif len(self.unsent) > self.high:
            self.paused_size = len(self.unsent)
            self.session.pause_writing(self.paused_size)
            check(self.session.write_paused, "write buffer", "senders go on though it is full")
        if self.output_ends and not self.unsent and not self.output_ended:
            self.output_ended = True
            check(self.number == 1 or self.incoming.lost, "end of TCP", "the client has ended it first")
            link.last_arrival = max(world.now + world.delay(), link.last_arrival, link.stalled_until)
            world.at(link.last_arrival, self.peer.arrive, None)
        if self.output_ended and self.session.ending is CLOSE and self.gone_at is None:
            if self.incoming.unread:
                self.send_reset()
            self.lost(None)

    def arrive(self, data: bytes | None) -> None:
        """Take bytes from the network into the kernel; None is the end of TCP."""
        link = self.incoming
        if link.lost or link.ended:
            return
        if data is None:
            link.ended = True
        else:
            link.in_flight -= len(data)
            if self.gone_at is not None:
                self.send_reset()
                return
            link.unread += data
        self.feed()

    def feed(self, *_: object) -> None:
        """Read from the kernel, as far as the session lets us."""
        link, session, world = self.incoming, self.session, self.world
        if self.gone_at is not None or not session.reading or self._is_busy(self.feed):
            return
        if link.unread:
            size = min(len(link.unread), world.cut_size(), READ_SIZE)
            data = bytes(link.unread[:size])
            del link.unread[:size]
            self.deadlines.note_activity(world.now)
            received = self.stream.bytes_received
            if session.queue is None or not session.queue.dropping:
                self.kept = received
            if self.close_state.rcvd is None and self.stream.state is not CLOSED:  # not session.over
                self.fed += size
            events = session.receive_quickly(data)
            to_process = bool(events) or session.has_held_back
            if to_process:
                events = session.process(events, world.now)
            if self.stream.bytes_received != received or session.has_held_back:
                self.heard_at = world.now  # a part of a header or control frame does not count
            if to_process or (session.queue is not None and session.queue.items):
                self.handle(events)
            elif link.unread or link.ended:  # part of a message has come: no driver asks more
                world.at(world.now, self.feed)
            if self.peer.unsent:
                self.peer.pump()  # there is room again
        elif link.ended:
            link.ended, link.lost = False, True
            self.handle(session.receive_eof(world.now))

    def _is_busy(self, callback: Any, argument: Any = None) -> bool:
        if self.world.now < self.busy_until:
            self.world.at(self.busy_until, callback, argument)
            return True
        return False

    def abort(self) -> None:
        self.send_reset()
        self.lost(None)

    def send_reset(self) -> None:
        link = self.outgoing
        arrival = max(self.world.now + self.world.delay(), link.stalled_until)
        self.world.at(arrival, self.peer.reset, None)

    def reset(self, *_: object) -> None:
        """Take a reset from the network."""
        if self.gone_at is None and not self.incoming.lost:
            if self.world.keeps_unread:  # some systems deliver what had arrived before
                self.busy_until = 0.0
                while self.incoming.unread and self.session.reading and self.gone_at is None:
                    self.feed()
            self.lost(ConnectionResetError("reset"))

    def lost(self, error: Exception | None) -> None:
        """Process the loss of the connection."""
        if self.gone_at is not None:
            return
        self.gone_at = self.world.now
        self.unsent.clear()
        self.incoming.unread.clear()
        self.handle(self.session.receive_eof(self.world.now, error))
        self.session.resume_writing()
        check(
            self.session.state is State.CLOSED
            or self.session.stream.failing is not None
            or not self.options["auto_close"],
            "state after the loss",
            str(self.session.state),
        )
        self.peer.pump()

    def handle_timer(self, armed: float) -> None:
        # An earlier timer that was set later has taken the place of one.
        if self.gone_at is not None or armed != self.timer_at or self._is_busy(self.handle_timer, armed):
            return
        session, now = self.session, self.world.now
        self.timer_at = inf
        when = session.next_timer()
        if when is not None and when <= now:
            session.written(self.written, len(self.unsent))
            events = session.handle_timer(now)
            self.timers_at_once = self.timers_at_once + 1 if now == self.timer_handled_at else 1
            self.timer_handled_at = now
            check(self.timers_at_once < 5, "timer", f"due again and again at {now}")
            self.handle(events)
        else:
            self.follow()

    # The application: receiving.

    def handle(self, events: list[Any]) -> None:
        """Take the events of a call of the session."""
        session, now = self.session, self.world.now
        for event in events:
            kind = type(event)
            if kind is str or kind is bytes:
                self.take(event)
            elif kind is Fragment:
                self.take_part(event.data, event.last)
            elif kind is Ping:
                if not self.options["auto_pong"]:
                    session.reply_pong(event.payload)
            elif kind is Close or kind is Failure:
                check(kind is Close or event.code == 1006 or self.peer.misbehaves, "failure", str(event))
                if not self.options["auto_close"] and session.close_state.sent is None:
                    self._close(None if event.code in (1005, 1006) else event.code, event.reason)
        if session.queue is None:
            if self.stream.failing is not None:
                session.settle(now)
        elif self.receiver == 0:
            self.receive_queued()
        elif self.receiver and not self.receives_later and (session.queue.items or self.stream.failing is not None):
            self.receives_later = True
            self.world.at(now + self.receiver, self.receive_later)
        self.follow()
        self._check_bounds()

    def receive_queued(self) -> None:
        """Receive everything that is queued, like a task that calls `recv` again and again."""
        session = self.session
        queue = session.queue
        while True:
            if self.pieces:
                taken = queue.take_piece()
                if taken is not None:
                    self.take_part(*taken)
            else:
                taken = queue.take_message()
                if taken is not None:
                    self.take(taken)
            if session.has_room_again:
                session.taken()
                if session.reading and session.has_held_back:
                    self.handle(session.process([], self.world.now))
            if taken is None and not queue.items:
                break
        if self.stream.failing is not None:
            session.settle(self.world.now)

    def receive_later(self, *_: object) -> None:
        """Receive like a task that is slow: one message, or what is queued at the end."""
        if self._is_busy(self.receive_later):
            return
        session, self.receives_later = self.session, False
        if len(session.queue.items) > 1 and not self.options["pieces"]:
            self.take(session.queue.take_message(), partial=True)
            if session.has_room_again:
                session.taken()
                if session.reading and session.has_held_back:
                    self.handle(session.process([], self.world.now))
        else:
            self.receive_queued()
        self.handle([])

    def take(self, message: str | bytes | None, partial: bool = False) -> None:
        if message is None:
            check(partial, "queue", "a message is missing")
            return
        sent, number = self.peer.sent, len(self.received)
        if number >= len(sent):
            check(False, "doubled or made up", f"message {number}: {message[:40]!r}")
        if message != sent[number]:
            check(False, "mixed", f"message {number} is {message[:40]!r}, not {sent[number][:40]!r}")
        self.received.append(message)
        if self.replies is not None:
            self._reply(self.replies)

    def take_part(self, data: str | bytes, last: bool) -> None:
        self.parts.append(data)
        if last:
            parts, self.parts = self.parts, []
            self.take(type(data)().join(parts))

    # The application: sending.

    def step(self, entry: tuple[str, Any]) -> None:
        """Do a step of the schedule."""
        if self._is_busy(self.step, entry):
            return
        name, arguments = entry
        if name in ("send", "fragments", "steps", "broadcast", "raw"):
            self.backlog.append(entry)
            self.catch_up()
            return
        session, now = self.session, self.world.now
        if name == "close":
            begins = session.state is State.OPEN and self.stream.failing is None
            expected = self._close(*arguments)
            check(session.state is not State.OPEN, "state after close")
            if begins:
                self.flush()
                check(self.wire.close == expected, "close", f"{self.wire.close} is sent in place of {expected}")
        elif name == "lose_receiver":
            if session.queue is not None:
                if not session.queue.dropping:
                    self.kept = self.stream.bytes_received
                session.stop_queueing()
        elif name == "pieces":
            session.deliver_fragments()
        elif session.state is State.OPEN:
            if name == "ping":
                self.pings += 1
                session.ping(None, now, self.note_pong)
            elif name == "pong":
                session.pong(b"unsolicited")
                self.unsolicited += 1
        self.handle([])

    def _close(self, code: int | None, reason: str) -> tuple[int, str]:
        """Close the connection; return the close frame for this."""
        in_message = self.session.message_open and code != 1011
        close = IN_MESSAGE if in_message else (1005 if code is None else code, reason)
        self.causes.add(close)
        self.session.close(code, reason, self.world.now)
        return close

    def note_pong(self, latency: float | None) -> None:
        check(latency is None or latency >= 0, "latency", str(latency))
        self.pongs += 1

    def catch_up(self, *_: object) -> None:
        """Send what waits, as far as there is room."""
        while self.backlog and not self.in_parts and not (self.options["patient"] and self.session.write_paused):
            name, arguments = self.backlog.pop(0)
            if self.session.state is not State.OPEN:
                continue
            if self.session.write_paused and not self._check_unsent():
                break
            getattr(self, name)(*arguments)
            self.follow()
        self.follow()

    def _check_unsent(self) -> bool:
        """Return whether `max_unsent` allows another message."""
        limit = self.settings.max_unsent
        allowed = self.session.check_unsent(len(self.unsent))
        check(allowed is (limit is None or len(self.unsent) <= limit), "max_unsent", f"{len(self.unsent)} of {limit}")
        self.over_limit = self.over_limit or not allowed
        return allowed

    def _new_message(self, size: int, text: bool, whole: bool = True) -> str | bytes:
        message = make_message(len(self.sent), size, text)
        length = len(message.encode() if isinstance(message, str) else message)
        self.biggest = max(self.biggest, length)
        own, other = self.settings.max_send_size, self.peer.max_size
        if other is not None and other < length and (own is None or length <= own or not whole):
            self.misbehaves = True
            self.offences.append((0, {1009}))
        return message

    def _note_sent(self, message: str | bytes) -> None:
        if not self.misbehaves:
            self.sent.append(message)

    def send(self, size: int, text: bool, compress: bool | None) -> None:
        session, message = self.session, self._new_message(size, text)
        try:
            if compress is None and not session.write_paused and not session.is_fragmented(message):
                session.send_whole(message)
            elif session.is_fragmented(message):
                for piece, is_text, last in session.fragments(message):
                    session.send(piece, is_text, last=last, compress=compress)
            else:
                session.send(message, compress=compress)
        except PayloadTooBigError:
            return
        self._note_sent(message)

    def _reply(self, size: int) -> None:
        """Send a message like a callback that handles one."""
        session, paused = self.session, self.session.write_paused
        if self.in_parts or session.state is not OPEN or (paused and not self._check_unsent()):
            return
        queued = session.bytes_queued
        session.handling = True
        self.send(size, False, None)
        session.handling = False
        if paused:
            self.unread_replies += session.bytes_queued - queued

    def raw(self, name: str) -> None:
        self.flush()
        self.misbehaves = True
        self.session.send_raw(VIOLATIONS[name](self.peer.settings, self.number == 0))
        self.flush(legal=False)
        self.offences.append((self.wire.offset, failure_codes(name, self.peer.settings)))

    def broadcast(self, size: int, text: bool) -> None:
        session, message = self.session, self._new_message(size, text)
        waiting = len(self.unsent)
        keeps_up = not session.write_paused or waiting <= self.paused_size + self.high
        if not keeps_up:
            self.causes.add((1013, "reading too slowly"))
        try:
            queued = Broadcast(message).queue(session, self.world.now, waiting)
        except PayloadTooBigError:
            return
        check(queued is keeps_up, "broadcast", f"{queued}, with {waiting} bytes after {self.paused_size}")
        if queued:
            self._note_sent(message)

    def fragments(self, sizes: tuple[int, ...], text: bool, gap: float) -> None:
        """Send a message in fragments, with pauses, while others wait."""
        message = self._new_message(sum(sizes), text, whole=False)
        parts, start = [], 0
        for size in sizes[:-1]:
            parts.append(message[start : start + size])
            start += size
        parts.append(message[start:])
        self.in_parts = True
        self._send_part((message, parts, gap))

    def _send_part(self, work: tuple[Any, list[Any], float]) -> None:
        message, parts, gap = work
        if self._is_busy(self._send_part, work):
            return
        part = parts.pop(0)
        try:
            self.session.send(part, last=not parts)
        except (StateError, PayloadTooBigError):
            if self.session.stream.message_open:
                self._close(*ABANDONED_MESSAGE)
            self.in_parts = False
        else:
            if parts:
                self.world.at(self.world.now + gap, self._send_part, (message, parts, gap))
            else:
                self._note_sent(message)
                self.in_parts = False
        self.catch_up()

    def steps(self, size: int, text: bool, gap: float) -> None:
        """Send a message that is compressed in steps, while others wait."""
        message = self._new_message(size, text)
        self.in_parts = True
        self._take_step((message, self.session.send_steps(message), gap))

    def _take_step(self, work: tuple[Any, Any, float]) -> None:
        message, steps, gap = work
        try:
            next(steps)
        except StopIteration:
            self._note_sent(message)
            self.in_parts = False
        except (StateError, PayloadTooBigError):
            self.in_parts = False
        else:
            self.world.at(self.world.now + gap, self._take_step, work)
        self.catch_up()


class SessionWorld:
    """Runs one schedule and checks what has to hold in between and at the end."""

    def __init__(self, schedule: Schedule) -> None:
        options = schedule.options
        self.schedule = schedule
        self._random = schedule.random().random
        world = {**WORLD_OPTIONS, **{name: options[name] for name in WORLD_OPTIONS.keys() & options.keys()}}
        self.window, self._cut, self._delay = world["window"], world["cut"], world["delay"]
        self.keeps_unread = world["keeps_unread"]
        self.codecs = _codecs() if world["compression"] else []
        self.keys = KeySource()
        self.links = [Link(), Link()]
        self._cuts = 0
        self.now = 0.0
        self._events: list[tuple[float, int, Any, Any]] = []
        self._count = 0
        self.ends = [
            End(self, number, {name[2:]: value for name, value in options.items() if name.startswith(f"{number}.")})
            for number in (0, 1)
        ]
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        #: Whether the network is good and both ends read and answer at once.
        self.prompt = (
            bool(options.get("good"))
            and not any(name == "raw" for _, _, name, _ in schedule.steps)
            # Else hundreds of pieces, which take seconds, may come before a ping.
            and not any((end.receiver or 0) > 0.01 and (end.pieces or end.options["fragments"]) for end in self.ends)
        )

    def at(self, when: float, callback: Any, argument: Any = None) -> None:
        """Call back at a time."""
        if when < HORIZON:
            self._count += 1
            heappush(self._events, (when if when > self.now else self.now, self._count, callback, argument))

    def delay(self) -> float:
        """Return how long the network takes, in seconds."""
        return self._delay * self._random()

    def cut_size(self) -> int:
        """Return how many bytes go at once."""
        self._cuts += 1
        return 1 + int((self._cut if self._cuts < MAX_CUTS else READ_SIZE) * self._random())

    def run(self) -> str:
        """Run the schedule; return a line that tells how it went."""
        with self.keys.installed():
            return self._run()

    def _run(self) -> str:
        for when, number, name, arguments in self.schedule.steps:
            self.at(when, self.ends[number].step, (name, arguments))
        for when, number, name, arguments in self.schedule.faults:
            self.at(when, getattr(self, f"_{name}"), (number, arguments))
        for end in self.ends:
            end.follow()
        events, (client, server) = self._events, self.ends
        while events and (client.gone_at is None or server.gone_at is None):
            self.now, _, callback, argument = heappop(events)
            callback(argument)
            if self._count >= MAX_EVENTS:
                check(False, "progress", "too many events")
        for end in self.ends:
            self._check_end(end)
        return " ".join(
            f"{self._count} {len(end.sent)} {len(end.received)} {end.session.error()} {end.gone_at}"
            for end in self.ends
        )

    # Faults.

    def _stall(self, where: tuple[int, float]) -> None:
        """Deliver nothing of what an end sends, for a time."""
        number, seconds = where
        self.links[number].stalled_until = max(self.links[number].stalled_until, self.now + seconds)

    def _reset(self, where: tuple[int, Any]) -> None:
        """Reset the connection: one end sees it now, the other one when the network tells."""
        self.ends[where[0]].send_reset()
        self.ends[where[0]].reset()

    def _fin(self, where: tuple[int, Any]) -> None:
        """End what an end sends, as if its process had been killed."""
        self.ends[where[0]].peer.arrive(None)

    def _busy(self, where: tuple[int, float]) -> None:
        """Keep the process of an end busy, so that it reads, writes and looks at the clock later."""
        number, seconds = where
        self.ends[number].busy_until = max(self.ends[number].busy_until, self.now + seconds)

    # What holds at the end.

    def _check_end(self, end: End) -> None:
        session, peer = end.session, end.peer
        if end.deadlines.ending_at is None and not (end.session.reading or end.unsent):
            end.deadlines.note_reading(HORIZON, True)
        end.deadlines.check_end(HORIZON if end.gone_at is None else end.gone_at)
        if end.gone_at is not None:
            check(end.pings == end.pongs, "pings", f"{end.pongs} answers to {end.pings}")
            check(session.next_timer() is None or session.ending is not Ending.NONE, "timer after the end")
        if session.queue is not None:
            end.receive_queued()
            end.flush()
        self._check_messages(end)
        self._check_close(end)
        if self.prompt and any(name == "close" for _, _, name, _ in self.schedule.steps):
            state = session.close_state
            check(end.gone_at is not None, "close", "the connection never ends, though nothing was wrong")
            if not (end.misbehaves or peer.misbehaves):
                check(state.rcvd is not None, "close", "no close frame has arrived, though nothing was wrong")
                check(state.cause is None, "close", f"{state.cause!r}, though nothing was wrong")
        if self.prompt:
            check(not isinstance(session.close_state.cause, TimeoutError), "close", "one end had to wait for the other")

    def _check_messages(self, end: End) -> None:
        """Check that nothing is lost of what was sent and of what has arrived."""
        session, peer, sent = end.session, end.peer, end.sent
        written = end.wire.messages
        if not end.misbehaves:
            check(len(written) == len(sent), "wire", f"{len(written)} of {len(sent)} messages are written")
        check(written[: len(sent)] == sent, "wire", "other messages are written")
        kept = end.fed
        if session.queue is not None and session.queue.dropping:
            kept = end.kept
        elif end.rate is not None and session.has_held_back:  # until more is allowed
            kept = end.stream.bytes_received
        whole = sum(until <= kept for until in peer.wire.message_ends[: len(peer.sent)])
        check(len(end.received) >= whole, "lost", f"{len(end.received)} of {whole} messages that have arrived")
        unsolicited = end.wire.pongs.count(b"unsolicited")
        check(unsolicited == end.unsolicited, "pongs", f"{unsolicited} of {end.unsolicited} are written")
        check(len(end.wire.pings) >= end.pings, "pings", f"{len(end.wire.pings)} of {end.pings} are written")
        if peer.misbehaves:
            return
        pings, pongs = peer.wire.pings, [each for each in end.wire.pongs if each != b"unsolicited"]
        check(pongs == pings[: len(pongs)], "pongs", f"{pongs} answers {pings}")
        if end.options["auto_pong"] and not session.has_held_back:
            count = sum(until <= end.fed for until in peer.wire.ping_ends)
            check(len(pongs) >= count, "pongs", f"{len(pongs)} answers to {count}")

    def _check_close(self, end: End) -> None:
        """Check what an end knows about the close frames of both."""
        session, peer, state = end.session, end.peer, end.session.close_state
        # After an abort, what the session has queued is not written.
        sent, expected = None if end.over_limit else end.wire.close, peer.wire.close
        if sent is not None:
            check(
                state.sent is not None and state.sent.code == sent[0], "close", f"{state.sent}, but {sent} is written"
            )
            explained = state.failure is not None and not sent[1]
            check(explained or state.sent.reason == sent[1], "close", f"{state.sent}, but {sent} is written")
        else:
            check(state.sent is None or end.over_limit, "close", f"{state.sent}, but nothing is written")
            check(not end.over_limit or state.sent.code == 1008, "close", f"{state.sent} after too much was unread")
        rcvd = None if state.rcvd is None else (state.rcvd.code, state.rcvd.reason)
        if rcvd is not None:
            check(rcvd == expected, "close", f"received {rcvd}, but {expected} is written")
        elif not peer.misbehaves:
            held = end.rate is not None and session.has_held_back  # until more is allowed
            arrived = expected is not None and end.fed >= peer.wire.close_end and not held
            check(not arrived, "close", f"{expected} has arrived, but is not received")
        for until, codes in peer.offences[:1]:
            if until and end.fed >= until and not session.has_held_back:
                failure = state.failure or session.stream.failing
                check(failure is not None and failure.code in codes, "offence", f"{failure} in place of {codes}")
        if state.failure is not None and state.failure.code != 1006:
            known = any(state.failure.code in codes for _, codes in peer.offences)
            check(known, "failure", f"{state.failure} after {peer.offences}")
        error = session.error()
        orderly = all(each is not None and each[0] in (1000, 1001, 1005) for each in (sent, rcvd))
        check(type(error) is (ConnectionClosedOK if orderly else ConnectionClosedError), "error", repr(error))
        check(error.code == (1006 if rcvd is None else rcvd[0]), "error", repr(error))
        both = state.rcvd_then_sent and peer.session.close_state.rcvd_then_sent
        check(not both, "close", "each end has answered the other one")
        silent = sent in ((1011, "keepalive ping timeout"), OVER_RATE)
        lost = state.failure is None or state.failure.code == 1006
        if rcvd is None and lost and end.gone_at is not None and not silent:
            check(state.cause is not None or end.over_limit, "close", "the end has no cause")


def _length(item: Any) -> int:
    return len(item.data if type(item) is Fragment else item)


def _codecs() -> list[Any]:
    extension = PerMessageDeflate()
    offer = next(iter(extension.offers()))
    answer, server = extension.accept(offer)
    return [extension.agree(answer), server]
