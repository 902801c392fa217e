"""Compare framewire with pywebsocket3 on a folder of pywebsocket handlers.

    python tests/seeds/handlers.py FOLDER [--reference PYTHON] [--update]

Every handler (`*_wsh.py`) must load. A scripted client runs the scenarios of `scenarios.py` against
each, on framewire and, with --reference, on the pywebsocket3 that PYTHON has installed. Two
transcripts agree if the bytes of handshake and frames do; masks and dates do not count, and of a
refusal only the status does, as its text is that of an HTTP server. `handlers.json` keeps the
expected result of each handler by name, as a digest, and the differences that are known, each with
its reason. Exit status 1: a handler does not load, or a result is not the expected one.
"""

import argparse
import hashlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

from frames import mask  # noqa: E402 - after the change of the path
from scenarios import close, scenarios_for  # noqa: E402

EXPECTED = HERE / "handlers.json"

#: Seconds to wait for the response to the handshake, for an answer to a step that may have none,
#: and for the end of TCP.
OPEN, QUIET, END = 3.0, 0.3, 4.0

REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Origin: http://localhost\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)

#: The host that every request names, so that handlers which repeat it say the same on all servers.
HOST = "handlers.test"


#: A refusal by a server, other than one that a handler has written, has these headers.
REFUSAL = re.compile(
    rb"HTTP/1\.[01] ([2345]\d\d) [^\r]*\r\n(?:[^\r]+\r\n)*?(?:Server: SimpleHTTP|Content-Type: text/plain)",
    re.IGNORECASE,
)


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(command, folder):
    """Run a server; give its port and the file of its log."""
    port = free_port()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryFile("w+") as log:
        flags = ["-H", "127.0.0.1", "-p", str(port), "-d", root, "-w", str(folder)]
        with subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, stderr=log) as process:
            try:
                wait_for_port(port, process)
                yield port, log
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:  # pywebsocket3 waits for its handlers
                    process.kill()


def wait_for_port(port, process):
    """Wait until a server listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"the server does not start: {process.args}")


class Client:
    """A client of one connection, which keeps what it receives."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.received = b""
        self.end = ""

    def receive(self, seconds):
        """Receive what comes next; return whether anything has."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            self.end = "end"  # a reset of TCP, where the server has left input unread
            return False
        self.received += data
        if not data:
            self.end = "end"
        return bool(data)

    def send(self, data):
        """Send, unless the server has left."""
        try:
            self.socket.sendall(data)
        except OSError:
            self.end = "end"

    def run(self, scenario, path):
        """Run a scenario; return the transcript."""
        more = "".join(f"{line}\r\n" for line in scenario.headers)
        request = (scenario.request or REQUEST).format(path=path + scenario.query, host=HOST, more=more)
        with self.socket:
            self.send(request.encode())
            answered = time.monotonic() + OPEN
            while not self.end and b"\r\n\r\n" not in self.received and time.monotonic() < answered:
                self.receive(QUIET)
            if self.received.startswith(b"HTTP/1.1 101 "):
                self.follow(scenario.steps)
                if not scenario.steps:
                    self.socket.shutdown(socket.SHUT_WR)
            until = time.monotonic() + END
            while not self.end and time.monotonic() < until and len(self.received) < 1 << 20:
                self.receive(0.1)
                self.answer_close(scenario.steps)
        return [*read_transcript(self.received), self.end or "open"]

    def follow(self, steps):
        """Send the steps; go on to the next when an answer, or none in time, has come."""
        while self.receive(0.05):
            pass
        for step in steps:
            if self.end or self.answer_close(steps):
                return
            self.send(step)
            self.receive(QUIET)

    def answer_close(self, steps):
        """Answer a close frame of the server as clients do; return whether there is one."""
        closed = any(entry.startswith("88") for entry in read_transcript(self.received))
        if closed and not getattr(self, "answered", False):
            self.answered = True
            self.send(close(1000))
        return closed


def read_transcript(data):
    """Return the head of an answer and its frames as text, without masks and dates."""
    refusal = REFUSAL.search(data)
    if refusal:
        yield f"{data[: refusal.start()].hex()} refused with {refusal[1].decode()}"
        return
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        yield f"bytes {data.hex()}"
        return
    lines = head.decode("latin-1").split("\r\n")
    yield "\n".join(line for line in lines if not line.lower().startswith("date:"))
    yield from read_frames(rest)


def read_frames(data):
    """Return each frame as its first byte and payload, in hexadecimal; then the rest.

    Of a frame that a handler sends again and again, the first 40 count: how many come is a matter
    of time.
    """
    seen = Counter()
    while len(data) >= 2:
        size, start = data[1] & 127, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        key = data[start : start + 4] if data[1] > 127 else b""
        start += len(key)
        if len(data) < start + size:
            break
        payload = data[start : start + size]
        if key:
            payload = mask(payload, key)
        # The form of the length is part of the frame.
        text = f"{data[0]:02x} {'masked ' if key else ''}{start - len(key)}:{payload.hex()}"
        data = data[start + size :]
        seen[text] += 1
        if seen[text] <= 40:
            yield text
    if data:
        yield f"rest {data[:14].hex()}"  # some handlers send without end: the amount is a matter of time


def run_all(port, paths):
    """Run all scenarios; return the transcripts by path and name. Handlers keep state: in order."""

    def run_one(path):
        return {scenario.name: Client(port).run(scenario, path) for scenario in scenarios_for(path)}

    with ThreadPoolExecutor(16) as pool:
        return dict(zip(paths, pool.map(run_one, paths), strict=True))


def run_server(command, folder, paths):
    """Run all scenarios on a server of its own; return the transcripts and the log."""
    with serving(command, folder) as (port, log):
        transcripts = run_all(port, paths)
        log.seek(0)
        return transcripts, log.read()


def digest(transcript):
    """Return a digest of a transcript."""
    return hashlib.sha256("\n".join(transcript).encode()).hexdigest()[:8]


def load_problems(log, folder):
    """Return the handlers that framewire has left out, with its reasons, from its log."""
    found = re.findall(r"(\S+)_wsh\.py is left out: (.*)", log)
    return {f"/{Path(name).relative_to(folder).as_posix()}": reason for name, reason in found}


def judge(results, reference, kept):
    """Return the state of each scenario, and what to show of those that are not as expected."""
    states, shown = {}, []
    for path, transcripts in results.items():
        for name, transcript in transcripts.items():
            key = f"{path} / {name}"
            known = next((why for pattern, why in kept["differences"].items() if fnmatchcase(key, pattern)), None)
            if reference is not None:
                same = transcript == reference[path][name]
                state = ("same", "differs")[not same] if known is None else ("known", "gone")[same]
                if state == "differs":
                    shown += [key, *(f"  ours    {line}" for line in transcript)]
                    shown += [f"  theirs  {line}" for line in reference[path][name]]
            else:
                state = "same" if known is None else "known"
            if kept["digests"].get(path, {}).get(name) != digest(transcript):
                state += ", changed"
            states[key] = state
    return states, shown


def report(arguments, everything, folder, problems, states, shown, results):
    """Print the table, and keep the results if asked to; return the exit status."""
    kept = everything[folder.name]
    print(*shown, sep="\n")
    for path in results:
        mine = [state for key, state in states.items() if key.startswith(f"{path} / ")]
        counts = ", ".join(f"{mine.count(state)} {state}" for state in dict.fromkeys(mine))
        print(f"{path:60} {counts}{'; not loaded: ' + problems[path] if path in problems else ''}")
    values = list(states.values())
    print(f"{len(results)} handlers, {len(problems)} not loaded, {len(values)} scenarios:", end=" ")
    print(", ".join(f"{values.count(state)} {state}" for state in sorted(set(values))))
    unexpected = problems.keys() ^ kept["not loaded"].keys()
    if arguments.update:
        kept["digests"] = {
            path: {name: digest(transcript) for name, transcript in transcripts.items()}
            for path, transcripts in results.items()
        }
        EXPECTED.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
        return 0
    return int(bool(unexpected) or any(state not in ("same", "known") for state in values))


def main():
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of handlers")
    parser.add_argument("--reference", metavar="PYTHON", help="an interpreter that has pywebsocket3")
    parser.add_argument("--update", action="store_true", help="keep these results as the expected ones")
    parser.add_argument("--only", metavar="REGEX", default="", help="only handlers whose path matches; for looking")
    parser.add_argument("--log", action="store_true", help="print the logs of the servers")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    paths = sorted(f"/{path.relative_to(folder).as_posix()[:-7]}" for path in folder.rglob("*_wsh.py"))
    paths = [path for path in paths if re.search(arguments.only, path)]
    commands = [[sys.executable, "-m", "framewire.pywebsocket"]]
    if arguments.reference:
        commands.append([arguments.reference, str(HERE / "reference.py")])
    with ThreadPoolExecutor() as pool:
        (results, log), *other = pool.map(lambda command: run_server(command, folder, paths), commands)
    problems = load_problems(log, folder)
    reference = other[0][0] if other else None
    if arguments.log:
        print(log, *(text for _, text in other))
    everything = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    kept = everything.setdefault(folder.name, {"not loaded": {}, "differences": {}, "digests": {}})
    states, shown = judge(results, reference, kept)
    return report(arguments, everything, folder, problems, states, shown, results)


if __name__ == "__main__":
    sys.exit(main())
