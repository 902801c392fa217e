"""The layers of the package: imports lead to lower layers, or stay in a folder without cycles."""

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import framewire

ROOT = Path(framewire.__file__).parent

#: Layer of each file or folder, from the bottom up; a file takes that of its nearest folder.
LAYERS = {
    "_pure": 1,
    "_fast": 1,
    "protocol.constants": 1,
    "protocol.events": 1,
    "protocol.record": 1,
    "version": 1,
    "errors": 2,
    "_backend": 2,
    "exceptions": 3,
    "protocol": 3,
    "http": 4,
    "session": 5,
    "datastructures": 6,
    "extensions": 6,
    "frames": 6,
    "handshake": 6,
    "headers": 6,
    "http11": 6,
    "routes": 6,
    "typing": 6,
    "uri": 6,
    "adapters": 6,
    "asyncio": 7,
    "sync": 7,
    "trio": 7,
    "__init__": 8,
    "adapters.uvicorn": 9,
    "pywebsocket": 9,
    "websocket": 9,
    "relay": 9,
    "rooms": 9,
    "testing": 9,
    "cli": 10,
    "__main__": 11,
}

#: Allowed imports from outside the standard library, by module.
FOREIGN = {
    "_pyinstaller.hook-framewire": {"PyInstaller"},
    "http.message_parser": {"h11"},
    "protocol.record": {"typing_extensions"},  # for type checkers only
    "http.proxy": {"python_socks"},
    "routes": {"werkzeug"},
    "asyncio.client": {"typing_extensions"},  # for type checkers only
    "asyncio.proxy": {"python_socks"},
    "sync.client": {"python_socks"},
    "trio.__init__": {"trio"},
    "trio.client": {"trio", "python_socks"},
    "trio.connection": {"trio", "exceptiongroup"},
    "trio.driver": {"trio", "exceptiongroup"},
    "trio.router": {"trio"},
    "trio.server": {"trio"},
    "trio.topics": {"trio"},
    "adapters.autobahn": {"autobahn"},
    "adapters.gevent_websocket": {"geventwebsocket"},
    "adapters.gunicorn": {"gunicorn"},
    "adapters.tornado.__init__": {"tornado"},
    "adapters.tornado.protocol": {"tornado"},
    "adapters.tornado.self_test": {"tornado"},
    "adapters.uvicorn.configuration": {"uvicorn"},
    "adapters.uvicorn.opening": {"uvicorn"},
    "adapters.uvicorn.protocol": {"uvicorn"},
    "adapters.websocket_client": {"websocket"},
    "adapters.websockets": {"websockets"},
    "adapters.wsproto": {"wsproto"},
    "cli.bench": {"rich"},
    "cli.capture": {"scapy"},
    "cli.completion": {"shtab"},
    "cli.inspect": {"rich"},
    "cli.output": {"rich"},
    "relay": {"redis"},
    "testing.fixtures": {"pytest"},
    "testing.trio": {"trio"},
    "websocket.browser_connection": {"js", "pyodide"},
}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py")) if path.name != "_build.py"}


def place(name):
    """Return the layer of a file: its own, or that of the nearest folder that has one."""
    while name not in LAYERS:
        name = name.rpartition(".")[0]
    return LAYERS[name]


def imports(name):
    """Return the imported modules of a file, for type checking too: of this package, and others."""
    inside, outside = set(), set()
    folder = name.split(".")[:-1]
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                candidates = [[*base, alias.name], [*base, alias.name, "__init__"], base, [*base, "__init__"]]
                inside.add(next(".".join(each) for each in candidates if ".".join(each) in FILES))
    return inside, outside


@pytest.mark.parametrize("name", list(FILES))
def test_module_imports_only_lower_layers_or_its_own_folder(name):
    for other in imports(name)[0]:
        same_folder = other.split(".")[:-1][:1] == name.split(".")[:-1][:1]
        assert place(other) < place(name) or (place(other) == place(name) and same_folder), other


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("_pure.")])
def test_pure_python_reference_imports_only_itself(name):
    assert {other.split(".")[0] for other in imports(name)[0]} <= {"_pure"}


def test_design_document_lists_the_layer_of_every_module():
    design = Path(__file__).parents[2] / "docs" / "design.md"
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", design.read_text(), re.M)
    shown = {name: int(floor) for floor, files in rows for name in re.findall(r"`([\w.]+?)(?:/|\.py)`", files)}
    assert shown == LAYERS


def test_module_imports_have_no_cycle():
    """Imports for type checking count too."""
    graph = {name: imports(name)[0] - {name} for name in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


@pytest.mark.parametrize("name", list(FILES))
def test_module_imports_only_allowed_third_party_packages(name):
    foreign = imports(name)[1] - set(sys.stdlib_module_names) - {"framewire"}
    assert foreign <= FOREIGN.get(name, set())


def test_each_twin_has_pure_source_compiled_source_and_test():
    """All three have the same stem."""
    from framewire._backend import TWINS

    assert {name.removeprefix("_pure.") for name in FILES if name.startswith("_pure.")} - {"__init__"} == set(TWINS)
    tests = Path(__file__).parents[1]
    assert all(tests.joinpath("engine", f"test_{stem}.py").exists() for stem in TWINS)
    sources = tests.parent / "cext"
    compiled = {path.stem for path in sources.glob("*.pyx")} | {"deflate"}  # _pure/deflate.py is both twins
    assert compiled == {*TWINS, "dispatch"}  # dispatch selects the kernels


def test_c_kernels_do_not_include_python_h():
    for path in Path(__file__).parents[2].joinpath("cext", "kernels").iterdir():
        assert "#include <Python.h>" not in path.read_text()
        assert '#include "Python.h"' not in path.read_text()
