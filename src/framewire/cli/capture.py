"""The TCP streams of a packet capture (pcap or pcapng), put together by sequence number (RFC 9293 3.4)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from .extra import need

__all__ = ["CAPTURE_MAGIC", "join_segments", "read_capture"]

#: How a capture begins: pcap in either byte order, with times in micro- or nanoseconds; pcapng.
CAPTURE_MAGIC: Final = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
    b"\x0a\x0d\x0d\x0a",
)
_WRAP: Final = 1 << 32


def read_capture(content: bytes) -> dict[tuple[str, str], bytes]:
    """The bytes of each direction of each TCP connection, by its source and destination, in order of appearance."""
    need("scapy", "reading packets")
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    streams: dict[tuple[Any, ...], list[tuple[int, bytes]]] = {}
    with PcapReader(BytesIO(content)) as packets:
        for packet in packets:
            if TCP not in packet or not (IP in packet or IPv6 in packet):
                continue
            address, segment = packet[IP if IP in packet else IPv6], packet[TCP]
            ends = (address.src, segment.sport, address.dst, segment.dport)
            if segment.flags.S:
                streams[ends] = []  # a new connection of the same two ports
            # The link pads short packets: only the lengths in the headers tell where the payload ends.
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
    """Joins pairs of sequence number and payload in their order; repeats count once, and a gap ends the stream.

    The first segment to arrive is taken as a base for the comparison, so numbers may wrap.
    """
    base = segments[0][0]
    placed = sorted(((number - base + _WRAP // 2) % _WRAP, data) for number, data in segments)
    end, joined = placed[0][0], bytearray()
    for start, data in placed:
        if start > end:
            break
        joined += data[end - start :]
        end = max(end, start + len(data))
    return bytes(joined)
