"""`ServerOptions` and `BaseServer`: the arguments of `serve` that every driver has, checked once."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import CoroutineType
from typing import Any

from ..errors import ConnectionClosed
from ..http.server_answer import ProcessRequest, ProcessResponse
from ..http.server_policy import ServerPolicy, check_functions
from ..protocol.constants import CloseCode, State
from ..protocol.permessage_deflate import SERVER_DEFAULT, add_compression
from ..protocol.sender import check_close
from .arguments import check_context
from .connection import close_code_after
from .logs import choose_logger, describe_address
from .settings import REFUSED, ConnectionSettings, check_max_connections

__all__ = ["BaseServer", "ServerOptions", "consists_of", "handler_failed", "has_ended", "remove_socket"]


class ServerOptions:
    """The arguments of a `serve` that do not depend on its driver.

    Args:
        arguments: The arguments of `serve` by name.
        default_connection: What makes connections, unless the arguments have `create_connection`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value.
    """

    def __init__(self, arguments: Mapping[str, Any], default_connection: Callable[..., Any]) -> None:
        self.handler: Any = arguments["handler"]
        extensions = add_compression(arguments["extensions"] or (), arguments["compression"], SERVER_DEFAULT)
        subprotocols = () if arguments["subprotocols"] is None else arguments["subprotocols"]
        self.policy = ServerPolicy(
            arguments["origins"], subprotocols, arguments["select_subprotocol"], extensions,
            arguments["server_header"], arguments["trusted_proxies"], arguments["head_limits"],
        )  # fmt: skip
        self.settings = ConnectionSettings.of(arguments)
        self.logger = choose_logger(arguments["logger"], "framewire.server")
        self.process_request: ProcessRequest | None = arguments["process_request"]
        self.process_response: ProcessResponse | None = arguments["process_response"]
        self.max_connections: int | None = arguments["max_connections"]
        self.create_connection: Callable[..., Any] = arguments["create_connection"] or default_connection
        self.ssl: Any = arguments["ssl"]
        check_max_connections(self.max_connections)
        check_functions(create_connection=self.create_connection)
        callbacks = {name: arguments[name] for name in ("process_request", "process_response")}
        check_functions(**{name: callback for name, callback in callbacks.items() if callback is not None})
        check_context("ssl", self.ssl)
        port = arguments["port"]
        if isinstance(port, int) and not 0 <= port <= 65535:  # glibc, and so trio, would take 70000 for 4464
            raise ValueError(f"port is 0 to 65535, not {port}")


class BaseServer:
    """A server, as its connections see it.

    Args:
        options: The arguments of `serve`.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.handler = options.handler
        self.policy = options.policy
        self.settings = options.settings
        self.logger = options.logger
        self.process_request = options.process_request
        self.process_response = options.process_response
        self.max_connections = options.max_connections
        self.make_connection = options.create_connection
        self.ssl = options.ssl
        #: Whether the server has been told to close.
        self.closing = False
        self._everyone: Any = set()  # the connections, by any collection

    @property
    def connections(self) -> set[Any]:
        """The connections that are open now."""
        return {one for one in list(self._everyone) if one.state is State.OPEN}

    def run_handler(self, connection: Any) -> Awaitable[None]:
        """Call the handler of an event loop; return its coroutine.

        Args:
            connection: The connection that it serves.

        Raises:
            TypeError: The handler is an ordinary function.
        """
        running: Awaitable[None] = self.handler(connection)
        if type(running) is not CoroutineType and not isinstance(running, Awaitable):
            raise TypeError("the handler is no coroutine function: define it with async def")
        return running

    def log_sockets(self, sockets: Iterable[Any]) -> None:
        """Log at INFO what the server listens on."""
        for listening_socket in sockets:
            self.logger.info("server listening on %s", describe_address(listening_socket.getsockname()))

    def begin_closing(self, code: int, reason: str) -> bool:
        """Accept no further connections; return whether this is the first call.

        Args:
            code: The close code for the connections.
            reason: The close reason.

        Raises:
            CloseCodeError: The code is not allowed in a close frame; nothing has changed, as for the
                others.
            PayloadTooBigError: The reason is too long.
            TextError: The reason is not UTF-8.
        """
        check_close(code, reason)
        first, self.closing = not self.closing, True
        if first:
            self.logger.info("server closing")
        return first

    def is_full(self, serving: int) -> bool:
        """Return whether a server of `serving` connections has no place for another one."""
        return self.max_connections is not None and serving >= self.max_connections

    def may_refuse(self, refused: int) -> bool:
        """Return whether another connection may be answered 503 besides `refused` ones, or is closed
        without an answer.
        """
        return refused < max(self.max_connections or 0, REFUSED)


def handler_failed(connection: Any, error: Exception) -> CloseCode:
    """Log the error of a connection's handler.

    Returns:
        The close code: 1011. That its own connection has ended is no error: the handler was not done,
        but the client was; then it is 1000.
    """
    if has_ended(connection, error):
        return CloseCode.NORMAL_CLOSURE
    connection.logger.error("connection handler failed", exc_info=error)
    return close_code_after(error)


def has_ended(connection: Any, error: BaseException, *others: type[BaseException]) -> bool:
    """Return whether the exception of a handler says that its connection has ended: a ConnectionClosed, or
    a group of such and `others`. While the connection is open, it is that of another connection.
    """
    return connection.state is not State.OPEN and consists_of(error, (ConnectionClosed, *others))


def consists_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Return whether an exception, or each of a group, is of one of these kinds."""
    group: Sequence[BaseException] = getattr(error, "exceptions", ())  # without a name on Python 3.10
    return isinstance(error, kinds) or (len(group) > 0 and all(consists_of(each, kinds) for each in group))


def remove_socket(path: str | os.PathLike[str]) -> None:
    """Remove the Unix socket of an earlier server, if there is one at `path`."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
