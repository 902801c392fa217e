"""What the program of one end has sent and received, on every driver, and what has to hold of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from framewire import ConnectionClosed, ConnectionClosedOK, State
from framewire.session.settings import QUEUE_SIZE, REPLIES_LIMIT, ConnectionSettings

from . import schedule as schedules
from .deadlines import Deadlines
from .network import SimulatedSocket
from .schedule import FILLER, CheckError, Entry
from .wire import WireReader

if TYPE_CHECKING:
    from .worlds import World

__all__ = ["LAST_STEP", "End", "Message", "broken", "check", "check_exception", "logger"]

#: When every program closes, if none has closed by then.
LAST_STEP = 25.0

#: Largest read of a driver, in bytes.
READ_SIZE = 1 << 18

#: Options of an end that are no settings of its connection, with their defaults.
END_OPTIONS = {
    "api": "coroutines",  # or "listener", or "scripted"
    "receiver": "iterate",  # or "recv", "poll", "stream", "absent"
    "pause": 0.0,  # seconds between two receptions
    "leaves": None,  # seconds after which the program is done with the connection
    "patient": True,  # a listener that looks at `full`
    "replies": False,  # a listener that answers every message
    "peer": {},  # the manners of a scripted peer
}  # fmt: skip

logger = logging.getLogger("framewire.simulation")
logger.propagate = False
logger.setLevel(logging.ERROR)

#: The properties that did not hold in this run: what is raised in a callback is logged by others.
broken: list[CheckError] = []


def check(condition: object, name: str, text: str = "") -> None:
    """Raise CheckError unless the condition holds, and keep it."""
    try:
        schedules.check(condition, name, text)
    except CheckError as error:
        broken.append(error)
        raise


def check_exception(error: ConnectionClosed) -> None:
    """Check that the exception at the end of a connection is of the class for its close codes."""
    orderly = all(close is not None and close.code in (1000, 1001, 1005) for close in (error.rcvd, error.sent))
    check(isinstance(error, ConnectionClosedOK) is orderly, "exception", repr(error))


class Message:
    """Makes messages that tell sender and number, and reads the sender of one."""

    @staticmethod
    def make(sender: int, number: int, size: int, text: bool) -> str | bytes:
        head = f"{sender}.{number}:"
        content = head + FILLER[: max(0, size - len(head))]
        return content if text else content.encode()[: max(size, len(head))]

    @staticmethod
    def sender(message: str | bytes) -> int:
        head = message[:12] if isinstance(message, str) else message[:12].decode(errors="replace")
        return int(head.partition(".")[0])


class End:
    """One end of the connection.

    Args:
        world: The world.
        number: 0 for the client, 1 for the server.
        options: Its `END_OPTIONS`, and the settings of its connection.
    """

    def __init__(self, world: World, number: int, options: dict[str, Any]) -> None:
        self.world = world
        self.number = number
        self.options = {**END_OPTIONS, **{name: options[name] for name in END_OPTIONS.keys() & options.keys()}}
        self.settings = {name: value for name, value in options.items() if name not in END_OPTIONS}
        self.limits = ConnectionSettings(**self.settings)
        self.steps: list[Entry] = [each for each in world.schedule.steps if each[1] == number]
        self.peer: End
        self.connection: Any = None
        self.socket: SimulatedSocket | None = None
        self.sent: dict[int, list[str | bytes]] = {}  # by sender
        self.completed: dict[int, int] = {}  # how many of them the driver has accepted, by sender
        self.received: dict[int, int] = {}  # how many from each sender
        self.misbehaves = self.options["api"] == "scripted"
        self.offences: list[set[int]] = []  # the close codes for what it has sent, of a scripted peer
        self.closes_after_offence = False  # its first offence came before its close frame
        self.causes: set[tuple[int, str]] = {(1000, "")}  # the close frames that its program asks for
        self.gave_up = False  # the receiver
        self.pings: list[Any] = []
        self.opened = self.closed = 0  # calls of the listener
        self.ended_at: float | None = None
        self.failure: BaseException | None = None  # of opening
        self.left_at: float | None = None  # when the program was done with it
        self.deadlines: Deadlines | None = None
        self.has_waited = False  # what is unsent was not taken at once
        self.wire: WireReader | None = None  # what it has written, known at the end

    @property
    def session(self) -> Any:
        """The session of its connection; None before that is open."""
        return None if self.connection is None else self.connection._session

    @property
    def waiting(self) -> int:
        """Bytes of frames that wait for the network."""
        size: int = self.connection._driver.waiting
        return size

    def note_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Take note that the program is going to close the connection so."""
        self.causes.add((1005 if code is None else code, reason))

    @property
    def look_interval(self) -> float:
        """Seconds between two looks of the driver at the clock; 0 if it sets a timer for each time."""
        return 0.0

    @property
    def all_steps(self) -> list[Entry]:
        """Its steps, and the close with which every program ends."""
        return [*self.steps, (LAST_STEP, self.number, "close", ())]

    @property
    def senders(self) -> list[int]:
        """The numbers of the tasks or threads that do its steps."""
        return sorted({sender_of(step) for step in self.steps} | {0})

    def begin(self, connection: Any) -> None:
        """Take the connection when it is open."""
        self.connection = connection
        self.deadlines = Deadlines(self.limits, self.world.lag, self.world.network.now, self.look_interval)

    def look(self) -> None:
        """Take note of what the connection does; called when time is to pass. A CheckError is kept."""
        try:
            self._look()
        except CheckError as error:
            broken.append(error)  # the end of the run must not break something before this is seen
            raise

    def _look(self) -> None:
        session, deadlines, sock = self.session, self.deadlines, self.socket
        if session is None or deadlines is None or sock is None:
            return
        now = self.world.network.now
        waiting = self.waiting if session.state is State.OPEN else 0
        active_at = max(sock.read_at, sock.sent_at if waiting or self.has_waited or not session.reading else 0.0)
        if active_at > deadlines.active_at:
            deadlines.note_activity(active_at)
        deadlines.note_processed(now, session.stream.bytes_received)
        self.has_waited = waiting > 0
        if session.state is State.OPEN and session.queue is not None:
            items = len(session.queue.items)
            full = items > self.limits.queue_marks[0] or (items and session.queue.size > QUEUE_SIZE)
            schedules.check(not (full and session.reading), "queue", "reading goes on though it is full")
        if session.state is State.OPEN:
            deadlines.note_reading(now, not (session.reading or waiting))
        deadlines.note_messages(now, session.stream.messages_received + session.messages_sent)
        deadlines.note_state(now, session)

    def make(self, sender: int, size: int, text: bool) -> str | bytes:
        """Return the next message of a sender."""
        message = Message.make(sender, len(self.sent.setdefault(sender, [])), size, text)
        limit = self.peer.limits.sizes[0]
        if limit is not None and len(message.encode() if isinstance(message, str) else message) > limit:
            self.misbehaves = True
        return message

    def note_sent(self, sender: int, message: str | bytes) -> None:
        """Take note that the driver has accepted a message."""
        if not self.misbehaves:
            self.sent[sender].append(message)
            self.completed[sender] = len(self.sent[sender])

    def take(self, message: str | bytes) -> None:
        """Check a received message: each sender's arrive in order, whole and once."""
        check(self.ended_at is None, "received after the end")
        limit = self.limits.sizes[0]
        if limit is not None and 4 * len(message) > limit:
            size = len(message.encode() if isinstance(message, str) else message)
            check(size <= limit, "max_size", f"a message of {size} bytes, where the limit is {limit}")
        peer, sender = self.peer, Message.sender(message)
        number = self.received.get(sender, 0)
        expected = peer.sent.get(sender, ())
        if number == len(expected) and peer.misbehaves:
            return
        check(number < len(expected), "doubled or made up", f"{message[:40]!r} after {number} of sender {sender}")
        check(message == expected[number], "mixed", f"{message[:40]!r} in place of {expected[number][:40]!r}")
        self.received[sender] = number + 1
        if self.connection is not None:
            self.check_bounds()

    def check_all_received(self) -> None:
        """Check that nothing that the peer has sent was lost."""
        for sender, count in self.peer.completed.items():
            got = self.received.get(sender, 0)
            check(got >= count, "lost", f"{got} of {count} from sender {sender}")

    def check_bounds(self) -> None:
        """Check the bounds of the queue and of the write buffer."""
        session = self.session
        if session.queue is not None:
            size = sum(len(getattr(item, "data", item)) for item in session.queue.items)
            check(session.queue.size == size, "queue", f"{session.queue.size} is not {size}")
        if session.queue is not None and session.queue.size > QUEUE_SIZE and self.limits.sizes[0] is not None:
            bound = QUEUE_SIZE + self.limits.sizes[0] + READ_SIZE
            check(session.queue.size <= bound, "queue", f"{session.queue.size} is over {bound}")
        waiting = self.waiting
        if waiting > REPLIES_LIMIT + self.limits.write_marks[0] and self.options["patient"] and not self.misbehaves:
            biggest = max((len(each) * 4 for sent in self.sent.values() for each in sent), default=0)
            bound = self.limits.write_marks[0] + REPLIES_LIMIT + 4 * max(biggest, 400_000) + READ_SIZE
            check(waiting <= bound, "write buffer", f"{waiting} is over {bound}")


def sender_of(step: Entry) -> int:
    """Return the number of the task or thread that does a step."""
    _, _, name, arguments = step
    sender: int = arguments[0] if name in ("send", "parts", "broadcast") else 0
    return sender
