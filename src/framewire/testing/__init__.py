"""Connections without a network for the tests of applications.

`framewire.testing.asyncio`, `.sync` and `.trio` connect a client to a handler (`connect`), give both
ends of a connection (`pair`), or connect a scripted client that misbehaves (`connect_peer`).
`framewire.testing.asgi` does so for ASGI applications. `serve_peer` of `.sync` is a scripted server
for clients of every kind, and `framewire.testing.fixtures` has fixtures of pytest.
"""

from .peer import VIOLATIONS

__all__ = ["VIOLATIONS"]
