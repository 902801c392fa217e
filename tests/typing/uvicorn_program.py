"""A user's server on uvicorn as type checkers see it. Never run."""

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from framewire.adapters.uvicorn import WebSocketProtocol


class PatientProtocol(WebSocketProtocol):
    """The class with a longer timeout."""

    close_timeout = 30.0


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Accept and close."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await send({"type": "websocket.close", "code": 1000, "reason": None})


uvicorn.run(app, ws=WebSocketProtocol)
uvicorn.run(app, ws="framewire.adapters.uvicorn:WebSocketProtocol")
uvicorn.Config(app, ws=PatientProtocol, ws_max_size=1 << 20)
