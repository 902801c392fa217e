"""The soak tests pass, print what they count, and fail at each kind of fault that is put into their server."""

import argparse
import asyncio
import logging
import subprocess
import sys

import pytest
from benchmarks import soak
from documents import ROOT

ARGUMENTS = argparse.Namespace(seconds=1, clients=4, seed=1)


@pytest.mark.parametrize("module", ["soak", "soak_rooms"])
def test_soak_passes_and_prints_its_counts(module):
    command = [sys.executable, "-m", f"benchmarks.{module}", "--seconds=2", "--clients=8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    counts, *_, verdict = done.stdout.splitlines()
    assert "0 messages checked" not in counts.split(", ")
    assert verdict == "nothing lost, nothing left"


async def lose_message(connection):
    await connection.recv()


async def close(connection):
    await connection.close()


async def cut(connection):
    connection.transport.abort()


async def raise_error(connection):
    raise RuntimeError("planted")


KEPT = []


async def keep_objects(connection):
    KEPT.extend([number] for number in range(1000))


class Planted:
    """A connection of the server that has a fault at some of the messages that it receives."""

    def __init__(self, connection, random, fault):
        self._connection, self._random, self._fault = connection, random, fault
        self.request, self.send = connection.request, connection.send

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._random.random() < 0.05:
            await self._fault(self._connection)
        return await self._connection.__anext__()


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (lose_message, {"lost echoes"}),
        (close, {"unexpected ends for a client"}),
        (cut, {"unexpected ends for a client", "unexpected ends for the server"}),
        (raise_error, {"errors logged", "unexpected ends for a client"}),
        (keep_objects, {"blocks left"}),
    ],
)
def test_soak_finds_fault(monkeypatch, fault, kinds):
    echo = soak.Soak.echo
    monkeypatch.setattr(soak.Soak, "echo", lambda self, ws: echo(self, Planted(ws, self.random, fault)))
    monkeypatch.setattr(soak, "ECHO_TIMEOUT", 2)
    failures = soak.Failures()
    logging.getLogger().addHandler(failures)
    try:
        left = asyncio.run(soak.run(ARGUMENTS, failures))
    finally:
        logging.getLogger().removeHandler(failures)
        KEPT.clear()
    found = {name for name, number, allowed in left if number > allowed} | failures.counts.keys()
    assert kinds <= found


@pytest.mark.parametrize(("left", "logged", "status"), [(0, False, 0), (1, False, 1), (0, True, 1)])
def test_soak_exits_with_1_if_something_is_left_or_logged(monkeypatch, capsys, left, logged, status):
    async def run(arguments, failures):
        if logged:
            logging.getLogger("framewire").error("planted")
        return [("things left", left, 0)]

    monkeypatch.setattr(sys, "argv", ["soak"])
    with pytest.raises(SystemExit) as caught:
        soak.main(run, "")
    logging.getLogger().handlers = [each for each in logging.getLogger().handlers if type(each) is not soak.Failures]
    assert caught.value.code == status
    printed = capsys.readouterr().out
    assert ("things left: 1" in printed, "errors logged: 1" in printed) == (left == 1, logged)
