"""The other end of a benchmark: "receive N" brings N bytes; "send 1" and then a message bring back its length."""


def web_socket_do_extra_handshake(request):
    """Everybody may connect."""


def web_socket_transfer_data(request):
    while (command := request.ws_stream.receive_message()) is not None:
        name, _, argument = command.partition(" ")
        if name == "receive":
            request.ws_stream.send_message(b"a" * int(argument), binary=True)
        elif name == "send":
            message = request.ws_stream.receive_message()
            request.ws_stream.send_message(str(len(message)))
        else:
            raise ValueError(f"not a command: {command}")
