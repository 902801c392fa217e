"""WebSocket servers and clients on trio, with the names and shapes of `websockets.trio`."""

try:
    import trio as _  # noqa: F401
except ImportError as error:
    raise ImportError("framewire.trio needs trio: pip install framewire[trio]") from error

from .client import ClientConnection, connect, unix_connect
from .connection import Connection, broadcast
from .server import SAME_ORIGIN, Server, ServerConnection, basic_auth, serve, unix_serve
from .topics import Topics

__all__ = [
    "SAME_ORIGIN", "ClientConnection", "Connection", "Server", "ServerConnection", "Topics", "basic_auth",
    "broadcast", "connect", "serve", "unix_connect", "unix_serve",
]  # fmt: skip
