"""`HandlerConnection`: handshake, handler and close of one client, on a threaded connection."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from time import monotonic
from typing import Final

from .._backend import write_header
from ..errors import HandshakeError, UriError
from ..http.headers import Headers, is_token
from ..http.http11 import Request, Response
from ..http.request_target import split_target
from ..http.server_answer import encode, explain
from ..http.server_handshake import CONTINUE, ServerHandshake, expects_continue
from ..http.server_policy import ServerPolicy
from ..http.uri import parse_uri
from ..protocol.codecs import Codec
from ..protocol.constants import SERVER, CloseCode, Opcode
from ..protocol.events import Close, Event, Failure, Ping, Pong
from ..session.opening import receive_request
from ..session.session import Data
from ..session.settings import ConnectionSettings
from ..sync import Server, ServerConnection
from ..sync.complete import complete
from ..sync.transport import Transport
from .exceptions import (
    AbortedByUserException,
    BadOperationException,
    ConnectionTerminatedException,
    DispatchException,
    HandshakeException,
    InvalidFrameException,
    InvalidUTF8Exception,
    UnsupportedFrameException,
)
from .extension_processors import PerMessageDeflateExtensionProcessor, make_processors, negotiate
from .files import serve_file
from .frame_driver import FrameDriver
from .handlers import Handlers, Suite
from .programs import MAX_BODY, find_program, run_program
from .request import HandlerRequest, wrap_terms
from .stream import MessageStream

__all__ = ["HandlerConnection", "Site", "credential"]

logger = logging.getLogger("framewire.pywebsocket")

#: Every origin may connect: handlers check `request.ws_origin` themselves.
_POLICY: Final = ServerPolicy(origins=None)

#: The close codes for exceptions that handlers do not catch.
_CLOSE_CODES: Final[tuple[tuple[type[Exception], CloseCode], ...]] = (
    (BadOperationException, CloseCode.INTERNAL_ERROR),
    (InvalidFrameException, CloseCode.PROTOCOL_ERROR),
    (UnsupportedFrameException, CloseCode.UNSUPPORTED_DATA),
    (InvalidUTF8Exception, CloseCode.INVALID_DATA),
)


def split_lines(headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return header lines one by one: a value in `extra_headers` may contain further lines."""
    text = "\r\n".join(f"{name}: {value}" for name, value in headers)
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in text.split("\r\n") if line)]


def credential(user_and_password: str) -> str:
    """Return the Authorization header of basic authentication (RFC 7617) for "user:password".

    Bytes that are not UTF-8 are given as surrogates ("surrogateescape").
    """
    return "Basic " + b64encode(user_and_password.encode(errors="surrogateescape")).decode("ascii")


@dataclass(frozen=True)
class Site:
    """The handlers, files and programs that are served.

    Attributes:
        handlers: The handlers.
        document_root: The directory of the files.
        authorization: The value that the Authorization header of every request must have.
        validation_host: If an absolute request URI has another host, only files are served.
        validation_port: The same for the port, which is that of the scheme by default.
        cgi_paths: The directories of programs.
    """

    handlers: Handlers
    document_root: Path
    authorization: str | None = None
    validation_host: str | None = None
    validation_port: int | None = None
    cgi_paths: Sequence[str] = ()

    def find(self, request: Request) -> Suite | None:
        """Return the handler of a request, or None.

        Raises:
            DispatchException: With status 400, if its URI has a fragment, or is absolute with an
                invalid host or port.
        """
        origin, target = split_target(request.target)
        if origin:
            scheme, _, authority = origin.lower().partition("://")
            try:
                uri = parse_uri(f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{authority}")
            except UriError as error:
                raise DispatchException(str(error), 400) from error
            wanted = (self.validation_host or uri.host).lower(), self.validation_port or uri.port
            if (uri.host, uri.port) != wanted:
                return None
        return self.handlers.find(target)


class HandlerConnection(ServerConnection):
    """A connection with a handler, which answers the client's close and may answer its pings."""

    _driver: FrameDriver

    def __init__(self, site: Site, transport: Transport, settings: ConnectionSettings, server: Server) -> None:
        super().__init__(transport, settings, server)
        self._site = site
        self._pings_sent: deque[bytes] = deque()
        self._ahead = b""  # received after the request head, and not yet read
        self._deflate: PerMessageDeflateExtensionProcessor | None = None
        #: The functions to call at the end, None after it; guarded by the lock of the driver.
        self._at_end: list[Callable[[], object]] | None = []

    def run(self, busy: bool = False) -> None:
        """Serve the connection, and tell those of its threads that still wait for its end."""
        try:
            super().run(busy)
        finally:
            with self._driver.lock:
                functions, self._at_end = self._at_end, None
            for function in functions or ():
                function()

    def call_at_end(self, function: Callable[[], object]) -> None:
        """Call a function when the handler has returned and the connection has ended; at once if that
        was before.
        """
        with self._driver.lock:
            if self._at_end is not None:
                self._at_end.append(function)
                return
        function()

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.server.ssl is not None

    def choose_answer(self) -> tuple[int | None, str | None]:
        """Return the answer of the handler to the client's close: code (None: empty) and reason."""
        return self._suite.passive_closing_handshake(self._handler_request)

    @property
    def close_timeout(self) -> float | None:
        """The time that the client has to answer a close frame, in seconds."""
        return self._driver.settings.close_timeout

    @property
    def max_size(self) -> int | None:
        """The largest frame that may be received, in bytes."""
        return self._driver.settings.sizes[0]

    @property
    def failure(self) -> Failure | None:
        """The client's violation of the protocol, or None."""
        return self._driver.opened_session().close_state.failure

    @property
    def client_close(self) -> Close | None:
        """The client's close frame, or None."""
        return self._driver.opened_session().close_state.rcvd

    # Handshake

    def shake_hands(self, handshake: ServerHandshake) -> None:
        """Let the handler decide on the handshake, and answer the client."""
        try:
            response = self.answer(handshake)
        except (OSError, EOFError):
            raise
        except Exception as error:
            response = explain(self.server, error, "opening handshake failed")
        if response is None:
            return
        self._driver.transport.sendall(encode(self, handshake, self.server, self.server.policy.complete(response)))
        self._discard(self._driver.settings.close_timeout)

    def answer(self, handshake: ServerHandshake) -> Response | None:
        """Let the handler decide on the handshake; without a handler, return an HTTP response."""
        request = complete(receive_request(self, handshake, self._receive))
        self._ahead = handshake.trailing
        wanted = self._site.authorization
        if wanted and not compare_digest(request.headers.get_joined("Authorization").encode(), wanted.encode()):
            raise HandshakeError(401, "this server asks who you are", [("WWW-Authenticate", 'Basic realm="framewire"')])
        try:
            suite = self._site.find(request)
        except DispatchException as error:
            raise HandshakeError(error.status, str(error)) from error
        if suite is None:
            return self._serve_plain(request)
        offer = _POLICY.check(handshake)
        self._handler_request = HandlerRequest(self, request, offer)
        self._handler_request.ws_extension_processors = make_processors(
            self._handler_request.ws_requested_extensions or []
        )
        self._handler_request.ws_stream = MessageStream(self._handler_request, self)
        self._suite = suite
        self._do_extra_handshake()
        self.subprotocol = self._handler_request.ws_protocol
        try:
            self._accept_for(self._handler_request, handshake)
        except ValueError as error:
            raise HandshakeError(400, "the handler's choice cannot be answered") from error
        return None

    def _serve_plain(self, request: Request) -> Response:
        """Return the response of a program, or a file."""
        root = self._site.document_root
        program = find_program(root, self._site.cgi_paths, request)
        if program is None:
            return serve_file(root, request)
        length = request.headers.get_joined("Content-Length") or "0"
        if "Transfer-Encoding" in request.headers or not length.isdecimal():
            raise HandshakeError(411, "the body has no Content-Length")
        if int(length) > MAX_BODY:
            raise HandshakeError(413, f"the body has over {MAX_BODY} bytes")
        if int(length) > len(self._ahead) and expects_continue(request):
            self._driver.transport.sendall(CONTINUE)
        body = self.read_raw(int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client left before a whole body")
        try:
            return run_program(program, request, body, self.local_address, self.remote_address or ("",))
        finally:
            self._driver.transport.deadline = None  # the program has a time limit of its own
            self._driver.transport.limit(self._driver.settings.open_timeout)

    def begin(self, rest: bytes, codecs: Sequence[Codec], answer: bytes = b"") -> None:
        super().begin(self._ahead, codecs, answer)  # `rest` without the bytes that the handler has read

    def _accept_for(self, request: HandlerRequest, handshake: ServerHandshake) -> None:
        answers, codecs, self._deflate = negotiate(request.ws_extension_processors)
        request.ws_extensions = wrap_terms(answers)
        accepted = handshake.agree(subprotocol=self.subprotocol, extensions=answers)
        lines = [*accepted.headers.lines, *split_lines(request.extra_headers)]
        answer = handshake.answer(Response(accepted.status, accepted.reason, Headers(lines)))
        self.response = handshake.response
        self.begin(handshake.trailing, codecs, answer)

    def _do_extra_handshake(self) -> None:
        request = self._handler_request
        self._driver.transport.deadline = None  # the handler decides how long it waits for the client
        try:
            self._suite.do_extra_handshake(request)
        except AbortedByUserException as error:
            raise ConnectionAbortedError("the handler cut the connection") from error
        except HandshakeException as error:
            raise HandshakeError(error.status or 400, "the handler refuses the connection") from error
        except Exception as error:
            logger.info("the handler for %s refuses: %r", request.ws_resource, error)
            raise HandshakeError(403, "the handler refuses the connection") from error
        self._driver.transport.limit(self._driver.settings.open_timeout)
        chosen = request.ws_protocol
        if (chosen is None) is bool(request.ws_requested_protocols) or (chosen is not None and not is_token(chosen)):
            logger.warning("the handler for %s must choose ws_protocol among those requested", request.ws_resource)
            raise HandshakeError(400, "the handler chose no subprotocol of yours")

    def read_raw(self, length: int) -> bytes:
        """Receive `length` bytes; fewer at the end of input."""
        data, self._ahead = bytearray(self._ahead[:length]), self._ahead[length:]
        while len(data) < length and (more := self._driver.transport.recv(length - len(data))):
            data += more
        return bytes(data)

    def write_raw(self, data: bytes) -> None:
        """Send bytes that are not frames, after the frames sent before."""
        if self._session is None:
            self._driver.transport.sendall(data)
            return
        with self._driver.lock:
            self._session.send_raw(bytes(data))
        self._driver.flush(wait=True)

    # Handler

    def receive(self, timeout: float | None) -> str | bytes:
        """Receive a message; `timeout` is in seconds. Raises as `recv`."""
        until = None if timeout is None else monotonic() + timeout
        while True:
            try:
                return self.recv(0)
            except TimeoutError:
                if not self._driver.feed_frame(until):
                    return self.recv(None if until is None else max(until - monotonic(), 0))

    def read_input(self, length: int) -> bytes:
        """Receive `length` bytes of frames, which the session does not get; fewer at the end."""
        data = bytearray()
        while len(data) < length and (more := self._driver.take(length - len(data))):
            data += more
        return bytes(data)

    def receive_close(self, payload: bytes) -> None:
        """Let the session process a close frame that `read_input` has returned."""
        self._driver.feed(write_header(0x80 | Opcode.CLOSE, len(payload), bytes(4)) + payload)

    def send_piece(self, piece: Data, text: bool | None = None, last: bool = True) -> None:
        """Send a fragment of a message, compressed unless the handler has disabled that."""
        compress = None if self._deflate is None or self._deflate.compresses else False
        self._driver.process_waiting()
        with self._driver.lock:
            self._driver.sendable().send(piece, text, last=last, compress=compress)
        self._driver.flush(wait=True)

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close, and wait for the end.

        If the handler has written a close frame itself, only TCP is to be ended.
        """
        session = self._driver.opened_session()
        with self._driver.lock:
            session.stop_queueing()
        self._driver.release()
        if not self._handler_request.server_terminated or session.close_state.sent is not None:
            super().close(code, reason)
            return
        self._driver.transport.end_output()
        if not self.wait_closed(self.close_timeout):
            self.abort()
            self.wait_closed()

    def transfer_data(self) -> None:
        """Run the handler, and end the connection according to its exception."""
        request = self._handler_request
        try:
            self._suite.transfer_data(request)
            request.ws_stream.close_connection()
        except AbortedByUserException:
            self.abort()
        except (
            ConnectionTerminatedException,
            BadOperationException,
            UnsupportedFrameException,
            InvalidUTF8Exception,
        ) as error:
            self._close_for(error)
        except Exception:
            logger.exception("the handler for %s failed", request.ws_resource)
            self.abort()

    def _close_for(self, error: Exception) -> None:
        logger.info("the handler for %s ended: %r", self._handler_request.ws_resource, error)
        for kind, code in _CLOSE_CODES:
            if isinstance(error, kind):
                failure = self.failure
                self.close(code if failure is None else failure.code)
                return
        self.abort()

    # Pings

    def make_driver(self, transport: Transport, settings: ConnectionSettings) -> FrameDriver:
        """Return a driver that leaves pings and the answer to a close to the handler."""
        return FrameDriver(transport, SERVER, settings, auto_close=False, auto_pong=False, observe=self._observe)

    def send_ping(self, payload: bytes) -> None:
        """Send a ping and record it."""
        self._driver.process_waiting()
        with self._driver.lock:
            self._driver.sendable().send_ping(payload)
            self._pings_sent.append(payload)
        self._driver.flush(wait=True)

    def _observe(self, events: list[Event]) -> None:
        for event in events:
            try:
                if isinstance(event, Ping):
                    self.ping_received(event.payload)
                elif isinstance(event, Pong):
                    self.pong_received(event.payload)
            except Exception:
                if not self._driver.released:
                    raise  # to the handler, which receives
                logger.exception("the handler of pings and pongs of %s failed", self._handler_request.ws_resource)

    def ping_received(self, payload: bytes) -> None:
        """Call `on_ping_handler`, or answer with a pong."""
        request = self._handler_request
        if request.on_ping_handler is not None:
            request.on_ping_handler(request, payload)
            return
        with self._driver.lock:
            self._driver.opened_session().reply_pong(payload)
        self._driver.flush(wait=False)

    def pong_received(self, payload: bytes) -> None:
        """Remove the answered ping and those before it, and call `on_pong_handler`."""
        if payload in self._pings_sent:
            while self._pings_sent.popleft() != payload:
                pass
        request = self._handler_request
        if request.on_pong_handler is not None:
            request.on_pong_handler(request, payload)
