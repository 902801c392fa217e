"""uvicorn's WebSocket on framewire: `uvicorn --ws framewire.adapters.uvicorn:WebSocketProtocol app:app`."""

from .protocol import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
