"""Functions that build frames, and a model of a receiver; both are independent of the package."""

import re

from framewire import SERVER, Close, Failure, Fragment, Ping, Pong, Stream, Text

REQUEST = (
    b"GET /path HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

KEY = bytes.fromhex("37fa213d")
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A

#: The grammar of RFC 3629: complete code points, and prefixes of one.
_WHOLE = re.compile(
    rb"(?:[\0-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*"
)
_BEGUN = re.compile(
    rb"(?:\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f]|\xf0[\x90-\xbf][\x80-\xbf]?"
    rb"|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?|[\xc2-\xf4])?"
)


def read_utf8(payload):
    """Return (end of the complete code points, index of the first invalid byte or the length)."""
    whole = _WHOLE.match(payload).end()
    return whole, _BEGUN.match(payload, whole).end()


def mask(payload, key=KEY):
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def frame(first, payload=b"", key=b"", form=None):
    """Build a frame; `form` forces the length field to 7, 16 or 64 bits."""
    size = len(payload)
    bit = 0x80 if key else 0
    form = form or (7 if size < 126 else 16 if size < 1 << 16 else 64)
    if form == 7:
        head = bytes([first, bit | size])
    elif form == 16:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + key + (mask(payload, key) if key else payload)


def to(role, first, payload=b"", key=KEY, form=None):
    """Build a frame as the peer of `role` sends it: masked for a server."""
    return frame(first, payload, key if role is SERVER else b"", form)


class BrokenRuleError(Exception):
    """A broken rule of the protocol, found by the model: (close code, offset)."""


class Model:
    """The events that a receiver must return for `data`. It shares no code with the stream."""

    def __init__(self, role, max_message_size=1 << 20, max_frame_size=None, fragments=False, text_as_bytes=False, **_):
        self.masked = role is SERVER
        self.max_message = (1 << 63) - 1 if max_message_size is None else max_message_size
        self.max_frame = (1 << 63) - 1 if max_frame_size is None else max_frame_size
        self.fragments, self.text_as_bytes = fragments, text_as_bytes

    def __call__(self, data):
        """Return the events of `data`; the last one may be a failure with its offset."""
        self.data, self.open, self.payload, self.given, self.total = data, 0, b"", 0, 0
        events, position = [], 0
        try:
            while position < len(data):
                position = self.frame(position, events)
                if events and isinstance(events[-1], Close):
                    break
        except BrokenRuleError as broken:
            events.append(Failure(broken.args[0], "", broken.args[1]))
        return events

    def frame(self, start, events):
        data, wait = self.data, len(self.data)
        fin, rsv, opcode = data[start] >> 7, data[start] & 0x70, data[start] & 15
        control = opcode > 7
        if rsv or opcode not in (0, 1, 2, 8, 9, 10) or (control and not fin):
            raise BrokenRuleError(1002, start)
        if not control and (opcode == 0) != (self.open != 0):
            raise BrokenRuleError(1002, start)
        if start + 1 == wait:
            return wait
        length = data[start + 1] & 127
        if (data[start + 1] > 127) != self.masked or (control and length > 125) or (opcode == 8 and length == 1):
            raise BrokenRuleError(1002, start + 1)
        end = start + {126: 4, 127: 10}.get(length, 2)
        if end > wait:
            return wait
        if length > 125:
            shortest = 126 if length == 126 else 1 << 16
            length = int.from_bytes(data[start + 2 : end], "big")
            if length < shortest or length >= 1 << 63:
                raise BrokenRuleError(1002, end)
        body = end + 4 * self.masked
        if not control:
            total = length + (0 if opcode else self.total)
            if length > self.max_frame or length > self.max_message:
                raise BrokenRuleError(1009, end)
            if total > self.max_message:
                raise BrokenRuleError(1009, body)
        if body > wait:
            return wait
        payload = data[body : body + length]
        if self.masked:
            payload = mask(payload, data[end:body])
        complete = len(payload) == length
        if control:
            if complete:
                events.append(self.control(opcode, payload, body))
            return body + length
        if opcode:
            self.open, self.payload, self.given = opcode, b"", 0
        self.total = total
        before = len(self.payload)
        self.payload += payload
        whole = stop = len(self.payload)
        if self.open == 1:
            whole, stop = read_utf8(self.payload)
            if stop < len(self.payload):
                raise BrokenRuleError(1007, body + stop - before)
            if complete and fin and whole < stop:
                raise BrokenRuleError(1007, body + length)
        if not complete:
            return wait
        first = opcode != 0
        if self.fragments and not (fin and first):
            events.append(Fragment(self.event(self.payload[self.given : whole]), first, bool(fin)))
            self.given = whole
        elif fin:
            events.append(self.event(self.payload))
        if fin:
            self.open = 0
        return body + length

    def event(self, payload):
        if self.open == 2:
            return payload
        if self.text_as_bytes == "bare":
            return payload
        return Text(payload) if self.text_as_bytes else payload.decode()

    def control(self, opcode, payload, body):
        if opcode != 8:
            return Ping(payload) if opcode == 9 else Pong(payload)
        if not payload:
            return Close(1005, "")
        code = int.from_bytes(payload[:2], "big")
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise BrokenRuleError(1002, body)
        whole, stop = read_utf8(payload[2:])
        if whole < len(payload) - 2:
            raise BrokenRuleError(1007, body + 2 + stop)
        return Close(code, payload[2:].decode())


def without_reasons(events):
    """Return the events without the reason text of a failure, which the model does not know."""
    return [Failure(e.code, "", e.offset) if isinstance(e, Failure) else e for e in events]


def outcome(stream, events):
    """Return the events and the visible state of a stream, to compare ways of feeding input."""
    return (
        [(type(event), event) for event in events],
        stream.pending(),
        stream.state,
        stream.close_code,
        stream.close_reason,
        stream.clean,
    )


class Explained:
    """Equal to a `Close` with this code and with a reason that fits a close frame."""

    def __init__(self, code):
        self.code = code

    def __eq__(self, other):
        return isinstance(other, Close) and other.code == self.code and 0 < len(other.reason.encode()) <= 123

    __hash__ = None

    def __repr__(self):
        return f"Close({self.code}, a reason)"


def explained(code):
    """Return a value equal to the close frame of a failure: 1002, 1007, 1009 have a reason."""
    return Explained(code) if code in (1002, 1007, 1009) else Close(code, "")


def new_stream(role, **options):
    """Create a stream that masks with KEY and sends close frames of failures without reasons."""
    return Stream(role, mask_source=(lambda size: KEY), **{"send_close_reasons": False, **options})


def feed(stream, data, cuts=()):
    """Feed `data` in chunks, cut at the offsets `cuts`, and return the events."""
    events, start = [], 0
    for stop in (*cuts, len(data)):
        events += stream.receive(data[start:stop])
        start = stop
    return events
