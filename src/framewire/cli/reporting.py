"""Errors of commands: one sentence on standard error, and an exit status of `sysexits.h`."""

from __future__ import annotations

import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import strerror
from typing import Final

from ..errors import FramewireError, OpeningError, StatusError, UriError
from ..pywebsocket.options import OptionError

__all__ = [
    "FAILURE",
    "INTERRUPTED",
    "IO_ERROR",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "UNAVAILABLE",
    "USAGE",
    "CommandError",
    "connecting_to",
    "count",
    "describe",
    "describe_connect_error",
    "exit_status",
    "print_status",
]

FAILURE: Final = 1  # the command has done its work, and the result is negative
USAGE: Final = 2  # as for errors of argparse
UNAVAILABLE: Final = 69  # EX_UNAVAILABLE
IO_ERROR: Final = 74  # EX_IOERR
NOT_EXECUTABLE: Final = 126  # this and the next two: as the shell
NOT_FOUND: Final = 127
INTERRUPTED: Final = 130

#: Characters that are shown of the first line of a response.
_MAX_LINE: Final = 100
#: "[Errno 111] text", and "[SSL: NAME] text (_ssl.c:1006)" or without a name.
_ERROR_NUMBER: Final = re.compile(r"\[Errno (-?\d+)\] ")
_SSL_DETAILS: Final = re.compile(r"\[[A-Z]\w*(?:: \w+)?\] | \(_ssl\.c:\d+\)")


class CommandError(FramewireError):
    """A command cannot do its work.

    Args:
        message: The sentence to print.
        status: The exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def connecting_to(place: str) -> Iterator[None]:
    """Report that no connection to a URI or Unix socket could be opened.

    Raises:
        CommandError: In place of an OSError or OpeningError of the body, or an ImportError for a
            package that a proxy needs, with status 69, and of an error in the arguments, with status 2.
    """
    try:
        yield
    except (OSError, OpeningError) as error:  # SSLCertVerificationError is a ValueError too
        raise CommandError(f"cannot connect to {place}: {describe_connect_error(error)}", UNAVAILABLE) from error
    except ImportError as error:
        raise CommandError(describe(error), UNAVAILABLE) from error
    except ValueError as error:
        raise CommandError(describe(error), USAGE) from error


def describe_connect_error(error: Exception) -> str:
    """Describe the error of an attempt to connect, without the address."""
    numbers = set(_ERROR_NUMBER.findall(str(error)))
    if len(numbers) == 1 and not isinstance(error, socket.gaierror):
        # The texts of asyncio repeat the address, and do not say "Connection refused".
        return strerror(int(numbers.pop()))
    return describe(error)


def describe(error: Exception) -> str:
    """Describe an error in one line, without its number."""
    if isinstance(error, ssl.SSLError):
        # OpenSSL reports bytes that are not TLS as "wrong version number".
        not_tls = "WRONG_VERSION_NUMBER" in str(error)
        text = "the server does not speak TLS, which wss:// needs" if not_tls else _SSL_DETAILS.sub("", str(error))
    elif isinstance(error, StatusError):
        text = f"{error} {error.response.reason}{_quote_first_line(error.response.body)}"
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = _ERROR_NUMBER.sub("", str(error))
    return " ".join(text.split()) or type(error).__name__


def _quote_first_line(body: bytes) -> str:
    """Return a colon and the first line of a text, which may say why a server refuses."""
    try:
        line = body.strip().partition(b"\n")[0].decode().rstrip()
    except UnicodeDecodeError:
        return ""
    return f": {line[:_MAX_LINE]!r}" if line else ""


def exit_status(error: Exception) -> int:
    """Return the exit status after an error that ends a command."""
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, (OptionError, UriError)):
        return USAGE
    if isinstance(error, OpeningError):
        return UNAVAILABLE
    return IO_ERROR if isinstance(error, OSError) else FAILURE


def count(number: int, noun: str) -> str:
    """Return a number and a noun in its singular or plural: "1 frame", "2,000 frames"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def print_status(text: str) -> None:
    """Print a line on standard error, unless that is closed.

    Control characters are escaped: a server must not send commands to the terminal.
    """
    if sys.stderr is not None:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        print(line, file=sys.stderr, flush=True)
