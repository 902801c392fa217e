"""The charts of the README, as SVG: bars from zero, longer is faster, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from .tables import FAST, FLOOR, FLOOR_SERVER, PURE, Row, Table

# In pixels: the width of a chart, of the names on the left and of the figures on the right; the
# position of the first bar, the distance from bar to bar, and the height of a bar.
WIDTH, LABEL, VALUE = 720, 230, 70
TOP, STEP, BAR = 62, 30, 18

STYLE = """
  .page { fill: #ffffff; } .text { fill: #1f2328; } .faint { fill: #59636e; }
  .own { fill: #0969da; } .pure { fill: #54aeff; } .peer { fill: #818b98; } .floor { fill: #d1d9e0; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } .text { fill: #f0f6fc; } .faint { fill: #9198a1; }
    .own { fill: #4493f8; } .pure { fill: #1f5fb0; } .peer { fill: #656c76; } .floor { fill: #3d444d; }
  }
  text { font: 14px system-ui, sans-serif; } .title { font-weight: 600; font-size: 16px; } .small { font-size: 12px; }
"""


class Chart(NamedTuple):
    """One row of a table as bars.

    Attributes:
        file: The name of the file.
        title: The title.
        table: A part of the title of the table.
        row: The label of the row.
        per_byte: Whether to show GB/s instead of messages per second.
    """

    file: str
    title: str
    table: str
    row: str
    per_byte: bool = False


CHARTS = (
    Chart("decode.svg", "Receiving masked text messages of 125 B", "masked messages in reads", "text, 125 B"),
    Chart("single.svg", "Receiving one masked text message of 16 B at a time", "one masked message in", "text, 16 B"),
    Chart("scripts.svg", "Receiving Cyrillic text in messages of 4 KiB", "other scripts", "Cyrillic, 4 KiB", True),
    Chart("large.svg", "Receiving a binary message of 1 MiB", "in many reads", "binary, 1 MiB in 64 KiB", True),
    Chart("send.svg", "Sending binary messages of 125 B as a client", "as a client", "binary, 125 B"),
    Chart("servers.svg", "Echoing 256 B on 50 connections, one core, uvloop", "servers, uvloop", "echo 50 x 256 B"),
)


def draw(tables: list[Table], environment: Mapping[str, str], folder: Path) -> None:
    """Write the charts whose rows were measured to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart, row in find(tables):
        (folder / chart.file).write_text(bars(chart, row, environment))


def find(tables: Iterable[Table]) -> Iterator[tuple[Chart, Row]]:
    """Yield each chart whose row was measured, with the row."""
    for chart in CHARTS:
        for table in tables:
            for row in table.rows:
                if chart.table in table.title and chart.row == row.label:
                    yield chart, row


def rates(row: Row, per_byte: bool) -> dict[str, float]:
    """Return millions per second, or GB/s, by column; without recorded figures, which are from another
    machine.
    """
    amount = row.size if per_byte else 1000
    return {name: amount / time for name, time in row.nanoseconds.items() if "recorded" not in name}


def shown(rate: float) -> str:
    """Format a rate with three digits."""
    return f"{rate:.3g}" if rate < 100 else f"{rate:.0f}"


def label(name: str, environment: Mapping[str, str]) -> str:
    """Return the name of a column with the version of the library."""
    versions = dict(peer.split() for peer in environment["peers"].split(", "))
    library, _, python = name.partition(" ")
    if library in versions:
        return f"{NAMES.get(library, library)} {versions[library]}" + (", pure Python" if python == "py" else "")
    return NAMES.get(name, name)


def bars(chart: Chart, row: Row, environment: Mapping[str, str]) -> str:
    """Return the SVG of a chart."""
    amounts = rates(row, chart.per_byte)
    scale = (WIDTH - LABEL - VALUE) / max(amounts.values())
    height = TOP + STEP * len(amounts) + 28
    about = (
        f"{environment['processor']}, {environment['instruction set']}, "
        f"Python {environment['Python'].split()[0]}, {environment['date']}"
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(chart.title)}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="text title" x="16" y="26">{escape(chart.title)}</text>',
        f'<text class="faint small" x="16" y="46">{UNITS[chart.per_byte]}, longer is faster</text>',
    ]
    for index, (name, rate) in enumerate(sorted(amounts.items(), key=lambda item: -item[1])):
        y = TOP + STEP * index
        text = escape(label(name, environment))
        kind = "own" if name in OWN else KINDS.get(name, "peer")
        lines += [
            f'<text class="text" x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{text}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{max(rate * scale, 0.5):.1f}" height="{BAR}"/>',
            f'<text class="text" x="{LABEL + rate * scale + 6:.1f}" y="{y + 14}">{shown(rate)}</text>',
        ]
    lines += [f'<text class="faint small" x="16" y="{height - 12}">{escape(about)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"


#: Longer names for charts, which lack the notes of the tables.
NAMES = {
    PURE: "framewire, pure Python",
    FLOOR: "floor: objects only",
    "bare_callback": "bare protocol, callbacks",
    "bare_coroutine": "bare protocol, coroutines",
    "bare_checked": "bare protocol, checked",
    "callback": "framewire, callbacks",
    "coroutine": "framewire, coroutines",
    "bare_callback_fastnet": "bare protocol, callbacks, aiofastnet",
    "callback_fastnet": "framewire, callbacks, aiofastnet",
    "coroutine_fastnet": "framewire, coroutines, aiofastnet",
    "uvicorn_framewire": "framewire in uvicorn",
    "picows_websockets": "picows.websockets",
    "bun": "Bun",
    "deno": "Deno",
    "node_ws": "Node.js, ws",
}

#: The columns of framewire.
OWN = {FAST, "callback", "coroutine", "uvicorn_framewire"}

#: The kinds of the other columns that are no peers.
_BARE = ("bare_callback", "bare_coroutine", "bare_checked")
KINDS = {PURE: "pure", **dict.fromkeys((FLOOR, FLOOR_SERVER, *_BARE), "floor")}

#: The units of a chart, by `Chart.per_byte`.
UNITS = {False: "million messages per second", True: "GB/s"}
