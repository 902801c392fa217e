"""A `StreamCore` whose slow paths only record the input that the fast paths leave to them."""

from functools import lru_cache


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
