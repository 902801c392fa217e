"""Connections on trio, in memory and in virtual time: receiving, sending, closing."""

import contextlib
import socket

import pytest
import trio
import trio.testing
from frames import BINARY, CLOSE, PING, PONG, TEXT
from trio_ends import in_memory, on_trio, serving

from framewire import (
    CLIENT,
    SERVER,
    Close,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Ping,
    Pong,
    State,
    StateError,
)
from framewire.extensions import Deflate
from framewire.session.session import Session
from framewire.session.settings import ConnectionSettings
from framewire.trio import Connection, broadcast, connect

pytestmark = pytest.mark.both_backends

both_roles = pytest.mark.parametrize("role", [CLIENT, SERVER], ids=["client", "server"])


# Receiving


@both_roles
@on_trio(autojump=True)
async def test_recv_decode_argument_converts_text_and_binary(role):
    async with in_memory(role) as (ws, peer):
        await peer.send(peer.frame(TEXT, "ä".encode()) * 2, peer.frame(BINARY, "ö".encode()) * 2)
        assert [await ws.recv(), await ws.recv(decode=False)] == ["ä", "ä".encode()]
        assert [await ws.recv(), await ws.recv(decode=True)] == ["ö".encode(), "ö"]


@on_trio(autojump=True)
async def test_recv_cancelled_at_any_moment_loses_no_message():
    async with in_memory(SERVER) as (ws, peer):
        async with trio.open_nursery() as nursery:

            async def send_messages():
                for number in range(200):
                    await peer.send(peer.frame(TEXT, str(number).encode()))
                    if number % 3:
                        await trio.sleep(0.5)

            nursery.start_soon(send_messages)
            received, cancelled = [], 0
            while len(received) < 200:
                with trio.move_on_after(0.3) as scope:
                    received.append(await ws.recv())
                cancelled += scope.cancelled_caught
        assert received == [str(number) for number in range(200)]
        assert cancelled > 50


@on_trio(autojump=True)
async def test_recv_cancelled_after_a_fragment_begins_again_with_it():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(0x01, b"one "))
        with trio.move_on_after(1):
            await ws.recv()
        await peer.send(peer.frame(0x80, b"two"))
        assert await ws.recv() == "one two"


@on_trio(autojump=True)
async def test_recv_in_a_cancelled_scope_takes_nothing():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(TEXT, b"kept"))
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.recv()
        assert scope.cancelled_caught
        assert await ws.recv() == "kept"


@on_trio(autojump=True)
async def test_recv_streaming_delivers_each_frame_as_it_arrives():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(0x01, b"a"))
        pieces = ws.recv_streaming()
        assert await anext(pieces) == "a"
        with pytest.raises(ConcurrencyError):
            await ws.recv()
        with pytest.raises(ConcurrencyError):
            await anext(ws.recv_streaming())
        await peer.send(peer.frame(0x00, b"b"), peer.frame(0x80, b"c"), peer.frame(TEXT, b"next"))
        assert [piece async for piece in pieces] == ["b", "c"]
        assert await ws.recv() == "next"


@on_trio(autojump=True)
async def test_piece_size_delivers_a_long_frame_in_pieces():
    async with in_memory(SERVER, piece_size=4) as (ws, peer):
        await peer.send(peer.frame(BINARY, b"0123456789"))
        assert b"".join([piece async for piece in ws.recv_streaming()]) == b"0123456789"
        await peer.send(peer.frame(BINARY, b"0123456789"))
        assert await ws.recv() == b"0123456789"


@on_trio(autojump=True)
async def test_second_receiver_is_refused():
    async with in_memory(SERVER) as (ws, _), trio.open_nursery() as nursery:
        nursery.start_soon(ws.recv)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConcurrencyError):
            await ws.recv()
        with pytest.raises(ConcurrencyError):
            await anext(ws.recv_streaming())
        nursery.cancel_scope.cancel()


@on_trio(autojump=True)
async def test_iteration_may_be_left_and_continued():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"), peer.frame(CLOSE, b"\x03\xe8"))
        async for message in ws:
            assert message == "1"
            break
        async with contextlib.aclosing(aiter(ws)) as messages:
            assert [message async for message in messages] == ["2"]


@on_trio(autojump=True)
async def test_full_queue_stops_reading_until_there_is_room():
    pair = trio.testing.lockstep_stream_pair  # `send_all` waits until all data are received
    async with in_memory(SERVER, pair, max_queue=(2, 0)) as (ws, peer):
        sent = []

        async def send_messages():
            for number in range(6):
                await peer.send(peer.frame(TEXT, b"%d" % number))
                sent.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_messages)
            await trio.testing.wait_all_tasks_blocked()
            assert len(sent) < 5
            assert ws.next_size == 1
            assert [await ws.recv() for _ in range(6)] == list("012345")


# Sending


@both_roles
@on_trio(autojump=True)
async def test_send_of_each_kind_arrives(role):
    async with in_memory(role) as (ws, peer):

        async def generate():
            yield b"x"
            yield b"y"

        await ws.send("ä")
        await ws.send("ä", text=False)
        await ws.send(bytearray(b"z"), text=True)
        await ws.send(["a", "b"])
        await ws.send(generate())
        await ws.send([])
        await ws.send(memoryview(b"end"))
        assert [await peer.read_event() for _ in range(6)] == ["ä", "ä".encode(), "z", "ab", b"xy", b"end"]


@pytest.mark.parametrize("message", [None, 5, {"a": 1}, [None], ["a", b"b"]])
@on_trio(autojump=True)
async def test_send_of_other_types_raises_type_error(message):
    async with in_memory(SERVER) as (ws, _):
        with pytest.raises(TypeError):
            await ws.send(message)


@on_trio(autojump=True)
async def test_send_waits_while_more_than_write_limit_waits_and_cancelled_sends_nothing():
    pair = trio.testing.lockstep_stream_pair
    async with in_memory(SERVER, pair, write_limit=100) as (ws, peer):
        await ws.send(bytes(1000))
        for _ in range(3):
            with trio.move_on_after(1) as scope:
                await ws.send("never sent")
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, "sent")
            assert [await peer.read_event(), await peer.read_event()] == [bytes(1000), "sent"]


@on_trio(autojump=True)
async def test_sends_cancelled_at_any_moment_leave_whole_messages():
    pair = trio.testing.lockstep_stream_pair
    async with in_memory(CLIENT, pair, write_limit=300) as (ws, peer):
        done, received = [], []

        async def send_messages():
            for number in range(300):
                message = f"{number}:" + "x" * (number % 7 * 100)
                with trio.move_on_after(0.1 * (number % 4)) as scope:
                    await ws.send(message)
                    done.append(message)
                assert scope.cancelled_caught == (message not in done)
            await ws.aclose()

        async def read_slowly():
            while True:
                event = await peer.read_event()
                if isinstance(event, Close):
                    break
                received.append(event)
                await trio.sleep(0.2)
            await peer.send(peer.frame(CLOSE, b"\x03\xe8"))
            await peer.stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_messages)
            nursery.start_soon(read_slowly)
        assert received == done
        assert 0 < len(done) < 300


@on_trio(autojump=True)
async def test_send_of_fragments_cancelled_closes_with_1011():
    async with in_memory(SERVER) as (ws, peer):

        async def fragments():
            yield "begun"
            await trio.sleep_forever()

        generator = fragments()
        with trio.move_on_after(1):
            await ws.send(generator)
        await generator.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await peer.read_event() == Close(1011, "error in fragmented message")


@on_trio(autojump=True)
async def test_generator_that_has_begun_is_closed_if_send_is_cancelled_before_its_turn():
    async with in_memory(SERVER) as (ws, _), trio.open_nursery() as nursery:

        async def fragments():
            try:
                yield "taken before"
                yield "fragment"
            finally:
                closed.append(True)

        async def block():
            yield "begun"
            await trio.sleep_forever()

        closed, generator = [], fragments()
        await generator.__anext__()
        nursery.start_soon(ws.send, block())
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1) as scope:
            await ws.send(generator)
        assert scope.cancelled_caught
        assert closed == [True]
        nursery.cancel_scope.cancel()


@on_trio(autojump=True)
async def test_messages_wait_until_fragments_are_sent():
    async with in_memory(SERVER) as (ws, peer):
        gate = trio.Event()

        async def fragments():
            yield "a"
            await gate.wait()
            yield "b"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, fragments())
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ws.send, "whole")
            await ws.ping(b"between")
            assert await peer.read_event() == Ping(b"between")
            gate.set()
        assert [await peer.read_event(), await peer.read_event()] == ["ab", "whole"]


@on_trio(autojump=True)
async def test_fragment_size_splits_a_message_that_stays_whole():
    async with in_memory(SERVER, fragment_size=3) as (ws, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.send("not sent")
        await ws.send("0123456789")
        data = await peer.stream.receive_some(100)
        assert data == b"\x01\x03012\x00\x03345\x00\x03678\x80\x019"


@on_trio(autojump=True)
async def test_cancelled_send_of_a_compressed_message_in_fragments_has_sent_nothing():
    async with in_memory(SERVER, codecs=[Deflate()], fragment_size=1000) as (ws, peer):
        for _ in range(2):
            with trio.CancelScope() as scope:
                trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
                await ws.send("abc" * 100_000)
            assert scope.cancelled_caught
        await ws.send("after" * 100, compress=False)
        assert await peer.read_event() == "after" * 100


@on_trio(autojump=True)
async def test_ping_is_acknowledged_by_a_later_pong_and_on_close_if_asked():
    async with in_memory(SERVER) as (ws, peer):
        first, second = await ws.ping("1"), await ws.ping()
        with pytest.raises(ConcurrencyError):
            await ws.ping(b"1")
        assert await peer.read_event() == Ping(b"1")
        await trio.sleep(2)
        await peer.send(peer.frame(PONG, (await peer.read_event()).payload))
        await first.wait()
        await second.wait()
        assert ws.latency == 2
        never, on_close = await ws.ping("never"), await ws.ping("end", ack_on_close=True)
        await peer.stream.aclose()
        await on_close.wait()
        assert not never.is_set()


@on_trio(autojump=True)
async def test_pong_is_sent_unasked_and_pings_are_answered():
    async with in_memory(CLIENT) as (ws, peer):
        await ws.pong("beat")
        assert await peer.read_event() == Pong(b"beat")
        await peer.send(peer.frame(PING, b"?"))
        assert await peer.read_event() == Pong(b"?")


@on_trio(autojump=True)
async def test_calls_before_the_opening_handshake_is_done_are_refused():
    stream, _ = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        ws = Connection(nursery, stream, CLIENT, ConnectionSettings(), None)
        assert ws.state is State.CONNECTING
        for call in (ws.recv, ws.ping, lambda: ws.send("x")):
            with pytest.raises(StateError):
                await call()
        await ws.aclose()
        await ws.wait_closed()
        assert ws.state is State.CLOSED
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


# Closing


@both_roles
@on_trio(autojump=True)
async def test_aclose_awaits_the_peer_and_keeps_what_arrives_meanwhile(role):
    async with in_memory(role) as (ws, peer):

        async def answer():
            assert await peer.read_event() == Close(4000, "enough")
            await trio.sleep(3)
            await peer.send(peer.frame(TEXT, b"late"), peer.frame(CLOSE, b"\x0f\xa0"))
            if role is CLIENT:
                await trio.sleep(2)
                await peer.stream.aclose()
            else:
                assert await peer.read_to_end() == []
                await peer.stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await ws.aclose(4000, "enough")
            assert trio.current_time() == (5 if role is CLIENT else 3)
        assert (ws.state, ws.close_code, ws.clean) == (State.CLOSED, 4000, True)
        assert await ws.recv() == "late"
        for call in (ws.recv, ws.ping, lambda: ws.send("x")):
            with pytest.raises(ConnectionClosedError):
                await call()
        await ws.aclose()


@both_roles
@on_trio(autojump=True)
async def test_aclose_ends_after_close_timeout_with_a_silent_peer(role):
    async with in_memory(role, close_timeout=7) as (ws, _):
        await ws.aclose()
        assert trio.current_time() == 7
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert isinstance(caught.value.__cause__, TimeoutError)


@on_trio(autojump=True)
async def test_aclose_ends_after_close_timeout_with_a_peer_that_does_not_read():
    async with in_memory(SERVER, trio.testing.lockstep_stream_pair, close_timeout=7) as (ws, _):
        await ws.send(bytes(1000))
        await ws.aclose()
        assert trio.current_time() == 7


@on_trio(autojump=True)
async def test_aclose_cancelled_aborts_the_connection():
    async with in_memory(SERVER, close_timeout=None) as (ws, peer):
        with trio.move_on_after(2) as scope:
            await ws.aclose()
        assert scope.cancelled_caught
        await ws.wait_closed()
        assert [event.code for event in await peer.read_to_end()] == [1000]


@on_trio(autojump=True)
async def test_waiting_task_sends_before_one_that_sends_again_and_again():
    async def send_on_and_on(ws):
        while True:
            await ws.send(bytes(100_000))

    async def send_three(ws):
        for number in range(3):
            await ws.send(str(number))

    async with in_memory(SERVER, trio.testing.lockstep_stream_pair) as (ws, peer), trio.open_nursery() as nursery:
        nursery.start_soon(send_on_and_on, ws)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(send_three, ws)
        await trio.testing.wait_all_tasks_blocked()
        events = []
        while "2" not in events:
            events.append(await peer.read_event())
        nursery.cancel_scope.cancel()
    first, second, third = (events.index(text) for text in "012")
    assert (second - first, third - second) == (2, 2)  # one of the other task in between


@on_trio(autojump=True)
async def test_send_that_waits_for_room_ends_with_the_connection():
    async with in_memory(SERVER, trio.testing.lockstep_stream_pair, close_timeout=7) as (ws, _):
        await ws.send(bytes(1 << 20))
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(ConnectionClosed):
                    await ws.send("waits")

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            ws.start_closing()
        assert trio.current_time() == 7


@on_trio
async def test_addresses_of_both_ends_are_kept():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        stream = await trio.testing.open_stream_to_socket_listener(listener)
        async with await listener.accept() as other:
            ws = Connection(nursery, stream, CLIENT, ConnectionSettings(), None)
            assert (ws.local_address, ws.remote_address) == (other.socket.getpeername(), other.socket.getsockname())
            await ws.aclose()
            assert ws.remote_address == other.socket.getsockname()
        late = await trio.testing.open_stream_to_socket_listener(listener)
        other = await listener.accept()
        late.socket.shutdown(socket.SHUT_WR)
        await other.aclose()
        assert await late.receive_some() == b""
        assert Connection(nursery, late, CLIENT, ConnectionSettings(), None).remote_address is None
        await late.aclose()


@on_trio(autojump=True)
async def test_error_in_a_task_of_the_connection_is_not_hidden(monkeypatch):
    def fail(session, now):
        raise ValueError("mine")

    monkeypatch.setattr(Session, "handle_timer", fail)
    with pytest.raises(Exception, match="nursery") as caught:
        async with in_memory(SERVER, ping_interval=1) as (ws, _):
            await ws.wait_closed()
    error = caught.value
    while hasattr(error, "exceptions"):
        (error,) = error.exceptions
    assert type(error) is ValueError


@pytest.mark.parametrize("hook", ["receive_stream.receive_some_hook", "send_stream.send_all_hook"])
@on_trio(autojump=True)
async def test_any_error_of_a_stream_ends_the_connection_with_its_cause(hook):
    async def fail():
        raise OSError("mine")

    def failing_pair():
        pair = trio.testing.memory_stream_pair()
        half, name = hook.split(".")
        setattr(getattr(pair[0], half), name, fail)
        return pair

    async with in_memory(SERVER, failing_pair, close_timeout=1) as (ws, _):
        with contextlib.suppress(ConnectionClosed):
            await ws.send("x")
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("orderly", [False, True])
@on_trio(autojump=True)
async def test_stream_whose_aclose_raises_ends_the_connection(orderly):
    async def fail():
        raise OSError("mine")  # without a checkpoint, at which it would be cancelled

    def failing_pair():
        pair = trio.testing.memory_stream_pair()
        pair[0].aclose = fail
        return pair

    async with in_memory(SERVER, failing_pair) as (ws, peer):
        await trio.testing.wait_all_tasks_blocked()
        if orderly:
            await peer.send(peer.frame(CLOSE, b"\x03\xe8"))
            await peer.stream.send_eof()
        else:
            ws._driver.scope.cancel()
        with trio.fail_after(100):
            await ws.wait_closed()
        with pytest.raises(ConnectionClosed) as caught:
            await ws.recv()
        if orderly:
            assert type(caught.value) is ConnectionClosedOK
        else:
            assert isinstance(caught.value.__cause__, OSError)


@on_trio(autojump=True)
async def test_send_that_waits_for_fragments_ends_with_the_connection():
    async def fragments():
        yield "first"
        await trio.sleep_forever()

    async with in_memory(SERVER) as (ws, peer), trio.open_nursery() as nursery:
        nursery.start_soon(ws.send, fragments())
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(peer.stream.aclose)
        with pytest.raises(ConnectionClosedError):
            await ws.send("after")
        nursery.cancel_scope.cancel()


@on_trio(autojump=True)
async def test_ping_cancelled_while_it_waits_for_room_sends_nothing():
    pair = trio.testing.lockstep_stream_pair  # nothing leaves that the peer does not receive
    async with in_memory(SERVER, pair, write_limit=10) as (ws, peer):
        await ws.send(b"x" * 100)
        with trio.move_on_after(1) as scope:
            await ws.ping(b"same")
        assert scope.cancelled_caught
        assert await peer.read_event() == b"x" * 100
        await ws.ping(b"same")
        await ws.send("last")
        assert [await peer.read_event(), await peer.read_event()] == [Ping(b"same"), "last"]


@on_trio(autojump=True)
async def test_send_after_our_close_tells_how_the_connection_ended():
    async with in_memory(CLIENT) as (ws, peer):
        ws.start_closing()
        async with trio.open_nursery() as nursery:

            async def send():
                with pytest.raises(ConnectionClosedOK):
                    await ws.send("too late")

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            await peer.send(peer.frame(CLOSE, b"\x03\xe8"))
            await peer.stream.aclose()


@on_trio(autojump=True)
async def test_input_that_was_held_back_is_received():
    async with in_memory(SERVER, max_queue=1) as (ws, peer):
        await peer.send(peer.frame(TEXT, b"x" * 1000) * 100)
        assert [await ws.recv() for _ in range(100)] == ["x" * 1000] * 100


@on_trio(autojump=True)
async def test_loss_of_the_stream_ends_every_wait():
    async with in_memory(SERVER) as (ws, peer):
        async with trio.open_nursery() as nursery:

            async def wait():
                with pytest.raises(ConnectionClosedError):
                    await ws.recv()
                await ws.wait_closed()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await peer.stream.aclose()
        assert ws.close_code == 1006


@on_trio(autojump=True)
async def test_messages_before_a_failure_to_write_are_received():
    async with in_memory(SERVER) as (ws, peer):
        ws.stream.send_stream.close()
        await peer.send(peer.frame(PING), peer.frame(TEXT, b"1"))
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(peer.frame(TEXT, b"2"))
        assert [await ws.recv(), await ws.recv()] == ["1", "2"]
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.recv()
        assert isinstance(caught.value.__cause__, trio.ClosedResourceError)
        assert trio.current_time() == 10  # close_timeout, as the peer does not end TCP


@on_trio(autojump=True)
async def test_context_closes_with_1000_and_after_an_error_with_1011():
    for error, code in ((None, 1000), (ValueError(), 1011)):
        async with in_memory(SERVER, close_timeout=1) as (ws, peer):
            with contextlib.suppress(ValueError):
                async with ws:
                    if error:
                        raise error
            assert (await peer.read_event()).code == code


# Timeouts


@on_trio(autojump=True)
async def test_keepalive_sends_pings_in_time_and_fails_a_silent_peer():
    async with in_memory(SERVER, ping_interval=20, ping_timeout=10, close_timeout=5) as (ws, peer):
        ping = await peer.read_event()
        assert trio.current_time() == 20
        await peer.send(peer.frame(PONG, ping.payload))
        assert isinstance(await peer.read_event(), Ping)
        assert trio.current_time() == 40
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert await peer.read_event() == Close(1011, "keepalive ping timeout")
        assert 50 <= trio.current_time() <= 51
        await ws.wait_closed()
        assert trio.current_time() <= 56


@pytest.mark.parametrize("messages", [0, 40], ids=["pong alone", "pong after messages that wait for room"])
@on_trio(autojump=True)
async def test_keepalive_sends_pings_at_their_interval_however_long_ping_timeout_is(messages):
    async with in_memory(SERVER, ping_interval=1, ping_timeout=80) as (ws, peer):
        for seconds in (1, 2, 3):
            ping = await peer.read_event()
            assert trio.current_time() == seconds
            await peer.send(peer.frame(BINARY, bytes(1000)) * messages + peer.frame(PONG, ping.payload))
            for _ in range(messages):
                assert await ws.recv() == bytes(1000)


@on_trio(autojump=True)
async def test_keepalive_keeps_a_peer_that_reads_a_long_message_slowly():
    pair = trio.testing.lockstep_stream_pair
    async with in_memory(SERVER, pair, ping_interval=20, ping_timeout=10) as (ws, peer):
        await ws.send(bytes(1 << 20))
        received = 0
        while received < 1 << 20:
            received += len(await peer.stream.receive_some(1 << 14))
            await trio.sleep(2)
        assert trio.current_time() > 100
        assert ws.state is State.OPEN


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"idle_timeout": 30}, "no messages for too long"),
        ({"total_timeout": 30}, "the time for this connection is over"),
    ],
)
@on_trio(autojump=True)
async def test_idle_and_total_timeout_close_with_1008(settings, reason):
    async with in_memory(SERVER, **settings) as (_, peer):
        assert await peer.read_event() == Close(1008, reason)
        assert 30 <= trio.current_time() <= 34


@on_trio(autojump=True)
async def test_violation_is_held_back_until_earlier_messages_are_answered():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"\xff"))
        await trio.testing.wait_all_tasks_blocked()
        await ws.send("answer to " + await ws.recv())
        with pytest.raises(ConnectionClosedError):
            await ws.recv()
        assert await peer.read_event() == "answer to 1"
        assert (await peer.read_event()).code == 1007


# Broadcast


@on_trio(autojump=True)
async def test_broadcast_reaches_open_connections_as_text_or_binary():
    async with in_memory(SERVER) as (one, peer), in_memory(CLIENT, close_timeout=1) as (closed, _):
        await closed.aclose()
        await broadcast([one, closed, one], "ä")
        await broadcast([one], "ä", text=False)
        await broadcast([one], b"b", text=True, raise_exceptions=True)
        assert [await peer.read_event() for _ in range(4)] == ["ä", "ä", "ä".encode(), "b"]
        with pytest.raises(TypeError):
            await broadcast([one], ["a", "b"])


@on_trio(autojump=True)
async def test_broadcast_closes_only_peers_that_do_not_read_with_1013():
    pair = trio.testing.lockstep_stream_pair
    async with in_memory(SERVER, pair) as (slow, slow_peer), in_memory(SERVER) as (fast, fast_peer):
        for _ in range(3):
            await broadcast([slow, fast], bytes(1 << 20))
        assert slow.state is not State.OPEN
        assert [await slow_peer.read_event() for _ in range(3)] == [
            bytes(1 << 20),
            bytes(1 << 20),
            Close(1013, "reading too slowly"),
        ]
        assert [await fast_peer.read_event() for _ in range(3)] == [bytes(1 << 20)] * 3
        assert fast.state is State.OPEN


@on_trio(autojump=True)
async def test_broadcast_closes_a_peer_that_reads_less_than_is_sent_to_it():
    async with in_memory(SERVER, trio.testing.lockstep_stream_pair) as (ws, peer):
        rounds = 0
        while ws.state is State.OPEN and rounds < 20:
            await broadcast([ws], bytes(1 << 18))
            await peer.stream.receive_some(1 << 16)
            await trio.testing.wait_all_tasks_blocked()
            rounds += 1
        assert rounds < 5


@on_trio(autojump=True)
async def test_broadcasts_of_many_tasks_in_one_turn_close_no_peer_that_reads():
    async with in_memory(SERVER) as (ws, peer):
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(broadcast, [ws], bytes([number]) * 5000)
        received = [await peer.read_event() for _ in range(200)]
        assert sorted(received) == [bytes([number]) * 5000 for number in range(200)]
        assert ws.state is State.OPEN


@on_trio
async def test_broadcast_is_compressed_once_by_each_connection_or_not():
    message = "one message for all " * 20
    async with serving() as (server, uri), connect(uri) as one, connect(uri) as two:
        while len(server.connections) < 2:
            await trio.sleep(0.01)
        connections = list(server.connections)
        codecs = [ws._session.stream._codecs[0] for ws in connections]
        await broadcast(connections, message)
        assert [codec.deflater for codec in codecs] == [None] * 2
        await broadcast(connections, message, compression="own")
        assert None not in [codec.deflater for codec in codecs]
        sent = [ws._session.bytes_queued for ws in connections]
        assert max(sent) < 200
        await broadcast(connections, message, compression=None)
        assert all(ws._session.bytes_queued - before > 400 for ws, before in zip(connections, sent, strict=True))
        assert [await ws.recv() for ws in (one, two) for _ in range(3)] == [message] * 6
        with pytest.raises(ValueError, match="gzip"):
            await broadcast(connections, message, compression="gzip")


@on_trio(autojump=True)
async def test_broadcast_leaves_out_a_connection_amid_fragments(caplog):
    async with in_memory(SERVER) as (ws, _):
        gate = trio.Event()

        async def fragments():
            yield "a"
            await gate.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, fragments())
            await trio.testing.wait_all_tasks_blocked()
            await broadcast([ws], "left out")
            assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
                "skipped broadcast: sending a fragmented message"
            ]
            assert caplog.records[-1].websocket.id == ws.id
            with pytest.raises(Exception, match="skipped broadcast") as caught:
                await broadcast([ws], "left out", raise_exceptions=True)
            assert [type(error) for error in caught.value.exceptions] == [ConcurrencyError]
            gate.set()


@on_trio(autojump=True)
async def test_orderly_end_raises_connection_closed_ok():
    async with in_memory(SERVER) as (ws, peer):
        await peer.send(peer.frame(CLOSE, b"\x03\xe9bye"))
        with pytest.raises(ConnectionClosedOK) as caught:
            await ws.recv()
        assert (caught.value.rcvd, caught.value.__cause__) == (Close(1001, "bye"), None)
