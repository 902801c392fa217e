"""The code blocks of documentation pages, as files and programs."""

import asyncio
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from framewire.asyncio import connect

ROOT = Path(__file__).parents[2]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block; `line` is the number of its first line of code."""

    language: str
    title: str | None
    code: str
    line: int


def blocks_of(page):
    text = page.read_text()
    for match in FENCE.finditer(text):
        code = textwrap.dedent(match["code"])
        yield Block(match["language"], match["title"], code, text.count("\n", 0, match.start()) + 2)


def write_files(page, folder):
    """Write each block that has a file name as its title into `folder`; return `folder`."""
    for block in blocks_of(page):
        if block.title and block.title != "Output":
            folder.joinpath(block.title).write_text(block.code)
    return folder


async def connect_in_time(uri, **options):
    """Connect to a server process that may not be listening yet; the caller limits the time."""
    while True:
        try:
            return await connect(uri, **options)
        except OSError:  # not listening yet
            await asyncio.sleep(0.05)
