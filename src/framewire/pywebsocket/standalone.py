"""`standalone`: the command of pywebsocket3, with its flags and its defaults.

A program that runs `python -m pywebsocket3.standalone` runs `python -m framewire.pywebsocket`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import FramewireError
from .options import add_arguments, read_settings, run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Like pywebsocket3 and unlike `framewire serve`, listen on port 80 of all interfaces, and serve
    the handlers of the document root, unless flags say otherwise.

    Args:
        arguments: The flags; None: those of the command line.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser("framewire.pywebsocket", description="Serve the handlers of a directory.")
    host = ("-H", "--server-host", "--server_host", "--host")
    parser.add_argument(*host, dest="host", default=argparse.SUPPRESS, help="address to listen on (all)")
    parser.add_argument("-p", "--port", type=int, default=argparse.SUPPRESS, help="port to listen on (80)")
    add_arguments(parser)
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    try:
        settings = read_settings(given, host="", port=80, websock_handlers=".")
        assert settings is not None  # one of the defaults is `websock_handlers`
        return run(settings)
    except (FramewireError, OSError) as error:
        parser.error(str(error))
