"""Accept pages of one origin; refuse others with status 403."""

ALLOWED_ORIGIN = "http://example.com"


def web_socket_do_extra_handshake(request):
    if request.ws_origin != ALLOWED_ORIGIN:
        raise ValueError(f"pages of {request.ws_origin} may not connect")


def web_socket_transfer_data(request):
    """Return at once, which closes with code 1000."""
