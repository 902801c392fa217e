"""docs/faq.md quotes what programs print: each text is printed in its situation."""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import subprocess
import sys
import traceback

import pytest
from backends import needed
from browsers import chromium
from documents import ROOT

from framewire import StatusError
from framewire.asyncio import connect, serve
from framewire.handshake import Headers, Response
from framewire.testing.asgi import connect as connect_to_app
from framewire.testing.asyncio import connect as connect_in_memory

CERTIFICATE = ROOT / "tests/tls/localhost.pem"

#: The section of each question.
SECTIONS = dict(
    section.split("\n", 1) for section in re.split(r"^##+ ", (ROOT / "docs/faq.md").read_text(), flags=re.MULTILINE)[1:]
)
#: What the text blocks without a title quote.
QUOTES = re.compile(r"^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)

#: For each question, a coroutine function that brings its situation about: it raises, or returns the
#: printed text.
SITUATIONS = {}


def situation(question):
    def add(function):
        SITUATIONS[question] = function
        return function

    return add


async def echo(ws):
    async for message in ws:
        await ws.send(message)


@contextlib.asynccontextmanager
async def serving(handler=echo, **options):
    """Serve on a free port; give the port."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def answering(answer):
    """Answer each TCP connection with some bytes after its request; give the port."""

    async def reply(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def run_program(code):
    """Return the errors that a program prints."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.PIPE)
    return (await process.communicate())[1].decode()


def exception_of(record):
    return traceback.format_exception_only(record.exc_info[1]) if record.exc_info else []


@contextlib.contextmanager
def logged(name, level):
    """Give the list of the messages that a logger gets, with their exceptions."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.extend([record.getMessage(), *exception_of(record)])
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(level)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def tls():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


def page(ws, request):
    """Serve a page at /."""
    if request.path == "/":
        return Response(200, "OK", Headers([("Content-Type", "text/html")]), b"")
    return None


#: Opens a WebSocket in a page, and waits for its end.
OPEN = "(options) => new Promise((done) => { new WebSocket(...options).onclose = done }).then(() => null)"


async def console_of(uri, script, *arguments):
    """Return what the console of Chromium shows for a script in a page."""

    def run():
        with chromium("the console of a page") as browser:
            from playwright.sync_api import Error

            page = browser.new_page(ignore_https_errors=True)
            seen = []
            page.on("console", lambda message: seen.append(message.text))
            page.goto(uri)
            with contextlib.suppress(Error):  # what the script raises
                page.evaluate(script, arguments)
            return "\n".join(seen)

    return await asyncio.to_thread(run)


async def fail(ws):
    raise ValueError("a fault of the program")


async def error_of_handler(handler):
    """Return the error that the server logs."""
    with logged("framewire.server", logging.INFO) as messages:
        async with serving(handler) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
            await ws.wait_closed()
    return "\n".join(messages)


@situation("The server answers 403 and the page has another origin")
async def other_origin():
    async with serving(process_request=page) as port:
        seen = await console_of(f"http://localhost:{port}/", OPEN, f"ws://127.0.0.1:{port}/ws")
        try:
            await connect(f"ws://127.0.0.1:{port}/ws", origin="https://other.example")
        except StatusError as error:
            return "\n".join([*traceback.format_exception_only(error), seen])


@situation("The server answers 403, and runs on uvicorn")
async def no_route():
    fastapi = needed("fastapi")
    async with connect_to_app(fastapi.FastAPI(), "/none"):
        pass


@situation("The server answers 426 Upgrade Required")
async def no_upgrade():
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    return head.partition("\r\n")[0] + "\n" + body


@situation("The server answers 200, 301, 401 or 404")
async def no_websocket():
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as port:
        await connect(f"ws://127.0.0.1:{port}/")


@situation("Connect call failed, or connection refused")
async def nothing_listens():
    await connect(f"ws://127.0.0.1:{free_port()}/")


@situation("Address already in use")
async def port_in_use():
    async with serving() as port:
        await serve(echo, "127.0.0.1", port)


@situation("Certificate verify failed")
async def unknown_certificate():
    async with serving(ssl=tls()) as port:
        await connect(f"wss://localhost:{port}/")


@situation("Wrong version number")
async def no_tls():
    async with serving() as port:
        await connect(f"wss://127.0.0.1:{port}/")


@situation("The connection was closed before a whole answer")
async def no_answer():
    async with answering(b"") as port:
        await connect(f"ws://127.0.0.1:{port}/")


@situation("A page loaded with https cannot connect")
async def mixed_content():
    async with serving(process_request=page, ssl=tls()) as port:
        return await console_of(f"https://127.0.0.1:{port}/", "() => { new WebSocket('ws://chat.example/') }")


@situation("A corporate proxy is in the way")
async def proxy_wants_a_password():
    async with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as port:
        await connect("ws://server.example/", proxy=f"http://127.0.0.1:{port}")


@situation("The subprotocol is None, or a browser closes at once")
async def no_subprotocol():
    async with serving(process_request=page) as port:
        return await console_of(f"http://127.0.0.1:{port}/", OPEN, f"ws://127.0.0.1:{port}/ws", "chat")


@situation("No close frame received or sent (1006)")
async def connection_is_lost():
    async def abort(ws):
        ws.transport.abort()

    async with serving(abort) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        await ws.recv()


@situation("Message too big (1009)")
async def message_is_too_big():
    async with connect_in_memory(echo, compression=None) as ws:
        await ws.send(bytes(2 << 20))
        await ws.recv()


@situation("Internal error (1011) with an empty reason")
async def handler_raises():
    async with serving(fail) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        await ws.recv()


@situation("Keepalive ping timeout (1011)")
async def peer_is_silent():
    ended = asyncio.get_running_loop().create_future()

    async def wait(ws):
        try:
            await ws.recv()
        except Exception as error:
            ended.set_exception(error)

    async with serving(wait, ping_interval=0.01, ping_timeout=0.01, close_timeout=0.01) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        try:
            await ended
        finally:
            writer.close()


@situation("Ctrl-C prints a traceback")
async def interrupt():
    return await run_program(
        "import asyncio, signal\n"
        "async def main():\n"
        "    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )


@situation("Too many open files")
async def too_many_files():
    return await run_program(
        "import asyncio, os, resource\n"
        "from framewire.asyncio import connect\n"
        "async def main():\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), 100))\n"
        "    await connect('ws://127.0.0.1:1/')\n"
        "asyncio.run(main())\n"
    )


@situation("The handler is no coroutine function")
async def ordinary_function():
    return await error_of_handler(lambda ws: None)


@situation("The handler is missing an argument")
async def two_arguments():
    async def handler(ws, path):
        await ws.send(path)

    return await error_of_handler(handler)


@situation("A coroutine was never awaited")
async def no_await():
    return await run_program(
        "import asyncio\n"
        "from framewire.testing.asyncio import connect\n"
        "async def handler(ws):\n"
        "    await ws.send('Hello')\n"
        "async def main():\n"
        "    async with connect(handler) as ws:\n"
        "        ws.recv()\n"
        "asyncio.run(main())\n"
    )


@situation("Unexpected keyword argument")
async def unknown_parameter():
    await connect("ws://127.0.0.1:1/", extra_headers={"Cookie": "a=b"})


@situation("Another call is already receiving from this connection")
async def two_receive():
    async with connect_in_memory(echo) as ws:
        await asyncio.gather(ws.recv(), ws.recv())


async def print_of(coroutine):
    """Return the printed text: the result, or the last lines of the traceback."""
    try:
        printed = await asyncio.wait_for(coroutine, 60)
    except Exception as error:
        printed = "".join(traceback.format_exception_only(error))
    printed = re.sub(r"\[errno \d+\] ", "", printed)  # later versions of Python repeat the number
    return re.sub(r"(?<=\('127\.0\.0\.1', )\d+", "8765", printed)


def test_questions_that_quote_a_text_are_those_that_are_tested():
    assert SITUATIONS.keys() == {question for question, section in SECTIONS.items() if QUOTES.search(section)}


@pytest.mark.parametrize("question", SITUATIONS)
def test_quoted_text_is_printed(question):
    printed = asyncio.run(print_of(SITUATIONS[question]()))
    for quote in QUOTES.findall(SECTIONS[question]):
        assert quote in printed


def test_health_check_that_sends_no_request_is_logged_at_debug():
    async def check():
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write_eof()
            await reader.read()  # until the server has closed the connection
            writer.close()

    quote = "! no valid HTTP request"
    assert quote in SECTIONS["The health check of Docker or Kubernetes fills the log"]
    for level, expected in ((logging.DEBUG, 1), (logging.INFO, 0)):
        with logged("framewire.server", level) as messages:
            asyncio.run(check())
        assert messages.count(quote) == expected


def test_exception_of_a_handler_is_logged():
    async def talk():
        async with serving(fail) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
            await ws.wait_closed()
        return ws.close_code, ws.close_reason

    section = SECTIONS["Internal error (1011) with an empty reason"]
    with logged("framewire.server", logging.INFO) as messages:
        assert asyncio.run(talk()) == (1011, "")
    assert "connection handler failed" in section
    assert "connection handler failed" in messages


def test_compressed_message_that_is_too_big_is_refused_with_the_quoted_reason():
    async def talk():
        async with connect_in_memory(echo) as ws:
            await ws.send(bytes(2 << 20))
            await ws.wait_closed()
        return ws.close_reason

    assert f"`{asyncio.run(talk())}`" in SECTIONS["Message too big (1009)"]
