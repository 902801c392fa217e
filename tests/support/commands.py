"""The command line in child processes, and clients of its server."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

from websockets.sync.client import connect

COMMAND = [sys.executable, "-m", "framewire"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, **options)


@contextmanager
def serving(*arguments, first="http://"):
    """Run `framewire serve` on a free port; give its process and `host:port`, from the first line that
    it prints, which has a URI that begins with `first`.
    """
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, re.search(rf"{first}(.+)/", process.stdout.readline())[1]
    finally:
        if process.returncode is None:
            process.terminate()
            process.communicate(timeout=10)


def get(url, **options):
    """Return the status, headers and body of a response with any status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=10) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as response:
        with response:
            return response.status, response.headers, response.read()


class Guest:
    """A user of the chat."""

    def __init__(self, socket):
        self.socket = socket
        self.id = self.next("you")["id"]

    @classmethod
    @contextmanager
    def joining(cls, where, name=""):
        with connect(f"ws://{where}/chat?name={name}", max_queue=None) as socket:
            yield cls(socket)

    def say(self, **message):
        self.socket.send(json.dumps(message))

    def next(self, kind):
        """Return the next message of this type."""
        while True:
            message = json.loads(self.socket.recv(timeout=10))
            if message["type"] == kind:
                return message
