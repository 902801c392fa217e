"""Cuts the connection without a close: the client sees 1006."""

from mod_pywebsocket import handshake


def web_socket_do_extra_handshake(request):
    """Everybody may connect."""


def web_socket_transfer_data(request):
    raise handshake.AbortedByUserException("enough")
