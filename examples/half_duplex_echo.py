"""The smallest server: a blocking socket, one client at a time, no threads.

It reads up to 256 bytes, handles the events in them, and replies: to a text with "Hello", to a ping
with a pong, to a close frame with an empty close frame.
"""

import socket
import sys

from framewire import SERVER, Close, HandshakeError, Ping, State, Stream
from framewire.handshake import ServerHandshake


def serve_client(sock):
    """Serve one client until its connection ends."""
    handshake = ServerHandshake()
    try:
        while handshake.request is None:
            data = sock.recv(256)
            if not data:
                return
            handshake.receive(data)
        sock.sendall(handshake.accept())
    except HandshakeError as error:
        sock.sendall(handshake.reject(error.status, error.reason, error.headers))
        return
    stream = Stream(SERVER, auto_pong=False, auto_close=False)
    data = handshake.trailing  # frames that arrived with the request
    while stream.state is State.OPEN:
        for event in stream.receive(data):
            match event:
                case str():
                    sock.sendall(stream.send("Hello"))
                case Ping(payload):
                    sock.sendall(stream.pong(payload))
                case Close():
                    sock.sendall(stream.close(None))
        if stream.state is State.OPEN:
            data = sock.recv(256)
            if not data:
                stream.receive_eof()


def serve(listener):
    """Serve one client after another."""
    while True:
        sock, _ = listener.accept()
        with sock:
            serve_client(sock)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9998)) as listener:
        print("ws://{}:{}/".format(*listener.getsockname()), flush=True)
        serve(listener)
