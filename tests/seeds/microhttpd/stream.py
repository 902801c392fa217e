"""The functions of `microhttpd_ws.h` in terms of framewire; `shim.c` calls them.

Statuses, flags and steps are the numbers of that header. Each function returns a tuple, whose first
item is the status.
"""

from framewire import (
    CLIENT,
    SERVER,
    Close,
    Failure,
    Fragment,
    LocalError,
    PayloadTooBigError,
    Ping,
    Pong,
    Stream,
    Text,
    TextError,
)
from framewire.handshake import (
    accept_key,
    check_connection_header,
    check_http_version,
    check_upgrade_header,
    check_version_header,
)

OK, TEXT, BINARY, CLOSE, PING, PONG = 0, 0x1, 0x2, 0x8, 0x9, 0xA
FIRST_FRAGMENT, NEXT_FRAGMENT, LAST_FRAGMENT = 0x10, 0x20, 0x40
PROTOCOL_ERROR, BROKEN, PARAMETER_ERROR, TOO_BIG, UTF8_ERROR, NO_HANDSHAKE = -1, -2, -4, -5, -6, -7
FLAG_CLIENT, FLAG_WANT_FRAGMENTS, FLAG_CLOSE_ON_ERROR = 1, 2, 4
INVALID, VALID, ONLY_CONTROL_FRAMES = 0, 1, 2
NONE, FIRST, FOLLOWING, LAST = range(4)

FAILURES = {1002: PROTOCOL_ERROR, 1007: UTF8_ERROR, 1009: TOO_BIG}

#: For each UTF-8 step, text that ends in this state: UTF8STEP_NORMAL is 0.
UNFINISHED = (
    b"", b"\xc3", b"\xe0", b"\xed", b"\xe1", b"\xe1\x80",
    b"\xf0", b"\xf4", b"\xf1", b"\xf1\x80", b"\xf1\x80\x80",
)  # fmt: skip


class WebSocketStream:
    """A `struct MHD_WebSocketStream`.

    Args:
        flags: The flags of the header.
        max_payload_size: Largest message to receive, in bytes, or largest fragment with
            WANT_FRAGMENTS; 0 is unlimited.
        mask_source: Returns random bytes; None if the caller gave no generator.

    Raises:
        ValueError: One of the arguments is invalid.
    """

    def __init__(self, flags, max_payload_size, mask_source):
        if not 0 <= flags <= (FLAG_CLIENT | FLAG_WANT_FRAGMENTS | FLAG_CLOSE_ON_ERROR):
            raise ValueError("unknown flags")
        if flags & FLAG_CLIENT and mask_source is None:
            raise ValueError("a client needs a random number generator")
        limit = "max_frame_size" if flags & FLAG_WANT_FRAGMENTS else "max_message_size"
        self._options = {
            "role": CLIENT if flags & FLAG_CLIENT else SERVER,
            "fragments": bool(flags & FLAG_WANT_FRAGMENTS),
            "auto_close": bool(flags & FLAG_CLOSE_ON_ERROR),
            "mask_source": mask_source,
            "max_message_size": None,
            limit: max_payload_size or None,
        }
        self.validity = VALID
        self._binary = False  # the type of the open message
        self._stream = self._make_stream()
        self._in_frame = False

    def _make_stream(self):
        return Stream(text_as_bytes=True, auto_pong=False, send_close_reasons=False, **self._options)

    def invalidate(self):
        self.validity = INVALID

    # Decoding

    def decode(self, buffer):
        """Return the status, the number of bytes taken, and the payload."""
        if self.validity == INVALID:
            return BROKEN, 0, b""
        if self.validity == ONLY_CONTROL_FRAMES and buffer and not self._in_frame and not buffer[0] & 8:
            # Stream ignores all input after a close frame, while libmicrohttpd_ws goes on decoding.
            self._stream.fail(1002)
            return self._fail(PROTOCOL_ERROR, 0, self._make_stream().fail(1002))
        if not self._in_frame and buffer and buffer[0] & 15 in (TEXT, BINARY):
            self._binary = buffer[0] & 15 == BINARY
        event, taken = self._stream.receive_one(buffer)
        self._in_frame = event is None and (self._in_frame or taken > 0)
        return self._convert(event, taken)

    def _fail(self, status, taken, close_frame):
        self.validity = INVALID
        return status, taken, close_frame if self._options["auto_close"] else b""

    def _convert(self, event, taken):
        match event:
            case None:
                return OK, taken, b""
            case Text(payload):
                return TEXT, taken, payload
            case bytes():
                return BINARY, taken, event
            case Fragment(data, first, last):
                position = FIRST_FRAGMENT if first else LAST_FRAGMENT if last else NEXT_FRAGMENT
                is_text = isinstance(data, Text)
                return position | (TEXT if is_text else BINARY), taken, data.payload if is_text else data
            case Ping(payload):
                return PING, taken, payload
            case Pong(payload):
                return PONG, taken, payload
            case Close(code, reason):
                self.validity = ONLY_CONTROL_FRAMES
                self._stream = self._make_stream()
                return CLOSE, taken, b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
            case Failure(code):
                return self._fail(FAILURES[code], taken, self._stream.pending())

    # Encoding: each call has a new stream, since the state of the sender is in the arguments.

    def encode_text(self, payload, fragmentation, step):
        """Return the status, the frame, and the next UTF-8 step."""
        if not NONE <= fragmentation <= LAST:
            return PARAMETER_ERROR, b"", step
        before = b""
        if fragmentation in (FOLLOWING, LAST):
            if not 0 <= step < len(UNFINISHED):
                return PARAMETER_ERROR, b"", step
            before = UNFINISHED[step]
        after = find_step(before + payload)
        status, frame = self._encode(payload, fragmentation, True, before)
        if status == UTF8_ERROR and fragmentation != NONE:
            after = step
        return status, frame, after

    def encode_binary(self, payload, fragmentation):
        if not NONE <= fragmentation <= LAST:
            return PARAMETER_ERROR, b""
        return self._encode(payload, fragmentation, False, b"")

    def _encode(self, payload, fragmentation, text, before):
        stream = self._make_stream()
        if fragmentation in (FOLLOWING, LAST):
            stream.send(before, text=text, last=False)
        return attempt(stream.send, payload, text=text, last=fragmentation in (NONE, LAST))

    def encode_ping(self, payload):
        return attempt(self._make_stream().ping, payload)

    def encode_pong(self, payload):
        return attempt(self._make_stream().pong, payload)

    def encode_close(self, code, reason):
        return attempt(self._make_stream().close, code or None, reason.decode(errors="surrogateescape"))


def attempt(encode, *arguments, **options):
    """Return OK and the frame, or the status for the exception."""
    try:
        return OK, encode(*arguments, **options)
    except TextError:
        return UTF8_ERROR, b""
    except PayloadTooBigError:
        return TOO_BIG, b""
    except LocalError:
        return PARAMETER_ERROR, b""


def find_step(text):
    """Return the UTF-8 step after `text`, which may end inside a code point."""
    for size in (1, 2, 3):
        lead = text[-size] if len(text) >= size else 0
        if lead < 0xC0:
            continue
        length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if size == 1 and text[-1:] in UNFINISHED:
            return UNFINISHED.index(text[-1:])
        return {(2, 1): 1, (3, 1): 4, (3, 2): 5, (4, 1): 8, (4, 2): 9, (4, 3): 10}.get((length, size), 0)
    return 0


def split_close_reason(payload):
    """Return the status and the close code, 0 without one."""
    match Stream(CLIENT).receive(bytes([0x88, len(payload)]) + payload):
        case [Close(1005, "")]:
            return OK, 0
        case [Close(code, _)]:
            return OK, code
        case [Failure(code)]:
            return FAILURES[code], 0


def check(name, value):
    """Return the status of a header, or of the HTTP version."""
    accepted = {
        "version": lambda: check_http_version(value),
        "connection": lambda: check_connection_header([value]),
        "upgrade": lambda: check_upgrade_header([value]),
        "sec-websocket-version": lambda: check_version_header(value),
    }[name]()
    return (OK if accepted else NO_HANDSHAKE,)


def create_accept_header(key):
    try:
        return OK, accept_key(key.encode())
    except ValueError:
        return NO_HANDSHAKE, b""
