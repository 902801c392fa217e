"""`TrustedProxies`: whose word a server takes for the addresses and schemes of its clients.

    socket ─ header of the PROXY protocol ─ X-Forwarded-For ─▶ remote_address
                                          ─ X-Forwarded-Proto ─▶ client_scheme

Each step counts only if the address of the step before is that of a trusted proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ..protocol.record import Record, assign, check_switch
from .headers import Headers, split_list

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = ["UNIX", "TrustedProxies", "make_address"]

#: The scheme of a WebSocket for each value of X-Forwarded-Proto; the same as uvicorn knows.
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

#: The entry for proxies that connect to a Unix socket.
UNIX: Final = "unix"


class TrustedProxies(Record):
    """The proxies in front of a server that tell it the addresses of their clients.

    `remote_address` of a connection is then that of the client: the source in the header of the
    PROXY protocol, if a trusted proxy has connected; and in place of it the last address in
    X-Forwarded-For that is no trusted proxy, if the address so far is one. `client_scheme` is then
    the scheme in X-Forwarded-Proto; redirects of routes have it.

    Args:
        addresses: The addresses of the proxies and networks of them, such as "10.0.0.0/8" or "::1";
            "unix" for all who connect to a Unix socket.
        proxy_protocol: Whether each connection of these addresses begins with a header of the PROXY
            protocol, version 1 or 2. Without a valid one it is closed. Other clients are served as
            ever, and must not send one.
        forwarded: Whether X-Forwarded-For and X-Forwarded-Proto are read.

    Raises:
        TypeError: `addresses` is not a list of text, or a switch is not True or False.
        ValueError: There is no address, one of them is no address or network, or neither
            `proxy_protocol` nor `forwarded` is set.
    """

    __slots__ = __match_args__ = ("addresses", "proxy_protocol", "forwarded")

    addresses: tuple[str, ...]
    proxy_protocol: bool
    forwarded: bool

    def __init__(self, addresses: Iterable[str], proxy_protocol: bool = False, forwarded: bool = False) -> None:
        if isinstance(addresses, str) or not isinstance(addresses, Iterable):
            raise TypeError(f"addresses is a list of text, not {type(addresses).__name__}")
        assign(self, "addresses", tuple(addresses))
        check_switch("proxy_protocol", proxy_protocol)
        check_switch("forwarded", forwarded)
        assign(self, "proxy_protocol", proxy_protocol)
        assign(self, "forwarded", forwarded)
        if not self.addresses:
            raise ValueError("trusted proxies have at least one address")
        if not (proxy_protocol or forwarded):
            raise ValueError("trusted proxies have proxy_protocol or forwarded, or both")
        _networks(self.addresses)

    def trusts(self, address: Any) -> bool:
        """Return whether an address of `socket.getpeername` is that of a trusted proxy.

        Args:
            address: The address: (host, port, ...), or the path of a Unix socket.
        """
        if not isinstance(address, tuple):  # of a Unix socket; None if the client is gone
            return address is not None and UNIX in self.addresses
        parsed = _parse_address(address[0])
        return parsed is not None and any(parsed in network for network in _networks(self.addresses))

    def find_client(self, address: Any, headers: Headers) -> Any:
        """Return the address of the client of a request.

        Args:
            address: The address from which the request comes.
            headers: Its headers.
        """
        if not self.forwarded:
            return address
        for entry in reversed(split_list(headers.get_all("X-Forwarded-For"))):
            if not self.trusts(address):
                break
            client = _parse_entry(entry)
            if client is None:
                break
            address = client
        return address

    def find_scheme(self, address: Any, headers: Headers) -> str | None:
        """Return the scheme with which the client of a request has connected to the proxy.

        Args:
            address: The address from which the request comes.
            headers: Its headers.

        Returns:
            "ws" or "wss"; None if no trusted proxy tells it.
        """
        values = headers.get_all("X-Forwarded-Proto")
        if not self.forwarded or not values or not self.trusts(address):
            return None
        return _SCHEMES.get(values[-1].strip())  # the last line is that of the nearest proxy


def make_address(host: str, port: int) -> Any:
    """Return an address in the form of `socket.getpeername`."""
    return (host, port, 0, 0) if ":" in host else (host, port)


def _parse_entry(entry: str) -> Any:
    """Return the address in an element of X-Forwarded-For, with port 0 if it has none; None if it is
    no address.
    """
    host, _, port = entry.rpartition(":") if entry.count(":") == 1 or "]:" in entry else (entry, "", "0")
    parsed = _parse_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    if parsed is None or not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    return make_address(str(parsed), int(port))


def _parse_address(host: str) -> IPv4Address | IPv6Address | None:
    from ipaddress import ip_address  # slow to import, and only servers with trusted proxies need it

    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    # A socket for both versions of IP shows clients of version 4 like this.
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=16)
def _networks(addresses: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    from ipaddress import ip_network

    if not all(isinstance(address, str) for address in addresses):
        raise TypeError("addresses is a list of text")
    return tuple(ip_network(address) for address in addresses if address != UNIX)
