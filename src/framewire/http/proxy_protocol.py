"""The header of the PROXY protocol, versions 1 and 2, at the beginning of a connection.

    proxy ─ header ─ TLS or the request of the client ─▶ server

The header comes before TLS, so nothing after it may be read: `ProxyHeader.needed` tells how many
bytes the header has at least.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .trusted_proxies import make_address

__all__ = ["MAX_LENGTH", "ProxyHeader"]

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_PREFIX: Final = b"PROXY "

#: The longest header of version 1, in bytes, as the protocol has it.
_MAX_LINE: Final = 107

#: The shortest header of version 1: "PROXY UNKNOWN" and CRLF.
_MIN_LINE: Final = 15

#: The most bytes of addresses and TLVs in a header of version 2. The length field could tell 65535,
#: but a header should fit into the first segment of TCP.
MAX_LENGTH: Final = 4096

_LINE: Final = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")

#: The length of the addresses in version 2, by family: AF_INET, AF_INET6 and AF_UNIX.
_ADDRESSES: Final = {1: 12, 2: 36, 3: 216}


class ProxyHeader:
    """A header that is being read.

    Pass to `receive` at most `needed` bytes at a time until it returns True.

    Attributes:
        needed: How many bytes may be read next.
        source: The address of the client once the header is complete; None if the header has none,
            as that of a health check of the proxy itself.
    """

    def __init__(self) -> None:
        self.needed = len(_SIGNATURE)
        self.source: Any = None
        self._data = b""

    def receive(self, data: bytes) -> bool:
        """Receive the next bytes; return whether the header is complete.

        Raises:
            ValueError: The bytes are no header of the PROXY protocol, or more than 4 KiB.
            EOFError: `data` is empty: the connection has ended.
        """
        if not data:
            raise EOFError("the connection ended within the header")
        self._data += data
        if _SIGNATURE.startswith(self._data[: len(_SIGNATURE)]):
            self._read_binary()
        elif _PREFIX.startswith(self._data[: len(_PREFIX)]):
            self._read_line()
        else:
            raise ValueError("it begins with neither signature")
        return self.needed == 0

    # Version 1.

    def _read_line(self) -> None:
        data = self._data
        if b"\n" in data:
            self._parse_line()
            self.needed = 0
        elif len(data) >= _MAX_LINE:
            raise ValueError(f"a line of over {_MAX_LINE} bytes")
        else:
            # CRLF at least.
            self.needed = max(_MIN_LINE - len(data), 1 if data.endswith(b"\r") else min(2, _MAX_LINE - len(data)))

    def _parse_line(self) -> None:
        if _UNKNOWN.fullmatch(self._data):
            return
        match = _LINE.fullmatch(self._data)
        if match is None:
            raise ValueError("a malformed line")
        from ipaddress import IPv4Address, IPv6Address

        parse = IPv4Address if match[1] == b"4" else IPv6Address
        source, _ = (parse(match[number].decode("ascii")) for number in (2, 3))
        ports = int(match[4]), int(match[5])
        if max(ports) > 65535:
            raise ValueError("a port above 65535")
        self.source = make_address(str(source), ports[0])

    # Version 2.

    def _read_binary(self) -> None:
        data, start = self._data, len(_SIGNATURE) + 4
        if len(data) < start:
            self.needed = start - len(data)
            return
        command, family = data[12], data[13]
        length = int.from_bytes(data[14:16], "big")
        if command not in (0x20, 0x21):
            raise ValueError(f"version and command 0x{command:02x}")
        if length > MAX_LENGTH:
            raise ValueError(f"a length of {length} bytes")
        self.needed = start + length - len(data)
        if self.needed == 0 and command == 0x21:
            self._parse_addresses(family, data[start:])

    def _parse_addresses(self, family: int, block: bytes) -> None:
        """Read the addresses; the TLVs after them are skipped."""
        if family == 0:
            return  # unspecified
        size = _ADDRESSES.get(family >> 4)
        if size is None or family & 15 != 1:
            raise ValueError(f"family and protocol 0x{family:02x}")
        if len(block) < size:
            raise ValueError(f"a length of {len(block)} bytes, too short for the addresses")
        if size == 216:
            self.source = block[:108].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            return
        from ipaddress import ip_address

        width = (size - 4) // 2
        self.source = make_address(
            str(ip_address(block[:width])), int.from_bytes(block[2 * width : 2 * width + 2], "big")
        )
