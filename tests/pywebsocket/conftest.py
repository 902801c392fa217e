"""Fixtures that serve handlers."""

import pytest
from handler_ends import ADMIT, serving
from sync_ends import until


@pytest.fixture
def handle(tmp_path):
    """Return a function that serves a handler: a file, or the body of web_socket_transfer_data."""
    contexts = []

    def handle(source, **settings):
        if "def web_socket_transfer_data" not in source:
            body = "".join(f"    {line}\n" for line in source.splitlines())
            source = f"from mod_pywebsocket import *\n{ADMIT}def web_socket_transfer_data(request):\n{body}"
        (tmp_path / "h_wsh.py").write_text(source)
        contexts.append(serving(tmp_path, **settings))
        return f"ws://{contexts[-1].__enter__()}/h"

    yield handle
    for context in reversed(contexts):
        context.__exit__(None, None, None)


@pytest.fixture
def printed(monkeypatch):
    """Return a function that waits until handlers have printed `count` lines, and returns them."""
    lines = []
    monkeypatch.setattr("builtins.print", lambda *words, flush: lines.append(" ".join(map(str, words))))

    def printed(count):
        until(lambda: len(lines) >= count)
        return lines

    return printed
