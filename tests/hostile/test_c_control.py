"""C: control frames and the end of a connection."""

import asyncio

import pytest
from ends import on_loop
from frames import BINARY, CLOSE, PING, PONG, TEXT, explained
from victims import (
    PATIENCE,
    each_server,
    each_stream,
    each_victim,
    refused,
    serving,
    serving_uvicorn,
    taken,
    upgraded,
)

from framewire import Close, Pong


@each_victim
@on_loop
async def test_c1_ping_flood_is_answered_in_order(attack):
    """All are answered in order; for a peer that does not read see test_b_floods.py."""
    payloads = [b"%125d" % i for i in range(1000)]
    await taken(
        attack, lambda victim: b"".join(victim.frame(PING, each) for each in payloads), [], heard=map(Pong, payloads)
    )


@each_stream
@on_loop
async def test_c2_unsolicited_pongs_are_ignored(attack):
    await taken(
        attack,
        lambda victim: victim.frame(PONG, b"unknown") * 1000 + victim.frame(TEXT, b"text") + victim.frame(PONG),
        ["text"],
    )


@each_stream
@on_loop
async def test_c3_one_byte_close_payload_is_refused(attack):
    await refused(attack, 1002, lambda victim: victim.frame(CLOSE, b"\x03"))


@each_stream
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
@on_loop
async def test_c4_invalid_close_codes_are_refused(attack, code):
    """All codes: test_stream_receive.py::test_received_close_codes_not_allowed_fail_with_1002."""
    await refused(attack, 1002, lambda victim: victim.frame(CLOSE, code.to_bytes(2, "big")))


@each_victim
@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
@on_loop
async def test_c4_close_codes_are_echoed(attack, code):
    async with attack() as victim:
        await victim.send(victim.frame(CLOSE, code.to_bytes(2, "big") + b"reason"))
        assert await victim.end() == [Close(code, "reason")]


@each_victim
@on_loop
async def test_c4_empty_close_gets_an_empty_answer(attack):
    """1005 is for the application alone: it is never sent."""
    async with attack() as victim:
        await victim.send(victim.frame(CLOSE))
        assert await victim.end() == [Close(1005, "")]


@each_stream
@pytest.mark.parametrize("reason", [b"\xce\xba\xff", b"\xce", b"\xed\xa0\x80", b"\xc0\x80"])
@on_loop
async def test_c5_close_reason_that_is_not_utf8_is_refused(attack, reason):
    await refused(attack, 1007, lambda victim: victim.frame(CLOSE, b"\x03\xe8" + reason))


@each_victim
@on_loop
async def test_c6_frames_after_a_close_are_ignored(attack):
    async with attack() as victim:
        close = victim.frame(CLOSE, b"\x03\xe8")
        await victim.send(victim.frame(TEXT, b"before") + close + victim.frame(TEXT, b"after") + close + b"\xff" * 500)
        assert await victim.end() == [Close(1000, "")]
        assert victim.delivered == ["before"]


@each_stream
@on_loop
async def test_c7_close_inside_a_fragmented_message_discards_it(attack):
    await taken(attack, lambda victim: victim.frame(0x01, b"never whole"), [])


async def cut(victim, data):
    """Send until the victim cuts the connection, which may read nothing for some time before."""
    with pytest.raises(ConnectionError):
        while True:
            await asyncio.wait_for(victim.send(data), PATIENCE)
            await asyncio.sleep(0.01)


@each_server
@on_loop
async def test_c8_peer_that_never_closes_tcp_is_cut(server):
    """After a violation or its own close, the peer must end TCP within `close_timeout` seconds."""
    for last, code in ((b"\xff" * 100, 1002), (b"\x88\x80abcd", 1005)):
        async with server() as (port, _), upgraded(port) as victim:
            await victim.send(last)
            assert await victim.hear() == [explained(code)]
            await cut(victim, last)


@pytest.mark.parametrize(
    ("server", "keepalive"),
    [
        (serving, {"ping_interval": 0.1, "ping_timeout": 0.1}),
        (serving_uvicorn, {"ws_ping_interval": 0.1, "ws_ping_timeout": 0.1}),
    ],
    ids=["serve", "uvicorn"],
)
@on_loop
async def test_c9_half_open_peer_is_detected_and_cut(server, keepalive):
    """Keepalive finds it, and its connection is freed though it takes no byte any more."""
    async with server(echo=True, **keepalive) as (port, _), upgraded(port) as victim:
        victim.writer.transport.pause_reading()
        await cut(victim, victim.frame(BINARY, bytes(60_000)))
