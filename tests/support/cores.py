"""Objects of the twins' classes, and a `StreamCore` whose slow paths record what the fast paths leave to them."""

import inspect
from functools import lru_cache

from framewire import _backend


@lru_cache
def _class_over(base):
    class Core(base):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.left, self.ended = [], 0

        def _receive_slow(self, data, start, decoded, events):
            self.left.append((data[start:], decoded))
            return len(data) - start

        def _send_slow(self, *arguments):
            self.left.append(arguments)
            return [b""] if arguments[-1] else b""

        def _end_after_error(self):
            self.ended += 1

    return Core


def make_core(twins, masked=False, limit=1 << 20, wrap=None, keys=None, keys_guarded=False):
    """Return a core of the twins `twins`.

    `left` lists the calls of the slow paths: (bytes, decoded) of `receive`, all arguments of
    `send`. `ended` counts the calls of `_end_after_error`.
    """
    return _class_over(twins.StreamCore)(twins.PartialMessage(masked, limit, wrap), keys, keys_guarded)


def make_instance(twins, name):
    """Create an object of the class `name` of the dict `twins`."""
    if name == "StreamCore":
        return twins[name](twins["PartialMessage"](False, 0, None), None, False)
    if name == "Deflate":
        return twins[name]()
    if name == "SocketWriter":
        return twins[name](make_instance(twins, "StreamCore"), None, None, 0)
    # Cython's constructors have no signature.
    parameters = inspect.signature(_backend.load("_pure")[name]).parameters
    return twins[name](**dict.fromkeys(parameters, 0))
