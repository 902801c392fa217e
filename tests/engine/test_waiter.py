"""`ReceiveWaiter`: a future without a result that one task awaits again and again."""

import asyncio
import contextvars

import pytest

pytestmark = pytest.mark.both_backends

VARIABLE = contextvars.ContextVar("VARIABLE", default="outside")


def on_loop(test):
    """Run a coroutine function as a test, with the `backend` fixture."""

    def run(backend):
        asyncio.run(test(backend))

    return run


async def start(backend):
    """Start a task that waits three times; return the waiter, the task, and the list of what it does."""
    waiter, done = backend.ReceiveWaiter(asyncio.get_running_loop()), []

    async def wait():
        VARIABLE.set("inside")
        for number in range(3):
            await waiter
            done.append((number, VARIABLE.get()))

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    return waiter, task, done


def call_soon(function):
    """Call a function in the event loop, outside of every task; return a future of its result."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    loop.call_soon(lambda: answer.set_result(function()))
    return answer


def test_waiter_is_an_iterator_that_blocks_nothing_at_first(backend):
    waiter = backend.ReceiveWaiter(None)
    assert iter(waiter) is waiter
    assert (waiter.waiting, waiter._asyncio_future_blocking) == (False, False)
    assert waiter.cancel() is False


@on_loop
async def test_cancel_returns_whether_the_wait_was_on(backend):
    waiter, task, _ = await start(backend)
    assert waiter.cancel() is True
    assert waiter.cancel() is False
    with pytest.raises(asyncio.CancelledError):
        await task


@on_loop
async def test_wake_runs_the_task_in_the_next_turn(backend):
    waiter, task, done = await start(backend)
    for number in range(3):
        assert waiter.waiting
        waiter.wake()
        waiter.wake()  # of no effect
        assert not waiter.waiting
        assert len(done) == number
        await asyncio.sleep(0)
        assert done[-1] == (number, "inside")
    await task


@on_loop
async def test_wake_now_runs_the_task_in_its_context_until_it_waits_again(backend):
    waiter, task, done = await start(backend)

    def wake():
        waiter.wake_now()
        return len(done), waiter.waiting, VARIABLE.get()

    assert await call_soon(wake) == (1, True, "outside")
    assert await call_soon(lambda: [wake(), wake()]) == [(2, True, "outside"), (3, False, "outside")]
    waiter.wake_now()  # nobody waits
    assert done == [(0, "inside"), (1, "inside"), (2, "inside")]
    await task


@pytest.mark.parametrize("message", [(), ("enough",)])
def test_cancelled_task_gets_the_cancelled_error_with_its_message(backend, message):
    async def main():
        waiter, task, done = await start(backend)
        task.cancel(*message)
        assert not waiter.waiting
        assert not waiter.cancel()  # it is over
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == []
        with pytest.raises(asyncio.CancelledError) as error:
            waiter.result()
        assert error.value.args == message

    asyncio.run(main())


@on_loop
async def test_waiter_serves_another_task_after_a_cancelled_one(backend):
    waiter, first, _ = await start(backend)
    first.cancel()
    await asyncio.wait([first])

    async def wait():
        await waiter
        return waiter.result()

    second = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiter.wake()
    assert await second is None


@on_loop
async def test_cancellation_after_the_wake_is_not_lost(backend):
    waiter, task, done = await start(backend)
    waiter.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == []


@on_loop
async def test_task_that_cancels_itself_before_the_wait_is_cancelled(backend):
    waiter = backend.ReceiveWaiter(asyncio.get_running_loop())

    async def wait():
        asyncio.current_task().cancel()
        await waiter

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(wait())
    assert not waiter.waiting


@on_loop
async def test_wait_for_cancels_the_wait(backend):
    waiter = backend.ReceiveWaiter(asyncio.get_running_loop())

    async def wait():
        await waiter

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(wait(), 0.01)
    assert not waiter.waiting
