"""Close with the code and reason in a message ("4000 bye"); echo the client's close code."""

from mod_pywebsocket import common


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    while (message := request.ws_stream.receive_message()) is not None:
        code, _, reason = message.partition(" ")
        request.ws_stream.close_connection(int(code), reason)
        return


def web_socket_passive_closing_handshake(request):
    if request.ws_close_code == common.STATUS_NO_STATUS_RECEIVED:
        return None, ""
    return request.ws_close_code, request.ws_close_reason
