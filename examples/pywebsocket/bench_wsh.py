"""Receive "<seconds> <count> <message>"; send the message count times, at intervals of seconds."""

import time


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    seconds, count, message = request.ws_stream.receive_message().split(" ", 2)
    for number in range(int(count)):
        if number:
            time.sleep(float(seconds))
        request.ws_stream.send_message(message)
