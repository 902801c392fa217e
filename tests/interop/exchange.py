"""One exchange between framewire and another program, through a faulty relay."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

import framewire.asyncio
from framewire import ConnectionClosed
from framewire.errors import FramewireError

from .faulty_relay import Faults, relaying
from .peers import MESSAGES, PEERS, Outcome, compare

__all__ = ["Case", "Result", "cases", "exchange"]

#: Seconds that an exchange may take: longer than all timeouts of both ends.
LIMIT = 60

TIMES = {"open_timeout": 5, "close_timeout": 2, "ping_interval": 1, "ping_timeout": 5}

#: The program, our role, the argument `compression`, the kind of fault.
Case = tuple[str, str, "str | None", str]


class Result(NamedTuple):
    """The result of one exchange.

    Args:
        outcome: How the client saw it.
        opened: Whether the response to the opening handshake passed the relay.
        among_messages: Whether faults happened after the opening handshake.
    """

    outcome: Outcome
    opened: bool
    among_messages: bool


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


def cases(kinds: tuple[str, ...], names: list[str]) -> list[Case]:
    """Return all cases with these kinds of faults and these programs."""
    return [
        (name, role, compression, kind)
        for name in names
        for role in ("client", "server")
        for compression in (None, "deflate")
        for kind in kinds
        if role == "server" or PEERS[name].server is not None
    ]


async def exchange(case: Case, seed: int) -> Result:
    """Run one exchange. Raises AssertionError if something does not hold."""
    name, role, compression, kind = case
    random = Random(f"{case} {seed}")
    faults = Faults.draw(random, kind)
    logger, errors = logging.getLogger(f"framewire.interop.{name}"), _Errors()
    logger.propagate = False
    logger.addHandler(errors)
    options: dict[str, Any] = {"compression": compression, "logger": logger, "max_size": None, **TIMES}
    run = _as_client if role == "client" else _as_server
    try:
        outcome = await asyncio.wait_for(run(name, options, faults, random), LIMIT)
    finally:
        logger.removeHandler(errors)
    assert not errors.texts, errors.texts
    assert not outcome.changed, f"a message came back changed: {outcome}, {faults}"
    if faults.harmless:
        assert (outcome.received, outcome.code) == (len(MESSAGES), 1000), f"{outcome}, {faults}"
    _check_relay(case, faults)
    return Result(outcome, faults.response is not None, faults.among_messages)


def _check_relay(case: Case, faults: Faults) -> None:
    """Check that the faults have happened, and that compression was agreed on if the case says so."""
    name, role, compression, kind = case
    if kind in ("cut", "half-close"):
        # Twice if the client tries again.
        assert {*faults.happened} == {faults.after}, f"the fault did not happen: {faults}"
    elif kind != "none":
        assert faults.among_messages, f"no fault among the messages: {faults}"
    agreed = compression == "deflate" and ("server" if role == "client" else "client") in PEERS[name].compressing
    if faults.response is not None:
        extensions = re.findall(r"^sec-websocket-extensions:\s*([\w-]+)", faults.response, re.MULTILINE)
        assert extensions == ["permessage-deflate"] * agreed, faults.response
    else:
        assert not faults.harmless, "no response passed the relay"


async def _as_server(name: str, options: dict[str, Any], faults: Faults, random: Random) -> Outcome:
    echoed = 0

    async def echo(connection: Any) -> None:
        nonlocal echoed
        async for message in connection:
            assert message == MESSAGES[echoed], f"message {echoed} of the client is not what it sent"
            await connection.send(message)
            echoed += 1

    async with framewire.asyncio.serve(echo, "127.0.0.1", 0, origins=None, **options) as server:
        async with relaying(server.sockets[0].getsockname()[1], faults, random) as port:
            outcome = await PEERS[name].client(f"ws://127.0.0.1:{port}/")
    assert outcome.received <= echoed, f"{outcome.received} came back of {echoed}"
    return outcome


async def _as_client(name: str, options: dict[str, Any], faults: Faults, random: Random) -> Outcome:
    start = PEERS[name].server
    assert start is not None
    async with start() as server, relaying(server, faults, random) as port:
        try:
            connection = await framewire.asyncio.connect(f"ws://127.0.0.1:{port}/", proxy=None, **options)
        except (OSError, FramewireError, asyncio.TimeoutError) as error:
            if faults.harmless:
                raise AssertionError(f"{faults}: not connected") from error
            return Outcome(0, False, None)
        sending = asyncio.ensure_future(_send_all(connection))
        async with connection:
            received, changed = await compare(_messages(connection), connection.close)
        await sending
        return Outcome(received, changed, connection.close_code)


async def _messages(connection: Any) -> AsyncIterator[Any]:
    with suppress(ConnectionClosed):
        async for message in connection:
            yield message


async def _send_all(connection: Any) -> None:
    with suppress(ConnectionClosed):
        for message in MESSAGES:
            await connection.send(message)
