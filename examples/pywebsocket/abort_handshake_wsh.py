"""Cuts the connection instead of answering the handshake."""

from mod_pywebsocket import handshake


def web_socket_do_extra_handshake(request):
    raise handshake.AbortedByUserException("not even an answer")


def web_socket_transfer_data(request):
    """Never called."""
