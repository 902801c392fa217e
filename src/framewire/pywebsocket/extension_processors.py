"""The module `extensions`: the processors in `request.ws_extension_processors`, which the handler
may remove or configure before the response to the handshake.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from ..protocol.codecs import Codec, Terms
from ..protocol.permessage_deflate import Deflate, PerMessageDeflate
from .request import ExtensionParameter

__all__ = [
    "ExtensionProcessorInterface",
    "PerMessageDeflateExtensionProcessor",
    "get_extension_processor",
    "make_processors",
    "negotiate",
]

_CLIENT_BITS: Final = "client_max_window_bits"
_CLIENT_RESETS: Final = "client_no_context_takeover"

#: The order in which pywebsocket writes the parameters.
_ORDER: Final = ("server_max_window_bits", "server_no_context_takeover")

#: The settings of pywebsocket: every message is compressed, with the largest window.
_EXTENSION: Final = PerMessageDeflate(
    server_max_window_bits=None, client_max_window_bits=None, memory_level=8, threshold=0
)


class FinalBlockDeflate(Deflate):
    """A codec of permessage-deflate that can end messages by a block with the bit BFINAL."""

    bfinal = False

    def encode(self, content: bytes, last: bool) -> bytes:
        """Deflate a piece of a message; see `Codec.encode`."""
        if not (self.bfinal and last):
            return super().encode(content, last)
        self.abandon()  # the next message begins with an empty window (RFC 7692 7.2.3.4)
        deflater = zlib.compressobj(self.level, zlib.DEFLATED, -self.encode_bits, self.memory_level)
        return deflater.compress(content) + deflater.flush(zlib.Z_FINISH) + b"\0"


class ExtensionProcessorInterface:
    """An offer of the client, and the server's decision on it.

    Args:
        request: The offer.
    """

    def __init__(self, request: ExtensionParameter) -> None:
        self._request = request
        self._active = True

    def request(self) -> ExtensionParameter:
        """Return the offer."""
        return self._request

    def name(self) -> str | None:
        """Return the name of the processor; None for one without a name."""
        return None

    def check_consistency_with_other_processors(self, processors: Sequence[ExtensionProcessorInterface]) -> None:
        """Deactivate this processor if it conflicts with others; for subclasses."""

    def set_active(self, active: bool) -> None:
        """Accept the offer, or decline it."""
        self._active = active

    def is_active(self) -> bool:
        """Return whether the offer has not been declined."""
        return self._active

    def get_extension_response(self) -> ExtensionParameter | None:
        """Return the answer to the offer; None declines it."""
        answer = self._get_extension_response_internal() if self._active else None
        self._active = answer is not None
        return answer

    def _get_extension_response_internal(self) -> ExtensionParameter | None:
        return None

    def setup_stream_options(self, stream_options: object) -> None:
        """Do nothing: extensions are codecs here, not filters of a stream."""


class PerMessageDeflateExtensionProcessor(ExtensionProcessorInterface):
    """The processor of permessage-deflate (RFC 7692)."""

    def __init__(self, request: ExtensionParameter) -> None:
        super().__init__(request)
        #: The codec of the connection, once the offer is accepted.
        self.codec: FinalBlockDeflate | None = None
        #: Whether messages are compressed.
        self.compresses = True
        self._bfinal = False
        self._client_bits: int | None = None
        self._client_resets = False

    def name(self) -> str:
        """Return "deflate"."""
        return "deflate"

    def set_client_max_window_bits(self, value: int | None) -> None:
        """Request a smaller window from the client.

        An offer that does not allow that is declined.

        Args:
            value: 8 to 15; None requests nothing.
        """
        self._client_bits = value

    def set_client_no_context_takeover(self, value: bool) -> None:
        """Request that the client begins each message with an empty window, or do not."""
        self._client_resets = value

    def set_bfinal(self, value: bool) -> None:
        """End sent messages by a block with the bit BFINAL (RFC 7692 7.2.3.4), or do not."""
        self._bfinal = value
        if self.codec is not None:
            self.codec.bfinal = value

    def enable_outgoing_compression(self) -> None:
        """Compress the messages that are sent from now on."""
        self.compresses = True

    def disable_outgoing_compression(self) -> None:
        """Do not compress the messages that are sent from now on."""
        self.compresses = False

    def _get_extension_response_internal(self) -> ExtensionParameter | None:
        accepted = _EXTENSION.accept(self._request.get_parameters())
        if accepted is None:
            return None
        parameters, codec = accepted
        if self._client_bits is not None and not self._request.has_parameter(_CLIENT_BITS):
            return None  # the answer must not have this parameter (7.1.2.2)
        answer = dict(parameters)
        client_resets = self._client_resets or answer.pop(_CLIENT_RESETS, "") is None
        answer.pop(_CLIENT_BITS, None)
        pairs: list[tuple[str, str | None]] = [(name, answer[name]) for name in _ORDER if name in answer]
        if self._client_bits is not None:
            pairs.append((_CLIENT_BITS, str(self._client_bits)))
        if client_resets:
            pairs.append((_CLIENT_RESETS, None))
        self.codec = FinalBlockDeflate(
            encode_bits=codec.encode_bits,
            decode_bits=self._client_bits or 15,
            encode_resets=codec.encode_resets,
            decode_resets=client_resets,
        )
        self.codec.bfinal = self._bfinal
        return ExtensionParameter(self._request.name(), pairs)


def get_extension_processor(extension_request: ExtensionParameter) -> ExtensionProcessorInterface | None:
    """Return the processor of an offer; None if the extension is unknown."""
    if extension_request.name() == _EXTENSION.name:
        return PerMessageDeflateExtensionProcessor(extension_request)
    return None


def make_processors(offers: Sequence[ExtensionParameter]) -> list[ExtensionProcessorInterface]:
    """Return the processors of the offers whose extension is known."""
    return [processor for processor in map(get_extension_processor, offers) if processor is not None]


def negotiate(
    processors: Sequence[ExtensionProcessorInterface | None],
) -> tuple[list[Terms], list[Codec], PerMessageDeflateExtensionProcessor | None]:
    """Let the processors answer the offers; of each extension, the first accepted offer counts.

    Args:
        processors: `request.ws_extension_processors`; None is ignored.

    Returns:
        The answers, their codecs, and the processor of the codec.
    """
    answers: dict[str, Terms] = {}
    codecs: list[Codec] = []
    deflate: PerMessageDeflateExtensionProcessor | None = None
    for processor in processors:
        if processor is None:
            continue
        processor.check_consistency_with_other_processors([each for each in processors if each is not None])
        if not processor.is_active() or processor.request().name() in answers:
            continue
        answer = processor.get_extension_response()
        if answer is None:
            continue
        answers[answer.name()] = (answer.name(), answer.get_parameters())
        if isinstance(processor, PerMessageDeflateExtensionProcessor) and processor.codec is not None:
            codecs.append(processor.codec)
            deflate = processor
    return list(answers.values()), codecs, deflate
