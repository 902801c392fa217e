"""The blocking clients of `bench_rooms` and `loops`, which are not measured, and their messages."""

import json
import random
import socket

from framewire import CLIENT, Stream
from framewire.handshake import ClientHandshake
from framewire.http.uri import parse_uri
from framewire.protocol.codecs import agree_to_answers, make_offers
from framewire.protocol.permessage_deflate import CLIENT_DEFAULT


def message_of(number, size):
    """Return a message of JSON, the same in both processes."""
    source = random.Random(number)
    items = [{"id": source.randrange(10_000), "price": source.random(), "name": "item"} for _ in range(20)]
    return json.dumps({"number": number, "items": items})[:size].ljust(size)


class Client:
    """A blocking client. It offers compression like a browser."""

    def __init__(self, port):
        handshake = ClientHandshake(parse_uri("ws://127.0.0.1/"), extensions=make_offers([CLIENT_DEFAULT]))
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.sendall(handshake.request())
        while handshake.receive(self.socket.recv(4096)) is None:
            pass
        self.stream = Stream(CLIENT, extensions=agree_to_answers(handshake.extensions, [CLIENT_DEFAULT]))
        self.compressed = bool(handshake.extensions)
        self._events = self.stream.receive(handshake.trailing)

    def receive(self, messages):
        """Receive messages, and compare them."""
        while len(self._events) < len(messages):
            data = self.socket.recv(65536)
            if not data:
                raise AssertionError("the server has closed the connection")
            self._events += self.stream.receive(data)
        events, self._events = self._events, []
        if events != messages:
            raise AssertionError(f"the server has sent {events}")
