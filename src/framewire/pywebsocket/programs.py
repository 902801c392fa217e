"""HTTP responses for resources without a handler: CGI programs (RFC 3875)."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import HandshakeError
from ..http.headers import Headers, check_field
from ..http.http11 import Request, Response
from ..http.server_handshake import WITHOUT_CONTENT
from .files import read_path

__all__ = ["MAX_BODY", "Program", "find_program", "run_program"]

logger = logging.getLogger("framewire.pywebsocket")

#: The largest body of a request, in bytes: it is received before the program starts.
MAX_BODY: Final = 1 << 20

#: Seconds after which a program is killed; the response is 504.
TIMEOUT: Final = 30.0

_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
#: Request headers that programs do not get: credentials, and those with a variable of their own
#: (RFC 3875 4.1).
_WITHHELD: Final = frozenset({"authorization", "proxy-authorization", "proxy", "content-length", "content-type"})
#: Response headers of a program that the server replaces or interprets.
_OURS: Final = frozenset({"status", "connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True)
class Program:
    """A program below the document root.

    Attributes:
        root: The document root.
        file: The file of the program.
        name: The path of the program in the URI.
        rest: The path after it.
    """

    root: Path
    file: Path
    name: str
    rest: str


def find_program(root: Path, directories: Sequence[str], request: Request) -> Program | None:
    """Return the program for a request; None if its path is not below one of `directories`.

    Args:
        root: The document root.
        directories: The directories of programs, whose files are never served.
        request: The request.

    Raises:
        HandshakeError: With 404 if there is no such file, or its real path is outside of `root`;
            with 403 if it is not executable.
    """
    path = read_path(request)
    if path is None:
        return None
    parts = [part for part in path.split("/") if part]
    root = root.resolve()
    for directory in directories:
        prefix = [part for part in directory.split("/") if part]
        if not prefix or parts[: len(prefix)] != prefix:
            continue
        for count in range(len(prefix) + 1, len(parts) + 1):
            file = _find_file(root, parts[:count])
            if file is not None:
                if not os.access(file, os.X_OK):
                    raise HandshakeError(403, "this is not a program")
                rest = "".join(f"/{part}" for part in parts[count:]) + "/" * path.endswith("/")
                return Program(root, file, "/" + "/".join(parts[:count]), rest)
        raise HandshakeError(404, "there is no such program")
    return None


def _find_file(root: Path, parts: Sequence[str]) -> Path | None:
    """Return the real path of a file below `root`, or None."""
    try:
        file = root.joinpath(*parts).resolve()
        return file if file.is_file() and file.is_relative_to(root) else None
    except (OSError, RuntimeError):  # a name that is too long; a loop of symbolic links, before Python 3.13
        return None


def run_program(
    program: Program, request: Request, body: bytes, server: tuple[Any, ...], client: tuple[Any, ...]
) -> Response:
    """Run a program in its directory and return its response; log its standard error.

    Args:
        program: The program.
        request: The request.
        body: The body of the request.
        server: The address of the server: (host, port, ...).
        client: The address of the client: (host, port, ...).

    Raises:
        HandshakeError: With 504 after `TIMEOUT`; with 502 if the program cannot be run, or its
            output is invalid.
    """
    try:
        done = subprocess.run(
            [sys.executable, program.file] if os.name == "nt" and program.file.suffix == ".py" else [program.file],
            input=body,
            capture_output=True,
            cwd=program.file.parent,
            env=_environment(program, request, body, server, client),
            timeout=TIMEOUT,
        )
        if done.stderr:
            logger.warning("%s: %s", program.name, done.stderr.decode(errors="replace").rstrip())
        return _read_answer(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise HandshakeError(504, "the program took too long") from error
    except (OSError, ValueError) as error:
        logger.warning("%s: %s", program.name, error)
        raise HandshakeError(502, "the program gave no answer") from error


def _environment(
    program: Program, request: Request, body: bytes, server: tuple[Any, ...], client: tuple[Any, ...]
) -> dict[str, str]:
    """Return the environment of the server with the variables of RFC 3875 4.1."""
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": request.headers.get_joined(name)
        for name in request.headers
        if name.lower() not in _WITHHELD and "_" not in name  # "_" could impersonate a hyphen
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("HTTP_")}
    path = {"PATH_INFO": program.rest, "PATH_TRANSLATED": f"{program.root}{program.rest}"} if program.rest else {}
    return {
        **own,
        **headers,
        **path,
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": "framewire",
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": str(client[0]),
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": program.name,
        "QUERY_STRING": request.target.partition("#")[0].partition("?")[2],
        "CONTENT_TYPE": request.headers.get_joined("Content-Type"),
        "CONTENT_LENGTH": str(len(body)) if body else "",
    }


def _read_answer(output: bytes) -> Response:
    """Parse the output of a program (RFC 3875 6). ValueError if it is invalid."""
    head, *rest = _END_OF_HEAD.split(output, maxsplit=1)
    if not rest:
        raise ValueError("its output has no empty line after its headers")
    lines = []
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        lines.append((name, value.strip()))
        check_field(*lines[-1])
    headers = Headers(lines)
    if not any(name in headers for name in ("Content-Type", "Location", "Status")):
        raise ValueError("its output has no Content-Type")
    default = "302 Found" if "Location" in headers else "200 OK"
    code, _, reason = (headers.get_joined("Status") or default).partition(" ")
    status = int(code)
    if not 200 <= status <= 599:
        raise ValueError(f"a program cannot answer {status}")
    kept = [line for line in lines if line[0].lower() not in _OURS]
    return Response(status, reason, Headers(kept), b"" if status in WITHOUT_CONTENT else rest[0])
