"""Reply to "receive N" with N bytes, and to a message after "send 1" with its length."""


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    while (command := request.ws_stream.receive_message()) is not None:
        name, _, argument = command.partition(" ")
        if name == "receive":
            request.ws_stream.send_message(b"a" * int(argument), binary=True)
        elif name == "send":
            message = request.ws_stream.receive_message()
            request.ws_stream.send_message(str(len(message)))
        else:
            raise ValueError(f"unknown command: {command}")
