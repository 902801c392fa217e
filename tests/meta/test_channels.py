"""The example of docs/how-to/django.md under daphne."""

import asyncio
import re
import shlex
import socket
import subprocess
import sys

from backends import needed
from documents import ROOT, connect_in_time, write_files

from framewire.asyncio import connect

PAGE = ROOT / "docs" / "how-to" / "django.md"


def test_example_of_channels_serves_a_room_under_daphne(tmp_path):
    for module in ("channels", "django", "daphne"):
        needed(module)
    folder = write_files(PAGE, tmp_path)
    (command,) = re.findall(r"^ *\$ (daphne .+)$", PAGE.read_text(), re.MULTILINE)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = shlex.split(command.replace("8000", str(port)))
    uri, origin = f"ws://127.0.0.1:{port}/rooms/lobby", f"http://127.0.0.1:{port}"

    async def talk():
        async with await connect_in_time(uri, origin=origin) as ada:
            async with connect(uri, origin=origin) as bob:
                await bob.send("I am here")  # the reply shows that he has joined
                assert [await bob.recv(), await ada.recv()] == ["I am here"] * 2
                texts = [str(number) for number in range(50)]
                for text in texts:
                    await ada.send(text)
                for client in (ada, bob):
                    assert [await client.recv() for _ in texts] == texts
            await ada.send("alone")  # to the members that are left
            assert await ada.recv() == "alone"

    with subprocess.Popen([sys.executable, "-m", *words], cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            asyncio.run(asyncio.wait_for(talk(), 60))
        finally:
            process.terminate()
