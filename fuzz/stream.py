"""atheris: `Stream` with any input, on both backends and for any cuts, against a model of RFC 6455.

Input: 1 byte each of options, limits and cuts, then the received bytes.
"""

import sys
from pathlib import Path

import twins

LIMITS = [{}, {"max_message_size": 5}, {"max_frame_size": 3, "max_message_size": 8}, {"max_message_size": None}]

pure, fast = twins.load("pure"), twins.load("fast")

sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from frames import Model, without_reasons  # noqa: E402 - uses the events of the package that was loaded last


def run(package, options, pieces):
    """Return the visible state of a stream, as text because the packages have distinct classes."""
    stream = package.Stream(**options, mask_source=lambda size: b"\1\2\3\4")
    events = []
    for piece in pieces:
        events += stream.receive(piece)
    shown = stream.pending(), stream.state, stream.close_code, stream.close_reason, stream.clean
    for event in events:
        text = getattr(event, "data", event)
        if isinstance(text, str):  # created in C: check its representation
            assert text.encode().decode() == text
            assert text.isascii() is (max(text, default="") < "\x80")
    return repr((events, shown, stream.receive_eof(), stream.pending())), events


def test(data):
    if len(data) < 3:
        return
    bits, limits, cuts = data[:3]
    data = data[3:]
    options = {
        "role": "server" if bits & 1 else "client",
        "fragments": bool(bits & 2),
        "text_as_bytes": bool(bits & 4),
        "auto_pong": not bits & 8,
        "auto_close": not bits & 16,
        **LIMITS[limits % len(LIMITS)],
    }
    pieces = twins.cut(data, cuts % 24)
    whole, events = run(fast, options, [data])
    assert run(fast, options, pieces)[0] == whole
    assert run(pure, options, pieces)[0] == whole
    assert run(pure, options, [data])[0] == whole
    model = Model(**{**options, "role": fast.Role(options["role"])})
    assert without_reasons(events) == without_reasons(model(data))


if __name__ == "__main__":
    twins.main(test)
