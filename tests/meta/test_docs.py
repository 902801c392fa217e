"""Run every code sample of README.md and docs/.

The fenced blocks of a page are processed in order, in a new folder for each page:

* `python` is a program, which must exit with status 0. If a `text` block titled "Output" follows,
  the program must print that text.
* A block with a file name as its title is written to that file. `test_*.py` is run by pytest; any
  other file must be used by a later block, or by a test named in RUN_HERE.
* In `console`, each `$ framewire inspect` command is run and its output compared.
"""

import ast
import asyncio
import os
import pkgutil
import re
import shlex
import socket
import subprocess
import sys
import textwrap

import pytest
from backends import needed
from documents import FENCE, ROOT, blocks_of, connect_in_time, write_files

import framewire
from framewire.asyncio import connect

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Pages that tell how to use something.
GUIDES = [page for page in PAGES if page.parent.name in ("deploy", "how-to", "servers")]
GUIDES += [
    ROOT / f"docs/{name}.md"
    for name in (
        "asyncio",
        "sync",
        "trio",
        "tutorial",
        "faq",
        "connection",
        "command-line",
        "coming-from-libmicrohttpd",
    )
]
#: Files that a test of this module runs, of test_deployment.py, or of test_relay.py.
RUN_HERE = {
    "echo.py", "chat.html", "secure.py", "rooms.py", "news.py",
    "main.py", "haproxy.cfg", "Caddyfile", "chat.service", "chat.socket", "activated.py",
}  # fmt: skip
#: Packages that the samples of a page need, and that a test environment may lack.
NEEDED = {"django.md": ["django", "channels"], "litestar.md": ["litestar"]}
#: Pages with an application that serves rooms, and a command that runs it.
ROOMS = ["fastapi", "starlette", "django", "litestar", "quart"]


def call(*command, cwd):
    paths = os.pathsep.join(filter(None, [str(cwd), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", "COLUMNS": "130"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_documentation_pages_and_samples_are_found():
    assert len(PAGES) > 10
    assert sum(block.language == "python" for page in PAGES for block in blocks_of(page)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_samples_run_as_documented(page, tmp_path):
    for package in NEEDED.get(page.name, ()):
        needed(package)
    blocks = list(blocks_of(page))
    for number, block in enumerate(blocks):
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        where = f"{page.name}, line {block.line}"
        if block.title == "Output":
            assert number, where
            assert blocks[number - 1].language == "python", where
            assert blocks[number - 1].title is None, where
        elif block.title:
            check_file(block, blocks[number + 1 :], tmp_path, where)
        elif block.language == "python":
            check_program(block, following, tmp_path, where)
        elif block.language == "console":
            check_console(block, tmp_path, where)


def check_file(block, later, folder, where):
    path = folder / block.title
    path.write_text(block.code)
    if block.title.startswith("test_"):
        status, out, err = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path, cwd=folder)
        assert status == 0, f"{where}\n{out}{err}"
        return
    if path.suffix == ".py":
        compile(block.code, where, "exec")
    assert block.title in RUN_HERE or any(path.stem in other.code for other in later), f"{where}: nothing runs it"


def check_program(block, following, folder, where):
    path = folder / "program.py"
    path.write_text(block.code)
    status, out, err = call(sys.executable, path, cwd=folder)
    assert status == 0, f"{where}\n{err}"
    assert err == "", where
    if following is not None and following.title == "Output":
        assert out == following.code, where


def check_console(block, folder, where):
    command, *shown = block.code.splitlines()
    if command.startswith("$ framewire inspect ") and shown and not shown[0].startswith("$"):
        _, out, _ = call(sys.executable, "-m", *shlex.split(command[2:]), cwd=folder)
        assert [line.rstrip() for line in out.splitlines()] == shown, where


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def tutorial(tmp_path, port):
    """The files of the tutorial, which serve at `port`."""
    folder = write_files(ROOT / "docs/tutorial.md", tmp_path)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("8765", str(port)))
    return folder


def serving(folder, program):
    """Run a program of the tutorial."""
    return subprocess.Popen([sys.executable, program], cwd=folder, stdout=subprocess.PIPE, text=True)


def test_tutorial_echo_program_echoes_a_message(tutorial, port):
    async def talk():
        async with await connect_in_time(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send("Hello")
            return await ws.recv()

    with serving(tutorial, "echo.py") as server:
        try:
            assert asyncio.run(asyncio.wait_for(talk(), 60)) == "Hello"
        finally:
            server.terminate()


def test_tutorial_chat_serves_its_page(tutorial, port):
    async def read_page():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        page = await reader.read()
        writer.close()
        return page

    async def talk():
        async with await connect_in_time(f"ws://127.0.0.1:{port}/ws?name=Ada") as ws:
            return await ws.recv(), await read_page()

    with serving(tutorial, "chat.py") as server:
        try:
            greeting, page = asyncio.run(asyncio.wait_for(talk(), 60))
        finally:
            server.terminate()
    assert greeting == "Ada is here"
    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == (tutorial / "chat.html").read_bytes()


def test_tutorial_chat_tells_of_a_client_whose_connection_is_lost(tutorial, port):
    async def talk():
        async with await connect_in_time(f"ws://127.0.0.1:{port}/ws?name=Ada") as ada:
            bob = await connect(f"ws://127.0.0.1:{port}/ws?name=Bob")
            assert [await ada.recv(), await ada.recv()] == ["Ada is here", "Bob is here"]
            bob.transport.abort()
            assert await ada.recv() == "Bob has gone"

    with serving(tutorial, "chat.py") as server:
        try:
            asyncio.run(asyncio.wait_for(talk(), 60))
        finally:
            server.terminate()


def test_tls_guide_program_runs_over_tls(tmp_path):
    folder = write_files(ROOT / "docs/how-to/tls.md", tmp_path)
    certificate = ROOT / "tests/tls/localhost.pem"
    status, out, err = call(sys.executable, "secure.py", certificate, certificate, cwd=folder)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"secret over TLSv1\.\d\n", out)


@pytest.mark.parametrize("framework", ROOMS)
def test_framework_guide_serves_a_room(framework, tmp_path):
    page = ROOT / f"docs/how-to/{framework}.md"
    for package in NEEDED.get(page.name, ()):
        needed(package)
    folder = write_files(page, tmp_path)
    command = re.findall(r"^\$ (uvicorn .+)$", page.read_text(), re.MULTILINE)[0]
    port = free_port()
    words = [str(port) if word == "8000" else word for word in shlex.split(command)]
    uri, origin = f"ws://127.0.0.1:{port}/rooms/lobby", f"http://127.0.0.1:{port}"

    async def talk():
        async with await connect_in_time(uri, origin=origin) as ada, connect(uri, origin=origin) as bob:
            await bob.send("I am here")  # the reply shows that he has joined
            assert [await bob.recv(), await ada.recv()] == ["I am here"] * 2
            await ada.send("Hello")
            assert [await bob.recv(), await ada.recv()] == ["Hello"] * 2

    with subprocess.Popen([sys.executable, "-m", *words, "--log-level=warning"], cwd=folder) as server:
        try:
            asyncio.run(asyncio.wait_for(talk(), 60))
        finally:
            server.terminate()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
    assert {page for page in pages if page not in navigation} == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_pages_outside_the_site_lead_to_files_and_headings(page):
    """mkdocs checks the links between the pages of the site."""
    for target in re.findall(r"\]\(([^):]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings}


def test_jupyter_guide_accelerates_its_server(tmp_path):
    """Only the compiled backend accelerates tornado; the echo works with either."""
    folder = write_files(ROOT / "docs/how-to/jupyter.md", tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "framewire", "run", "-v", "--", sys.executable, "server.py", str(port)]

    async def talk():
        async with await connect_in_time(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send("Hello")
            return await ws.recv()

    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert asyncio.run(asyncio.wait_for(talk(), 60)) == "Hello"
        finally:
            server.terminate()
        report = server.stderr.read()
    assert re.search(r"framewire: tornado [\d.]+ is accelerated", report) or framewire.backend().name == "pure", report


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guide_names_the_versions_of_its_tests(page):
    """Or says that something was not run."""
    assert re.search(r"(?i)tested\swith|not\srun|tests\s(run|show|start)|virtual\smachine", page.read_text())


def test_excerpts_import_names_that_exist():
    """Indented blocks are excerpts, which do not run by themselves, and commands."""
    imported = set()
    for page in PAGES:
        for block in re.findall(r"(?:^ {4}.*\n|^\n)+", FENCE.sub("", page.read_text()), re.MULTILINE):
            try:
                tree = compile(
                    textwrap.dedent(block), page.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
                )
            except SyntaxError:  # not Python
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("framewire"):
                    imported |= {f"{node.module}:{each.name}" for each in node.names}
    assert "framewire.adapters.uvicorn:WebSocketProtocol" in imported
    for name in imported:
        pkgutil.resolve_name(name)


def test_every_documented_name_exists():
    names = {name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)}
    assert "framewire.Stream" in names
    for name in names:
        pkgutil.resolve_name(name)
