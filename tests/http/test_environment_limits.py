"""The limits of HTTP messages that the environment sets for a whole process."""

import os
import subprocess
import sys

import pytest

#: Prints the outcome of a request with a cookie of 8,700 bytes and of one with 200 header lines.
PROGRAM = """
from framewire.errors import HandshakeError
from framewire.handshake import MAX_BODY, ServerHandshake

for lines in (b"Cookie: " + b"a" * 8700 + b"\\r\\n", b"X: y\\r\\n" * 200):
    try:
        print(ServerHandshake().receive(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n" + lines + b"\\r\\n").method)
    except HandshakeError as error:
        print(error.status)
print(MAX_BODY)
"""


def run(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WEBSOCKETS_")}
    environment = {**kept, **{f"WEBSOCKETS_MAX_{name}": value for name, value in variables.items()}}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("variables", "output"),
    [
        ({}, "431 431 1048576"),
        ({"LINE_LENGTH": "16384"}, "GET 431 1048576"),
        ({"NUM_HEADERS": "256"}, "431 GET 1048576"),
        ({"LINE_LENGTH": "65536", "NUM_HEADERS": "1000", "BODY_SIZE": "0"}, "GET GET 0"),
    ],
)
def test_environment_sets_the_limits_of_heads_and_bodies(variables, output):
    assert run(**variables).stdout.split() == output.split()


@pytest.mark.parametrize("value", ["", "8k", "-1", "100", "8192.0"])
def test_limit_that_is_no_integer_or_too_low_is_refused(value):
    finished = run(LINE_LENGTH=value)
    assert finished.returncode == 1
    assert "ValueError: WEBSOCKETS_MAX_LINE_LENGTH is an integer of 256 or more" in finished.stderr
