"""The JavaScript of the documentation: lines for a page in Chromium, and the program for ws in Node."""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager

from backends import skip_unless
from browsers import chromium
from documents import ROOT, blocks_of, connect_in_time

from framewire.handshake import Headers, Response
from framewire.sync import serve

DOCS = ROOT / "docs"
MODULES = ROOT / "tests/node/node_modules"


def javascript_of(page, port):
    """Return the only program of a page; it uses the port, without TLS."""
    (program,) = (block.code for block in blocks_of(DOCS / page) if block.language == "js")
    return program.replace("wss:", "ws:").replace("8765", str(port))


@contextmanager
def page_with(lines_of, handler):
    """Serve a page that has the lines of a page of the documentation, and open it."""

    def answer(ws, request):
        if request.path == "/ws":
            return None
        script = f"<script>{javascript_of(lines_of, 0)}</script>"
        return Response(200, "OK", Headers([("Content-Type", "text/html")]), script.encode())

    with (
        serve(handler, "127.0.0.1", 0, process_request=answer) as server,
        chromium(f"the script of {lines_of}") as browser,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.socket.getsockname()[1]}/")
            yield page
        finally:
            server.shutdown()
            thread.join()


def test_page_connects_again_after_a_deployment():
    connections = threading.Semaphore(0)

    def handler(ws):
        connections.release()
        ws.close(1001)

    with page_with("deploy/README.md", handler):
        for _ in range(3):
            assert connections.acquire(timeout=20)


def test_page_gets_the_answer_to_an_event():
    def handler(ws):
        for text in ws:
            message = json.loads(text)
            assert message["event"] == "add"
            ws.send(json.dumps({"answer": message["id"], "data": sum(message["data"])}))

    with page_with("how-to/from-socketio.md", handler) as page:
        page.wait_for_function("socket.readyState == WebSocket.OPEN")
        assert page.evaluate("Promise.all([emit('add', [1, 2, 3]), emit('add', [4])])") == [6, 4]


def test_server_of_ws_sends_to_all_as_the_one_of_framewire_does(tmp_path):
    missing = "" if shutil.which("node") else "node"
    skip_unless(missing or ("" if (MODULES / "ws").exists() else "ws"), "a server of ws")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tmp_path.joinpath("node_modules").symlink_to(MODULES.resolve())
    tmp_path.joinpath("server.mjs").write_text(javascript_of("how-to/from-node-ws.md", port))

    async def talk():
        process = await asyncio.create_subprocess_exec("node", "server.mjs", cwd=tmp_path, stdout=subprocess.PIPE)
        try:
            async with await connect_in_time(f"ws://127.0.0.1:{port}/") as ws:
                await ws.send("Hello")
                received = await ws.recv()
            return received, await process.stdout.readline()
        finally:
            process.terminate()
            await process.wait()

    assert asyncio.run(asyncio.wait_for(talk(), 60)) == ("Hello", b"left 1000\n")
