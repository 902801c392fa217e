"""Exchanges with other programs through a faulty relay, one of each case; see `make interop`."""

import asyncio

import pytest
from backends import skip_unless
from tests.interop.exchange import cases, exchange
from tests.interop.faulty_relay import KINDS
from tests.interop.peers import PEERS


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
