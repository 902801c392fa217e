"""atheris: both sides of the opening handshake on both twins; only the documented errors may be raised.

Input: 1 byte that selects the side and the cuts, then the received bytes. In a response, the value
of "Sec-WebSocket-Accept: OK" is replaced with the valid one, so that later checks are reached.
"""

import twins

pure, fast = (twins.load(name, "handshake", "errors", "http.message_parser") for name in ("pure", "fast"))

KEY = bytes(range(16))
ACCEPT = fast.handshake.accept_key(b"AAECAwQFBgcICQoLDA0ODw==")


def serve(package, pieces):
    twins.use(package)
    handshake = package.handshake
    side = handshake.ServerHandshake()
    try:
        for piece in pieces:
            side.receive(piece)
        if side.request is None:
            return "incomplete"
        offer = side.check()
        answer = side.accept(subprotocol=handshake.choose_subprotocol(offer.subprotocols, ["chat", "superchat"]))
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert answer.index(b"\r\n\r\n") == len(answer) - 4
        return repr((side.request, offer, answer, side.trailing))
    except package.errors.HandshakeError as error:
        answer = side.reject(error.status, error.reason, error.headers)
        assert answer.count(b"\r\n\r\n") == 1
        return repr((error.status, error.reason, error.headers))


def connect(package, pieces):
    twins.use(package)
    handshake = package.handshake
    uri = handshake.parse_uri("ws://example.com/chat")
    side = handshake.ClientHandshake(uri, subprotocols=["chat"], extensions=[("x", [])], key=KEY)
    side.request()
    response = None
    try:
        for i, piece in enumerate(pieces):
            response = side.receive(piece)
            if response is not None:
                rest = b"".join(pieces[i + 1 :])
                return repr((response, side.subprotocol, side.extensions, side.trailing + rest))
        side.receive_eof()
    except package.errors.ResponseError as error:
        return repr((error.reason, error.response))
    raise AssertionError("receive_eof() returned")


def test(data):
    if not data:
        return
    bits, data = data[0], data[1:]
    if bits & 1:
        data = data.replace(b"Sec-WebSocket-Accept: OK", b"Sec-WebSocket-Accept: " + ACCEPT)
    side = connect if bits & 1 else serve
    assert side(fast, twins.cut(data, bits >> 1 & 31)) == side(fast, [data]) == side(pure, [data])


if __name__ == "__main__":
    twins.main(test)
