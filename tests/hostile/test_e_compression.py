"""E: permessage-deflate. Bombs and limits are in test_b_memory.py."""

import asyncio
import random
import zlib

import pytest
from ends import on_loop
from frames import BINARY, CLOSE, PING, TEXT, frame
from victims import REQUEST, answering, each_server, each_stream, each_victim, refused, taken

from framewire import CLIENT, SERVER, Pong, ResponseError, Stream
from framewire.asyncio import connect, serve
from framewire.protocol.permessage_deflate import Deflate

HELLO = bytes.fromhex("f248cdc9c90700")
HELLO_FINAL = bytes.fromhex("f348cdc9c90700")


@each_stream
@on_loop
async def test_e1_messages_after_bfinal_are_decompressed(attack):
    """RFC 7692 7.2.3.4: after each of 300 final blocks the next message begins a new stream."""
    await taken(
        attack,
        lambda victim: victim.frame(0xC1, HELLO_FINAL + b"\0") * 300 + victim.frame(0xC1, HELLO),
        ["Hello"] * 301,
        deflate=True,
    )


@each_stream
@on_loop
async def test_e2_garbage_after_bfinal_is_refused(attack):
    await refused(attack, 1007, lambda victim: victim.frame(0xC2, HELLO_FINAL + b"GARBAGE"), deflate=True)


@each_stream
@on_loop
async def test_e3_rsv1_on_a_continuation_is_refused(attack):
    await refused(
        attack, 1002, lambda victim: victim.frame(0x41, HELLO[:3]) + victim.frame(0xC0, HELLO[3:]), deflate=True
    )


@each_stream
@pytest.mark.parametrize("first", [0xC8, 0xC9, 0xCA])
@on_loop
async def test_e4_rsv1_on_a_control_frame_is_refused(attack, first):
    await refused(attack, 1002, lambda victim: victim.frame(first, HELLO), deflate=True)


@each_stream
@on_loop
async def test_e5_control_frames_between_compressed_fragments_are_handled(attack):
    await taken(
        attack,
        lambda victim: victim.frame(0x41, HELLO[:3]) + victim.frame(PING, b"now") + victim.frame(0x80, HELLO[3:]),
        ["Hello"],
        heard=[Pong(b"now")],
        deflate=True,
    )


@each_victim
@on_loop
async def test_e6_uncompressed_messages_leave_the_context_unchanged(attack):
    """Plain messages leave the context alone: the last payload refers to the first."""
    await taken(
        attack,
        lambda victim: (
            victim.frame(0xC1, HELLO) + victim.frame(TEXT, b"plain") + victim.frame(0xC1, bytes.fromhex("f200110000"))
        ),
        ["Hello", "plain", "Hello"],
        deflate=True,
    )


@each_stream
@on_loop
async def test_e7_empty_compressed_messages_are_delivered(attack):
    await taken(
        attack, lambda victim: victim.frame(0xC1, b"\0") + victim.frame(0xC1) + victim.frame(0xC2), ["", "", b""],
        deflate=True,
    )  # fmt: skip


OFFERS = {
    "server_max_window_bits=8": None,  # zlib cannot write such a window
    "server_max_window_bits=7": None,
    "server_max_window_bits=16": None,
    "server_max_window_bits=010": None,
    "server_max_window_bits=a": None,
    "server_max_window_bits": None,
    "client_max_window_bits=0": None,
    "client_max_window_bits=99999999999999999999": None,
    "server_no_context_takeover=1": None,
    "server_no_context_takeover; server_no_context_takeover": None,
    "unknown": None,
    "client_max_window_bits=8": b"client_max_window_bits=8",
    "server_max_window_bits=9": b"server_max_window_bits=9",
}


@each_server
@pytest.mark.parametrize("offer", OFFERS)
@on_loop
async def test_e8_unsupported_windows_and_e9_invalid_parameters_are_declined(server, offer):
    """An invalid offer is declined, not an error; test_extensions.py has the whole table."""
    async with server(deflate=True) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + f"Sec-WebSocket-Extensions: permessage-deflate; {offer}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.transport.abort()
    assert head.startswith(b"http/1.1 101 ")
    if OFFERS[offer] is None:
        assert b"permessage-deflate" not in head
    else:
        assert OFFERS[offer] in head


def deflated(content, deflater=None):
    deflater = deflater or zlib.compressobj(wbits=-15)
    return (deflater.compress(content) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.both_backends
def test_e10_distances_beyond_the_agreed_window_are_refused():
    """A distance beyond the window is 1007 and ends the decoder."""
    deflater, content = zlib.compressobj(wbits=-15), random.Random(1).randbytes(3000)
    stream = Stream(CLIENT, extensions=[Deflate(decode_bits=9)])
    assert stream.receive(frame(0xC2, deflated(content, deflater))) == [content]
    again = frame(0xC2, deflated(content, deflater))
    assert len(again) < 100
    (failure,) = stream.receive(again)
    assert failure.code == 1007
    assert stream.receive(again) == []


@each_stream
@pytest.mark.parametrize("payload", ["07", "00 05 00 00 00 41", "f2 00 11 00 00"])
@on_loop
async def test_e11_corrupt_compressed_data_is_refused(attack, payload):
    """An unknown block type, a length unequal to its complement, a distance before the start."""
    await refused(attack, 1007, lambda victim: victim.frame(0xC2, bytes.fromhex(payload)), deflate=True)


@each_stream
@on_loop
async def test_e12_truncated_compressed_data_delivers_bounded_content(attack):
    """RFC 7692 has no end mark: the content received is delivered, within the limit."""
    content = random.Random(2).randbytes(300)
    async with attack(deflate=True) as victim:
        await victim.send(victim.frame(0xC2, deflated(content)[:200]) + victim.frame(BINARY, b"next"))
        await victim.send(victim.frame(CLOSE, b"\x03\xe8"))
        await victim.end()
        first, *rest = victim.delivered
        assert first[:190] == content[:190]
        assert len(first) <= 200
        assert rest in ([], [b"next"])


@on_loop
async def test_e13_concurrent_cancelled_sends_do_not_corrupt_the_context():
    """Of concurrent sends, some are cancelled: the other messages arrive whole, once, in order."""
    got = []

    async def keep(connection):
        async for message in connection:
            got.append(message)

    # Every message refers to those before it; those of over 64 KiB are compressed in steps.
    shared = random.Random(4).randbytes(20_000)
    content = [b"%d " % i + shared * (i % 5 * 2 + 1) for i in range(40)]
    async with serve(keep, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}/", proxy=None, write_limit=1000) as connection:
            tasks = [asyncio.create_task(connection.send(message)) for message in content]
            for i, task in enumerate(tasks):
                if i % 3 == 1:
                    await asyncio.sleep(0)
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.send("last")
    sent = [message for message, task in zip(content, tasks, strict=True) if not task.cancelled()]
    assert 20 < len(sent) < 40
    assert got == [*sent, "last"]


@pytest.mark.both_backends
def test_e14_compress_false_keeps_a_secret_out_of_the_context():
    """A message that repeats the secret is compressed as on a stream that never sent the secret."""
    stream, other = (Stream(SERVER, extensions=[Deflate()]) for _ in range(2))
    secret = b"secret=" + random.Random(3).randbytes(100)
    assert stream.send(b"before") == other.send(b"before")
    assert secret in stream.send(secret, compress=False)
    guess = other.send(secret)
    assert stream.send(secret) == guess
    # With the secret in its context, the guess is shorter, which is what an attacker would measure.
    assert len(stream.send(secret)) < len(guess) - 50


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; unknown=1",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate, permessage-deflate",
        "x-webkit-deflate-frame",
    ],
)
@on_loop
async def test_e9_invalid_extension_response_fails_the_client(answer):
    async with answering(f"Sec-WebSocket-Extensions: {answer}\r\n\r\n".encode()) as uri:
        with pytest.raises(ResponseError):
            await connect(uri, proxy=None)
