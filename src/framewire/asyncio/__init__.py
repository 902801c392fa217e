"""WebSocket servers and clients on asyncio, with the names and shapes of the `websockets` package."""

from .client import ClientConnection, connect
from .connection import Connection, Opening, broadcast
from .server import Server, ServerConnection, serve

__all__ = [
    "ClientConnection",
    "Connection",
    "Opening",
    "Server",
    "ServerConnection",
    "broadcast",
    "connect",
    "serve",
]
