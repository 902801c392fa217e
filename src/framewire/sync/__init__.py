"""WebSocket servers and clients for blocking programs, with the names and parameters of
`websockets.sync`.
"""

from .client import ClientConnection, connect, reconnect, unix_connect, unix_reconnect
from .connection import Connection, broadcast
from .server import SAME_ORIGIN, Server, ServerConnection, basic_auth, serve, unix_serve
from .topics import Topics

__all__ = [
    "SAME_ORIGIN",
    "ClientConnection",
    "Connection",
    "Server",
    "ServerConnection",
    "Topics",
    "basic_auth",
    "broadcast",
    "connect",
    "reconnect",
    "serve",
    "unix_connect",
    "unix_reconnect",
    "unix_serve",
]
