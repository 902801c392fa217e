"""docs/feature-matrix.md: a cell is filled exactly if the API has the name in the first column.

Run as a program, this file updates the cells.
"""

import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import framewire.handshake
from framewire.asyncio import ListenerConnection

PAGE = Path(__file__).parents[2] / "docs" / "feature-matrix.md"

#: The APIs that have the same names, by column.
APIS = [name for name in ("asyncio", "sync", "trio") if find_spec(f"framewire.{name}")]

#: Features that the APIs have under different names.
OTHER_NAMES = {
    "reconnect": {"connect.__aiter__"},
    "redirects": {"client.BaseConnect"},
    "timeout": {"cancellation"},
}


def names_of(api):
    """Return the names of an API: modules, connections, servers, and parameters of functions."""
    module = import_module(f"framewire.{api}")
    client = import_module(f"framewire.{api}.client")
    names = {*dir(module), *dir(module.ServerConnection), *dir(module.ClientConnection), *dir(module.Server)}
    if find_spec(f"framewire.{api}.router"):
        names |= set(dir(import_module(f"framewire.{api}.router")))
    for function in (module.serve, module.connect, module.ClientConnection.recv):
        names |= set(inspect.signature(function).parameters)
    names |= {f"client.{name}" for name in dir(client)} | {f"connect.{name}" for name in dir(module.connect)}
    return names if api == "sync" else names | {"cancellation"}


def rows():
    """Return the line number, key, and cells by column of each table row."""
    found, heads = [], []
    for number, line in enumerate(PAGE.read_text().splitlines()):
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or set(line) <= set("|- "):
            continue
        if "asyncio" in cells:
            heads = cells
            continue
        key = re.search(r"`(\w+)`", cells[0])
        assert key, f"line {number + 1} has no name"
        found.append((number, key[1], dict(zip(heads, cells, strict=True))))
    return found


def test_page_has_a_column_for_each_api():
    assert len(rows()) > 30
    for _, _, cells in rows():
        assert list(cells)[1:] == ["asyncio", "callbacks", *APIS[1:], "Stream", "uvicorn"]


@pytest.mark.parametrize("api", APIS)
def test_cell_of_an_api_is_filled_if_it_has_the_name(api):
    names = names_of(api)
    for number, key, cells in rows():
        assert bool(cells[api]) == bool({key, *OTHER_NAMES.get(key, ())} & names), f"line {number + 1}: {key}"


@pytest.mark.parametrize("api", APIS)
def test_api_with_yes_has_the_feature_under_its_own_name(api):
    """Redirects are no name of a program."""
    names = {*names_of(api), "redirects"}
    assert {key for _, key, cells in rows() if cells[api] == "yes"} <= names


def test_connections_of_listeners_have_the_features_of_which_they_have_the_name():
    names = {*dir(ListenerConnection), *dir(framewire.asyncio.Listener)}
    assert {key for _, key, cells in rows() if key in names and not cells["callbacks"]} == set()


def test_names_in_the_cells_of_other_columns_exist():
    config = import_module("uvicorn.config").Config
    known = {
        "callbacks": {*dir(ListenerConnection), *dir(framewire.asyncio.Listener), *names_of("asyncio")},
        "Stream": {*dir(framewire.Stream), *inspect.signature(framewire.Stream).parameters, *dir(framewire.handshake)},
        "uvicorn": {
            *inspect.signature(config).parameters,
            *dir(import_module("framewire.adapters.uvicorn").WebSocketProtocol),
        },
    }
    for number, _, cells in rows():
        for column, names in known.items():
            for name in re.findall(r"`(\w+)`", cells[column]):
                assert name in names, f"line {number + 1}: {name} of {column}"


def fill():
    """Update the cells of the APIs."""
    lines = PAGE.read_text().splitlines()
    names = {api: names_of(api) for api in APIS}
    for number, key, cells in rows():
        for api in APIS:
            has = {key, *OTHER_NAMES.get(key, ())} & names[api]
            cells[api] = (cells[api] or "yes") if has else ""
        lines[number] = re.sub(r" +\|", " |", "| " + " | ".join(cells.values()) + " |")
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    fill()
