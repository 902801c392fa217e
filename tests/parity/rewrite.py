"""Changes the imports of the peer's tests, and the few other lines that name its internals, to
framewire.
"""

import re

#: A text of an exception that is compared: `recorder` compares it without failing the test.
_TEXT = (r"self\.assertEqual\((\s*)str\(", r"self.assertText(\1str(")

_LOGS = [(r'Logs\("websockets', 'Logs("framewire')]

#: Changes of all tests of one of the three APIs.
_COMMON = [_TEXT, (r"from websockets\.exceptions import", "from either import"), *_LOGS]

#: Servers of framewire, clients of websockets.
_SERVER = [
    *_COMMON,
    (r"from websockets\.(asyncio|sync|trio)\.(server|router) import", r"from framewire.\1.\2 import"),
    (r"from websockets\.http11 import", "from framewire.http11 import"),
    (r"from \.server import", "from .server_of_framewire import"),
    (r"\bws\.protocol\.state\b", "ws.state"),
    (r"\bws\.protocol\.extensions\b", "__import__('raw').extensions(ws)"),
    (r"websockets\.(sync|trio)\.server\.Server\.", r"framewire.\1.server.Server."),
]

#: Clients of framewire, servers of websockets.
_CLIENT = [
    *_COMMON,
    (r"from websockets\.(asyncio|sync|trio)\.client import", r"from framewire.\1.client import"),
    (r"from websockets\.(asyncio|sync|trio) import client", "from framewire.http import redirects as client"),
    (r"from websockets\.client import", "from framewire.asyncio.client import"),
    (r"websockets\.(asyncio|sync|trio)\.client\.", r"framewire.\1.client."),
    (r"\bclient\.protocol\.state\b", "client.state"),
    (r"\bclient\.protocol\.extensions\b", "__import__('raw').extensions(client)"),
    (r"\bclient\.protocol\.uri\.path\b", "client.request.path"),
]

#: Connections of framewire at the near end, of websockets at the far end.
_CONNECTION = [
    *_COMMON,
    (r"from websockets\.(asyncio|sync|trio)\.connection import broadcast",
     r"(broadcast,) = raw.import_each('framewire.\1', 'broadcast')"),
    (r"from websockets\.asyncio\.connection import \*", "from raw import AsyncioConnection as Connection"),
    (r"from websockets\.sync\.connection import \*", "from raw import sync_connection as Connection"),
    (r"from websockets\.trio\.connection import \*", "from raw import trio_connection as Connection"),
    (r"socket\.socketpair\(\)", "raw.socketpair(self.LOCAL)"),
    (r"trio\.testing\.memory_stream_pair\(\)", "raw.stream_pair(self.LOCAL)"),
    (r"await self\.loop\.create_connection\(", "await raw.create_connection(self.loop, "),
    (r"(?<== )Connection\((\s*self\.nursery)", r"await Connection(\1"),
    (r"assertIsNone\(self\.connection\.(request|response)\)", r"assertIsNotNone(self.connection.\1)"),
    (r" +getrandbits\.assert_called_once_with\(32\)\n", ""),
    (r'Frame\(PING, b"rand"\)', "raw.Ping()"),
    (r"self\.connection\.pause_writing\(\)", "self.transport.get_protocol().pause_writing()"),
    (r"self\.connection\.resume_writing\(\)", "self.transport.get_protocol().resume_writing()"),
    (r"\A", "import raw\n"),
    (r"\nfrom websockets\.protocol import.*", r"\g<0>\nfrom framewire.protocol import CLOSED, OPEN"),
]  # fmt: skip

#: The pings of tests that look at them, not at the task or thread that sends them.
_KEEPALIVE = (
    r"( +)self\.connection\.ping_interval = (.+)\n( +self\.connection\.ping_timeout = (.+)\n)?"
    r"((?:.*drop_frames_rcvd.*\n)?) +self\.connection\.start_keepalive\(\)\n"
    r"((?: +self\.assert(?:IsNotNone\(self\.connection\.keepalive_\w+|True\(self\.keepalive_task_is_running\(\))\)\n"
    r"(?= +self\.assertEqual\(self\.connection\.latency, 0\)))?)(?!.*\n?.*keepalive_)"
)


def _reopen(match):
    """Return the statements that open the connection with these settings, instead of changing
    them.
    """
    indentation, interval, _, timeout, dropping, _ = match.groups()
    options = f"ping_interval={interval}" + (f", ping_timeout={timeout}" if timeout else "")
    return f"{indentation}REOPEN(self, {options})\n{dropping}"


#: Changes by the end of a path.
_CHANGES = {
    "test_server.py": _SERVER,
    "test_router.py": _SERVER,
    "test_client.py": _CLIENT,
    "test_connection.py": _CONNECTION,
}

#: How their helpers find out whether a server has TLS.
_SECURE = [
    (r"server\.server\._ssl_context is not None", "__import__('raw').is_secure(server)"),
    (r"isinstance\(server\.socket, ssl\.SSLSocket\)", "__import__('raw').is_secure(server)"),
    (r"any\(\s*isinstance\(cell\.cell_contents, ssl\.SSLContext\)\s*for cell in server\.handler\.__closure__\s*\)",
     "__import__('raw').is_secure(server)"),
]  # fmt: skip


def change(text, changes):
    """Apply changes: pairs of a pattern and its replacement."""
    for pattern, replacement in changes:
        text = re.sub(pattern, replacement, text)
    return text


def rewrite_folder(folder):
    """Change the tests of one of the three APIs in place, and add the helper that starts servers of
    framewire.
    """
    for name, changes in _CHANGES.items():
        path = folder / name
        text = re.sub(_KEEPALIVE, _reopen, change(path.read_text(), changes))
        path.write_text(text.replace("REOPEN", "raw.reopen_sync" if folder.name == "sync" else "await raw.reopen"))
    helper = folder / "server.py"
    text = change(helper.read_text(), _SECURE)
    helper.write_text(text)
    ours = re.sub(r"from websockets\.(\w+\.(?:server|router)) import (.+)", _import_each, text)
    folder.joinpath("server_of_framewire.py").write_text(ours)


def _import_each(match):
    """Return the statement that imports each name by itself, so that one that is lacking does not
    fail all tests.
    """
    names = match[2].split(", ")
    return f"[{match[2]}] = __import__('raw').import_each('framewire.{match[1]}', *{names})"


def rewrite_module(path):
    """Change the tests of a module that does no I/O in place."""
    path.write_text(change(path.read_text(), [(r"from websockets\b", "from framewire"), _TEXT]))
