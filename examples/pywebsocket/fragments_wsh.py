"""Echo messages in fragments of 16,000 characters or bytes."""

SIZE = 16_000


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    stream = request.ws_stream
    while (message := stream.receive_message()) is not None:
        for start in range(0, len(message), SIZE):
            stream.send_message(message[start : start + SIZE], end=False, binary=isinstance(message, bytes))
        stream.send_message(message[:0], end=True, binary=isinstance(message, bytes))
