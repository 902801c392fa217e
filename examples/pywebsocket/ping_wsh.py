"""Send pings; after a message of the client, send the payloads of the pongs received."""

import time


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    pongs = []
    request.on_pong_handler = lambda request, payload: pongs.append(payload)
    for number in range(10):
        request.ws_stream.send_ping(str(number))
        time.sleep(0.01)
    request.ws_stream.receive_message()
    request.ws_stream.send_message(" ".join(payload.decode() for payload in pongs))
