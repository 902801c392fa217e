"""`FailingCodec`: an extension whose codec raises for some messages."""


class FailingCodec:
    """A codec that leaves messages as they are, and cannot encode some."""

    rsv, threshold, pending = 0x40, 0, False

    def decode(self, payload, most, last):
        return payload

    def encode(self, content, last):
        if content.startswith(b"fail"):
            raise ZeroDivisionError(content.decode())
        return content

    def abandon(self):
        pass

    def close(self):
        pass
