"""The twins agree on every argument: results, side effects, types and messages of exceptions."""

import inspect
import mmap
import zlib
from array import array
from types import SimpleNamespace

import pytest
from cores import make_core, make_instance
from frames import KEY, frame
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framewire import Text, _backend

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(_backend.active.name == "pure", reason="there is no compiled backend to compare"),
]

PURE = _backend.load("_pure")
NAMES = sorted(PURE)


def result(call, *arguments, **keywords):
    """Return the result of a call, or the type and message of its exception."""
    try:
        return call(*arguments, **keywords)
    except Exception as error:
        return type(error), str(error)


def public(thing):
    return sorted(name for name in dir(thing) if not name.startswith("_"))


# Introspection


@pytest.mark.parametrize("name", NAMES)
def test_twins_have_equal_names_signatures_and_docstrings(backend, name):
    pure, fast = PURE[name], getattr(backend, name)
    assert pure.__name__ == fast.__name__ == name
    assert pure.__doc__
    assert inspect.getdoc(pure) == inspect.getdoc(fast)  # CPython 3.13 strips the indentation, Cython does not
    if not inspect.isclass(pure):
        assert inspect.signature(pure) == inspect.signature(fast)
        return
    assert public(pure) == public(fast)
    ours, theirs = (make_instance(twins, name) for twins in (PURE, vars(backend)))
    for member in public(pure):
        if not callable(getattr(ours, member)):
            assert getattr(ours, member) == getattr(theirs, member)
    for member in public(pure):
        ours, theirs = getattr(pure, member), getattr(fast, member)
        if callable(ours):
            assert ours.__doc__
            assert inspect.getdoc(ours) == inspect.getdoc(theirs)
            assert inspect.signature(ours) == inspect.signature(theirs)


@pytest.mark.parametrize("name", ["StreamCore"])
def test_twins_have_equal_hooks_and_protected_methods(backend, name):
    """Subclasses override the hooks and call the protected methods."""
    pure, fast = PURE[name], getattr(backend, name)
    hooks = [each for each in vars(pure) if each.startswith("_") and hasattr(fast, each)]
    hooks = [each for each in hooks if not each.startswith("__") and callable(getattr(pure, each))]
    assert {"_receive_slow", "_send_slow", "_end_after_error", "_enter", "_leave", "_take_messages"} <= set(hooks)
    for each in hooks:
        assert inspect.getdoc(getattr(pure, each)) == inspect.getdoc(getattr(fast, each))
        assert inspect.signature(getattr(pure, each)) == inspect.signature(getattr(fast, each))


@pytest.mark.parametrize("name", NAMES)
def test_twins_reject_wrong_numbers_of_arguments(backend, name):
    for arguments in [(), (b"",) * 9]:
        for keywords in [{}, {"nonsense": 1}]:
            for call in (PURE[name], getattr(backend, name)):
                if not arguments and not keywords and name in ("Deflate", "Utf8Validator"):
                    continue
                with pytest.raises(TypeError):
                    call(*arguments, **keywords)


# Arguments

MADE = [
    bytes,
    bytearray,
    memoryview,
    lambda data: memoryview(bytearray(data)),
    lambda data: memoryview(bytearray(data)).toreadonly(),
    lambda data: memoryview(data)[::2],
    lambda data: memoryview(data)[::-1],
    lambda data: memoryview(data).cast("b"),
    lambda data: memoryview(data).cast("c"),
    lambda data: memoryview(data + b"\0" * (-len(data) % 4)).cast("I"),
    lambda data: memoryview(data).cast("B", (1, len(data))) if data else memoryview(data),
    lambda data: array("B", data),
    lambda data: array("b", data),
    lambda data: array("H", data + b"\0" * (len(data) % 2)),
    lambda data: array("d", data + b"\0" * (-len(data) % 8)),
    lambda data: mapped(data),
    lambda data: type("Octets", (bytes,), {})(data),
    lambda data: released(data),
    lambda data: data.decode("latin-1"),
    lambda data: list(data),
    lambda data: len(data),
    lambda data: None,
]


def mapped(data):
    memory = mmap.mmap(-1, max(len(data), 1))
    memory[: len(data)] = data
    return memory


def released(data):
    view = memoryview(data)
    view.release()
    return view


MAKERS = st.sampled_from(MADE)
BYTES = st.one_of(
    st.binary(max_size=40),
    st.binary(min_size=900, max_size=1100),
    st.text(max_size=40).map(str.encode),
    st.tuples(st.binary(max_size=14), st.binary(max_size=14)).map(b"".join),
)
INTEGERS = st.one_of(
    st.integers(-2, 50),
    st.sampled_from([1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64, 1 << 100, -(1 << 63), -(1 << 64)]),
)
KEYS = st.one_of(
    st.binary(min_size=4, max_size=4),
    st.sampled_from([b"", b"abc", b"abcde", bytearray(4), memoryview(bytes(4)), "abcd", None, 4]),
)


def same(backend, name, make, *arguments):
    """Call both twins with data of their own; compare results and changed data."""
    ours, theirs = make(), make()
    expected = result(PURE[name], ours, *arguments)
    given_back = result(getattr(backend, name), theirs, *arguments)
    assert given_back == expected
    assert type(given_back) is type(expected)
    if isinstance(ours, (bytearray, array)):
        assert bytes(ours) == bytes(theirs)


@settings(max_examples=300)
@given(data=BYTES, make=MAKERS, start=INTEGERS, stop=INTEGERS)
@example(data=b"\x81\xfe\xff\xff", make=bytes, start=0, stop=4)
@example(data=b"\x81\xff\x80\0\0\0\0\0\0\0abcd", make=bytearray, start=0, stop=14)
def test_twins_agree_on_read_header(backend, data, make, start, stop):
    same(backend, "read_header", lambda: make(data), start, stop)
    for end in (len(data), min(len(data), 14)):
        same(backend, "read_header", lambda: make(data), 0, end)


@given(first=INTEGERS | st.integers(0, 255), length=INTEGERS | st.integers(0, 1 << 63), key=KEYS)
def test_twins_agree_on_write_header(backend, first, length, key):
    same(backend, "write_header", lambda: first, length, key)


@settings(max_examples=300)
@given(data=BYTES, make=MAKERS, key=KEYS, phase=INTEGERS)
def test_twins_agree_on_apply_mask(backend, data, make, key, phase):
    for name in ("apply_mask", "apply_mask_in_place"):
        same(backend, name, lambda: make(data), key, phase)
        same(backend, name, lambda: make(data), KEY)


@given(data=st.binary(max_size=30) | st.from_regex(rb"[A-Za-z0-9+/]{22}==", fullmatch=True), make=MAKERS)
def test_twins_agree_on_accept_key(backend, data, make):
    same(backend, "accept_key", lambda: make(data))


HEADS = st.lists(
    st.sampled_from([b"GET / HTTP/1.1", b"Host", b"host", b":", b" ", b"\t", b"\xe9", b"\0", b"\n", b"a" * 70])
    | st.sampled_from([b"\r\n"] * 3 + [b"\r\nA:"] * 5),
    max_size=20,
).map(b"".join)


@settings(max_examples=300)
@given(head=HEADS, make=MAKERS, most=INTEGERS)
@example(head=b"A\r\nB: c\r\n\r\n", make=bytes, most=1)
def test_twins_agree_on_split_head(backend, head, make, most):
    for data in (head, b"A\r\nB:" + head + b"\r\n\r\n"):
        same(backend, "split_head", lambda data=data: make(data), most)
        same(backend, "split_head", lambda data=data: data, 50)


@settings(max_examples=300)
@given(
    first=INTEGERS | st.integers(0, 255), data=BYTES, make=MAKERS, text=st.text(st.characters(), max_size=50), key=KEYS
)
def test_twins_agree_on_make_frame_and_make_parts(backend, first, data, make, text, key):
    for payload in (lambda: make(data), lambda: text, lambda: type("Name", (str,), {})(text)):
        expected = result(PURE["make_frame"], first, payload(), key)
        assert result(backend.make_frame, first, payload(), key) == expected
        assert result(backend.make_frame, 0x81, payload(), KEY) == result(PURE["make_frame"], 0x81, payload(), KEY)
        expected = result(PURE["make_parts"], first, payload(), key)
        assert result(backend.make_parts, first, payload(), key) == expected


@settings(max_examples=300)
@given(pieces=st.lists(st.tuples(BYTES, MAKERS, st.booleans()), max_size=6))
def test_twins_agree_on_utf8_validator(backend, pieces):
    ours, theirs = PURE["Utf8Validator"](), backend.Utf8Validator()
    for data, make, ends in pieces:
        assert result(theirs.feed, make(data)) == result(ours.feed, make(data))
        assert theirs.need == ours.need
        if ends:
            ours.reset()
            theirs.reset()


# Messages in progress

ATTRIBUTES = ("masked", "limit", "wrap", "opcode", "in_frame", "final", "remaining", "size", "need", "messages")


def shown(core):
    values = [getattr(core._partial, name) for name in ATTRIBUTES]
    values += [core.bytes_received, core.messages_received, core.messages_sent, core._paused, core._encoding]
    return [(type(value), value) for value in values]


class Pair:
    """A StreamCore of each twin, driven like a Stream; they must agree after each step."""

    def __init__(self, backend, masked, limit, wrap):
        self.cores = [make_core(twins, masked, limit, wrap) for twins in (SimpleNamespace(**PURE), backend)]
        self.ours, self.theirs = self.cores

    def both(self, name, *arguments):
        """Call a method of both PartialMessages."""
        expected = result(getattr(self.ours._partial, name), *arguments)
        given_back = result(getattr(self.theirs._partial, name), *arguments)
        assert (type(given_back), given_back) == (type(expected), expected)
        assert shown(self.theirs) == shown(self.ours)
        return expected

    def receive(self, make, data, size=None):
        """Receive on both; return the bytes left to the slow path, b"" after an error."""
        outcomes = []
        for core in self.cores:
            core.left.clear()
            events = result(core.receive, make(data), size)
            left = [(rest, type(decoded), str(decoded)) for rest, decoded in core.left]
            typed = [(type(event), event) for event in events] if isinstance(events, list) else events
            outcomes.append((typed, left, core.ended, shown(core)))
        assert outcomes[0] == outcomes[1]
        return self.ours.left[0][0] if self.ours.left else b""


FIRSTS = st.sampled_from([0x81, 0x82, 0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x88, 0x89, 0xC1])
PAYLOADS = st.one_of(
    st.text(max_size=60).map(str.encode),
    st.sampled_from([b"\xc3", b"ab\xe2\x82", b"\xf0\x9f\x8e", b"\xff", b"a" * 126, "ö".encode() * 700, b"z" * 3000]),
    st.binary(max_size=60),
)
SOUP = st.lists(
    st.tuples(FIRSTS, PAYLOADS, st.sampled_from([b"", KEY, b"\xff\0\x80\x01"]), st.sampled_from([None] * 9 + [16, 64])),
    max_size=8,
)


@settings(max_examples=400)
@given(
    soup=SOUP,
    tail=st.binary(max_size=8),
    masked=st.booleans(),
    limit=st.sampled_from([0, 3, 60, 1 << 20, (1 << 63) - 1]),
    wrap=st.sampled_from([None, Text, bytes, bytearray]),
    cuts=st.lists(st.integers(0, 5000), max_size=4),
    make=st.sampled_from(MADE[:5]),
)
def test_twins_agree_on_fast_path_with_random_frames(backend, soup, tail, masked, limit, wrap, cuts, make):
    data = b"".join(frame(first, payload, key if masked else b"", form) for first, payload, key, form in soup) + tail
    pair = Pair(backend, masked, limit, wrap)
    position = 0
    for stop in sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)}):
        position = stop - len(pair.receive(make, data[position:stop]))
    assert pair.ours.bytes_received == position


@settings(max_examples=100)
@given(data=BYTES, make=MAKERS, size=INTEGERS | st.none())
def test_twins_agree_on_fast_path_with_invalid_arguments(backend, data, make, size):
    for masked in (False, True):
        Pair(backend, masked, 100, None).receive(make, frame(0x82, data) + data, size)


STEPS = st.one_of(
    st.tuples(st.just("fill"), st.integers(0, 40)),
    st.tuples(st.just("fill all"), st.just(0)),
    st.tuples(st.sampled_from(["take_piece", "clear", "odd"]), st.integers(-1, 70)),
)


@settings(max_examples=400)
@given(
    text=st.booleans(),
    masked=st.booleans(),
    wrap=st.sampled_from([None, Text, bytes]),
    frames=st.lists(st.tuples(PAYLOADS, st.lists(STEPS, max_size=5)), min_size=1, max_size=5),
    make=st.sampled_from(MADE[:5]),
)
def test_twins_agree_on_partial_messages(backend, text, masked, wrap, frames, make):
    pair = Pair(backend, masked, 1 << 20, wrap)
    for number, (payload, steps) in enumerate(frames, 1):
        key = KEY if masked else b""
        pair.both("begin_frame", 1 if text else 2, number == len(frames), len(payload), key, text)
        data, position = PURE["apply_mask"](payload, KEY) if masked else payload, 0
        for step, count in [*steps, ("fill all", 0)]:
            if step == "take_piece":
                pair.both("take_piece")
            elif step == "clear":
                return pair.both("clear")
            elif step == "odd":
                pair.both("fill", make(data), count, 10)
                pair.both("fill", make(data), 1, count - 1 << 60)
            else:
                stop = min(position + count, len(data)) if step == "fill" else len(data)
                position = pair.both("fill", make(data), position, stop)
        if position < len(data) or (number == len(frames) and pair.ours._partial.need):
            return pair.both("clear")
        if number == len(frames):
            pair.both("finish")
        else:
            pair.both("end_frame")
        pair.receive(bytes, frame(0x81, b"next", key))
    return None


# Compressed messages


def deflated(content, mode=zlib.Z_SYNC_FLUSH):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(content) + deflater.flush(mode)).removesuffix(b"\0\0\xff\xff")


ENCODED = st.one_of(
    st.binary(max_size=20),
    PAYLOADS.map(deflated),
    PAYLOADS.map(lambda content: deflated(content, zlib.Z_FINISH)),
    PAYLOADS.map(lambda content: deflated(content, zlib.Z_FINISH) + deflated(content)),
)


@settings(max_examples=400)
@given(
    messages=st.lists(st.tuples(st.sampled_from([0xC1, 0xC2, 0x81, 0x41, 0xA1, 0xC9]), ENCODED), max_size=6),
    masked=st.booleans(),
    wrap=st.sampled_from([None, Text, bytes]),
    most=st.sampled_from([1, 50, 1 << 14]),
    limit=st.sampled_from([0, 20, 8192]),
    cut=st.integers(0, 20) | st.just(0),
    resets=st.booleans(),
)
def test_twins_agree_on_fast_path_with_compressed_messages(backend, messages, masked, wrap, most, limit, cut, resets):
    pair = Pair(backend, masked, 1 << 20, wrap)
    codecs = [twins(decode_resets=resets) for twins in (PURE["Deflate"], backend.Deflate)]
    for core, codec in zip(pair.cores, codecs, strict=True):
        core._lend_codec(codec, limit, most)
    data = b"".join(frame(first, payload, KEY if masked else b"") for first, payload in messages)
    data = data[: len(data) - cut]
    while data:
        data = pair.receive(bytes, data)
        assert codecs[0].pending == codecs[1].pending
        assert [codec.inflater is None for codec in codecs] in ([True] * 2, [False] * 2)
        if pair.ours.left and pair.ours.left[0][1] is not None:
            break
        data = data[1:]  # skip a byte of unsupported input, so that the rest is random


@given(
    pieces=st.lists(st.tuples(ENCODED, st.sampled_from([1, 10, 1 << 14]), st.booleans()), max_size=8),
    resets=st.booleans(),
)
def test_twins_agree_on_inflating_piece_by_piece(backend, pieces, resets):
    ours, theirs = PURE["Deflate"](decode_resets=resets), backend.Deflate(decode_resets=resets)
    for payload, most, last in pieces:
        again = True
        while again:
            expected = result(ours.decode, payload, most, last)
            assert result(theirs.decode, payload, most, last) == expected
            assert theirs.pending == ours.pending
            again, payload = ours.pending and isinstance(expected, bytes), b""


@given(pieces=st.lists(st.tuples(PAYLOADS, st.booleans()), max_size=8), resets=st.booleans())
def test_twins_agree_on_deflating_piece_by_piece(backend, pieces, resets):
    ours, theirs = PURE["Deflate"](encode_resets=resets), backend.Deflate(encode_resets=resets)
    for content, last in pieces:
        assert theirs.encode(content, last) == ours.encode(content, last)
    for codec in (ours, theirs):
        codec.abandon()
        assert codec.encode(b"Hello", True).hex() == "f248cdc9c90700"
        codec.close()
        assert (codec.deflater, codec.inflater) == (None, None)
