"""Both ends of a connection in threads: an echo server, a raw client, an event loop."""

import asyncio
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager

from frames import REQUEST

import framewire
from framewire.sync import serve


def until(condition):
    """Wait until `condition()` is true, for at most 20 seconds; return its value."""
    limit = time.monotonic() + 20
    while not (result := condition()):
        assert time.monotonic() < limit, "the condition did not become true"
        time.sleep(0.005)
    return result


def echo(ws):
    for message in ws:
        ws.send(message)


@contextmanager
def serving(handler=echo, **options):
    """Run a framewire server in a thread; give (server, port, URI)."""
    with serve(handler, "127.0.0.1", **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        yield server, port, f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}/path"
    thread.join()


@contextmanager
def on_loop_of_thread(open_context, new_loop=asyncio.new_event_loop):
    """Keep the async context of `open_context()` open on a loop in a thread; give its value."""
    entered, stopped = Future(), threading.Event()

    async def main():
        async with open_context() as value:
            entered.set_result(value)
            while not stopped.is_set():
                await asyncio.sleep(0.005)

    def run():
        loop = new_loop()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield entered.result(10)
    finally:
        stopped.set()
        thread.join()


class Raw:
    """A client that sends any bytes, as no library would."""

    def __init__(self, port, and_then=b"", request=REQUEST, **stream):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.stream = framewire.Stream(framewire.CLIENT, **stream)
        self.socket.sendall(request + and_then)
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(4096)
            assert data, head
            head += data
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.early = head.partition(b"\r\n\r\n")[2]  # frames in the same segment
        self.events = self.stream.receive(self.early)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def write(self, *frames):
        self.socket.sendall(b"".join(frames))

    def read_exactly(self, size):
        """Read so many bytes, beginning with those that came with the response; without `read_event`."""
        data, self.early = self.early[:size], self.early[size:]
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            assert more, data
            data += more
        return data

    def read_event(self):
        while not self.events:
            data = self.socket.recv(1 << 16)
            self.events += self.stream.receive(data) if data else self.stream.receive_eof()
            assert data or self.events, "the connection has ended without an event"
        return self.events.pop(0)
