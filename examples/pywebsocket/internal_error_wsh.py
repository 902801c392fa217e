"""A handler that asks for what cannot be: the client sees 1011."""

from mod_pywebsocket import msgutil


def web_socket_do_extra_handshake(request):
    """Everybody may connect."""


def web_socket_transfer_data(request):
    raise msgutil.BadOperationException("on purpose")
