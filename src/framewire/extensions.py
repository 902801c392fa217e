"""Extensions (RFC 6455 9): permessage-deflate, the negotiation, and the interfaces for extensions
of one's own.

client: make_offers ─▶ request … response ─ agree_to_answers ─▶ codecs for the Stream
server: request ─ accept_offers ─▶ response, codecs for the Stream
"""

from .protocol.codecs import (
    Codec,
    Extension,
    Parameters,
    Terms,
    accept_offers,
    agree_to_answers,
    make_offers,
)
from .protocol.permessage_deflate import Deflate, PerMessageDeflate

__all__ = [
    "Codec",
    "Deflate",
    "Extension",
    "Parameters",
    "PerMessageDeflate",
    "Terms",
    "accept_offers",
    "agree_to_answers",
    "make_offers",
]
