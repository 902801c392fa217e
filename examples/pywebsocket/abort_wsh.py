"""Close TCP without a close frame: the client reports code 1006."""

from mod_pywebsocket import handshake


def web_socket_do_extra_handshake(request):
    """Accept every client."""


def web_socket_transfer_data(request):
    raise handshake.AbortedByUserException("aborted on purpose")
