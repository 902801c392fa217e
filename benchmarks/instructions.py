"""Count the instructions of one message with valgrind, which other processes do not affect.

    python benchmarks/instructions.py [REVISION]

Counts the working tree, and REVISION if it is given: the exit status is 1 if a count of the
working tree is more than 3 % higher.

Each count is the difference between two runs, of 1,000 and of 3,000 messages, so that start and
import cancel out. It ignores caches and branch prediction: the other benchmarks measure times.
Needs git, a C compiler and valgrind.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: The layout of the memory alone changes some counts by up to 3 %.
TOLERANCE = 1.03
FEW, MANY = 1000, 3000
#: A server without a network: its transport counts the bytes that are written, and discards them.
ASYNCIO_SERVER = """
import asyncio
from framewire.asyncio import Listener, serve
REQUEST = (b'GET / HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
           b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n')
class Transport(asyncio.Transport):
    closing, written = False, 0
    def set_write_buffer_limits(self, high=None, low=None): pass
    def get_write_buffer_size(self): return 0
    def can_write_eof(self): return True
    def is_closing(self): return self.closing
    def write(self, data): self.written += len(data)
    def write_eof(self): pass
    def close(self): self.closing = True
class Echo(Listener):
    def on_message(self, connection, message): connection.send(message)
async def echo(connection):
    async for message in connection: await connection.send(message)
async def call(function, *arguments):  # as an event loop does, outside of all tasks
    asyncio.get_running_loop().call_soon(function, *arguments)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
async def read(driver, data):
    driver.get_buffer(-1)[:len(data)] = data
    await call(driver.buffer_updated, len(data))
async def connect(server):
    driver = server.make_connection(server)._driver
    driver.connection_made(Transport())
    await read(driver, REQUEST)
    return driver
async def end(driver):
    await read(driver, Stream(CLIENT).close(1000))
    await call(driver.eof_received)
    driver.transport.close()
    await call(driver.connection_lost, None)
async def echo_messages(server, at_once=1):
    driver, frames = await connect(server), Stream(CLIENT).send(b'x' * 256) * at_once
    for _ in range(count): await read(driver, frames)
    assert driver.transport.written > count * at_once * 256
    await end(driver)
async def echo_16(server): await echo_messages(server, 16)
async def open_and_close(server):
    for _ in range(count):
        driver = await connect(server)
        assert driver.transport.written > 100
        await end(driver)
class Sink(asyncio.BufferedProtocol):
    def __init__(self): self.buffer, self.transport = bytearray(1 << 16), Transport()
    def get_buffer(self, size): return self.buffer
    def buffer_updated(self, size): pass
    def eof_received(self): pass
    def connection_lost(self, error): pass
async def only_read(server):
    for _ in range(count):
        sink = Sink()
        await read(sink, REQUEST)
        await end(sink)
async def main(handler, run):
    async with serve(handler, '127.0.0.1', 0, compression=None) as server: await run(server)
"""
#: Statements that process `count` messages, by name. They and PRELUDE run on older revisions too.
WORKLOADS = {
    "receive text, 16 bytes": "Stream(SERVER).receive(Stream(CLIENT).send('x' * 16) * count)",
    "receive text, 1 KiB, not ASCII": "Stream(SERVER).receive(Stream(CLIENT).send('é' * 512) * count)",
    "receive binary, 4 KiB": "Stream(SERVER).receive(Stream(CLIENT).send(bytes(4096)) * count)",
    "receive compressed, 264 bytes": (
        "frame = Stream(CLIENT, extensions=[Deflate()]).send('compressed ' * 24)\n"
        "Stream(SERVER, extensions=[Deflate()]).receive(frame * count)"
    ),
    "receive text, 16 bytes, a call each": (
        "stream, frame = Stream(SERVER), Stream(CLIENT).send('x' * 16)\nfor _ in range(count): stream.receive(frame)"
    ),
    "receive text, 4 KiB, in two reads": (
        "stream, frame = Stream(SERVER), Stream(CLIENT).send('x' * 4096)\n"
        "for _ in range(count): stream.receive(frame[:1000]), stream.receive(frame[1000:])"
    ),
    "receive text in two fragments": (
        "client = Stream(CLIENT)\nStream(SERVER).receive((client.send('ab', last=False) + client.send('cd')) * count)"
    ),
    "receive pings": "Stream(SERVER).receive(Stream(CLIENT).ping(b'?') * count)",
    "send text as server, 16 bytes": "s = Stream(SERVER)\nfor _ in range(count): s.send('xxxxxxxxxxxxxxxx')",
    "send text as client, 1 KiB": "s = Stream(CLIENT, mask_source=bytes)\nfor _ in range(count): s.send('x' * 1024)",
    "send binary as client, 16 bytes": "s = Stream(CLIENT)\nfor _ in range(count): s.send(b'xxxxxxxxxxxxxxxx')",
    "send compressed, 264 bytes": (
        "stream, text = Stream(SERVER, extensions=[Deflate()]), 'compressed ' * 24\n"
        "for _ in range(count): stream.send(text)"
    ),
    "send a bytearray, 16 bytes": "s, data = Stream(SERVER), bytearray(16)\nfor _ in range(count): s.send(data)",
    "answer an opening handshake": (
        "from framewire.handshake import ServerHandshake\n"
        "head = (b'GET / HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'\n"
        "        b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n')\n"
        "for _ in range(count):\n"
        "    handshake = ServerHandshake()\n"
        "    handshake.receive(head)\n"
        "    handshake.accept(headers=[('Server', 'x')])"
    ),
    "echo 256 bytes, callbacks": f"{ASYNCIO_SERVER}asyncio.run(main(Echo(), echo_messages))",
    "echo 256 bytes, a coroutine": f"{ASYNCIO_SERVER}asyncio.run(main(echo, echo_messages))",
    "echo 16 x 256 bytes of a read, callbacks": f"{ASYNCIO_SERVER}asyncio.run(main(Echo(), echo_16))",
    "echo 16 x 256 bytes of a read, a coroutine": f"{ASYNCIO_SERVER}asyncio.run(main(echo, echo_16))",
    "open and close, the session alone": (
        "from framewire.session.session import Session\n"
        "from framewire.session.settings import ConnectionSettings\n"
        "settings, frame = ConnectionSettings(), Stream(CLIENT).close(1000)\n"
        "for _ in range(count):\n"
        "    session = Session(SERVER, settings, 0.0, queue=False)\n"
        "    session.receive(frame, 1.0)\n"
        "    assert len(session.data_to_send()) == 4\n"
        "    session.receive_eof(2.0)"
    ),
    "open and close, without a server": f"{ASYNCIO_SERVER}asyncio.run(main(Echo(), only_read))",
    "open and close, callbacks": f"{ASYNCIO_SERVER}asyncio.run(main(Echo(), open_and_close))",
    "open and close, a coroutine": f"{ASYNCIO_SERVER}asyncio.run(main(echo, open_and_close))",
}
PRELUDE = """
import gc
gc.disable()  # a full collection would fall into the longer run alone
from framewire import CLIENT, SERVER, Stream, backend
from framewire._backend import Deflate
assert backend().name == 'fast'
"""
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONHASHSEED": "0",
    "FRAMEWIRE_SIMD": "sse2" if os.uname().machine == "x86_64" else "",  # the same on every machine
}


def build(tree):
    """Compile and install the package of `tree`; return the folder to import it from."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tree / "counted", tree]
    subprocess.run(command, env={**os.environ, "FRAMEWIRE_EXTENSIONS": "1"}, check=True)
    return tree / "counted"


def count_run(package, statement, count):
    """Return the instructions of a whole process that runs `statement`."""
    code = f"{PRELUDE}count = {count}\n{statement}\n"
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", code],
        env={**ENVIRONMENT, "PYTHONPATH": str(package)},
        cwd=package,  # an import lists the current folder again whenever something has changed there
        capture_output=True,
        text=True,
        check=False,
    )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not collected:
        sys.exit(done.stderr)
    return int(collected[1])


def count_message(package, statement):
    """Return the instructions of one message."""
    return round((count_run(package, statement, MANY) - count_run(package, statement, FEW)) / (MANY - FEW))


def extract(revision, folder):
    """Write the tree of `revision` to `folder`; "" is the checked-out one with its changes."""
    revision = revision or subprocess.check_output(["git", "stash", "create"], cwd=ROOT, text=True).strip() or "HEAD"
    archive = subprocess.check_output(["git", "archive", revision], cwd=ROOT)
    folder.mkdir()
    subprocess.run(["tar", "x", "-C", folder], input=archive, check=True)
    return folder


def main(revisions):
    with tempfile.TemporaryDirectory() as temporary:
        now = build(extract("", Path(temporary, "now")))
        then = build(extract(revisions[0], Path(temporary, "was"))) if revisions else None
        slower = 0
        for name, statement in WORKLOADS.items():
            count = count_message(now, statement)
            line = f"{name:<42}{count:>9,}"
            if then is not None:
                before = count_message(then, statement)
                worse = count > before * TOLERANCE
                slower += worse
                line += f"{before:>12,} before{count / before - 1:>+9.1%}{'  SLOWER' if worse else ''}"
            print(line, flush=True)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
