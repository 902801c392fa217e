"""Both ends of a connection whose server runs pywebsocket handlers."""

import threading
from contextlib import contextmanager

import pytest
from frames import REQUEST
from sync_ends import Raw

from framewire import ConnectionClosed
from framewire.pywebsocket import modules, options
from framewire.pywebsocket.options import Settings

#: The function of a handler that accepts every client.
ADMIT = "def web_socket_do_extra_handshake(request): pass\n"


@contextmanager
def serving(directory, **settings):
    """Serve a directory of handlers; give host:port."""
    asked = Settings(port=0, websock_handlers=str(directory), **settings)
    with modules.installed(), options.start(asked, options.load(asked)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.socket.getsockname()[1]}"
    thread.join()


def end_of(ws):
    """Wait for the end of the connection; return the close code and reason."""
    with pytest.raises(ConnectionClosed) as caught:
        ws.recv(10)
    return caught.value.code, caught.value.reason


def upgraded(uri, **stream):
    """Connect a client that sends raw bytes."""
    return Raw(int(uri[5:].split("/")[0].split(":")[1]), request=REQUEST.replace(b"/path", b"/h"), **stream)
