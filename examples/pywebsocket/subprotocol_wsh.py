"""Select the last subprotocol that the client offers; send all that it offers."""


def web_socket_do_extra_handshake(request):
    if request.ws_requested_protocols is not None:
        request.ws_protocol = request.ws_requested_protocols[-1]


def web_socket_transfer_data(request):
    request.ws_stream.send_message(" ".join(request.ws_requested_protocols or []))
    request.ws_stream.receive_message()
