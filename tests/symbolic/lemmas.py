"""Lemmas on the frame header (RFC 6455 5.2) for CrossHair, which runs the pure code on symbolic values.

Each function states one property: its leading asserts are the premise, the others are to hold for all
arguments. `make symbolic` has CrossHair explore every path. The specification of a header is two
lines: `layout` and `value`. The UTF-8 automaton is finite: tests/engine/test_utf8_steps.py has it.
"""

from framewire._pure.header import read_header, write_header


def layout(second: int) -> int:
    """Return how many bytes of length follow the second byte of a header."""
    return {126: 2, 127: 8}.get(second % 128, 0)


def value(second: int, extended: bytes) -> int:
    """Return the payload length; -1 if it is not minimal or has more than 63 bits."""
    length = int.from_bytes(extended, "big") if extended else second % 128
    return length if (0, 0, 126, 0, 0, 0, 0, 0, 65536)[len(extended)] <= length < 1 << 63 else -1


def reader_rejects_only_short_headers(data: bytes) -> None:
    """A header is incomplete if and only if its two bytes or its length are."""
    assert (read_header(data, 0, len(data)) is None) == (len(data) < 2 or len(data) < 2 + layout(data[1]))


def reader_reads_short_lengths(first: int, second: int) -> None:
    """A length of 7 bits is read as it is."""
    assert 0 <= first < 256
    assert 0 <= second < 256
    assert second % 128 < 126
    header = read_header(bytes([first, second, 1, 2, 3, 4]), 0, 6)
    masked = second > 127
    assert header == (first, masked, value(second, b""), 6 if masked else 2, b"\1\2\3\4" if masked else b"")


def reader_reads_16_bits(a: int, b: int) -> None:
    """A length of 16 bits is read in network order, and refused below 126."""
    assert 0 <= a < 256
    assert 0 <= b < 256
    header = read_header(bytes([0x82, 126, a, b]), 0, 4)
    assert header == (0x82, False, value(126, bytes([a, b])), 4, b"")


def reader_reads_64_bits(extended: bytes) -> None:
    """A length of 64 bits is read in network order, and refused below 65536 and from 2**63 on."""
    assert len(extended) == 8
    header = read_header(b"\x82\x7f" + extended, 0, 10)
    assert header is not None
    assert header[2] == value(127, extended)


def reader_reads_16_bits_and_a_key(a: int, b: int, key: bytes) -> None:
    """The 4 bytes after a length of 16 bits are the key of a masked frame."""
    assert 0 <= a < 256
    assert 0 <= b < 256
    assert len(key) == 4
    header = read_header(bytes([0x82, 254, a, b]) + key, 0, 8)
    assert header == (0x82, True, value(126, bytes([a, b])), 8, key)


def reader_reads_64_bits_and_a_key(extended: bytes, key: bytes) -> None:
    """The 4 bytes after a length of 64 bits are the key of a masked frame."""
    assert len(extended) == 8
    assert len(key) == 4
    header = read_header(b"\x82\xff" + extended + key, 0, 14)
    assert header == (0x82, True, value(127, extended), 14, key)


def reader_waits_for_the_whole_key(data: bytes) -> None:
    """The key is None, and the end lies beyond the data, while a byte of the key is missing."""
    assert 2 <= len(data) < 14
    assert data[1] > 127
    assert 2 + layout(data[1]) <= len(data)
    end = 6 + layout(data[1])
    header = read_header(data, 0, len(data))
    assert header is not None
    assert header[3] == end
    assert header[4] == (data[end - 4 : end] if end <= len(data) else None)


def reader_reads_from_the_start(before: bytes, data: bytes) -> None:
    """Bytes before the start change nothing but the end of the header."""
    assert len(before) == 3
    assert len(data) == 14
    header = read_header(before + data, 3, 17)
    first = read_header(data, 0, 14)
    assert header is not None
    assert first is not None
    assert header == (*first[:3], first[3] + 3, first[4])


def writer_writes_7_bits(length: int) -> None:
    """A length below 126 is written in the second byte."""
    assert 0 <= length < 126
    header = write_header(0x82, length, b"")
    assert len(header) == 2
    assert header[0] == 0x82
    assert header[1] == length


def writer_writes_16_bits(length: int) -> None:
    """A length of 126 to 65535 is written in two bytes."""
    assert 126 <= length < 65536
    header = write_header(0x82, length, b"")
    assert len(header) == 4
    assert header[1] == 126
    assert header[2] * 256 + header[3] == length


def writer_writes_64_bits(length: int) -> None:
    """A length of 65536 or more is written in eight bytes."""
    assert 65536 <= length < 1 << 63
    assert write_header(0x82, length, b"") == b"\x82\x7f" + length.to_bytes(8, "big")


def writer_writes_a_key(length: int, key: bytes) -> None:
    """A key sets the top bit of the second byte, and is the end of the header; all else is the same."""
    assert 0 <= length < 1 << 63
    assert len(key) == 4
    header, plain = write_header(0x82, length, key), write_header(0x82, length, b"")
    assert header[0] == plain[0]
    assert header[1] == plain[1] + 128
    assert header[2:] == plain[2:] + key


def writer_refuses_other_keys(key: bytes) -> None:
    """A key has 4 bytes, or none."""
    assert len(key) < 100
    try:
        write_header(0x82, 5, key)
    except ValueError:
        assert len(key) not in (0, 4)
    else:
        assert len(key) in (0, 4)


def writer_refuses_other_lengths(length: int) -> None:
    """A length below 0 or from 2**63 on is refused."""
    assert -(1 << 64) < length < 1 << 64
    try:
        write_header(0x82, length, b"")
    except ValueError:
        assert not 0 <= length < 1 << 63
    else:
        assert 0 <= length < 1 << 63


def writer_passes_first_byte_on(first: int) -> None:
    """The first byte is written as it is, or refused if it is no byte."""
    assert -1000 < first < 1000
    try:
        header = write_header(first, 5, b"")
    except ValueError:
        assert not 0 <= first < 256
    else:
        assert header[0] == first
        assert header[1] == 5
