"""WebSocket servers and clients for blocking programs, with the names and shapes of `websockets.sync`."""

from .client import ClientConnection, connect
from .connection import Connection
from .options import Options
from .server import Server, ServerConnection, serve

__all__ = [
    "ClientConnection",
    "Connection",
    "Options",
    "Server",
    "ServerConnection",
    "connect",
    "serve",
]
