"""Execute code in a kernel of Jupyter Server: `python kernel_client.py PORT TOKEN`.

It prints the messages of the kernel as JSON, without what differs each time.
"""

import asyncio
import hashlib
import json
import struct
import sys
from uuid import uuid4

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

CELLS = [
    "6 * 7",
    "print('é' * 100)",
    "1 / 0",
    "print('x' * 300_000)",
    "for number in range(300): print(number, flush=True)",
    "from IPython.display import HTML, display; display(HTML('<b>bold</b>'))",
    "from comm import create_comm; _ = create_comm('test', data={'x': 1}, buffers=[bytes(range(256)) * 500, b''])",
    "name = input('Name? '); print(name)",
]

#: The subprotocols: none is JSON, with buffers after it in binary messages.
V1 = "v1.kernel.websocket.jupyter.org"
PARTS = ("header", "parent_header", "metadata", "content")


def pack(message, subprotocol):
    if subprotocol is None:
        return json.dumps(message)
    parts = [message["channel"].encode(), *(json.dumps(message[part]).encode() for part in PARTS)]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def unpack(data, subprotocol):
    """Return a message; its `buffers` are those that follow the JSON."""
    if isinstance(data, str):
        return {**json.loads(data), "buffers": []}
    count = struct.unpack_from("<Q" if subprotocol else ">I", data)[0]
    offsets = struct.unpack_from(f"<{count}Q" if subprotocol else f">{count}I", data, 8 if subprotocol else 4)
    ends = [*offsets[1:], len(data)]
    parts = [data[start:end] for start, end in zip(offsets, ends, strict=True)]
    if not subprotocol:
        return {**json.loads(parts[0]), "buffers": parts[1:]}
    parts.pop()  # the last offset is the end
    message = {part: json.loads(text) for part, text in zip(PARTS, parts[1:5], strict=True)}
    return {**message, "channel": parts[0].decode(), "buffers": parts[5:]}


class Kernel:
    """A kernel on one connection."""

    def __init__(self, connection, subprotocol):
        self.connection = connection
        self.subprotocol = subprotocol
        self.session = uuid4().hex

    def send(self, channel, kind, content):
        header = {"msg_id": uuid4().hex, "msg_type": kind, "session": self.session, "username": "", "version": "5.3"}
        header["date"] = "2026-01-01T00:00:00Z"
        message = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
        data = pack(message, self.subprotocol)
        self.connection.write_message(data, binary=isinstance(data, bytes))
        return header["msg_id"]

    async def execute(self, code):
        """Execute code; return its messages, with all output to a stream in one."""
        request = self.send("shell", "execute_request", {"code": code, "allow_stdin": True})
        messages, streams, ended = [], {}, set()
        while ended != {"execute_reply", "status"}:
            data = await self.connection.read_message()
            assert data is not None, "the server has closed the connection"
            message = unpack(data, self.subprotocol)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "execute_reply" or content.get("execution_state") == "idle":
                ended.add(kind)
            if kind == "input_request":
                self.send("stdin", "input_reply", {"value": "Ada"})
            if kind == "stream":
                streams[content["name"]] = streams.get(content["name"], "") + content["text"]
                continue
            buffers = [hashlib.sha256(buffer).hexdigest() for buffer in message["buffers"]]
            content.pop("comm_id", None)
            content.pop("engine_info", None)
            messages.append([message["channel"], kind, content, buffers])
        # The channels are not in order among each other.
        return [streams, *sorted(messages, key=lambda message: message[0])]


async def talk(port, token, subprotocol):
    """Start a kernel, execute the cells, and delete it."""
    kernels, headers = f"http://127.0.0.1:{port}/api/kernels", {"Authorization": f"token {token}"}
    http = AsyncHTTPClient()
    started = await http.fetch(kernels, method="POST", headers=headers, body="{}", request_timeout=60)
    kernel = f"{kernels}/{json.loads(started.body)['id']}"
    request = HTTPRequest(f"{kernel}/channels".replace("http", "ws", 1), headers=headers)
    connection = await websocket_connect(request, subprotocols=[subprotocol] if subprotocol else None)
    assert connection.selected_subprotocol == subprotocol
    opened = Kernel(connection, subprotocol)
    try:
        results = [await asyncio.wait_for(opened.execute(code), 30) for code in CELLS]
    finally:
        connection.close()
        await http.fetch(kernel, method="DELETE", headers=headers)
    return results


async def main(port, token):
    results = [*await talk(port, token, None), *await talk(port, token, V1)]
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
