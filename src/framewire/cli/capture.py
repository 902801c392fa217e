"""Reassembly of the TCP streams in a packet capture (pcap or pcapng; RFC 9293 3.4)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from .optional_packages import require_package

__all__ = ["CAPTURE_MAGIC", "join_segments", "read_capture"]

#: First bytes of a capture: pcap in both byte orders, with times in micro- or nanoseconds; pcapng.
CAPTURE_MAGIC: Final = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
    b"\x0a\x0d\x0d\x0a",
)
_SEQUENCE_NUMBERS: Final = 1 << 32


def read_capture(content: bytes) -> dict[tuple[str, str], bytes]:
    """Reassemble the TCP streams of a capture.

    Args:
        content: The capture file.

    Returns:
        The bytes of each direction of each connection, by source and destination ("host port
        number"), in order of appearance. A later connection between the same ports replaces the
        earlier one.

    Raises:
        CommandError: If scapy is not installed.
        ValueError: If the header of the capture is incomplete or not valid.
    """
    require_package("scapy", "reading packets")
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    streams: dict[tuple[Any, ...], list[tuple[int, bytes]]] = {}
    try:
        reader = PcapReader(BytesIO(content))
    except Scapy_Exception as error:
        raise ValueError(f"the capture is damaged: {error}") from error
    with reader as packets:
        for packet in packets:
            if TCP not in packet or not (IP in packet or IPv6 in packet):
                continue
            address, segment = packet[IP if IP in packet else IPv6], packet[TCP]
            ends = (address.src, segment.sport, address.dst, segment.dport)
            if segment.flags.S:
                streams[ends] = []  # a new connection between the same ports
            # Network cards pad short packets: only the lengths in the headers say where the payload
            # ends.
            header = segment.dataofs * 4
            total = address.len - address.ihl * 4 if IP in packet else address.plen
            payload = bytes(segment.payload)[: total - header]
            if payload:
                streams.setdefault(ends, []).append((segment.seq, payload))
    return {
        (f"{source} port {sport}", f"{destination} port {dport}"): join_segments(segments)
        for (source, sport, destination, dport), segments in streams.items()
        if segments
    }


def join_segments(segments: list[tuple[int, bytes]]) -> bytes:
    """Join TCP segments in the order of their sequence numbers.

    Retransmitted bytes count once, and a gap ends the stream. Sequence numbers are compared
    relative to that of the first segment that arrived, so they may wrap around.

    Args:
        segments: Pairs of sequence number and payload, in order of arrival; at least one.

    Returns:
        The bytes of the stream up to its end or the first gap.
    """
    base = segments[0][0]
    half = _SEQUENCE_NUMBERS // 2
    placed = sorted(((number - base + half) % _SEQUENCE_NUMBERS, payload) for number, payload in segments)
    end, joined = placed[0][0], bytearray()
    for start, payload in placed:
        if start > end:
            break
        joined += payload[end - start :]
        end = max(end, start + len(payload))
    return bytes(joined)
