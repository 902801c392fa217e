"""`Driver`: moves bytes and time between one socket and one session, with threads.

    socket ─ reader thread ─▶ Session ─▶ queue ─ recv()
    socket ◀─ the thread that holds `_writing` ◀─ Session ◀─ send(), and the reader's replies

A thread of the connection's own reads all the time, so pings are answered and a close is noticed
whatever the program does meanwhile. It stops while there is no room for messages. Any number of
threads may send; frames leave in the order in which the session made them. The reader never waits
for the network to take bytes: what a socket does not take at once is written by the thread that
holds `_writing`, or by one that is started for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import TypeVar

from ..protocol.codecs import Codec
from ..protocol.constants import Role
from ..protocol.events import Event
from ..session.base_driver import READ_SIZE, BaseDriver, own_address, peer_address
from ..session.session import Ending, Session
from ..session.settings import ConnectionSettings
from .transport import Transport, is_of_signal_handler
from .waits import limit_wait, wait_until

__all__ = ["Driver"]

Result = TypeVar("Result")


class Driver(BaseDriver):
    """The threads of one connection.

    Args:
        transport: The socket.
        role: Which end this is.
        settings: The limits and times of the connection.
        auto_close: See `Session`.
        auto_pong: See `Session`.
        observe: Called in the reader's thread with the events of a read that are no messages.
    """

    def __init__(
        self,
        transport: Transport,
        role: Role,
        settings: ConnectionSettings,
        *,
        auto_close: bool = True,
        auto_pong: bool = True,
        observe: Callable[[list[Event]], None] | None = None,
    ) -> None:
        super().__init__(role, settings)
        self.transport = transport
        self.local_address, self.remote_address = own_address(transport.socket), peer_address(transport.socket)
        self.reader = threading.Thread(target=self._read, name="framewire reader", daemon=True)
        #: Guards the session. `with` of this lock, unlike that of a condition, cannot be interrupted
        #: by a signal handler between acquiring it and the block that releases it.
        self.lock = threading.RLock()
        #: Notified when anything of the session has changed that a thread may wait for.
        self.changed = threading.Condition(self.lock)
        self._auto = auto_close, auto_pong
        self._observe = observe
        #: Held by the thread that writes. A signal handler that interrupts that thread gets it too, and
        #: then finds `_is_writing` set.
        self._writing = threading.RLock()
        self._is_writing = False
        self._unsent = memoryview(b"")  # taken from the session, but not yet by the socket
        self._output_ended = False
        #: Whether nothing can be written any more.
        self._aborted = False
        # The following are guarded by `lock`.
        self._looks_at = 0.0  # when the reader looks at the clock, at the latest
        self._watcher: threading.Thread | None = None  # which aborts the connection at its deadline
        self._deadline_timer: threading.Timer | None = None

    def open(
        self, rest: bytes, codecs: Sequence[Codec], opened: Callable[[Session], None], answer: bytes = b""
    ) -> None:
        """Begin with the frames.

        Args:
            rest: What arrived after the opening handshake.
            codecs: The extensions that it agreed on.
            opened: Called with the session before anything is received.
            answer: The answer of a server, to be sent before all frames. Once a client has it, the
                connection is open here too.

        Raises:
            OSError: The answer could not be sent. The connection then ends by itself.
            Exception: No thread can be started, or an extension has failed. The connection has ended
                then.
        """
        auto_close, auto_pong = self._auto
        failure: BaseException | None = None
        with self._writing:  # a broadcast from another thread waits for the answer
            session = self.session = Session(
                self.role,
                self.settings,
                monotonic(),
                codecs=codecs,
                auto_close=auto_close,
                auto_pong=auto_pong,
                fragments=True,
            )
            opened(session)
            if answer:
                try:
                    self.transport.sendall(answer)
                except BaseException as error:  # of a signal handler, too
                    failure = error
                    self.transport.abort()
            self.transport.deadline = None
        self.log_open()
        try:
            if rest:
                self._receive(session, rest, len(rest))
            self.flush(wait=False)
            self.reader.start()
        except BaseException:  # such as that of an extension; there is no reader that ends the connection
            self.abort()
            self._end(session)
            raise
        if failure is not None:
            raise failure

    # Waiting, for the API's threads.

    def sendable(self) -> Session:
        """Return the session, once it is known whether messages can be sent. Called with `lock`
        held.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        session = self.opened_session()
        while not session.check_sendable():  # only the end tells whether it was an orderly one
            self._wait(session, None)
        return session

    def _wait(self, session: Session, seconds: float | None) -> None:
        if self.ended:  # without the session, if that is broken
            raise session.error()
        if self._watcher is threading.current_thread():  # a signal handler interrupts its `close`
            self.unwatch()
        self.changed.wait(limit_wait(seconds))

    def now(self) -> float:
        return monotonic()

    def update(self) -> None:
        with self.lock:
            self.changed.notify_all()
        self.flush(wait=False)

    async def perform(self, action: Callable[[Session], Result]) -> Result:
        with self.lock:
            result = action(self.sendable())
        self.flush(wait=True)
        return result

    def _note_cause(self, session: Session, error: Exception) -> None:
        with self.lock:
            session.note_cause(error)

    async def wait_for_input(self, until: float | None) -> None:
        left = None if until is None else until - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("no message came in time")
        self._wait(self.opened_session(), left)

    def start_closing(self, code: int | None, reason: str, *, watched: bool = False) -> None:
        """Begin to close, without waiting for the end.

        Args:
            code: The close code; None: an empty close frame.
            reason: At most 123 bytes of UTF-8.
            watched: Whether the caller aborts the connection after `close_timeout`; otherwise a
                timer does.
        """
        with self.lock:
            session = self.session
            if session is None:
                self.end_unopened()
                self.transport.abort()
                return
            session.close(code, reason, monotonic())
            if watched and self._watcher is None:
                self._watcher = threading.current_thread()
            self.changed.notify_all()
        self.flush(wait=False)

    def watch_deadline(self) -> None:
        """Start a timer for the deadline of the session, if it has one that nobody else watches: the
        reader may be waiting for input already, and not know of it.
        """
        session = self.opened_session()
        if session.deadline is None or threading.current_thread() is self.reader:
            return
        with self.lock:
            deadline = session.deadline
            if self._watcher is not None or self._deadline_timer is not None or self.ended:
                return
            if deadline is None or self._looks_at <= deadline:
                return
            timer = threading.Timer(limit_wait(max(0, deadline - monotonic())), self._look_at_deadline)
            self._deadline_timer, timer.daemon, timer.name = timer, True, "framewire timer"
        self._start(timer)

    def unwatch(self) -> None:
        """Leave the deadline to a timer, after `start_closing` with `watched`."""
        self._watcher = None
        if self.session is not None:
            self.watch_deadline()

    def _look_at_deadline(self) -> None:
        """Do what the session wants at its deadline: the thread of a timer."""
        session = self.opened_session()
        with self.lock:
            if self.ended:
                return
            self._deadline_timer = None
            self._handle_timer(session)
            self._looks_at = inf  # this thread does not look again
            ending = session.ending
        if ending is Ending.ABORT:
            self.transport.abort()
        self.update()

    def _start(self, thread: threading.Thread) -> None:
        """Start a thread; abort the connection if the system has no more of them."""
        try:
            thread.start()
        except RuntimeError as error:
            if self.session is not None:
                self._note_cause(self.session, error)
            self.abort()

    def end_unopened(self) -> None:
        with self.lock:
            super().end_unopened()
            self.changed.notify_all()

    def wait_ended(self, timeout: float | None = None) -> bool:
        """Wait until the connection has ended, for at most `timeout` seconds; return whether it
        has.
        """
        with self.lock:
            if not wait_until(self.changed, lambda: self.ended, timeout):
                return False
        if self.reader.is_alive() and self.reader is not threading.current_thread():
            self.reader.join()  # which closes the socket; nothing keeps it any more
        return True

    def end(self) -> None:
        """Wait for the end after `start_closing`; abort the connection after `close_timeout`, or if
        a signal handler raises.
        """
        session = self.session
        if session is None or self.reader is threading.current_thread():
            return
        try:
            if not self.wait_ended(self.settings.close_timeout):
                with self.lock:
                    if session.deadline is not None and not self.ended:
                        session.handle_timer(max(monotonic(), session.deadline))
                self.abort()
                self.wait_ended()
        except BaseException:
            self.abort()
            raise

    # Writing.

    def flush(self, wait: bool) -> None:
        """Write what the session has to send.

        Args:
            wait: Whether to wait until the network has taken it. Otherwise what it does not take at
                once is left to another thread.

        Raises:
            ConnectionClosed: The connection broke while this call waited for its own data.
        """
        session = self.opened_session()
        if session.deadline is not None:
            self.watch_deadline()
        own = session.bytes_queued if wait else 0  # up to where this call's data reaches
        while self._has_work(session):
            if wait:
                with self._writing:  # to `acquire` it first could be interrupted in between
                    if self._is_writing:
                        return  # the call that this signal handler interrupts does this too
                    done = self._try_to_write(session, True)
            elif self._writing.acquire(blocking=False):
                try:
                    if self._is_writing:
                        return
                    done = self._try_to_write(session, False)
                finally:
                    self._writing.release()
            else:
                return  # the thread that writes does this too
            if self.ended:
                self._close_socket()
            if done is None:
                self._give_up(session, self.bytes_sent < own)
                return
            if not done:
                self._start_writer()
                return
            # What came meanwhile, from a thread that did not wait, is for this thread to write.

    def _has_work(self, session: Session) -> bool:
        """Return whether there is something to write; first, queue what waits for room."""
        if self.holding:
            self.release_held()
        ends_output = session.ending is Ending.OUTPUT and not self._output_ended
        return bool(session.output or self._unsent or ends_output)

    def _start_writer(self) -> None:
        self._start(threading.Thread(target=self._flush_rest, name="framewire writer", daemon=True))

    def _flush_rest(self) -> None:
        """Wait for the network to take what it did not take at once: a thread of its own."""
        session = self.opened_session()
        with self._writing:
            done = self._try_to_write(session, True)
        if done is None:
            self.abort()
        if self.ended:
            self._close_socket()
        self.flush(wait=False)

    def _try_to_write(self, session: Session, wait: bool) -> bool | None:
        """Write everything, as `_write`; return None if the connection is broken."""
        try:
            self._is_writing = True
            return self._write(session, wait)
        except BaseException as error:
            if isinstance(error, OSError) and not is_of_signal_handler(error):
                self._note_cause(session, error)
                return None
            # The peer has perhaps got half a frame.
            with self.lock:
                kept = len(self._unsent) + sum(map(len, session.output)) == self.waiting
            if not kept:  # what was just taken from the session is lost
                self.abort()
            self._start_writer()  # it also closes the socket, if the connection has ended meanwhile
            raise
        finally:
            self._is_writing = False

    def _write(self, session: Session, wait: bool) -> bool:
        """Write everything; return False if the network does not take it at once and we do not
        `wait`.
        """
        while True:
            if not self._unsent:
                with self.lock:
                    self._unsent = memoryview(session.data_to_send())
                if self.sent_log is not None:
                    self.sent_log.feed(self._unsent)
            if not self._unsent:
                break
            sent = self.transport.send(self._unsent, 0)
            if not sent:
                with self.lock:
                    session.pause_writing(self.waiting)
                if not wait:
                    return False
                sent = self.transport.send(self._unsent, None)
            self._unsent = self._unsent[sent:]
            self.bytes_sent += sent
        if session.write_paused or session.ending is Ending.CLOSE:
            with self.lock:
                session.resume_writing()
                self.changed.notify_all()
        if session.ending is Ending.OUTPUT and not self._output_ended:
            self._output_ended = True
            self.transport.end_output()
        return True

    def abort(self) -> None:
        """End TCP at once; what has arrived can be received, for `close_timeout` at most."""
        self.transport.abort()
        with self.lock:
            self._aborted = True
            if self.session is not None:
                self.session.write_failed(monotonic())
            self.changed.notify_all()  # the reader does not see the end while there is no room

    def _give_up(self, session: Session, wait: bool) -> None:
        """Abort the connection; the reader tells everybody of its end."""
        self.abort()
        if wait and threading.current_thread() is not self.reader:
            with self.lock:
                self.changed.wait_for(lambda: self.ended)
                raise session.error()

    # The reader.

    def _read(self) -> None:
        """Receive until the connection is at its end."""
        session = self.opened_session()
        buffer = memoryview(bytearray(READ_SIZE))
        try:
            while True:
                with self.lock:
                    seconds = self._handle_timer(session)
                    if session.ending in (Ending.ABORT, Ending.CLOSE):
                        break
                self.flush(wait=False)
                with self.lock:
                    if not session.reading:
                        self.changed.wait(seconds)  # for room, for a deadline, or for the end
                        continue
                if session.has_held_back:
                    self._receive(session, b"", 0)  # there is room again
                    continue
                try:
                    size = self.transport.recv_into(buffer, seconds)
                except TimeoutError:
                    continue
                except OSError as error:
                    self._note_cause(session, error)
                    self._aborted = True
                    break
                if not size:
                    break
                self._looks_at = 0.0  # before it waits again, so that no timer is needed
                self._receive(session, buffer, size)
        finally:
            self._end(session)

    def _handle_timer(self, session: Session) -> float | None:
        """Handle the timers that are due; return the seconds until the next call, None for no limit.

        Called with `lock` held.
        """
        when, now = session.next_timer(), monotonic()
        if when is not None and when <= now:
            session.written(session.bytes_queued, self.waiting)
            session.handle_timer(now)
            self.changed.notify_all()
            when = session.next_timer()
        self._looks_at = inf if when is None else when
        return None if when is None else limit_wait(max(when - now, 0))

    def _receive(self, session: Session, data: bytes | memoryview, size: int) -> None:
        if self.received_log is not None:
            self.received_log.feed(memoryview(data)[:size])
        with self.lock:
            events = session.receive(data, monotonic(), size)
            self.changed.notify_all()
        if events and self._observe is not None:
            self._observe(events)

    def _end(self, session: Session) -> None:
        """End the connection at the end of input, once everything is written: a peer may have ended
        its direction only.
        """
        try:
            with self.lock:
                session.receive_eof(monotonic())
                self.changed.notify_all()
            self._write_rest(session)
        finally:  # whatever an extension or a signal handler has broken, nobody waits for ever
            self.transport.abort()
            with self.lock:
                if self._deadline_timer is not None:
                    self._deadline_timer.cancel()
                self.note_end()
                self.changed.notify_all()
            self._close_socket()
        self.log_closed()

    def _close_socket(self) -> None:
        """Close the socket after the end, unless a thread still writes, which then does. To wait for
        it would never end if this thread is waited for in a signal handler that interrupts it.
        """
        if self._writing.acquire(blocking=False):
            try:
                self.transport.close()
            finally:
                self._writing.release()

    def _write_rest(self, session: Session) -> None:
        """Wait until everything is written, up to the deadline of the session."""
        while not self._is_written(session):
            self.flush(wait=False)
            with self.lock:
                seconds = self._handle_timer(session)
                if not self._is_written(session):
                    self.changed.wait(seconds)

    def _is_written(self, session: Session) -> bool:
        """Return whether everything is written, or nothing can be any more."""
        with self.lock:
            is_written = not (session.output or self._unsent)
        return is_written or self._aborted or session.ending is Ending.ABORT
