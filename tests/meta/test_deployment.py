"""The program, the proxies and the units of docs/deploy and docs/how-to/nginx.md, run for real.

Each proxy serves on a free port; the client has the address 127.0.0.2, which is no trusted proxy.
"""

import asyncio
import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from backends import needed, skip_unless
from documents import ROOT, blocks_of, connect_in_time, write_files

from framewire import ConnectionClosed

DEPLOY = ROOT / "docs/deploy"
#: What systemd does: pass a listening socket as descriptor 3, and say so in the environment.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has the address 127.0.0.2 without configuration")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@contextmanager
def running(*command, cwd, **variables):
    """Run a program until the end of the block, which it must outlive; yield its process."""
    environment = {**os.environ, **variables}
    with subprocess.Popen([*map(str, command)], cwd=cwd, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM, 143)


@contextmanager
def serving(folder):
    """Run the program of docs/deploy/README.md; yield its process and its port."""
    write_files(DEPLOY / "README.md", folder)
    port = free_port()
    with running(sys.executable, "main.py", cwd=folder, PORT=str(port)) as process:
        yield process, port


def of_nginx(folder, listen, port):
    (config,) = (block.code for block in blocks_of(ROOT / "docs/how-to/nginx.md") if block.language == "nginx")
    config = config.replace("listen 80;", f"listen 127.0.0.1:{listen};").replace("location /ws", "location /")
    config = config.replace("8765", str(port))
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    path = folder / "nginx.conf"
    path.write_text(f"{main}\nhttp {{ access_log off; {paths}\n{config}\n}}\n")
    return "nginx", "-p", folder, "-c", path, "-e", folder / "error.log"


def of_page(name, *command):
    """Return a function like `of_nginx` for a configuration of docs/deploy/proxies.md."""

    def make(folder, listen, port):
        path = write_files(DEPLOY / "proxies.md", folder) / name
        path.write_text(path.read_text().replace("8080", str(listen)).replace("8765", str(port)))
        return *command, path

    return make


PROXIES = {
    "nginx": of_nginx,
    "haproxy": of_page("haproxy.cfg", "haproxy", "-f"),
    "caddy": of_page("Caddyfile", "caddy", "run", "--adapter", "caddyfile", "--config"),
}


async def talk(port):
    """Exchange a message as a page of this address does; return the reply."""
    origin = f"http://127.0.0.1:{port}"
    uri = f"ws://127.0.0.1:{port}/"
    async with await connect_in_time(uri, origin=origin, local_addr=("127.0.0.2", 0)) as ws:
        await ws.send("Hello")
        return await ws.recv()


async def health(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("proxy", PROXIES)
def test_proxy_passes_messages_origins_addresses_and_health_checks(proxy, tmp_path):
    skip_unless("" if shutil.which(proxy) else proxy, "a configuration of the documentation")
    listen = free_port()
    with serving(tmp_path) as (_, port):
        asyncio.run(asyncio.wait_for(talk(port), 60))  # the program listens
        with running(*PROXIES[proxy](tmp_path, listen, port), cwd=tmp_path, HOME=str(tmp_path)):
            assert asyncio.run(asyncio.wait_for(talk(listen), 60)) == "127.0.0.2: Hello"
            assert asyncio.run(asyncio.wait_for(health(listen), 60)).endswith(b"fine\n")


def test_program_serves_metrics_and_closes_with_1001_at_sigterm(tmp_path):
    async def main(process, port):
        async with await connect_in_time(f"ws://127.0.0.1:{port}/") as ws:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"\nframewire_connections_open 1\n" in await reader.read()
            writer.close()
            process.terminate()
            with pytest.raises(ConnectionClosed) as caught:
                await ws.recv()
            assert caught.value.rcvd.code == 1001

    with serving(tmp_path) as (process, port):
        asyncio.run(asyncio.wait_for(main(process, port), 60))
        assert process.wait(20) == 0


def test_program_serves_a_socket_of_systemd(tmp_path):
    write_files(DEPLOY / "systemd.md", tmp_path)

    async def talk(port):
        async with await connect_in_time(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send("Hello")
            return await ws.recv()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        command = [sys.executable, "-c", ACTIVATE, str(descriptor), "activated.py"]
        with subprocess.Popen(command, cwd=tmp_path, pass_fds=[descriptor]) as process:
            try:
                assert asyncio.run(asyncio.wait_for(talk(port), 60)) == "Hello"
            finally:
                process.terminate()
        assert process.returncode == 0


def test_units_of_systemd_name_the_program_and_leave_it_time(tmp_path):
    write_files(DEPLOY / "systemd.md", tmp_path)
    service, listening = configparser.ConfigParser(), configparser.ConfigParser()
    service.optionxform = listening.optionxform = str
    service.read(tmp_path / "chat.service")
    listening.read(tmp_path / "chat.socket")
    assert service["Service"]["ExecStart"].endswith("/main.py")
    assert int(service["Service"]["TimeoutStopSec"]) > 10  # close_timeout
    assert listening["Socket"]["ListenStream"] == "8765"


@pytest.mark.parametrize("page", sorted(DEPLOY.glob("*.md")), ids=lambda page: page.name)
def test_manifests_are_well_formed(page):
    yaml = needed("ruamel.yaml").YAML(typ="safe", pure=True)
    for block in blocks_of(page):
        if block.language == "yaml":
            assert all(isinstance(document, dict) for document in yaml.load_all(block.code)), block.line
