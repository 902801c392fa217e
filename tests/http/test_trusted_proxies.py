"""`TrustedProxies`, and the header of the PROXY protocol, without I/O."""

import pickle

import pytest

from framewire import TrustedProxies
from framewire.handshake import Headers
from framewire.http.proxy_protocol import ProxyHeader
from framewire.http.server_policy import ServerPolicy

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([192, 0, 2, 1, 10, 0, 0, 1]) + (50000).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8" + "00" * 11 + "01") + bytes(16) + (50000).to_bytes(2, "big") + bytes(2)
UNIX = b"/run/client".ljust(108, b"\0") + bytes(108)


def binary(command=0x21, family=0x11, block=V4, length=None):
    """Build a header of version 2."""
    length = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + length.to_bytes(2, "big") + block


VALID = {
    "TCP4": (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 443\r\n", ("192.0.2.1", 50000)),
    "TCP6": (b"PROXY TCP6 2001:db8::1 ::1 50000 443\r\n", ("2001:db8::1", 50000, 0, 0)),
    "lowest port": (b"PROXY TCP4 1.1.1.1 1.1.1.1 0 0\r\n", ("1.1.1.1", 0)),
    "highest port": (b"PROXY TCP4 255.255.255.255 1.1.1.1 65535 1\r\n", ("255.255.255.255", 65535)),
    "unknown": (b"PROXY UNKNOWN\r\n", None),
    "unknown with anything": (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),
    "binary IPv4": (binary(), ("192.0.2.1", 50000)),
    "binary IPv6": (binary(family=0x21, block=V6), ("2001:db8::1", 50000, 0, 0)),
    "binary Unix": (binary(family=0x31, block=UNIX), "/run/client"),
    "longest Unix": (binary(family=0x31, block=b"/\xff".ljust(108, b"a") + b"b" * 108), "/\udcff" + "a" * 106),
    "TLVs are skipped": (binary(block=V4 + b"\x04\x00\x03abc" + b"\xff garbage"), ("192.0.2.1", 50000)),
    "largest": (binary(block=V4.ljust(4096, b"\0")), ("192.0.2.1", 50000)),
    "LOCAL": (binary(command=0x20, family=0, block=b""), None),
    "LOCAL with addresses": (binary(command=0x20), None),
    "LOCAL of any family": (binary(command=0x20, family=0xFF, block=b"x"), None),
    "AF_UNSPEC": (binary(family=0, block=b""), None),
    "AF_UNSPEC with TLVs": (binary(family=0, block=b"\x04\x00\x01a"), None),
}

INVALID = {
    "a request": b"GET / HTTP/1.1\r\n",
    "lower case": b"proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
    "bare LF": b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n",
    "CR in the line": b"PROXY UNKNOWN \r 1\r\n",
    "two spaces": b"PROXY  TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
    "no protocol": b"PROXY 192.0.2.1 10.0.0.1 1 2\r\n",
    "another protocol": b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
    "UNKNOWN and more": b"PROXY UNKNOWNX\r\n",
    "another family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "IPv4 for IPv6": b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
    "an octet of 256": b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
    "a destination of 256": b"PROXY TCP4 192.0.2.1 10.0.0.256 1 2\r\n",
    "a host name": b"PROXY TCP4 localhost 10.0.0.1 1 2\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "a port too many": b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
    "no port": b"PROXY TCP4 192.0.2.1 10.0.0.1\r\n",
    "a port of 65536": b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 1\r\n",
    "a destination port of 65536": b"PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
    "a port with a zero": b"PROXY TCP4 192.0.2.1 10.0.0.1 01 1\r\n",
    "a negative port": b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 1\r\n",
    "a line of 108 bytes": b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    "an endless line": b"PROXY TCP4 " + b"1" * 200,
    "a wrong signature": SIGNATURE[:-1] + b"X" + binary()[12:],
    "version 1 in binary": binary(command=0x11),
    "version 3": binary(command=0x31),
    "command 2": binary(command=0x22),
    "family 4": binary(family=0x41),
    "no family": binary(family=0x01),
    "datagrams": binary(family=0x12),
    "protocol 0": binary(family=0x10),
    "short IPv4": binary(block=V4[:-1]),
    "short IPv6": binary(family=0x21, block=V6[:-1]),
    "short Unix": binary(family=0x31, block=UNIX[:-1]),
    "no addresses": binary(block=b""),
    "too long": binary(block=V4, length=4097),
    "longest": binary(block=V4, length=65535),
}


def read(data, *cuts):
    """Read a header from `data`, in pieces that end at `cuts`, never more than is needed.

    Returns:
        The header, the rest of `data`, and whether the header is complete.
    """
    header, start = ProxyHeader(), 0
    for stop in (*cuts, len(data)):
        while start < stop:
            taken = data[start : min(stop, start + header.needed)]
            start += len(taken)
            if header.receive(taken):
                return header, data[start:], True
    return header, data[start:], False


@pytest.mark.parametrize("name", VALID)
def test_proxy_header_gives_the_source_and_reads_nothing_more(name):
    data, source = VALID[name]
    header, rest, complete = read(data + b"GET / HTTP/1.1\r\n")
    assert (header.source, rest, complete) == (source, b"GET / HTTP/1.1\r\n", True)


@pytest.mark.parametrize("name", VALID)
def test_proxy_header_may_be_cut_anywhere(name):
    data, source = VALID[name]
    for cut in range(1, min(len(data), 300)):
        header, _, complete = read(data[:cut])
        assert not complete
        assert header.needed > 0
        header, rest, complete = read(data, cut)
        assert (header.source, rest, complete) == (source, b"", True)
    header, rest, complete = read(data, *range(1, len(data)))
    assert (header.source, rest, complete) == (source, b"", True)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_proxy_header_is_refused_however_it_is_cut(name):
    for cuts in ((), range(1, len(INVALID[name])), range(2, len(INVALID[name]), 2)):
        with pytest.raises(ValueError):
            read(INVALID[name], *cuts)


def test_proxy_header_is_refused_at_the_first_wrong_byte():
    for data in (b"G", b"PROXZ", SIGNATURE[:4] + b"X"):
        header, _, complete = read(data[:-1])
        assert not complete
        with pytest.raises(ValueError):
            header.receive(data[-1:])


@pytest.mark.parametrize("begun", [b"", b"PROXY TCP4", SIGNATURE, binary()[:-1]])
def test_end_within_a_proxy_header_is_an_eof_error(begun):
    header, _, _ = read(begun)
    with pytest.raises(EOFError):
        header.receive(b"")


def test_trusted_proxies_are_an_immutable_value():
    proxies = TrustedProxies(["10.0.0.0/8"], proxy_protocol=True)
    assert proxies == TrustedProxies(("10.0.0.0/8",), True) == pickle.loads(pickle.dumps(proxies))
    assert repr(proxies) == "TrustedProxies(addresses=('10.0.0.0/8',), proxy_protocol=True, forwarded=False)"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("10.0.0.1", True), TypeError),
        ((None, True), TypeError),
        (([10], True), TypeError),
        ((["10.0.0.1"], "no"), TypeError),
        ((["10.0.0.1"], False, "no"), TypeError),
        (([], True), ValueError),
        ((["10.0.0.1/8"], True), ValueError),
        ((["localhost"], True), ValueError),
        ((["10.0.0.1"],), ValueError),
    ],
)
def test_trusted_proxies_check_their_arguments(arguments, error):
    with pytest.raises(error):
        TrustedProxies(*arguments)


@pytest.mark.parametrize("name", ["proxy_protocol", "forwarded"])
def test_trusted_proxies_name_the_switch_that_is_none(name):
    with pytest.raises(TypeError, match=f"^{name} is True or False"):
        TrustedProxies(["10.0.0.1"], **{name: "no"})


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        (("10.1.2.3", 1), True),
        (("11.1.2.3", 1), False),
        (("::ffff:10.1.2.3", 1, 0, 0), True),
        (("2001:db8::7", 1, 0, 0), True),
        (("2001:db8::7%eth0", 1, 0, 0), True),
        (("2001:db9::7", 1, 0, 0), False),
        (("not an address", 1), False),
        ("", True),
        ("/run/client", True),
        (None, False),
    ],
)
def test_trusted_addresses_are_those_of_the_networks(address, trusted):
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8::/64", "unix"], proxy_protocol=True)
    assert proxies.trusts(address) is trusted


def test_clients_of_a_unix_socket_are_trusted_only_if_named():
    assert not TrustedProxies(["0.0.0.0/0"], forwarded=True).trusts("")


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], ("10.0.0.1", 5)),
        (["192.0.2.1"], ("192.0.2.1", 0)),
        (["192.0.2.1:8080"], ("192.0.2.1", 8080)),
        (["2001:db8::1"], ("2001:db8::1", 0, 0, 0)),
        (["[2001:db8::1]"], ("2001:db8::1", 0, 0, 0)),
        (["[2001:db8::1]:8080"], ("2001:db8::1", 8080, 0, 0)),
        (["203.0.113.9, 192.0.2.1"], ("192.0.2.1", 0)),
        (["203.0.113.9, 192.0.2.1, 10.0.0.2"], ("192.0.2.1", 0)),
        (["203.0.113.9", "192.0.2.1", "10.0.0.2, 10.0.0.3"], ("192.0.2.1", 0)),
        (["10.0.0.9, 10.0.0.8"], ("10.0.0.9", 0)),
        (["192.0.2.1, unknown"], ("10.0.0.1", 5)),
        (["192.0.2.1, unknown, 10.0.0.2"], ("10.0.0.2", 0)),
        (["192.0.2.1:port"], ("10.0.0.1", 5)),
        (["192.0.2.1:12345"], ("192.0.2.1", 12345)),
        (["192.0.2.1:123456"], ("10.0.0.1", 5)),
        (["fe80::1%eth0"], ("fe80::1", 0, 0, 0)),
        (["[::1"], ("10.0.0.1", 5)),
        (["::1]"], ("10.0.0.1", 5)),
        (["<script>"], ("10.0.0.1", 5)),
    ],
)
def test_forwarded_client_is_the_last_that_is_no_proxy(lines, client):
    proxies = TrustedProxies(["10.0.0.0/8"], forwarded=True)
    headers = Headers([("X-Forwarded-For", line) for line in lines])
    assert proxies.find_client(("10.0.0.1", 5), headers) == client


def test_forwarded_header_counts_only_from_a_trusted_proxy_and_if_it_is_wanted():
    headers = Headers([("X-Forwarded-For", "192.0.2.1")])
    assert TrustedProxies(["10.0.0.0/8"], forwarded=True).find_client(("11.0.0.1", 5), headers) == ("11.0.0.1", 5)
    assert TrustedProxies(["10.0.0.0/8"], True).find_client(("10.0.0.1", 5), headers) == ("10.0.0.1", 5)


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([], None),
        (["http"], "ws"),
        (["https"], "wss"),
        (["ws"], "ws"),
        ([" wss "], "wss"),
        (["http", "https"], "wss"),
        (["https, http"], None),
        (["ftp"], None),
        (["HTTPS"], None),
        ([""], None),
    ],
)
def test_forwarded_scheme_is_that_of_the_last_line(lines, scheme):
    headers = Headers([("X-Forwarded-Proto", line) for line in lines])
    assert TrustedProxies(["10.0.0.0/8"], forwarded=True).find_scheme(("10.0.0.1", 5), headers) == scheme
    assert TrustedProxies(["10.0.0.0/8"], forwarded=True).find_scheme(("11.0.0.1", 5), headers) is None
    assert TrustedProxies(["10.0.0.0/8"], proxy_protocol=True).find_scheme(("10.0.0.1", 5), headers) is None


def test_policy_wants_a_proxy_header_only_from_trusted_proxies():
    both = ServerPolicy(trusted_proxies=TrustedProxies(["10.0.0.1"], proxy_protocol=True, forwarded=True))
    assert isinstance(both.begin(("10.0.0.1", 5)), ProxyHeader)
    assert both.begin(("10.0.0.2", 5)) is None
    assert ServerPolicy().begin(("10.0.0.1", 5)) is None
    forwarded = ServerPolicy(trusted_proxies=TrustedProxies(["10.0.0.1"], forwarded=True))
    assert forwarded.begin(("10.0.0.1", 5)) is None


def test_policy_takes_no_other_trusted_proxies():
    with pytest.raises(TypeError):
        ServerPolicy(trusted_proxies=["10.0.0.1"])
