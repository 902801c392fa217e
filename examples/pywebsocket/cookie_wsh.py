"""Set or clear cookies (?set, ?set_httponly, ?clear); send the cookies of the request."""

from urllib.parse import urlsplit

COOKIES = {
    "set": ["foo=bar; Max-Age=86400"],
    "set_httponly": ["httpOnlyFoo=bar; Max-Age=86400; HttpOnly"],
    "clear": ["foo=0; Max-Age=0", "httpOnlyFoo=0; Max-Age=0"],
}


def web_socket_do_extra_handshake(request):
    for cookie in COOKIES.get(urlsplit(request.uri).query, []):
        request.extra_headers.append(("Set-Cookie", cookie))


def web_socket_transfer_data(request):
    request.ws_stream.send_message(request.headers_in.get("Cookie", ""))
