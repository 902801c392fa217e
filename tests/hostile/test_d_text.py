"""D: invalid UTF-8. Every offset and alignment: test_stream_receive.py, test_kernels.py."""

import threading

import pytest
from ends import on_loop
from frames import TEXT, new_stream
from victims import each_stream, refused, taken

from framewire import CLIENT

BAD = {
    "surrogate": b"\xed\xa0\x80",
    "overlong of 2": b"\xc0\x80",
    "overlong of 3": b"\xe0\x9f\xbf",
    "overlong of 4": b"\xf0\x8f\xbf\xbf",
    "over U+10FFFF": b"\xf4\x90\x80\x80",
    "5 bytes": b"\xf8\x88\x80\x80\x80",
    "6 bytes": b"\xfc\x84\x80\x80\x80\x80",
    "continuation alone": b"\x80",
    "FF": b"\xff",
}


@each_stream
@on_loop
async def test_d1_invalid_byte_at_the_end_of_a_simd_vector_is_refused(attack):
    """The last byte of vectors of 16, 32 and 64 bytes, alone and after complete vectors."""
    for size in (15, 16, 31, 32, 63, 64, 127, 255):
        await refused(attack, 1007, lambda victim, size=size: victim.frame(TEXT, b" " * size + b"\xff"))


@each_stream
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@on_loop
async def test_d2_invalid_utf8_sequences_are_refused(attack, bad):
    await refused(attack, 1007, lambda victim: victim.frame(TEXT, "κόσμε".encode() + bad + b"edited"))


@each_stream
@on_loop
async def test_d3_code_points_split_across_frames_are_joined(attack):
    """A code point may be split anywhere; one that is incomplete at the end is 1007."""
    text = "é€🎉".encode()
    for cut in range(len(text)):
        await taken(
            attack,
            lambda victim, cut=cut: victim.frame(0x01, text[:cut]) + victim.frame(0x80, text[cut:]),
            ["é€🎉"],
        )
    await refused(attack, 1007, lambda victim: victim.frame(0x01, text[:3]) + victim.frame(0x80))


@each_stream
@on_loop
async def test_d4_invalid_byte_fails_before_the_end_of_the_message(attack):
    """The connection fails at that byte, before the frame is complete."""
    await refused(attack, 1007, lambda victim: victim.frame(0x01, b"a\xffbc")[:-1])
    await refused(attack, 1007, lambda victim: victim.frame(0x01, b"ab\xe2") + victim.frame(0x00, b"(abc")[:-1])


@pytest.mark.both_backends
def test_d5_concurrently_modified_buffer_never_yields_invalid_text():
    """A copy is validated, so that a delivered text is UTF-8 whatever another thread writes."""
    size = 100_000
    data = bytearray(b"\x81\x7f" + size.to_bytes(8, "big") + b"a" * size)
    done = threading.Event()

    def write():
        while not done.is_set():
            data[-1] = 0xFF
            data[-1] = 0x61

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            (event,) = new_stream(CLIENT).receive(data)
            if isinstance(event, str):
                assert event.encode() == b"a" * size
            else:
                assert event.code == 1007
    finally:
        done.set()
        writer.join()
