"""Run a program that uses tornado: `python counted.py COUNTS PROGRAM ARGUMENT ...`.

PROGRAM is a module or a file. If `framewire run` has started this process, the file COUNTS has the
numbers of messages that framewire has delivered and sent, as JSON.
"""

import json
import os
import sys
from runpy import run_module, run_path


def count_messages(file):
    import tornado.websocket  # noqa: F401 - it is accelerated after its import

    from framewire.adapters.tornado import protocol

    deliver, make_message_frame = protocol._deliver, protocol.make_message_frame
    counts = {"delivered": 0, "sent": 0}

    def count(name, number):
        counts[name] += number
        os.pwrite(file.fileno(), json.dumps(counts).encode(), 0)

    def counted_deliver(connection, frames, data):
        count("delivered", len(frames))
        return deliver(connection, frames, data)

    def counted_make_message_frame(connection, payload, binary):
        count("sent", 1)
        return make_message_frame(connection, payload, binary)

    count("sent", 0)  # without the messages of the self-test
    protocol._deliver, protocol.make_message_frame = counted_deliver, counted_make_message_frame


if __name__ == "__main__":
    counts, program = sys.argv[1:3]
    del sys.argv[:2]
    if "FRAMEWIRE_RUN" in os.environ:
        count_messages(open(counts, "wb"))  # noqa: SIM115 - until the end of the process
    if program.endswith(".py"):
        sys.path[0] = os.path.dirname(program)
        run_path(program, run_name="__main__")
    else:
        del sys.path[0]
        run_module(program, run_name="__main__", alter_sys=True)
