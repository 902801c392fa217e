"""Streams what has no known length, such as a camera: one message, sent in fragments as the producer makes them.

`send` takes an iterable and sends each piece at once; the client sees them as they come with `recv_streaming`. Neither
end ever holds the whole.
"""

import sys
import threading
import time

from framewire.sync import connect, serve


def camera(pictures, seconds_between=0.0):
    """Makes pictures; nobody but it knows how many will come."""
    for number in range(pictures):
        yield number.to_bytes(4, "big") + bytes(20_000)
        time.sleep(seconds_between)


def stream_camera(ws):
    """Sends what the camera makes, then closes."""
    ws.send(camera(50, 0.01))


def watch(uri):
    """Yields the pictures as they arrive."""
    with connect(uri, max_size=None) as ws:
        for piece in ws.recv_streaming():
            if piece:  # the end of the message is an empty piece
                yield piece


if __name__ == "__main__":
    with serve(stream_camera, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9998) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for picture in watch("ws://{}:{}/".format(*server.socket.getsockname())):
            print(f"picture {int.from_bytes(picture[:4], 'big')}, {len(picture)} bytes")
