"""Close TCP instead of responding to the opening handshake."""

from mod_pywebsocket import handshake


def web_socket_do_extra_handshake(request):
    raise handshake.AbortedByUserException("no response")


def web_socket_transfer_data(request):
    """Never called."""
