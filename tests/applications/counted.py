"""Run a program: `python counted.py LIBRARY COUNTS PROGRAM ARGUMENT ...`.

LIBRARY is tornado or websockets, PROGRAM is a module or a file. If `framewire run` has started this
process, the file COUNTS has the numbers of messages that framewire has delivered and sent, as JSON.
"""

import json
import os
import sys
from runpy import run_module, run_path


class Counter:
    """Counts messages in a file."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.counts = {"delivered": 0, "sent": 0}
        self.add("sent", 0)

    def add(self, name, number):
        self.counts[name] += number
        os.pwrite(self.file, json.dumps(self.counts).encode(), 0)


def count_tornado(counter):
    import tornado.websocket  # noqa: F401 - it is accelerated, and tested, after its import

    from framewire.adapters.tornado import protocol

    deliver, make_message_frame = protocol._deliver, protocol.make_message_frame

    def counted_deliver(connection, frames, data):
        counter.add("delivered", len(frames))
        return deliver(connection, frames, data)

    def counted_make_message_frame(connection, payload, binary):
        counter.add("sent", 1)
        return make_message_frame(connection, payload, binary)

    protocol._deliver, protocol.make_message_frame = counted_deliver, counted_make_message_frame


def count_websockets(counter):
    import websockets.protocol

    from framewire.adapters import websockets

    take_frames, make_frame = websockets.take_frames, websockets.make_frame

    def counted_take_frames(buffer, masked, limit, frames):
        end = take_frames(buffer, masked, limit, frames)
        counter.add("delivered", len(frames))
        return end

    def counted_make_frame(first_byte, payload, key):
        counter.add("sent", 1)
        return make_frame(first_byte, payload, key)

    websockets.take_frames, websockets.make_frame = counted_take_frames, counted_make_frame


if __name__ == "__main__":
    library, counts, program = sys.argv[1:4]
    del sys.argv[:3]
    if "FRAMEWIRE_RUN" in os.environ:
        {"tornado": count_tornado, "websockets": count_websockets}[library](Counter(counts))
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(program)
        run_path(program, run_name="__main__")
    else:
        del sys.path[0]
        run_module(program, run_name="__main__", alter_sys=True)
