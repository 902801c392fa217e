"""The exceptions of both libraries by name, for tests in which one library talks to the other.

Each name is the pair of both classes, as `assertRaises`, `except` and `isinstance` take it.
"""

import websockets.exceptions

import framewire.exceptions

globals().update(
    {
        name: (getattr(framewire.exceptions, name), getattr(websockets.exceptions, name))
        for name in websockets.exceptions.__all__
        if hasattr(framewire.exceptions, name)
    }
)

#: The one that the handlers of these tests raise.
NegotiationError = framewire.exceptions.NegotiationError
