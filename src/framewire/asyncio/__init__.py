"""WebSocket servers and clients on asyncio, with the names and shapes of the `websockets`
package.
"""

from .callbacks import Listener, ListenerConnection
from .client import connect, unix_connect
from .client_connection import ClientConnection
from .connection import Connection, broadcast
from .server import SAME_ORIGIN, Server, ServerConnection, basic_auth, serve, unix_serve
from .topics import Topics

__all__ = [
    "SAME_ORIGIN",
    "ClientConnection",
    "Connection",
    "Listener",
    "ListenerConnection",
    "Server",
    "ServerConnection",
    "Topics",
    "basic_auth",
    "broadcast",
    "connect",
    "serve",
    "unix_connect",
    "unix_serve",
]
