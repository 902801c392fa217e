"""uvicorn's WebSocket on framewire: `uvicorn --ws framewire.adapters.uvicorn:WebSocketProtocol
app:app`.
"""

from .configuration import check_at_startup
from .protocol import WebSocketProtocol

__all__ = ["WebSocketProtocol"]

check_at_startup(WebSocketProtocol)
