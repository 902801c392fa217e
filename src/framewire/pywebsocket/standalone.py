"""`standalone`: the command of pywebsocket3, with its flags and its defaults.

`python -m framewire.pywebsocket.standalone`, or `python -m framewire.pywebsocket`, takes the place
of `python -m pywebsocket3.standalone`; `from framewire.pywebsocket import standalone` that of the
import from pywebsocket3. The names with an underscore are pywebsocket3's too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from typing import Any, Final

from ..errors import FramewireError
from . import modules
from .options import Settings, add_arguments, load, read_settings, run, start

__all__ = ["WebSocketServer", "main"]

#: The options that pywebsocket3 names otherwise than `Settings`.
_NAMES: Final = {
    "host": "server_host", "tls": "use_tls", "basic_auth": "use_basic_auth", "queue": "request_queue_size",
}  # fmt: skip


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("framewire.pywebsocket", description="Serve the handlers of a directory.")
    host = ("-H", "--server-host", "--server_host", "--host")
    parser.add_argument(*host, dest="host", default=argparse.SUPPRESS, help="address to listen on (all)")
    parser.add_argument("-p", "--port", type=int, default=argparse.SUPPRESS, help="port to listen on (80)")
    add_arguments(parser)
    return parser


def _read_settings(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> Settings:
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    settings = read_settings(given, host="", port=80, websock_handlers=".")
    assert settings is not None  # one of the defaults is `websock_handlers`
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Like pywebsocket3 and unlike `framewire serve`, listen on port 80 of all interfaces, and serve
    the handlers of the document root, unless flags say otherwise.

    Args:
        arguments: The flags; None: those of the command line.

    Returns:
        The exit status.
    """
    parser = _make_parser()
    try:
        return run(_read_settings(parser, arguments))
    except (FramewireError, OSError) as error:
        parser.error(str(error))


_main = main


def _parse_args_and_config(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options for `WebSocketServer`, with the names that they have in pywebsocket3."""
    settings = vars(_read_settings(_make_parser(), arguments))
    return argparse.Namespace(**{_NAMES.get(name, name): value for name, value in settings.items()}), []


class WebSocketServer:
    """A listening server, for a program that runs it in a thread of its own.

    The modules that handlers import can be imported until `server_close`.

    Args:
        options: The first result of `_parse_args_and_config`; a program may change it, or make it
            with only some of the options.

    Raises:
        OptionError: Two options exclude each other, or one needs another.
        OSError: It cannot listen there, or a file cannot be read.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        given, names = vars(options), {_NAMES.get(field.name, field.name): field.name for field in fields(Settings)}
        settings = Settings(**{names[name]: value for name, value in given.items() if name in names})
        with ExitStack() as stack:
            stack.enter_context(modules.installed())
            self._server = stack.enter_context(start(settings, load(settings)))
            self._stack = stack.pop_all()
        #: Pairs whose first element is a listening socket.
        self._sockets = [(self._server.socket, None)]
        self.server_port: int = self._server.socket.getsockname()[1]

    def serve_forever(self) -> None:
        """Serve until `shutdown`."""
        self._server.serve_forever()

    def shutdown(self) -> None:
        """Close every connection, and wait until the handlers have returned."""
        self._server.shutdown()

    def server_close(self) -> None:
        """Free everything, after `shutdown`."""
        self._stack.close()


if __name__ == "__main__":
    raise SystemExit(main())
