"""Exchanges with other programs through a faulty relay, one of each case; see `make interop`."""

import asyncio
from random import Random

import pytest
from backends import skip_unless
from tests.interop.exchange import cases, exchange
from tests.interop.faulty_relay import KINDS, MAX_SINGLE_BYTES, Faults, relaying
from tests.interop.peers import PEERS

DATA = bytes(range(256)) * 20


@pytest.mark.parametrize("case", cases(KINDS, ["websockets", "aiohttp"]), ids=str)
def test_exchange_through_faulty_relay_loses_and_changes_nothing(case):
    asyncio.run(exchange(case, 0))


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("kind", ["bytes", "cut", "half-close"])
def test_exchange_with_node_through_faulty_relay_loses_and_changes_nothing(role, kind):
    skip_unless("" if "ws" in PEERS else "ws", "npm install --prefix tests/node")
    asyncio.run(exchange(("ws", role, "deflate", kind), 0))


def test_exchange_finds_message_that_is_changed(monkeypatch):
    monkeypatch.setattr("tests.interop.exchange.MESSAGES", [b"other"])
    with pytest.raises(AssertionError):
        asyncio.run(exchange(("websockets", "server", None, "none"), 0))


@pytest.mark.parametrize("kind", ["cut", "half-close"])
def test_exchange_finds_fault_that_does_not_happen(monkeypatch, kind):
    monkeypatch.setattr(Faults, "draw", lambda random, kind: Faults(kind, 0, 1 << 30))
    with pytest.raises(AssertionError, match="did not happen"):
        asyncio.run(exchange(("websockets", "client", None, kind), 0))


@pytest.mark.parametrize("kind", ["bytes", "delays"])
def test_exchange_finds_relay_without_faults(monkeypatch, kind):
    monkeypatch.setattr("tests.interop.exchange.relaying", lambda port, faults, random: _harmless(port, faults, random))
    with pytest.raises(AssertionError, match="no fault among the messages"):
        asyncio.run(exchange(("websockets", "client", None, kind), 0))


def _harmless(port, faults, random):
    same = Faults("none")
    faults.heads = same.heads
    return relaying(port, same, random)


@pytest.mark.parametrize("role", ["client", "server"])
def test_exchange_finds_compression_that_is_not_agreed_on(monkeypatch, role):
    monkeypatch.setitem(PEERS, "websockets", PEERS["websockets"]._replace(compressing=()))
    with pytest.raises(AssertionError, match="permessage-deflate"):
        asyncio.run(exchange(("websockets", role, "deflate", "none"), 0))


class _End(asyncio.Protocol):
    """An end of the relay's connections: note what arrives, in which reads, and how it ends."""

    def __init__(self):
        self.reads = []
        self.eof, self.ended = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.reads.append(data)

    def eof_received(self):
        self.eof.set()
        self.ended.set()
        return True  # the other direction stays open

    def connection_lost(self, error):
        self.ended.set()


async def _relay_data(faults, done):
    """Send `DATA` from a client through the relay; return the server's and the client's end."""
    loop, server = asyncio.get_running_loop(), _End()
    async with await loop.create_server(lambda: server, "127.0.0.1", 0) as listening:
        async with relaying(listening.sockets[0].getsockname()[1], faults, Random(1)) as port:
            transport, client = await loop.create_connection(_End, "127.0.0.1", port)
            transport.write(DATA)
            try:
                await asyncio.wait_for(done(server, client), 10)
            finally:
                transport.abort()
                server.transport.abort()
    return server, client


async def _all_arrived(server, client):
    client.transport.write_eof()
    await server.eof.wait()


def test_relay_passes_single_bytes_to_a_reader_of_this_process():
    faults = Faults("bytes")
    server, _ = asyncio.run(_relay_data(faults, _all_arrived))
    assert b"".join(server.reads) == DATA
    single = [read for read in server.reads if len(read) == 1]
    assert len(single) > MAX_SINGLE_BYTES / 2  # all of them where loopback delivers at once, as on Linux
    assert faults.happened == [*range(MAX_SINGLE_BYTES)]
    assert faults.heads[0] == DATA[: len(faults.heads[0])]


def test_relay_pauses_between_pieces():
    faults = Faults("delays")
    server, _ = asyncio.run(_relay_data(faults, _all_arrived))
    assert b"".join(server.reads) == DATA
    assert len(faults.happened) >= 1
    assert len(server.reads) > len(faults.happened)


def test_relay_cuts_both_directions_after_the_bytes_drawn():
    async def both_ended(server, client):
        await asyncio.gather(server.ended.wait(), client.ended.wait())

    faults = Faults("cut", 0, 3000)
    server, _ = asyncio.run(_relay_data(faults, both_ended))
    assert b"".join(server.reads) == DATA[:3000]
    assert faults.happened == [3000]


def test_relay_half_closes_one_direction_and_passes_the_other_on():
    async def answered_after_eof(server, client):
        await server.eof.wait()
        server.transport.write(b"answer")
        while not client.reads:
            await asyncio.sleep(0.01)

    faults = Faults("half-close", 0, 3000)
    server, client = asyncio.run(_relay_data(faults, answered_after_eof))
    assert b"".join(server.reads) == DATA[:3000]
    assert b"".join(client.reads) == b"answer"
    assert not client.eof.is_set()
    assert faults.happened == [3000]
