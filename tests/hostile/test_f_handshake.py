"""F: opening handshakes over sockets. test_handshake.py has every table and every cut."""

import asyncio
import time
from contextlib import suppress

import pytest
from ends import on_loop
from victims import PATIENCE, REQUEST, answering, each_server, serving

from framewire import ResponseError
from framewire.asyncio import connect
from framewire.errors import StatusError
from framewire.handshake import ServerHandshake


async def status(port, request):
    """Return the status of the response, 0 if there is none.

    Unless the status is 101, the connection must end.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), PATIENCE)
        code = int(line.split()[1]) if line else 0
        if code != 101:
            await asyncio.wait_for(reader.read(), PATIENCE)
        return code
    except ConnectionResetError:
        return 0
    finally:
        writer.transport.abort()


async def refuses(server, statuses, *requests, **options):
    async with server(**options) as (port, _):
        for request in requests:
            assert await status(port, request) in statuses, request[:300]
        assert await status(port, REQUEST + b"\r\n") == 101  # and serves on


def with_line(*lines):
    return REQUEST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def without(name, *lines):
    kept = [line for line in REQUEST.split(b"\r\n")[:-1] if not line.startswith(name + b":")]
    return b"\r\n".join([*kept, *lines]) + b"\r\n\r\n"


@on_loop
async def test_f1_slow_handshake_is_cut_at_the_deadline():
    """A silent client and one that sends a byte now and then have the same deadline."""
    async with serving(open_timeout=0.3) as (port, _):
        for drip in (b"", b"G"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            begin = time.monotonic()
            end = asyncio.create_task(reader.read())
            while not end.done() and time.monotonic() - begin < PATIENCE:
                writer.write(drip)
                await asyncio.sleep(0.02)
            writer.transport.abort()
            assert time.monotonic() - begin < PATIENCE
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)


@on_loop
async def test_f2_endless_line_and_f3_too_many_headers_are_refused():
    """Time is linear: test_b_costs.py."""
    await refuses(
        serving,
        (400, 414, 431),
        b"GET /" + b"x" * 9000,
        with_line(b"X: " + b"y" * 9000),
        with_line(*[b"X-%d: y" % i for i in range(2000)]),
        with_line(*[b"X-%d: " % i + b"y" * 4000 for i in range(20)]),
    )


@each_server
@on_loop
async def test_f4_pathological_header_lists_are_parsed_quickly(server):
    begin = time.process_time()
    for value in (b"b" + b" " * 7000 + b"x", b"," * 7000, b'a; b="' + b"\\" * 7000, b"constructor", b"__proto__; x"):
        async with server(deflate=True) as (port, _):
            assert await status(port, with_line(b"Sec-WebSocket-Extensions: " + value)) in (101, 400, 0)
    assert time.process_time() - begin < 2


@on_loop
async def test_f5_upgrade_request_with_a_body_is_refused():
    await refuses(
        serving,
        (400,),
        with_line(b"Content-Length: 5") + b"hello" + b"\x81\x80abcd",
        with_line(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        with_line(b"Content-Length: 0", b"Content-Length: 5") + b"hello",
    )


@on_loop
async def test_f6_header_tokens_are_not_matched_as_substrings():
    await refuses(
        serving,
        (400, 426),
        without(b"Connection", b"Connection: notupgrade"),
        without(b"Connection", b"Connection: keep-alive"),
        without(b"Upgrade", b"Upgrade: websocketx"),
        without(b"Upgrade", b"Upgrade: h2c"),
    )
    async with serving() as (port, _):
        assert await status(port, without(b"Connection", b"Connection: keep-alive, UPGRADE")) == 101


@on_loop
async def test_f7_control_characters_and_malformed_lines_are_refused():
    await refuses(
        serving,
        (400,),
        with_line(b"X: a\x00b"),
        with_line(b"X: a\rb"),
        with_line(b"X: a", b" folded"),
        with_line(b"X : a"),
        with_line(b": a"),
        with_line(b"no colon"),
        REQUEST.replace(b"\r\n", b"\n") + b"\n",
        with_line(b"Host: other"),
    )


@pytest.mark.parametrize("character", [*range(0x20), 0x7F])
@on_loop
async def test_f8_control_characters_in_response_headers_are_refused(character):
    """No control character of the application gets into a response, except a tab inside a value."""
    handshake = ServerHandshake()
    handshake.receive(REQUEST + b"\r\n")
    handshake.check()
    bad = f"a{chr(character)}b"
    with pytest.raises(ValueError):
        handshake.accept(subprotocol=bad)
    if character != 9:
        with pytest.raises(ValueError):
            handshake.accept(headers=[("X", bad)])
    with pytest.raises(ValueError):
        handshake.accept(headers=[(bad, "x")])
    assert handshake.accept().startswith(b"HTTP/1.1 101 ")


@each_server
@on_loop
async def test_f9_non_ascii_header_bytes_do_not_crash_the_server(server):
    """They pass in an unknown header; a subprotocol with them is refused or ignored."""
    async with server() as (port, _):
        assert await status(port, with_line(b"X-Name: caf\xe9 " + bytes(range(0x80, 0x100)))) == 101
        assert await status(port, with_line(b"Sec-WebSocket-Protocol: caf\xe9")) in (101, 400)
        assert await status(port, with_line()) == 101


@each_server
@on_loop
async def test_f10_invalid_keys_are_refused(server):
    name = b"Sec-WebSocket-Key"
    await refuses(
        server,
        (400,),
        without(name),
        without(name, name + b": "),
        without(name, name + b": c2hvcnQ="),
        without(name, name + b": dGhlIHNhbXBsZSBub25jZQ"),
        without(name, name + b": dGhl!HNhbXBsZSBub25jZQ=="),
        without(name, name + b": dGhlIHNhbXBsZSBub25jZSEh"),
        with_line(name + b": dGhlIHNhbXBsZSBub25jZQ=="),
    )


@on_loop
async def test_f11_cross_origin_request_is_refused():
    await refuses(
        serving,
        (403,),
        with_line(b"Origin: http://evil"),
        with_line(b"Origin: null"),
        with_line(b"Origin: http://127.0.0.1.evil"),
        with_line(b"Origin: http://127.0.0.1:81"),
    )
    async with serving() as (port, _):
        assert await status(port, with_line(b"Origin: http://127.0.0.1")) == 101


@each_server
@pytest.mark.parametrize("version", [b"0", b"7", b"8", b"14", b"013", b""])
@on_loop
async def test_a12_legacy_versions_are_refused(server, version):
    """The drafts are not spoken: 426 with the supported version, or 400."""
    name = b"Sec-WebSocket-Version"
    await refuses(server, (400, 426), without(name, name + b": " + version))


@each_server
@on_loop
async def test_f14_frames_in_the_segment_of_the_request_are_delivered(server):
    async with server(echo=True) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST + b"\r\n" + b"\x81\x82\0\0\0\0hi")
        await reader.readuntil(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(4), PATIENCE) == b"\x81\x02hi"
        writer.transport.abort()


@pytest.mark.parametrize(
    "rest",
    [
        b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
        b"Sec-WebSocket-Protocol: chat\r\n\r\n",
        b"Sec-WebSocket-Extensions: unknown\r\n\r\n",
        b"Upgrade: h2c\r\n\r\n",
        b"X: a\r\n folded\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X: " + b"y" * 20_000,
        b"X: y\r\n" * 2000,
    ],
)
@on_loop
async def test_f13_invalid_responses_fail_the_client(rest):
    """The client closes the connection without sending more."""
    connected = asyncio.get_running_loop().create_future()
    async with answering(rest, connected) as uri:
        with pytest.raises(ResponseError):
            await connect(uri, proxy=None)
        reader, _ = await connected
        with suppress(ConnectionResetError):  # the client has not read everything
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""


@on_loop
async def test_f13_frames_in_the_segment_of_the_response_are_delivered():
    async with answering(b"\r\n\x81\x02hi") as uri, connect(uri, proxy=None, close_timeout=0.1) as connection:
        assert await connection.recv() == "hi"


@on_loop
async def test_f15_refusal_body_is_bounded():
    """At most 1 MiB of its body is kept."""
    start = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 20000000\r\n"
    async with answering(b"\r\n" + b"x" * 20_000_000, start=start) as uri:
        with pytest.raises(StatusError) as refusal:
            await connect(uri, proxy=None)
    assert len(refusal.value.response.body) <= 1 << 20
