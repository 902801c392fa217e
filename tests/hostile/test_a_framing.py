"""A: invalid headers. Each is refused at the offending byte, however the input is cut."""

import pytest
from bounds import KIB, Traced
from ends import on_loop
from frames import BINARY, PING, TEXT
from victims import each_stream, each_victim, refused

from framewire import SERVER


def announced(victim, length, first=BINARY):
    """The header of a frame of `length` bytes, in 64 bits, without payload."""
    masked = 0x80 if victim.role is SERVER else 0
    return bytes([first, 127 | masked]) + length.to_bytes(8, "big") + bytes(4 if masked else 0)


@each_victim
@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, (1 << 64) - 4, (1 << 64) - 14, (1 << 63) + 1])
@on_loop
async def test_a1_length_with_its_top_bit_set_is_refused(attack, length):
    """5.2: the top bit is 0 under any limit. A signed size or `4 + length` would overflow."""
    await refused(attack, 1002, lambda victim: announced(victim, length), limit=None)


@each_victim
@pytest.mark.parametrize("length", [(1 << 63) - 1, 1 << 62, 1 << 32, (1 << 31) - 1, (1 << 20) + 1])
@on_loop
async def test_a2_huge_announced_length_is_refused_without_allocating(attack, length):
    """1009 once the header is complete, before any memory is set aside."""
    async with attack() as victim:
        with Traced() as memory:
            await victim.send(announced(victim, length))
            (close,) = await victim.end()
            assert memory.peak() < 512 * KIB
        assert close.code == 1009


@each_victim
@on_loop
async def test_a3_unfinished_message_over_the_limit_is_refused(attack):
    """The announced length is within the limit; a further fragment passes it."""
    async with attack(limit=100_000) as victim:
        with Traced() as memory:
            await victim.send(victim.frame(0x02, bytes(99_999)))
            await victim.send(victim.frame(0x00, bytes(2))[:-1])
            (close,) = await victim.end()
            assert memory.peak() < 900_000
        assert close.code == 1009


@each_stream
@pytest.mark.parametrize(
    ("size", "form"), [(n, form) for n in (0, 5, 125) for form in (16, 64)] + [(126, 64), (65535, 64)]
)
@on_loop
async def test_a4_length_not_in_its_shortest_form_is_refused(attack, size, form):
    await refused(attack, 1002, lambda victim: victim.frame(BINARY, bytes(size), form))


@each_stream
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("first", [0x91, 0xA1, 0xB1, 0xD1, 0xE1, 0xF1, 0xC9, 0xCA, 0xC8, 0x99, 0xA8])
@on_loop
async def test_a5_reserved_bits_are_refused(attack, first, deflate):
    await refused(attack, 1002, lambda victim: victim.frame(first, b"x" * 2), deflate=deflate)


@each_stream
@on_loop
async def test_a5_rsv1_without_the_extension_is_not_inflated(attack):
    await refused(attack, 1002, lambda victim: victim.frame(0xC1, bytes.fromhex("f248cdc9c90700")))


@each_stream
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@on_loop
async def test_a6_reserved_opcodes_are_refused(attack, opcode):
    await refused(attack, 1002, lambda victim: victim.frame(0x80 | opcode))


@each_stream
@on_loop
async def test_a7_mask_in_the_wrong_direction_is_refused(attack):
    def unmasked_or_masked(victim):
        return b"\x81\x02hi" if victim.role is SERVER else b"\x81\x82\0\0\0\0hi"

    await refused(attack, 1002, unmasked_or_masked)


@each_stream
@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
@on_loop
async def test_a8_long_or_fragmented_control_frame_is_refused(attack, first):
    await refused(attack, 1002, lambda victim: victim.frame(first, bytes(126)))
    await refused(attack, 1002, lambda victim: victim.frame(first & 0x0F, bytes(2)))


@each_stream
@on_loop
async def test_a9_misplaced_continuation_or_data_frame_is_refused(attack):
    await refused(attack, 1002, lambda victim: victim.frame(0x80, b"x"))
    await refused(attack, 1002, lambda victim: victim.frame(0x01, b"x") + victim.frame(TEXT, b"y"))
    await refused(
        attack, 1002, lambda victim: victim.frame(TEXT, b"whole") + victim.frame(0x00, b"x"), delivered=["whole"]
    )


@each_stream
@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 32_767, 32_768, 65_407, 65_535, 65_536, 65_700])
@on_loop
async def test_a10_split_headers_and_a11_lengths_with_high_bytes_are_parsed(attack, size):
    """A header is read once, however it is cut.

    Length bytes are unsigned, also where `char` is signed.
    """

    async with attack() as victim:
        data = victim.frame(PING, b"p") + victim.frame(BINARY, bytes(size)) + victim.frame(0x88, b"\x03\xe8")
        for i in range(24):
            await victim.send(data[i : i + 1])
        await victim.send(data[24:])
        assert [type(event).__name__ for event in await victim.end()] == ["Pong", "Close"]
        assert victim.delivered == [bytes(size)]
