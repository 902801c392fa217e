"""Iteration over `connect`, or `reconnect` of threads: the rules are the same on every driver."""

import asyncio
from contextlib import aclosing, contextmanager

import pytest
import trio
from ends import until as until_on_asyncio
from sync_ends import serving, until

import framewire.asyncio
import framewire.sync
import framewire.trio
from framewire.errors import StatusError

pytestmark = pytest.mark.both_backends

OPTIONS = {"proxy": None, "open_timeout": 10, "close_timeout": 10}


class OnThreads:
    """Loops over connections of `framewire.sync`."""

    @staticmethod
    def iterate(uri, visit, left=lambda: True, **options):
        """Wait for the end of each connection, until `visit()` returns True; then until `left()` is true."""
        for ws in framewire.sync.reconnect(uri, **OPTIONS, **options):
            if visit():
                break
            assert ws.wait_closed(10)
        until(left)

    @staticmethod
    def iterate_twice(uri):
        """Iterate over one object in a loop over it; return what both connections receive."""
        received = []
        connections = framewire.sync.reconnect(uri, **OPTIONS)
        for outer in connections:
            for inner in connections:
                outer.send("outer")
                inner.send("inner")
                received += [outer.recv(10), inner.recv(10)]
                break
            break
        return received


class OnAsyncio:
    """Loops over connections of `framewire.asyncio`."""

    @staticmethod
    def iterate(uri, visit, left=lambda: True, **options):
        async def main():
            async for ws in framewire.asyncio.connect(uri, **OPTIONS, **options):
                if visit():
                    break
                await ws.wait_closed()
            await until_on_asyncio(left)

        asyncio.run(asyncio.wait_for(main(), 20))

    @staticmethod
    def iterate_twice(uri):
        received = []

        async def main():
            connections = framewire.asyncio.connect(uri, **OPTIONS)
            async with aclosing(aiter(connections)) as outer_loop, aclosing(aiter(connections)) as inner_loop:
                async for outer in outer_loop:
                    async for inner in inner_loop:
                        await outer.send("outer")
                        await inner.send("inner")
                        received.extend([await outer.recv(), await inner.recv()])
                        break
                    break

        asyncio.run(asyncio.wait_for(main(), 20))
        return received


class OnTrio:
    """Loops over connections of `framewire.trio`."""

    @staticmethod
    def iterate(uri, visit, left=lambda: True, **options):
        async def loop():
            async for ws in framewire.trio.connect(uri, **OPTIONS, **options):
                if visit():
                    break
                await ws.wait_closed()
            while not left():
                await trio.sleep(0.005)

        async def main():
            with trio.fail_after(20):
                await loop()

        trio.run(main)

    @staticmethod
    def iterate_twice(uri):
        received = []

        async def main():
            connections = framewire.trio.connect(uri, **OPTIONS)
            with trio.fail_after(20):
                async with aclosing(aiter(connections)) as outer_loop, aclosing(aiter(connections)) as inner_loop:
                    async for outer in outer_loop:
                        async for inner in inner_loop:
                            await outer.send("outer")
                            await inner.send("inner")
                            received.extend([await outer.recv(), await inner.recv()])
                            break
                        break

        trio.run(main)
        return received


on_every_driver = pytest.mark.parametrize("driver", [OnThreads, OnAsyncio, OnTrio])


@contextmanager
def recording_codes():
    """Run a server; give its URI and a list that gets the close code of each connection."""
    codes = []

    def handler(ws):
        if ws.wait_closed(10):
            codes.append(ws.close_code)

    with serving(handler) as (_, _, uri):
        yield uri, codes


@on_every_driver
def test_error_of_the_last_attempt_is_raised_when_the_delays_are_used_up(driver):
    attempts = []

    def refuse(connection, request):
        attempts.append(request)
        return connection.respond(503, f"attempt {len(attempts)}")

    with serving(process_request=refuse) as (_, _, uri):
        with pytest.raises(StatusError) as caught:
            driver.iterate(uri, lambda: False, reconnect_delays=lambda: iter([0.0, 0.01]))
    assert len(attempts) == 3
    assert caught.value.response.body == b"attempt 3"


@on_every_driver
def test_loop_ends_when_the_server_ends_connections_and_the_delays_are_used_up(driver, monkeypatch):
    monkeypatch.setattr("framewire.http.reconnect.MIN_DURATION", 60)  # on a slow machine too
    visits = []
    with serving(lambda ws: ws.close()) as (_, _, uri):
        driver.iterate(uri, lambda: visits.append(uri), reconnect_delays=lambda: iter([0.0, 0.01]))
    assert len(visits) == 3


@on_every_driver
def test_loop_that_is_left_closes_its_connection_with_1000(driver):
    with recording_codes() as (uri, codes):
        driver.iterate(uri, lambda: True, left=lambda: codes)
    assert codes == [1000]


@on_every_driver
def test_one_object_can_be_iterated_again_while_a_connection_of_it_is_open(driver):
    with serving() as (_, _, uri):
        assert driver.iterate_twice(uri) == ["outer", "inner"]


def test_generator_that_is_closed_in_a_with_block_closes_the_connection_with_1000():
    def generate(uri):
        with framewire.sync.connect(uri, **OPTIONS) as ws:
            yield ws

    async def iterate(uri):
        async def generate():
            async with framewire.asyncio.connect(uri, **OPTIONS) as ws:
                yield ws

        async with aclosing(generate()) as connections:
            await anext(connections)

    with recording_codes() as (uri, codes):
        connections = generate(uri)
        next(connections)
        connections.close()
        asyncio.run(asyncio.wait_for(iterate(uri), 20))
        until(lambda: len(codes) == 2)
    assert codes == [1000, 1000]
