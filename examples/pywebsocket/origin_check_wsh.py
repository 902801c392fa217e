"""Admits the pages of one origin only; others get 403."""

ADMITTED = "http://example.com"


def web_socket_do_extra_handshake(request):
    if request.ws_origin != ADMITTED:
        raise ValueError(f"pages of {request.ws_origin} may not connect")


def web_socket_transfer_data(request):
    """Nothing to say: closes with 1000."""
