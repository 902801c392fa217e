"""A handler that fails: the client receives close code 1011."""

from mod_pywebsocket import msgutil


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    raise msgutil.BadOperationException("on purpose")
