"""Stream data of unknown length, such as video, as one fragmented message.

`send` accepts an iterable and sends each item as a fragment at once; `recv_streaming` yields each
fragment as it arrives. Neither end holds the whole message in memory.
"""

import sys
import threading
import time

from framewire.sync import connect, serve


def camera(pictures, seconds_between=0.0):
    """Yield pictures."""
    for number in range(pictures):
        yield number.to_bytes(4, "big") + bytes(20_000)
        time.sleep(seconds_between)


def stream_camera(ws):
    """Send the pictures of the camera, then close."""
    ws.send(camera(50, 0.01))


def watch(uri):
    """Yield the pictures as they arrive."""
    with connect(uri, max_size=None) as ws:
        for fragment in ws.recv_streaming():
            if fragment:  # the last fragment is empty
                yield fragment


if __name__ == "__main__":
    with serve(stream_camera, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9998) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for picture in watch("ws://{}:{}/".format(*server.socket.getsockname())):
            print(f"picture {int.from_bytes(picture[:4], 'big')}, {len(picture)} bytes")
