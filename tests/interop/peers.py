"""Other programs as the other end: clients that send messages and compare the echo, and echo servers."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import aiohttp.web
import websockets.asyncio.client
import websockets.asyncio.server
from browsers import ARGUMENTS, CHROMIUM

__all__ = ["MESSAGES", "NAMES", "PEERS", "Outcome", "Peer", "compare"]

NODE = Path(__file__).parents[1] / "node"
#: Where `make interop` installs Bun and Deno.
PROGRAMS = Path(__file__).parents[2] / "build/interop/node_modules/.bin"
SIZES = (0, 1, 125, 126, 5000, 65535, 65536, 100_000, 10)


def _numbers() -> Iterator[int]:
    """Yield numbers of 8 bits that do not compress; tests/node/client.mjs has the same."""
    state = 1
    while True:
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        yield state >> 24


def _messages() -> list[str | bytes]:
    """Return a text and a binary message of each size."""
    messages: list[str | bytes] = []
    numbers = _numbers()
    for size in SIZES:
        messages.append("".join("é€😀x"[number >> 6] for number in islice(numbers, 4 * (size // 5))))
        messages.append(bytes(islice(numbers, size)))
    return messages


MESSAGES = _messages()


class Outcome(NamedTuple):
    """How a client saw its connection.

    Args:
        received: How many messages came back.
        changed: Whether one was not what was sent.
        code: The close code.
    """

    received: int
    changed: bool
    code: int | None


class Peer(NamedTuple):
    """A program.

    Args:
        client: Its client, given a URI.
        server: Its echo server, which gives a port; None if it has none.
        compressing: Its roles in which it agrees on permessage-deflate.
    """

    client: Callable[[str], Awaitable[Outcome]]
    server: Callable[[], AbstractAsyncContextManager[int]] | None
    compressing: tuple[str, ...] = ("client", "server")


async def compare(messages: AsyncIterator[Any], close: Callable[[], Awaitable[object]]) -> tuple[int, bool]:
    """Compare what comes back with what was sent; close after the last one."""
    received, changed = 0, False
    async for message in messages:
        changed |= received >= len(MESSAGES) or message != MESSAGES[received]
        received += 1
        if received == len(MESSAGES):
            await close()
    return received, changed


# websockets.


async def websockets_client(uri: str) -> Outcome:
    try:
        async with websockets.asyncio.client.connect(uri, proxy=None, open_timeout=5, close_timeout=2) as ws:
            sending = asyncio.ensure_future(_send_all(ws.send))
            received, changed = await compare(_websockets_messages(ws), ws.close)
            await asyncio.gather(sending, return_exceptions=True)
        return Outcome(received, changed, ws.close_code)
    except (OSError, websockets.WebSocketException):
        return Outcome(0, False, None)


async def _websockets_messages(ws: Any) -> AsyncIterator[Any]:
    with suppress(websockets.ConnectionClosed):
        async for message in ws:
            yield message


async def _send_all(send: Callable[[Any], Awaitable[object]]) -> None:
    for message in MESSAGES:
        await send(message)


@asynccontextmanager
async def websockets_server() -> AsyncIterator[int]:
    async def echo(ws: Any) -> None:
        with suppress(websockets.ConnectionClosed):
            async for message in ws:
                await ws.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0, close_timeout=2) as server:
        yield server.sockets[0].getsockname()[1]


# aiohttp.


async def aiohttp_client(uri: str) -> Outcome:
    timeout = aiohttp.ClientWSTimeout(ws_close=2)
    async with aiohttp.ClientSession() as session:
        try:
            ws = await session.ws_connect(uri, compress=15, timeout=timeout, max_msg_size=0)
        except (OSError, aiohttp.ClientError):
            return Outcome(0, False, None)
        sending = asyncio.ensure_future(_send_all(lambda each: _aiohttp_send(ws, each)))
        received, changed = await compare(_aiohttp_messages(ws), ws.close)
        sending.cancel()
        await asyncio.gather(sending, ws.close(), return_exceptions=True)
        return Outcome(received, changed, ws.close_code)


async def _aiohttp_send(ws: Any, message: str | bytes) -> None:
    await (ws.send_str(message) if isinstance(message, str) else ws.send_bytes(message))


async def _aiohttp_messages(ws: Any) -> AsyncIterator[Any]:
    async for message in ws:
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            yield message.data


@asynccontextmanager
async def aiohttp_server() -> AsyncIterator[int]:
    async def echo(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        ws = aiohttp.web.WebSocketResponse(max_msg_size=0, timeout=2)
        await ws.prepare(request)
        async for message in _aiohttp_messages(ws):
            try:
                await _aiohttp_send(ws, message)
            except ConnectionError:  # of aiohttp's own
                break
        return ws

    application = aiohttp.web.Application()
    application.router.add_get("/", echo)
    runner = aiohttp.web.AppRunner(application, shutdown_timeout=2)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    finally:
        await runner.cleanup()


# node with ws, Bun and Deno.


def _script(compressing: tuple[str, ...], *command: str) -> Peer:
    async def start(*arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command, NODE / "peer.mjs", *arguments, stdout=asyncio.subprocess.PIPE
        )

    async def client(uri: str) -> Outcome:
        process = await start("client", uri)
        output, _ = await process.communicate()
        result = json.loads(output)
        return Outcome(result["received"], result["changed"], result["code"])

    @asynccontextmanager
    async def server() -> AsyncIterator[int]:
        process = await start("server")
        assert process.stdout is not None
        try:
            yield int(await process.stdout.readline())
        finally:
            process.kill()
            await process.wait()

    return Peer(client, server, compressing)


async def chromium_client(uri: str) -> Outcome:
    from playwright.async_api import async_playwright

    function = (NODE / "client.mjs").read_text().replace("export function client", "function client")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            page = await browser.new_page()
            result = await page.evaluate(f"(uri) => {{ {function}; return client(WebSocket, uri); }}", uri)
        finally:
            await browser.close()
    return Outcome(result["received"], result["changed"], result["code"])


#: All programs; `PEERS` has those that are installed.
NAMES = ("websockets", "aiohttp", "ws", "bun", "deno", "chromium")


def _find() -> dict[str, Peer]:
    """Return the programs that are installed here."""
    both = ("client", "server")
    found = {
        "websockets": Peer(websockets_client, websockets_server),
        "aiohttp": Peer(aiohttp_client, aiohttp_server),
    }
    if shutil.which("node") and (NODE / "node_modules/ws").is_dir():
        found["ws"] = _script(both, "node")
    scripts = (("bun", both, ["run"]), ("deno", (), ["run", "--allow-net", "--quiet"]))
    for name, compressing, arguments in scripts:
        program = shutil.which(name, path=PROGRAMS) or shutil.which(name)
        if program:
            found[name] = _script(compressing, program, *arguments)
    if CHROMIUM:
        found["chromium"] = Peer(chromium_client, None)
    return found


PEERS = _find()
