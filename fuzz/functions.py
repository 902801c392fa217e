"""atheris: functions of both twins with any arguments: results, and types and messages of errors.

Input: 1 byte that selects the function, then its arguments as atheris draws them.
"""

import atheris
import twins

pure, fast = (twins.load(name, "_backend")._backend for name in ("pure", "fast"))


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except (TypeError, ValueError, BufferError, UnicodeError) as error:
        return type(error), str(error)


def read_header(draw):
    data = draw.ConsumeBytes(draw.ConsumeIntInRange(0, 20))
    return "read_header", data, draw.ConsumeIntInRange(-1, 21), draw.ConsumeIntInRange(-1, 21)


def write_header(draw):
    length = draw.ConsumeIntInRange(-1, 1 << 63)
    return (
        "write_header",
        draw.ConsumeIntInRange(-1, 256),
        length,
        draw.ConsumeBytes(draw.PickValueInList([0, 3, 4, 5])),
    )


def apply_mask(draw):
    key = draw.ConsumeBytes(draw.PickValueInList([0, 3, 4, 4, 4, 5]))
    phase = draw.ConsumeIntInRange(-1, 1 << 40)
    return "apply_mask", memoryview(draw.ConsumeBytes(2000)), key, phase


def make_frame(draw):
    first = draw.ConsumeIntInRange(-1, 256)
    key = draw.ConsumeBytes(draw.PickValueInList([0, 3, 4, 4, 4, 5]))
    text = draw.ConsumeBool()
    return "make_frame", first, draw.ConsumeUnicode(1000) if text else draw.ConsumeBytes(2000), key


def accept_key(draw):
    return "accept_key", draw.ConsumeBytes(draw.PickValueInList([0, 23, 24, 24, 24, 25]))


def split_head(draw):
    begin = draw.PickValueInList([b"", b"GET / HTTP/1.1\r\n", b"A\r\nHost: a\r\nB"])
    end = draw.PickValueInList([b"", b"\r\n\r\n"])
    most = draw.ConsumeIntInRange(-1, 9)
    return "split_head", begin + draw.ConsumeBytes(200) + end, most


CALLS = [read_header, write_header, apply_mask, make_frame, accept_key, split_head]


def test(data):
    draw = atheris.FuzzedDataProvider(data)
    name, *arguments = draw.PickValueInList(CALLS)(draw)
    compared = [outcome(getattr(backend, name), *arguments) for backend in (pure, fast)]
    assert compared[0] == compared[1], (name, arguments, compared)


if __name__ == "__main__":
    twins.main(test)
